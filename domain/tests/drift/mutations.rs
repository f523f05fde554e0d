//! Each kind of change, alone and in company: found, named rightly, and repaired rightly.

use crate::kit::{Random, Table, accounts, automatic, compare, wrong_cells};
use autonomos_domain::drift::DriftKind::{self, *};

struct Mutation {
    name: &'static str,
    /// Columns it touches: two mutations of one column are not combined.
    touches: &'static [&'static str],
    apply: fn(&mut Table),
    /// (kind, field) that must be found, and whether the repair must be automatic.
    expect: &'static [(DriftKind, &'static str, bool)],
}

fn date(text: &str, write: impl Fn(&str, &str, &str) -> String) -> String {
    let parts: Vec<&str> = text.split('-').collect();
    write(parts[0], parts[1], parts[2])
}

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "column added",
        touches: &["region"],
        apply: |table| {
            let cells = (0..table.rows()).map(|row| Some(["north", "south"][row % 2].to_owned())).collect();
            table.add("region", cells);
        },
        expect: &[(FieldAdded, "region", false)],
    },
    Mutation {
        name: "column removed",
        touches: &["employees"],
        apply: |table| {
            table.remove("employees");
        },
        expect: &[(FieldRemoved, "employees", false)],
    },
    Mutation {
        name: "renamed alike",
        touches: &["name"],
        apply: |table| table.rename("name", "account_name"),
        expect: &[(FieldRenamed, "name", true)],
    },
    Mutation {
        name: "renamed beyond recognition",
        touches: &["website"],
        apply: |table| table.rename("website", "fld_17"),
        expect: &[(FieldRenamed, "website", true)],
    },
    Mutation {
        name: "enumeration renamed",
        touches: &["industry"],
        apply: |table| table.rename("industry", "Industry__c"),
        expect: &[(FieldRenamed, "industry", true)],
    },
    Mutation {
        name: "key renamed",
        touches: &["id"],
        apply: |table| table.rename("id", "AccountId"),
        expect: &[(FieldRenamed, "id", true)],
    },
    Mutation {
        name: "cents for euros",
        touches: &["revenue"],
        apply: |table| table.map("revenue", |text| text.replace('.', "")),
        expect: &[(UnitChanged, "revenue", true)],
    },
    Mutation {
        name: "thousands",
        touches: &["employees"],
        apply: |table| {
            table.map("employees", |text| {
                let padded = format!("{text:0>4}");
                let (whole, rest) = padded.split_at(padded.len() - 3);
                format!("{whole}.{rest}")
            });
        },
        expect: &[(UnitChanged, "employees", true)],
    },
    Mutation {
        name: "renamed and in cents",
        touches: &["revenue"],
        apply: |table| {
            table.map("revenue", |text| text.replace('.', ""));
            table.rename("revenue", "revenue_cents");
        },
        expect: &[(FieldRenamed, "revenue", true)],
    },
    Mutation {
        name: "day first",
        touches: &["created_at"],
        apply: |table| {
            table.map("created_at", |text| date(text, |year, month, day| format!("{day}/{month}/{year}")));
        },
        expect: &[(FormatChanged, "created_at", true)],
    },
    Mutation {
        name: "month first",
        touches: &["created_at"],
        apply: |table| {
            table.map("created_at", |text| date(text, |year, month, day| format!("{month}/{day}/{year}")));
        },
        expect: &[(FormatChanged, "created_at", true)],
    },
    Mutation {
        name: "date to timestamp",
        touches: &["created_at"],
        apply: |table| table.map("created_at", |text| format!("{text}T00:00:00Z")),
        expect: &[(TypeWidened, "created_at", true)],
    },
    Mutation {
        name: "decimal comma",
        touches: &["revenue"],
        apply: |table| table.map("revenue", |text| text.replace('.', ",")),
        expect: &[(FormatChanged, "revenue", true)],
    },
    Mutation {
        name: "integers as decimals",
        touches: &["employees"],
        apply: |table| table.map("employees", |text| format!("{text}.0")),
        expect: &[(TypeWidened, "employees", true)],
    },
    Mutation {
        name: "flags as letters",
        touches: &["active"],
        apply: |table| table.map("active", |text| if text == "true" { "Y" } else { "N" }.to_owned()),
        expect: &[(EnumChanged, "active", true)],
    },
    Mutation {
        name: "flags as numbers",
        touches: &["active"],
        apply: |table| table.map("active", |text| if text == "true" { "1" } else { "0" }.to_owned()),
        expect: &[(TypeChanged, "active", true)],
    },
    Mutation {
        name: "codes",
        touches: &["stage"],
        apply: |table| {
            table.map("stage", |text| {
                format!(
                    "S{}",
                    ["prospect", "customer", "partner", "churned", "trial"]
                        .iter()
                        .position(|stage| *stage == text)
                        .expect("one of the stages")
                )
            });
        },
        expect: &[(EnumChanged, "stage", true)],
    },
    Mutation {
        name: "one value renamed",
        touches: &["stage"],
        apply: |table| table.map("stage", |text| if text == "customer" { "client" } else { text }.to_owned()),
        expect: &[(EnumChanged, "stage", true)],
    },
    Mutation {
        name: "codes in capitals",
        touches: &["stage"],
        apply: |table| table.map("stage", str::to_uppercase),
        expect: &[(FormatChanged, "stage", true)],
    },
    Mutation {
        name: "a value added",
        touches: &["stage"],
        apply: |table| {
            let at = table.at("stage");
            for row in (0..table.rows()).step_by(9) {
                table.columns[at].1[row] = Some("dormant".to_owned());
            }
        },
        expect: &[(EnumChanged, "stage", false)],
    },
    Mutation {
        name: "swapped",
        touches: &["name", "zip"],
        apply: |table| {
            table.rename("name", "swap");
            table.rename("zip", "name");
            table.rename("swap", "zip");
        },
        expect: &[(FieldsSwapped, "name", true), (FieldsSwapped, "zip", true)],
    },
    Mutation {
        name: "split",
        touches: &["owner"],
        apply: |table| {
            let owners = table.remove("owner");
            let part = |index: usize| {
                owners
                    .iter()
                    .map(|cell| {
                        cell.as_ref().map(|text| text.split(' ').nth(index).expect("two names").to_owned())
                    })
                    .collect()
            };
            table.add("owner_first", part(0));
            table.add("owner_last", part(1));
        },
        expect: &[(FieldSplit, "owner", true)],
    },
    Mutation {
        name: "merged",
        touches: &["website", "zip"],
        apply: |table| {
            let (left, right) = (table.remove("zip"), table.remove("billing_city"));
            let joined = left
                .iter()
                .zip(&right)
                .map(|(left, right)| Some(format!("{}|{}", left.as_ref()?, right.as_ref()?)))
                .collect();
            table.add("place", joined);
        },
        expect: &[(FieldsMerged, "zip", true), (FieldsMerged, "billing_city", false)],
    },
    Mutation {
        name: "nested",
        touches: &["phone", "website"],
        apply: |table| {
            let (left, right) = (table.remove("phone"), table.remove("website"));
            let joined = left
                .iter()
                .zip(&right)
                .map(|(phone, site)| {
                    Some(serde_json::json!({"phone": phone, "web": {"url": site}}).to_string())
                })
                .collect();
            table.add("contact", joined);
        },
        expect: &[(FieldNested, "phone", true), (FieldNested, "website", true)],
    },
    Mutation {
        name: "reused name",
        touches: &["zip"],
        apply: |table| {
            table.rename("zip", "postal_code");
            let cells = (0..table.rows()).map(|row| Some(format!("archive-{}", row * 31 % 977))).collect();
            table.add("zip", cells);
        },
        expect: &[(MeaningChanged, "zip", true)],
    },
    Mutation {
        name: "other values under the name",
        touches: &["website"],
        apply: |table| {
            let at = table.at("website");
            let rows = table.rows();
            for row in 0..rows {
                table.columns[at].1[row] = Some(format!("LEAD/{}", row * 7919 % 10_007));
            }
        },
        expect: &[(MeaningChanged, "website", false)],
    },
    Mutation {
        name: "emptied",
        touches: &["phone"],
        apply: |table| {
            let at = table.at("phone");
            for row in 0..table.rows() {
                if row % 5 != 0 {
                    table.columns[at].1[row] = None;
                }
            }
        },
        expect: &[(NullRateAnomaly, "phone", false)],
    },
    Mutation {
        name: "decoy beside a dropped column",
        touches: &["phone"],
        apply: |table| {
            table.remove("phone");
            let cells =
                (0..table.rows()).map(|row| Some(format!("+49 89 {:07}", row * 7919 % 9_999_991))).collect();
            table.add("phone_fax", cells);
        },
        expect: &[(FieldRemoved, "phone", false), (FieldAdded, "phone_fax", false)],
    },
];

