//! The rooms' arrows point one way: each room uses only what the design lets it.

use cargo_metadata::MetadataCommand;
use std::collections::{BTreeMap, BTreeSet};

/// What each room may use, and what it must not link at all.
const RULES: &[(&str, &[&str], &[&str])] = &[
    // `chrono-tz` is a table of the zones' rules, which a schedule's times follow from: no clock.
    ("domain", &[], &["tokio", "rusqlite", "sqlx", "duckdb", "axum", "reqwest", "rand"]),
    ("objects", &[], &["axum", "sqlx", "rusqlite", "duckdb", "arrow"]),
    ("log", &["domain"], &["axum", "duckdb", "reqwest"]),
    // `sqlx` as a client of Postgres that is a source.
    ("connectors", &["domain", "objects"], &["axum", "rusqlite", "duckdb"]),
    ("commands", &["domain", "log", "connectors"], &["axum", "duckdb"]),
    ("projections", &["domain", "objects", "log"], &["axum", "reqwest", "calamine"]),
    (
        "driftbench",
        &["domain", "connectors", "commands", "projections"],
        &["axum", "tokio", "reqwest", "sqlx", "rusqlite", "duckdb"],
    ),
    (
        "gateway",
        &["domain", "objects", "log", "connectors", "commands", "projections", "driftbench"],
        &["rusqlite", "sqlx", "duckdb"],
    ),
    (
        "tests",
        &["domain", "objects", "log", "connectors", "commands", "projections", "driftbench", "gateway"],
        &[],
    ),
];

fn direct() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    let normal = |package: &cargo_metadata::Package| {
        package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == cargo_metadata::DependencyKind::Normal)
            .map(|dependency| dependency.name.trim_start_matches("autonomos-").to_owned())
            .collect::<BTreeSet<_>>()
    };
    let packages = metadata.packages.iter();
    packages
        .map(|package| (package.name.trim_start_matches("autonomos-").to_owned(), normal(package)))
        .collect()
}

#[test]
fn arrows_between_rooms_point_one_way() {
    let direct = direct();
    let rooms: BTreeSet<&str> = RULES.iter().map(|(room, ..)| *room).collect();
    assert_eq!(direct.keys().map(String::as_str).collect::<BTreeSet<_>>(), rooms, "a room without a rule");
    for (room, may_use, must_not) in RULES {
        for dependency in &direct[*room] {
            if rooms.contains(dependency.as_str()) {
                assert!(may_use.contains(&dependency.as_str()), "`{room}` must not use `{dependency}`");
            }
            assert!(!must_not.contains(&dependency.as_str()), "`{room}` must not know `{dependency}`");
        }
    }
}

#[test]
fn there_is_one_arrow_one_sqlite_and_one_rustls() {
    let metadata = MetadataCommand::new().exec().expect("cargo metadata");
    for name in ["arrow", "arrow-array", "libsqlite3-sys", "rustls"] {
        let versions: BTreeSet<String> = metadata
            .packages
            .iter()
            .filter(|package| package.name.as_str() == name)
            .map(|package| package.version.to_string())
            .collect();
        assert!(versions.len() <= 1, "`{name}` is there in {versions:?}");
    }
    // And one provider of its cryptography, which is `ring`.
    let others = ["aws-lc-rs", "aws-lc-sys", "rustls-openssl", "rustls-symcrypt"];
    let found = metadata.packages.iter().find(|package| others.contains(&package.name.as_str()));
    assert!(found.is_none(), "a second provider of cryptography: {found:?}");
}
