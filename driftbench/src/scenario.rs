//! One sync of the benchmark: an edition that is known, the one that arrives, and the truth.

use crate::{
    bases::Bases,
    mutate::{Operation, Work, mutate},
    random::Random,
    table::{Nature, Table},
};
use autonomos_domain::{
    limits,
    mapping::{MappingContent, MappingField, MappingOrigin, Transform},
    ontology::{CanonicalType, Entity, OntologyField, Semantic},
};

/// Syncs in which nothing happens but growth.
const CONTROLS: f64 = 0.2;

pub(crate) struct Scenario {
    pub(crate) before: Table,
    pub(crate) after: Table,
    /// What `after` means: old names, old forms, the same rows in the same order.
    pub(crate) truth: Table,
    pub(crate) operations: Vec<Operation>,
    pub(crate) entity: Entity,
    pub(crate) content: MappingContent,
    /// The editions have next to no records in common.
    pub(crate) apart: bool,
    /// Whether the profile covers a complete read.
    pub(crate) complete: bool,
}

impl Scenario {
    pub(crate) fn control(&self) -> bool {
        self.operations.is_empty()
    }
}

/// The `number`-th sync of a seed.
pub(crate) fn scenario(bases: &Bases, seed: u64, number: u64) -> Scenario {
    let mut random = Random::new(seed, number);
    let size = random.between(90, 420);
    let pool = bases.pool(size * 2 + 40, &mut random);
    let severity = random.between(1, 3) as u8;
    let control = random.chance(CONTROLS);
    let (before, mut truth, apart) = editions(&pool, size, severity, &mut random);
    truth.edit(if severity == 3 { 0.02 } else { 0.008 }, &mut random);
    let (entity, content) = mapping(&before, &mut random);
    let mut after = truth.clone();
    let mut operations = Vec::new();
    if !control {
        let wanted = [1, 1, 1, 2, 2, 5][random.below(6)];
        let free = before.columns.iter().map(|column| column.name.clone()).filter(|name| *name != before.key);
        let free = free.collect();
        let mut work = Work { after, truth, free, severity, apart, random: &mut random };
        // What fits the table is drawn again and again; a table may have fewer places than wanted.
        for _ in 0..wanted * 12 {
            if operations.len() < wanted {
                operations.extend(mutate(&mut work));
            }
        }
        Work { after, truth, .. } = work;
    }
    // A stream whose name and columns stay where they are is the exception.
    if random.chance(0.5) {
        random.shuffle(&mut after.columns);
    }
    let complete = (!apart && random.chance(0.85))
        || operations
            .iter()
            .any(|operation| matches!(operation.label, "volume" | "null_rate" | "key_changed"));
    Scenario { before, after, truth, operations, entity, content, apart, complete }
}

/// The known edition and the next one: most records stay, a few go, some come. At severity 3 one in
/// ten has few or no records in common (an incremental read).
fn editions(pool: &Table, size: usize, severity: u8, random: &mut Random) -> (Table, Table, bool) {
    let mut rows: Vec<usize> = (0..pool.rows()).collect();
    random.shuffle(&mut rows);
    let size = size.min(rows.len() * 3 / 5);
    let before: Vec<usize> = rows[..size].to_vec();
    let apart = severity == 3 && random.chance(0.1);
    let kept = if apart { random.below(10) } else { size - random.below(size / 10 + 1) };
    let fresh = if apart { size } else { random.below(size / 4 + 1) };
    let mut after: Vec<usize> = before[..kept].to_vec();
    after.extend(rows[size..].iter().take(fresh));
    random.shuffle(&mut after);
    (pool.select(&before), pool.select(&after), apart)
}

/// A mapping of most columns, each to a field that takes its values as they are written.
fn mapping(table: &Table, random: &mut Random) -> (Entity, MappingContent) {
    let mut fields = Vec::new();
    let mut lines = Vec::new();
    for (place, column) in table.columns.iter().enumerate() {
        if column.name == table.key || !random.chance(0.85) {
            continue;
        }
        let mut line = |suffix: &str, canonical_type, transform| {
            let name = format!("f{place}{suffix}");
            fields.push(OntologyField {
                name: name.clone(),
                canonical_type,
                semantic: Semantic::Plain,
                description: column.name.clone(),
                synonyms: Vec::new(),
                unit: None,
                references: None,
                protected: false,
            });
            lines.push(MappingField {
                source: column.name.clone(),
                also: Vec::new(),
                target: name,
                transform,
                confidence: 1.0,
                origin: MappingOrigin::Human,
                evidence: Vec::new(),
            });
        };
        match column.nature() {
            Nature::Integer => line("", CanonicalType::Integer, Transform::Copy),
            Nature::Decimal => line("", CanonicalType::Decimal, Transform::Copy),
            Nature::Date => line("", CanonicalType::Date, Transform::Copy),
            Nature::SlashDate => {
                line("", CanonicalType::Date, Transform::ParseTime { format: "%d/%m/%Y".to_owned() });
            }
            Nature::Time => line("", CanonicalType::Timestamp, Transform::Copy),
            Nature::Flag => line("", CanonicalType::Boolean, Transform::Copy),
            Nature::Object => {
                let members = column.filled().next().and_then(|text| {
                    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).ok()
                });
                for (index, key) in members.unwrap_or_default().keys().enumerate() {
                    let path = format!("$.{key}");
                    line(&format!("m{index}"), CanonicalType::Text, Transform::JsonPath { path });
                }
            }
            Nature::Code | Nature::Text | Nature::Array | Nature::Nothing => {
                line("", CanonicalType::Text, Transform::Copy);
            }
        }
    }
    let entity = Entity {
        name: "record".to_owned(),
        plural: "records".to_owned(),
        description: String::new(),
        synonyms: Vec::new(),
        fields,
        match_rules: Vec::new(),
    };
    debug_assert!(lines.len() <= limits::COLUMNS_PER_SHAPE);
    let content =
        MappingContent { entity: Some(entity.name.clone()), key: vec![table.key.clone()], fields: lines };
    (entity, content)
}
