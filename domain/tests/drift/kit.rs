//! A seeded generator of CRM-like tables, and the changes that sources make to them.

use autonomos_domain::{
    drift::{
        ArrivingStream, DriftFinding, KnownStream, OverlapCheck,
        adapt::adapt,
        detect,
        profile::{StreamProfile, StreamProfiler},
    },
    ids::FeedId,
    schema::StreamShape,
};
use std::collections::BTreeSet;

/// SplitMix64: the same table for the same seed, everywhere.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }
    pub(crate) fn chance(&mut self, share: f64) -> bool {
        (self.next() as f64 / u64::MAX as f64) < share
    }
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

type Cell = Option<String>;

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) columns: Vec<(String, Vec<Cell>)>,
    pub(crate) key: Vec<String>,
}

const FIRST: [&str; 16] = [
    "Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Margaret", "Tim", "Radia", "Ken", "Dennis",
    "Frances", "John", "Karen", "Leslie", "Shafi",
];
const LAST: [&str; 16] = [
    "Lovelace",
    "Hopper",
    "Turing",
    "Dijkstra",
    "Liskov",
    "Knuth",
    "Hamilton",
    "Lee",
    "Perlman",
    "Thompson",
    "Ritchie",
    "Allen",
    "McCarthy",
    "Jones",
    "Lamport",
    "Goldwasser",
];
const CITIES: [&str; 14] = [
    "Berlin", "Paris", "London", "Madrid", "Rome", "Vienna", "Oslo", "Lisbon", "Dublin", "Prague", "Warsaw",
    "Athens", "Zurich", "Brussels",
];
const STAGES: [&str; 5] = ["prospect", "customer", "partner", "churned", "trial"];
const INDUSTRIES: [&str; 9] =
    ["Banking", "Energy", "Retail", "Media", "Health", "Education", "Logistics", "Software", "Mining"];

fn row(random: &mut Random, id: usize) -> Vec<Cell> {
    let (first, last) = (*random.pick(&FIRST), *random.pick(&LAST));
    let company =
        format!("{last} {} {}", random.pick(&["Systems", "Works", "Group", "Labs"]), random.below(900) + 100);
    let created =
        format!("{}-{:02}-{:02}", 2015 + random.below(9), random.below(12) + 1, random.below(28) + 1);
    let billing = *random.pick(&CITIES);
    let shipping = if random.chance(0.9) { billing } else { *random.pick(&CITIES) };
    let blank = |share: f64, random: &mut Random, text: String| (!random.chance(share)).then_some(text);
    let industry = (*random.pick(&INDUSTRIES)).to_owned();
    let phone = format!("+49 30 {:07}", random.below(9_999_999));
    let remark = format!("note {}", random.below(1_000_000));
    vec![
        Some(format!("A-{id:05}")),
        Some(company.clone()),
        blank(0.05, random, format!("{first} {last}")),
        Some(format!("{}.{}", random.below(5_000_000) + 1000, random.below(90) + 10)),
        Some((random.below(5000) + 1).to_string()),
        Some((*random.pick(&STAGES)).to_owned()),
        blank(0.1, random, industry),
        Some(created),
        Some((if random.chance(0.7) { "true" } else { "false" }).to_owned()),
        Some((if random.chance(0.4) { "true" } else { "false" }).to_owned()),
        blank(0.2, random, phone),
        Some(billing.to_owned()),
        Some(shipping.to_owned()),
        blank(0.3, random, format!("https://www.{}{}.example", last.to_lowercase(), id)),
        Some(format!("{:05}", random.below(99_999))),
        Some("EUR".to_owned()),
        blank(0.97, random, remark),
        Some(format!(
            "2024-{:02}-{:02}T{:02}:{:02}:00Z",
            random.below(6) + 1,
            random.below(28) + 1,
            random.below(24),
            random.below(60)
        )),
    ]
}

pub(crate) const COLUMNS: [&str; 18] = [
    "id",
    "name",
    "owner",
    "revenue",
    "employees",
    "stage",
    "industry",
    "created_at",
    "active",
    "opted_in",
    "phone",
    "billing_city",
    "shipping_city",
    "website",
    "zip",
    "currency",
    "remark",
    "updated_at",
];

pub(crate) fn accounts(seed: u64, rows: usize) -> Table {
    let mut random = Random::new(seed);
    let mut table = Table {
        columns: COLUMNS.iter().map(|name| ((*name).to_owned(), Vec::new())).collect(),
        key: vec!["id".to_owned()],
    };
    for id in 0..rows {
        table.push(row(&mut random, id + 1));
    }
    table
}

