//! What is no drift must not be reported.

use crate::kit::{Random, accounts, compare};

#[test]
fn growth_edits_and_column_order_are_no_drift() {
    let mut alarms = Vec::new();
    for seed in 0..1_000 {
        // Mostly small ones, where chance plays most.
        let rows = if seed % 25 == 0 { 700 } else { 12 + (seed as usize * 7) % 90 };
        let before = accounts(seed, rows);
        let mut after = before.clone();
        after.grow(&mut Random::new(seed + 1_000_000));
        for finding in compare(&before, &after) {
            alarms
                .push(format!("seed {seed}: {:?} {:?} {:?}", finding.kind, finding.field, finding.evidence));
        }
    }
    assert!(alarms.is_empty(), "{} alarms\n{}", alarms.len(), alarms[..alarms.len().min(10)].join("\n"));
}

#[test]
fn an_unchanged_edition_is_no_drift() {
    for seed in 0..50 {
        let before = accounts(seed, 5 + seed as usize * 4);
        assert_eq!(compare(&before, &before.clone()), []);
    }
}

#[test]
fn unrelated_later_rows_of_the_same_source_are_no_drift() {
    // An incremental read: other keys altogether, no overlap.
    for seed in 0..50 {
        let before = accounts(seed, 300);
        let mut after = accounts(seed + 500, 260);
        let at = after.at("id");
        for (index, cell) in after.columns[at].1.iter_mut().enumerate() {
            *cell = Some(format!("A-{:05}", 50_000 + index));
        }
        let findings = compare(&before, &after);
        assert_eq!(findings, [], "seed {seed}");
    }
}
