//! The committed contracts are those of the types: who changes a type sees what it does to clients.

use autonomos_tests::schemas::{self, compat};
use std::fs;

#[test]
fn the_committed_contracts_are_those_of_the_types() {
    let folder = schemas::folder();
    let (generated, events) = (schemas::all(), schemas::events());
    for (path, text) in &generated {
        let committed = fs::read_to_string(folder.join(path)).unwrap_or_default();
        assert!(
            committed == *text,
            "`schemas/{path}` is not what the types say: run `cargo run -p autonomos-tests --bin write-schemas` \
             and look at the difference"
        );
    }
    for part in ["events", "connectors"] {
        for entry in fs::read_dir(folder.join(part)).expect("the folder is there") {
            let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
            let earlier = part == "events" && compat::is_superseded(&name, &events);
            assert!(
                earlier || generated.contains_key(&format!("{part}/{name}")),
                "`schemas/{part}/{name}` is of no type"
            );
        }
    }
}

#[test]
fn what_logs_hold_can_still_be_read() {
    let committed = schemas::events_committed().expect("the folder is there");
    let found = compat::contradictions(&committed, &schemas::events());
    assert!(found.is_empty(), "raise the version of these events: {found:#?}");
}
