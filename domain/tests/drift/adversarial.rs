//! Cases made to trick: nothing may be repaired alone that is wrong.

use crate::kit::{Random, Table, accounts, automatic, compare};
use autonomos_domain::drift::DriftKind;

/// Removes `gone`, adds `came`, and says whether anything would be repaired alone.
fn replaced(seed: u64, gone: &[&str], came: impl Fn(&mut Table, &mut Random)) -> Vec<String> {
    let before = accounts(seed, 400);
    let mut after = before.clone();
    let mut random = Random::new(seed + 5);
    after.grow(&mut random);
    came(&mut after, &mut random);
    for name in gone {
        after.remove(name);
    }
    compare(&before, &after)
        .iter()
        .filter(|finding| automatic(finding))
        .map(|finding| format!("seed {seed}: {:?} {:?} {:?}", finding.kind, finding.field, finding.repair))
        .collect()
}

fn never(case: impl Fn(u64) -> Vec<String>) {
    let wrong: Vec<String> = (0..12).flat_map(case).collect();
    assert!(wrong.is_empty(), "{}", wrong[..wrong.len().min(5)].join("\n"));
}

#[test]
fn a_near_duplicate_is_no_successor() {
    // The billing city goes; a second copy of the shipping city comes.
    never(|seed| {
        replaced(seed, &["billing_city"], |table, _| {
            let cells = table.cells("shipping_city").clone();
            table.add("ship_to_city", cells);
        })
    });
    // Both go, one comes.
    never(|seed| {
        replaced(seed, &["billing_city", "shipping_city"], |table, _| {
            let cells = table.cells("shipping_city").clone();
            table.add("billing_town", cells);
        })
        .into_iter()
        .filter(|line| line.contains("\"billing_city\""))
        .collect()
    });
}

#[test]
fn an_amount_in_another_currency_is_not_the_amount() {
    for same in [0.9, 0.97, 0.985] {
        never(|seed| {
            replaced(seed, &["revenue"], |table, random| {
                let cells = table
                    .cells("revenue")
                    .iter()
                    .map(|cell| {
                        let text = cell.clone()?;
                        if random.chance(same) {
                            return Some(text);
                        }
                        Some(format!("{:.2}", text.parse::<f64>().ok()? * 1.08))
                    })
                    .collect();
                table.add("revenue_usd", cells);
            })
        });
    }
}

#[test]
fn flags_and_constants_prove_nothing() {
    never(|seed| {
        replaced(seed, &["active"], |table, random| {
            let cells = (0..table.rows()).map(|_| Some(random.chance(0.7).to_string())).collect();
            table.add("is_deleted", cells);
        })
    });
    never(|seed| {
        replaced(seed, &["currency"], |table, _| {
            let cells = (0..table.rows()).map(|_| Some("EUR".to_owned())).collect();
            table.add("cost_currency", cells);
        })
    });
    never(|seed| {
        replaced(seed, &["remark"], |table, random| {
            let cells = table
                .cells("remark")
                .iter()
                .map(|cell| cell.clone().filter(|_| random.chance(0.5)))
                .collect();
            table.add("hint", cells);
        })
    });
}

#[test]
fn two_equal_candidates_share_the_probability() {
    for seed in 0..10 {
        let before = accounts(seed, 300);
        let mut after = before.clone();
        let cells = after.remove("name");
        after.add("title", cells.clone());
        after.add("label", cells);
        for finding in compare(&before, &after) {
            assert!(!automatic(&finding), "{finding:?}");
            if let Some(repair) = &finding.repair {
                assert!(repair.probability < 0.6, "{repair:?}");
            }
        }
    }
}

#[test]
fn times_of_creation_and_of_change_are_not_confused() {
    never(|seed| {
        let mut before = accounts(seed, 500);
        let mut random = Random::new(seed);
        // Most records were never changed.
        let cells: Vec<Option<String>> = before
            .cells("created_at")
            .iter()
            .map(|cell| if random.chance(0.93) { cell.clone() } else { Some("2024-05-05".to_owned()) })
            .collect();
        let at = before.at("updated_at");
        before.columns[at].1 = cells.clone();
        let mut after = before.clone();
        after.remove("created_at");
        after.remove("updated_at");
        after.add("modified_on", cells);
        compare(&before, &after)
            .iter()
            .filter(|finding| automatic(finding) && finding.field.as_deref() == Some("created_at"))
            .map(|finding| format!("{finding:?}"))
            .collect()
    });
}

#[test]
fn keys_that_name_other_records_are_no_ground_for_repairs() {
    for seed in 0..8 {
        let before = accounts(seed, 400);
        let mut after = before.clone();
        let at = after.at("id");
        let mut random = Random::new(seed + 3);
        for index in (1..400).rev() {
            let other = random.below(index + 1);
            after.columns[at].1.swap(index, other);
        }
        let findings = compare(&before, &after);
        assert!(
            findings.iter().any(|finding| finding.kind == DriftKind::KeyChanged),
            "seed {seed}: {findings:?}"
        );
        assert!(!findings.iter().any(automatic), "seed {seed}");
        after.rename("name", "title");
        let findings = compare(&before, &after);
        assert!(!findings.iter().any(automatic), "seed {seed}: {findings:?}");
    }
}

#[test]
fn a_lost_key_is_critical() {
    let before = accounts(1, 300);
    let mut after = before.clone();
    after.remove("id");
    after.key.clear();
    let findings = compare(&before, &after);
    assert!(
        findings
            .iter()
            .any(|finding| finding.kind == DriftKind::KeyChanged && finding.field.as_deref() == Some("id"))
    );
    let mut repeated = before.clone();
    repeated.map("id", |text| format!("{}0", &text[..text.len() - 1]));
    let findings = compare(&before, &repeated);
    assert!(findings.iter().any(|finding| finding.kind == DriftKind::KeyChanged), "{findings:?}");
}

#[test]
fn a_cut_edition_is_a_volume_anomaly() {
    let before = accounts(1, 300);
    let mut after = before.clone();
    for (_, cells) in &mut after.columns {
        cells.truncate(100);
    }
    let kinds: Vec<DriftKind> = compare(&before, &after).iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [DriftKind::VolumeAnomaly]);
}

#[test]
fn without_common_records_nothing_is_repaired_alone() {
    for seed in 0..8 {
        let before = accounts(seed, 300);
        let mut after = accounts(seed + 900, 300);
        after.map("id", |text| text.replace("A-", "B-"));
        after.rename("name", "account_name");
        after.rename("created_at", "created_on");
        after.map("revenue", |text| text.replace('.', ""));
        let findings = compare(&before, &after);
        assert!(!findings.iter().any(automatic), "seed {seed}: {findings:?}");
        assert!(findings.iter().any(
            |finding| finding.kind == DriftKind::FieldRenamed && finding.field.as_deref() == Some("name")
        ));
        let unit = findings.iter().find(|finding| finding.kind == DriftKind::UnitChanged);
        assert!(
            unit.is_some_and(|unit| unit.repair.as_ref().is_some_and(|repair| repair.probability < 0.9)),
            "seed {seed}: {:?} {:?}",
            before.profile().fields["revenue"].quantiles,
            after.profile().fields["revenue"].quantiles
        );
    }
}