fn run(seed: u64, rows: usize, chosen: &[&Mutation]) -> Vec<String> {
    let before = accounts(seed, rows);
    let mut truth = before.clone();
    truth.grow(&mut Random::new(seed + 77));
    let mut after = truth.clone();
    for mutation in chosen {
        (mutation.apply)(&mut after);
    }
    let names: Vec<&str> = chosen.iter().map(|mutation| mutation.name).collect();
    let findings = compare(&before, &after);
    let mut complaints = Vec::new();
    for (kind, field, repaired) in chosen.iter().flat_map(|mutation| mutation.expect) {
        let found =
            findings.iter().find(|finding| finding.kind == *kind && finding.field.as_deref() == Some(field));
        match found {
            None => {
                let instead: Vec<_> = findings
                    .iter()
                    .map(|finding| (finding.kind, finding.field.as_deref().unwrap_or("-")))
                    .collect();
                complaints.push(format!("{names:?} seed {seed}: no {kind:?} of `{field}` but {instead:?}"));
            }
            Some(found) if *repaired && !automatic(found) => {
                complaints.push(format!(
                    "{names:?} seed {seed}: {kind:?} of `{field}` is not repaired alone: {:?}",
                    found.repair
                ));
            }
            Some(_) => {}
        }
    }
    for finding in &findings {
        let expected = chosen
            .iter()
            .flat_map(|mutation| mutation.expect)
            .any(|(kind, field, _)| finding.kind == *kind && finding.field.as_deref() == Some(field));
        if !expected {
            complaints.push(format!(
                "{names:?} seed {seed}: unexpected {:?} of {:?}: {:?}",
                finding.kind, finding.field, finding.evidence
            ));
        }
        if automatic(finding) {
            let wrong = wrong_cells(finding, &truth, &after);
            if wrong > 0 {
                complaints.push(format!(
                    "{names:?} seed {seed}: WRONG {wrong} cells by {:?} of {:?}: {:?}",
                    finding.kind, finding.field, finding.repair
                ));
            }
        }
    }
    complaints
}

