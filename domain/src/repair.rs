//! From findings to impacts: which columns of a mapping a drift takes the ground from under. And back:
//! what a policy would have made of the proposals of the past.

pub mod backtest;
pub mod calibration;
pub mod precedent;

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
        // Values written otherwise than before are written back, whatever type takes them.
        DriftKind::TypeWidened if !adapted(finding) && widening_fits(entity, mapping, finding) => {
            return None;
        }
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

fn adapted(finding: &DriftFinding) -> bool {
    finding.repair.as_ref().is_some_and(|change| change.adapt.is_some())
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

#[cfg(test)]
mod tests {
    use super::{DriftSide, impacts};
    use crate::{
        drift::{DriftFinding, DriftKind, OverlapCheck, RepairChange, Severity},
        ids::DriftId,
        mapping::{MappingContent, MappingField, MappingOrigin, Transform},
        ontology::{CanonicalType, default_ontology},
        schema::{Field, LogicalType},
    };
    use uuid::Uuid;

    fn side(columns: &[&str], logical_type: LogicalType) -> DriftSide {
        let field = |name: &&str| Field { name: (*name).into(), logical_type, nullable: true, format: None };
        DriftSide { fields: columns.iter().map(field).collect(), ..DriftSide::default() }
    }

    fn finding(kind: DriftKind, before: &[&str], after: &[&str], logical_type: LogicalType) -> DriftFinding {
        let repair = (kind == DriftKind::FieldRenamed).then(|| RepairChange {
            drift_id: DriftId(Uuid::nil()),
            old_source: before[0].into(),
            new_sources: vec![after[0].into()],
            adapt: None,
            probability: 1.0,
            evidence: vec![],
            overlap: OverlapCheck::Unknown { compared: 0 },
            origin: MappingOrigin::Matcher,
        });
        DriftFinding {
            id: DriftId(Uuid::nil()),
            kind,
            field: before.first().or(after.first()).map(|name| (*name).to_owned()),
            before: Some(side(before, LogicalType::Integer)),
            after: Some(side(after, logical_type)),
            severity: Severity::Warning,
            confidence: 1.0,
            evidence: vec![],
            repair,
        }
    }

    /// A target of the default account entity with that type.
    fn target(canonical_type: CanonicalType) -> String {
        let ontology = default_ontology();
        let account = ontology.entity("account").unwrap();
        account.fields.iter().find(|field| field.canonical_type == canonical_type).unwrap().name.clone()
    }

    fn mapping() -> MappingContent {
        let line = |source: &str, target: String, transform| MappingField {
            source: source.into(),
            also: vec![],
            target,
            transform,
            confidence: 1.0,
            origin: MappingOrigin::Matcher,
            evidence: vec![],
        };
        let comma = Transform::ParseDecimalComma;
        MappingContent {
            entity: Some("account".into()),
            key: vec!["id".into()],
            fields: vec![
                line("name", target(CanonicalType::Text), Transform::Copy),
                line("revenue", target(CanonicalType::Decimal), Transform::Copy),
                line("income", target(CanonicalType::Decimal), comma),
            ],
        }
    }

    /// Columns of each impact, `!` where the key is concerned.
    fn check(findings: &[DriftFinding], expect: &[&str]) {
        let shown: Vec<String> = impacts(&mapping(), findings)
            .iter()
            .map(|impact| format!("{}{}", impact.columns.join("+"), if impact.key { "!" } else { "" }))
            .collect();
        assert_eq!(shown, expect, "{findings:?}");
    }

    #[test]
    fn only_what_takes_the_ground_away_is_an_impact() {
        use DriftKind as Kind;
        use LogicalType as Type;
        for kind in [Kind::FieldAdded, Kind::NullabilityChanged, Kind::VolumeAnomaly, Kind::NullRateAnomaly] {
            check(&[finding(kind, &["name"], &["name"], Type::Text)], &[]);
        }
        for kind in [
            Kind::FieldRemoved,
            Kind::FieldRenamed,
            Kind::TypeChanged,
            Kind::TypeNarrowed,
            Kind::UnitChanged,
            Kind::FormatChanged,
            Kind::MeaningChanged,
            Kind::EnumChanged,
        ] {
            check(&[finding(kind, &["name"], &["label"], Type::Text)], &["name"]);
        }
        check(&[finding(Kind::FieldRemoved, &["id"], &[], Type::Text)], &["id!"]);
        check(&[finding(Kind::FieldsMerged, &["name", "id"], &["x"], Type::Text)], &["id+name!"]);
    }

    #[test]
    fn a_widening_hurts_only_a_target_that_cannot_take_it() {
        use LogicalType as Type;
        for (column, after, expect) in [
            ("name", Type::Text, &[][..]),
            ("revenue", Type::Decimal, &[][..]),
            ("revenue", Type::Text, &["revenue"][..]),
            ("income", Type::Decimal, &["income"][..]),
            ("unmapped", Type::Text, &[][..]),
        ] {
            check(&[finding(DriftKind::TypeWidened, &[column], &[column], after)], expect);
        }
    }

    #[test]
    fn a_key_that_only_changed_its_name_is_answered_by_the_rename() {
        let renamed = finding(DriftKind::FieldRenamed, &["id"], &["code"], LogicalType::Text);
        let key = |after: &str| finding(DriftKind::KeyChanged, &["id"], &[after], LogicalType::Text);
        check(&[renamed.clone(), key("code")], &["id!"]);
        check(&[renamed, key("other")], &["id!", "id!"]);
        check(&[finding(DriftKind::KeyChanged, &["name"], &["x"], LogicalType::Text)], &[]);
    }
}