impl Table {
    pub(crate) fn push(&mut self, row: Vec<Cell>) {
        for ((_, cells), cell) in self.columns.iter_mut().zip(row) {
            cells.push(cell);
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, cells)| cells.len())
    }

    pub(crate) fn at(&self, name: &str) -> usize {
        self.columns
            .iter()
            .position(|(column, _)| column == name)
            .unwrap_or_else(|| panic!("no column {name}"))
    }

    pub(crate) fn cells(&self, name: &str) -> &Vec<Cell> {
        &self.columns[self.at(name)].1
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let at = self.at(from);
        to.clone_into(&mut self.columns[at].0);
        for key in &mut self.key {
            if key == from {
                to.clone_into(key);
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Vec<Cell> {
        let at = self.at(name);
        self.columns.remove(at).1
    }

    pub(crate) fn add(&mut self, name: &str, cells: Vec<Cell>) {
        self.columns.push((name.to_owned(), cells));
    }

    pub(crate) fn map(&mut self, name: &str, change: impl Fn(&str) -> String) {
        let at = self.at(name);
        for cell in &mut self.columns[at].1 {
            *cell = cell.take().map(|text| change(&text));
        }
    }

    /// What happens to every source: new records, a few gone, a few edited, columns in any order.
    pub(crate) fn grow(&mut self, random: &mut Random) {
        let rows = self.rows();
        for id in 0..rows / 10 {
            // As wide as the base table only: growth comes before the change.
            if self.columns.len() == COLUMNS.len() {
                let fresh = row(random, rows + id + 1);
                self.push(fresh);
            }
        }
        for name in ["name", "owner", "employees", "stage", "phone", "billing_city", "revenue", "zip"] {
            let Some(at) = self.columns.iter().position(|(column, _)| column == name) else { continue };
            let count = self.columns[at].1.len();
            for _ in 0..count / 100 {
                let (to, from) = (random.below(count), random.below(count));
                let copied = self.columns[at].1[from].clone();
                self.columns[at].1[to] = copied;
            }
        }
        if let Some(at) = self.columns.iter().position(|(column, _)| column == "updated_at") {
            for index in 0..self.columns[at].1.len() {
                if random.chance(0.6) {
                    let text = format!(
                        "2024-{:02}-{:02}T08:{:02}:00Z",
                        7 + random.below(5),
                        random.below(28) + 1,
                        random.below(60)
                    );
                    self.columns[at].1[index] = Some(text);
                }
            }
        }
        for _ in 0..rows / 100 {
            let gone = random.below(self.rows());
            for (_, cells) in &mut self.columns {
                cells.remove(gone);
            }
        }
        for index in (1..self.columns.len()).rev() {
            let other = random.below(index + 1);
            self.columns.swap(index, other);
        }
    }

    pub(crate) fn profile(&self) -> StreamProfile {
        let names = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let mut profiler = StreamProfiler::new(names, &self.key);
        let cells: Vec<&Vec<Cell>> = self.columns.iter().map(|(_, cells)| cells).collect();
        profiler.push_batch(&cells);
        profiler.finish()
    }

    pub(crate) fn shape(&self, profile: &StreamProfile) -> StreamShape {
        StreamShape {
            fields: self.columns.iter().map(|(name, _)| profile.fields[name].field(name)).collect(),
            primary_key: self.key.clone(),
        }
    }
}

pub(crate) fn all_mapped(table: &Table) -> BTreeSet<String> {
    table.columns.iter().map(|(name, _)| name.clone()).collect()
}

pub(crate) fn compare(before: &Table, after: &Table) -> Vec<DriftFinding> {
    let (old, new) = (before.profile(), after.profile());
    let (old_shape, new_shape) = (before.shape(&old), after.shape(&new));
    let mapped = all_mapped(before);
    detect(
        &KnownStream { feed: FeedId::derive(&["test"]), shape: &old_shape, profile: &old, mapped: &mapped },
        &ArrivingStream { shape: &new_shape, profile: &new, complete: true },
    )
}

/// Would the mesh apply it alone?
pub(crate) fn automatic(finding: &DriftFinding) -> bool {
    finding.repair.as_ref().is_some_and(|repair| {
        repair.probability >= 0.99 && matches!(repair.overlap, OverlapCheck::Agrees { .. })
    })
}

/// Cells of the old column that an automatic repair would write otherwise than they truly are:
/// `truth` is the table after growth and before the change, in the same rows as `after`.
pub(crate) fn wrong_cells(finding: &DriftFinding, truth: &Table, after: &Table) -> usize {
    let Some(repair) = &finding.repair else { return 0 };
    let expected = truth.cells(&repair.old_source);
    let sources: Vec<&Vec<Cell>> = repair.new_sources.iter().map(|name| after.cells(name)).collect();
    (0..after.rows())
        .filter(|row| {
            let inputs: Vec<Option<&str>> = sources.iter().map(|cells| cells[*row].as_deref()).collect();
            let written = match &repair.adapt {
                None => Ok(inputs[0].map(str::to_owned)),
                Some(transform) => adapt(transform, &inputs),
            };
            // A misfit is quarantined: missing, not wrong.
            written.is_ok_and(|written| !same(written.as_deref(), expected[*row].as_deref()))
        })
        .count()
}

fn same(left: Option<&str>, right: Option<&str>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => {
            left == right
                || matches!((left.parse::<f64>(), right.parse::<f64>()), (Ok(left), Ok(right)) if (left - right).abs() < 1e-9)
                || (left.starts_with('{')
                    && serde_json::from_str::<serde_json::Value>(left).ok()
                        == serde_json::from_str(right).ok())
        }
        (left, right) => left.unwrap_or_default() == right.unwrap_or_default(),
    }
}
