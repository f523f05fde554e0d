//! What others do, on the same syncs: read by exact names; or pair what went with what came by
//! Jaro-Winkler, each once.

use autonomos_domain::{mapping::MappingContent, schema::StreamShape};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Baseline {
    ExactNames,
    JaroWinkler,
}

/// Names less alike than this are no pair.
const ALIKE: f64 = 0.8;

impl Baseline {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ExactNames => "exact_names",
            Self::JaroWinkler => "jaro_winkler",
        }
    }
}

/// The mapping as the baseline has it after the change.
pub(crate) fn follow(
    baseline: Baseline,
    content: &MappingContent,
    before: &StreamShape,
    after: &StreamShape,
) -> MappingContent {
    let pairs = match baseline {
        Baseline::ExactNames => BTreeMap::new(),
        Baseline::JaroWinkler => pairs(before, after),
    };
    let mut content = content.clone();
    for line in &mut content.fields {
        if let Some(new) = pairs.get(line.source.as_str()) {
            line.source = (*new).to_owned();
        }
    }
    for column in &mut content.key {
        if let Some(new) = pairs.get(column.as_str()) {
            *column = (*new).to_owned();
        }
    }
    content
}

/// The most alike first, each name once.
fn pairs<'a>(before: &'a StreamShape, after: &'a StreamShape) -> BTreeMap<&'a str, &'a str> {
    let gone = before.fields.iter().filter(|field| after.field(&field.name).is_none());
    let mut all: Vec<(f64, &str, &str)> = gone
        .flat_map(|old| {
            let came = after.fields.iter().filter(|field| before.field(&field.name).is_none());
            came.map(|new| {
                let alike = strsim::jaro_winkler(&old.name.to_lowercase(), &new.name.to_lowercase());
                (alike, old.name.as_str(), new.name.as_str())
            })
        })
        .filter(|(alike, ..)| *alike >= ALIKE)
        .collect();
    all.sort_by(|left, right| {
        right.0.total_cmp(&left.0).then_with(|| (left.1, left.2).cmp(&(right.1, right.2)))
    });
    let mut pairs: BTreeMap<&str, &str> = BTreeMap::new();
    for (_, old, new) in all {
        if !pairs.contains_key(old) && !pairs.values().any(|taken| *taken == new) {
            pairs.insert(old, new);
        }
    }
    pairs
}
