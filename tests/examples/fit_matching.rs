//! Learns the weights of the table matcher from the development data and writes
//! `domain/src/matching/rankers.json`. Run with `score` to see the figures by family instead.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its lines are the result")]

use autonomos_commands::intelligence::{HashedWords, Meaning};
use autonomos_domain::matching::{Similarity, table::Ranker};
use autonomos_tests::bench::matching::{LEARNT_FROM, Rows, cases, fit, score_families, signals};
use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let Some(folder) = cases::folder() else {
        eprintln!("`../shared/data/schema-matching` is absent (or set AOS_DATA): nothing to learn from");
        return ExitCode::FAILURE;
    };
    let model = Meaning::new(None);
    if !model.available() {
        eprintln!("the embedding model is absent: run scripts/setup.sh");
        return ExitCode::FAILURE;
    }
    let all = cases::load(&folder);
    let only_score = std::env::args().nth(1).as_deref() == Some("score");
    let hashed = HashedWords::new();
    let measures: [(&'static str, Option<&dyn Similarity>); 3] =
        [("none", None), ("hashed", Some(&hashed)), ("minilm", Some(&model))];
    let mut rankers: Vec<Ranker> = Vec::new();
    for (short, meaning) in measures {
        let name = meaning.map_or("none", Similarity::name);
        let rows: Vec<Rows> = all.iter().map(|case| signals(case, meaning)).collect();
        if only_score {
            for line in score_families(&all, &rows, name, short) {
                println!("{short:8} {:24} {:28} {:.4}", line.case, line.unit, line.value);
            }
            continue;
        }
        let learnt: Vec<_> =
            all.iter().zip(&rows).filter(|(case, _)| LEARNT_FROM.contains(&case.family.as_str())).collect();
        rankers.push(fit(&learnt, name));
    }
    if only_score {
        return ExitCode::SUCCESS;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/src/matching/rankers.json");
    let text = serde_json::to_string(&rankers).unwrap_or_default().replace("},{\"meaning", "},\n{\"meaning");
    match std::fs::write(&path, text + "\n") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
