//! From findings to impacts: which columns of a mapping a drift takes the ground from under.

use crate::{
    aggregates::mapping::DriftImpact,
    drift::{DriftFinding, DriftKind, DriftSide},
    mapping::{MappingContent, MappingField, Transform},
    ontology::{CanonicalType, Entity, default_ontology},
    schema::LogicalType,
};
use std::collections::BTreeSet;

/// The impacts of `findings` on a mapping to an entity of the default ontology; for a tenant's own
/// see [`impacts_on`].
pub fn impacts(mapping: &MappingContent, findings: &[DriftFinding]) -> Vec<DriftImpact> {
    let ontology = default_ontology();
    let entity = mapping.entity.as_deref().and_then(|name| ontology.entity(name));
    impacts_on(entity, mapping, findings)
}

/// The impacts of `findings` on a mapping to `entity`. Columns the mapping does not read are named
/// too: a repair that waits may be about to read them.
pub fn impacts_on(
    entity: Option<&Entity>,
    mapping: &MappingContent,
    findings: &[DriftFinding],
) -> Vec<DriftImpact> {
    findings.iter().filter_map(|finding| impact(entity, mapping, finding, findings)).collect()
}

fn impact(
    entity: Option<&Entity>,
    mapping: &MappingContent,
    finding: &DriftFinding,
    findings: &[DriftFinding],
) -> Option<DriftImpact> {
    let columns = match finding.kind {
        DriftKind::FieldAdded
        | DriftKind::NullabilityChanged
        | DriftKind::NullRateAnomaly
        | DriftKind::VolumeAnomaly
        | DriftKind::StreamAdded
        | DriftKind::StreamRemoved
        | DriftKind::StreamRenamed => return None,
        DriftKind::TypeWidened if widening_fits(entity, mapping, finding) => return None,
        DriftKind::KeyChanged => return key_impact(mapping, finding, findings),
        _ => columns_before(finding),
    };
    let key = columns.iter().any(|column| mapping.key.contains(column));
    Some(DriftImpact { drift_id: finding.id, columns, change: finding.repair.clone(), key })
}

fn columns_before(finding: &DriftFinding) -> Vec<String> {
    let mut columns: BTreeSet<String> = field_names(finding.before.as_ref()).into_iter().collect();
    columns.extend(finding.field.clone());
    columns.into_iter().collect()
}

fn field_names(side: Option<&DriftSide>) -> Vec<String> {
    side.map(|side| side.fields.iter().map(|field| field.name.clone()).collect()).unwrap_or_default()
}

/// A key that changed only by the new names of its columns is answered by those renames.
fn key_impact(
    mapping: &MappingContent,
    finding: &DriftFinding,
    findings: &[DriftFinding],
) -> Option<DriftImpact> {
    let before = columns_before(finding);
    let concerns_ours = before.is_empty()
        || mapping.key.is_empty()
        || before.iter().any(|column| mapping.key.contains(column));
    if !concerns_ours {
        return None;
    }
    let renamed: BTreeSet<String> = before
        .iter()
        .map(|column| {
            let change = findings
                .iter()
                .filter(|other| other.kind == DriftKind::FieldRenamed)
                .filter_map(|other| other.repair.as_ref())
                .find(|change| change.old_source == *column);
            change.and_then(|change| change.new_sources.first()).unwrap_or(column).clone()
        })
        .collect();
    let after: BTreeSet<String> = field_names(finding.after.as_ref()).into_iter().collect();
    if !after.is_empty() && renamed == after && after != before.iter().cloned().collect() {
        return None;
    }
    let columns = before.into_iter().filter(|column| mapping.key.contains(column)).collect();
    Some(DriftImpact { drift_id: finding.id, columns, change: finding.repair.clone(), key: true })
}

fn widening_fits(entity: Option<&Entity>, mapping: &MappingContent, finding: &DriftFinding) -> bool {
    let Some(after) = finding.after.as_ref().and_then(|side| side.fields.first()) else {
        return false;
    };
    let columns = columns_before(finding);
    let reading =
        |line: &&MappingField| line.sources().any(|source| columns.iter().any(|name| name == source));
    mapping.fields.iter().filter(reading).all(|line| {
        let target = entity.and_then(|entity| entity.field(&line.target)).map(|field| field.canonical_type);
        target.is_some_and(|target| takes(target, after.logical_type)) && !parses(&line.transform)
    })
}

/// Do values of the source type become the target type by a cast alone?
fn takes(target: CanonicalType, source: LogicalType) -> bool {
    match target {
        CanonicalType::Text => true,
        CanonicalType::Integer => source == LogicalType::Integer,
        CanonicalType::Decimal => matches!(source, LogicalType::Integer | LogicalType::Decimal),
        CanonicalType::Boolean => source == LogicalType::Boolean,
        CanonicalType::Date | CanonicalType::Timestamp => {
            matches!(source, LogicalType::Date | LogicalType::Timestamp)
        }
    }
}

/// The transform expects its input written in one certain way.
fn parses(transform: &Transform) -> bool {
    match transform {
        Transform::Chain { steps } => steps.iter().any(parses),
        Transform::ParseTime { .. }
        | Transform::ParseEpoch { .. }
        | Transform::ParseExcelSerial
        | Transform::ParseDecimalComma
        | Transform::ParseBoolean { .. }
        | Transform::MapValues { .. }
        | Transform::JsonPath { .. } => true,
        _ => false,
    }
}
