//! What only a few records, or the profiles alone, give away.

use crate::kit::{Random, Table, accounts, automatic, compare};
use autonomos_domain::drift::{DriftFinding, DriftKind};

fn of<'a>(findings: &'a [DriftFinding], field: &str) -> Option<&'a DriftFinding> {
    findings.iter().find(|finding| finding.field.as_deref() == Some(field))
}

fn cells(rows: usize, cell: impl Fn(usize) -> Option<String>) -> Vec<Option<String>> {
    (0..rows).map(cell).collect()
}

/// Two editions of a table with a column of our own.
fn editions(
    name: &str,
    before: impl Fn(usize) -> Option<String>,
    after: impl Fn(usize) -> Option<String>,
) -> Vec<DriftFinding> {
    let (mut old, mut new): (Table, Table) = (accounts(3, 200), accounts(3, 200));
    old.add(name, cells(200, before));
    new.add(name, cells(200, after));
    compare(&old, &new)
}

#[test]
fn a_code_renamed_on_a_few_records_is_noticed_and_written_back_by_enough_of_them() {
    let code = |every: usize, name: &'static str| {
        move |row: usize| {
            Some(if row.is_multiple_of(every) { name } else { ["red", "blue"][row % 2] }.to_owned())
        }
    };
    for (every, alone) in [(13, true), (40, false)] {
        let findings = editions("colour", code(every, "green"), code(every, "emerald"));
        let found = of(&findings, "colour").expect("a finding");
        assert_eq!(found.kind, DriftKind::EnumChanged, "{found:?}");
        assert_eq!(automatic(found), alone, "one in {every}: {found:?}");
    }
    // Some still have it: the others went elsewhere, as records do.
    let some = |row: usize| code(40, if row < 100 { "green" } else { "emerald" })(row);
    let findings = editions("colour", code(40, "green"), some);
    assert!(of(&findings, "colour").is_none_or(|found| found.repair.is_none()), "{findings:?}");
}

#[test]
fn a_column_that_is_filled_less_and_has_a_copy_is_asked_about() {
    let before = accounts(4, 300);
    let mut after = before.clone();
    let copy = after.cells("zip").clone();
    let thin = copy.iter().enumerate().map(|(row, cell)| cell.clone().filter(|_| row % 5 == 0)).collect();
    after.remove("zip");
    after.add("zip", thin);
    after.add("postal", copy);
    let findings = compare(&before, &after);
    let found = of(&findings, "zip").expect("a finding");
    assert!(found.repair.is_some() && !automatic(found), "{found:?}");
}

#[test]
fn a_lists_only_value_is_no_list() {
    let words = ["audit", "cloud", "crm", "data", "edge", "flow", "grid"];
    let list = |row: usize| Some(format!("[\"{}{}\"]", words[row % 7], row * 31));
    let findings = editions("tags", list, |row| Some(format!("{}{}", words[row % 7], row * 31)));
    let found = of(&findings, "tags").expect("a finding");
    assert_eq!(found.kind, DriftKind::TypeChanged, "{found:?}");
}

#[test]
fn a_name_swapped_with_the_long_form_that_begins_with_it() {
    let before = {
        let mut table = accounts(5, 200);
        let short = table.cells("name").clone();
        let long =
            short.iter().map(|cell| cell.clone().map(|text| format!("{text} / of {}", text.len() * 7)));
        let long = long.collect();
        table.add("about", long);
        table
    };
    let mut after = before.clone();
    after.rename("name", "x");
    after.rename("about", "name");
    after.rename("x", "about");
    let findings = compare(&before, &after);
    for field in ["name", "about"] {
        let found = of(&findings, field).expect("a finding");
        assert_eq!(found.kind, DriftKind::FieldsSwapped, "{found:?}");
    }
}

#[test]
fn keys_of_another_type_without_a_known_record_are_another_key() {
    let mut random = Random::new(9);
    let keyed = |from: usize, key: &dyn Fn(usize) -> String| {
        let mut table = accounts(6, 80);
        table.remove("id");
        table.add("id", cells(80, |row| Some(key(from + row))));
        // Counting numbers of something else are no keys, though they meet the known ones.
        table.add("place", cells(80, |row| Some((row + 10).to_string())));
        table
    };
    let before = keyed(0, &|row| row.to_string());
    let mut after = keyed(500, &|row| format!("EU:{row}"));
    after.grow(&mut random);
    let findings = compare(&before, &after);
    assert!(findings.iter().any(|finding| finding.kind == DriftKind::KeyChanged), "{findings:?}");
}

#[test]
fn what_is_lost_is_not_promised() {
    let before = accounts(7, 300);
    let mut after = before.clone();
    after.map("updated_at", |text| text[..10].to_owned());
    after.map("name", str::to_uppercase);
    for finding in compare(&before, &after) {
        let repair = finding.repair.as_ref().expect("a candidate is shown");
        assert!(repair.probability <= 0.05, "{finding:?}");
        assert!(finding.evidence.iter().any(|line| line.signal == "lost"), "{finding:?}");
    }
}

#[test]
fn two_values_in_capitals_are_no_edits() {
    let rare = |row: usize| (row % 100 == 7).then(|| format!("Membrane {row}"));
    let findings = editions("fraction", rare, |row| rare(row).map(|text| text.to_uppercase()));
    assert_eq!(of(&findings, "fraction").map(|found| found.kind), Some(DriftKind::FormatChanged));
    let edited = |row: usize| if row == 7 { Some("Nucleus".to_owned()) } else { rare(row) };
    assert!(of(&editions("fraction", rare, edited), "fraction").is_none());
}
