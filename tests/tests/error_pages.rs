//! Every error code in the sources has a page a person can read, and every page a code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        // Tests make codes up.
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn codes(text: &str) -> impl Iterator<Item = String> + '_ {
    text.match_indices("\"AOS-").filter_map(|(at, _)| {
        let code = text.get(at + 1..at + 9)?;
        let digits = code[4..].chars().all(|letter| letter.is_ascii_digit());
        (digits && text.as_bytes().get(at + 9) == Some(&b'"')).then(|| code.to_owned())
    })
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut files = Vec::new();
    for room in ["domain", "objects", "log", "connectors", "commands", "projections", "driftbench", "gateway"]
    {
        sources(&root.join(room).join("src"), &mut files);
    }
    let mut used: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in files {
        for code in codes(&fs::read_to_string(&file).expect("text")) {
            used.entry(code).or_insert_with(|| file.clone());
        }
    }
    let pages: BTreeSet<String> = fs::read_dir(root.join("docs/errors"))
        .expect("pages")
        .flatten()
        .filter_map(|entry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect();
    let missing: Vec<_> = used.iter().filter(|(code, _)| !pages.contains(*code)).collect();
    assert!(missing.is_empty(), "codes without a page: {missing:#?}");
    let idle: Vec<_> =
        pages.iter().filter(|page| page.starts_with("AOS-") && !used.contains_key(*page)).collect();
    assert!(idle.is_empty(), "pages without a code: {idle:?}");
}