fn none(complaints: Vec<String>, runs: usize) {
    assert!(
        complaints.is_empty(),
        "{} complaints in {runs} runs\n{}",
        complaints.len(),
        complaints[..complaints.len().min(25)].join("\n")
    );
}

#[test]
fn each_change_is_found_and_repaired() {
    let mut complaints = Vec::new();
    for mutation in MUTATIONS {
        for seed in 0..4 {
            complaints.extend(run(seed, 120 + 140 * seed as usize, &[mutation]));
        }
    }
    none(complaints, MUTATIONS.len() * 4);
}

fn disjoint(chosen: &[&Mutation], next: &Mutation) -> bool {
    chosen.iter().all(|mutation| mutation.touches.iter().all(|column| !next.touches.contains(column)))
}

#[test]
fn pairs_of_changes_are_kept_apart() {
    let mut complaints = Vec::new();
    let mut runs = 0;
    for (index, left) in MUTATIONS.iter().enumerate() {
        for right in MUTATIONS[index + 1..].iter().step_by(2) {
            if disjoint(&[left], right) && runs_together(left, right) {
                complaints.extend(run(index as u64, 160, &[left, right]));
                runs += 1;
            }
        }
    }
    none(complaints, runs);
}

/// A merge takes a column that its list does not name.
fn runs_together(left: &Mutation, right: &Mutation) -> bool {
    let takes = |one: &Mutation, other: &Mutation| one.name == "merged" && other.touches.contains(&"zip");
    !takes(left, right) && !takes(right, left)
}

#[test]
fn bursts_of_five_changes_are_kept_apart() {
    let mut complaints = Vec::new();
    for seed in 0..25 {
        let mut random = Random::new(seed + 9_000);
        let mut chosen: Vec<&Mutation> = Vec::new();
        while chosen.len() < 5 {
            let next = random.pick(MUTATIONS);
            if disjoint(&chosen, next) {
                chosen.push(next);
            }
        }
        complaints.extend(run(seed, 300, &chosen));
    }
    none(complaints, 25);
}
