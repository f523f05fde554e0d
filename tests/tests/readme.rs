//! Every command that the README names is run here as it stands there, against a data folder of its
//! own (`make run` and `make test` are what continuous integration runs).

use autonomos_tests::{
    client::Client,
    server::{Start, run},
};
use std::{collections::BTreeSet, fs, path::Path};

/// The `autonomos …` commands of the README, alternatives of a cell taken apart.
fn commands() -> BTreeSet<String> {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("a README");
    let spans = text.split('`').skip(1).step_by(2).map(str::to_owned);
    let lines = text.lines().map(str::to_owned);
    spans
        .chain(lines)
        .filter(|line| line.starts_with("autonomos "))
        .map(|line| line.trim().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_readme_does_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("A"), "account_id,name,annual_revenue\n1,Acme,100\n2,Bolt,200\n3,Core,300\n")
        .expect("writes");
    fs::write(at("B"), "account_id,company_name,annual_revenue\n1,Acme,100\n2,Bolt,200\n3,Core,300\n")
        .expect("writes");
    for name in ["A", "B"] {
        fs::copy(at(name), at(&format!("{name}.csv"))).expect("copies");
    }
    let server = Start::serve(Path::new(&at("data"))).run().expect("`autonomos serve` starts");
    Client::registered(&server.url, "Readers", "reader@example.com").await;
    server.stop();

    let mut ran = BTreeSet::new();
    for command in commands() {
        // Servers are run by every other test; here, what ends by itself.
        if command.starts_with("autonomos serve") || command.starts_with("autonomos demo") {
            continue;
        }
        // Of several nodes alone; `scaled.rs` runs it.
        if command.starts_with("autonomos projections role") {
            continue;
        }
        let filled = command
            .replace("restored", &at("restored"))
            .replace("backup/log", &at("backup/log"))
            .replace("backup/keys", &at("backup/keys"))
            .replace("--data-dir data", &format!("--data-dir {}", at("data")));
        let mut arguments: Vec<String> = filled
            .split_whitespace()
            .skip(1)
            .map(|word| match word {
                "FILE" | "A" => at("A.csv"),
                "B" => at("B.csv"),
                "NAME" => "read_models".to_owned(),
                other => other.to_owned(),
            })
            .collect();
        // The table names folders by a placeholder; the section below it names them by example.
        if arguments.iter().any(|word| word == "DIR") {
            continue;
        }
        let needs_folder = ["verify", "projections", "backup"].contains(&arguments[0].as_str());
        if needs_folder && !arguments.iter().any(|word| word == "--data-dir") {
            arguments.extend(["--data-dir".to_owned(), at("data")]);
        }
        let (code, said, complained) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(code, 0, "`{command}`: {said}{complained}");
        ran.insert(arguments[0].clone());
    }
    let expected: BTreeSet<String> =
        ["backup", "config", "drift", "fingerprint", "match", "projections", "restore", "verify"]
            .map(str::to_owned)
            .into();
    assert_eq!(ran, expected);
}
