//! The schema versions of one stream, its profile, and the drift found in it.
//! The aggregate's id equals the stream's feed id.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{
    drift::{DriftFinding, DriftKind, profile::StreamProfile},
    ids::{ConnectionId, DriftId},
    limits,
    schema::StreamShape,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What became of a drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftStatus {
    /// Affected cells are held.
    Open,
    /// A repair put it right.
    Repaired,
    /// A person said to leave it.
    Accepted,
    /// The source went back.
    Reverted,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum StreamSchemaEvent {
    /// Version 1 is the first shape seen; later ones follow their drift.
    SchemaVersionRecorded {
        connection_id: ConnectionId,
        stream: String,
        version: u32,
        /// BLAKE3 of the canonical form of the shape, hex.
        fingerprint: String,
        shape: StreamShape,
    },
    /// One open drift per stream, field and kind.
    DriftDetected {
        /// Boxed: it is some times as large as any other event's content.
        finding: Box<DriftFinding>,
        from_version: u32,
        to_version: u32,
    },
    /// Seen again while open.
    DriftRecurred {
        drift_id: DriftId,
        occurrences: u64,
    },
    DriftResolved {
        drift_id: DriftId,
        status: DriftStatus,
    },
    /// The profile that the next read is compared with.
    ProfileRecorded {
        version: u32,
        profile: StreamProfile,
    },
}
domain_event!(StreamSchemaEvent {
    SchemaVersionRecorded,
    DriftDetected,
    DriftRecurred,
    DriftResolved,
    ProfileRecorded,
});

#[derive(Debug, Clone)]
pub enum StreamSchemaCommand {
    /// The first shape; or, with findings, a new version and its drifts in one commit. A finding
    /// that is open already (same kind and field) only recurs. A shape that equals an earlier
    /// version's goes back to that version and reverts the drifts that led away from it.
    RecordSchema {
        connection_id: ConnectionId,
        stream: String,
        fingerprint: String,
        shape: StreamShape,
        findings: Vec<DriftFinding>,
    },
    /// With `open`: what had put it right was taken back.
    ResolveDrift {
        drift_id: DriftId,
        status: DriftStatus,
    },
    RecordProfile {
        profile: StreamProfile,
    },
}

/// One shape the stream had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchemaVersion {
    pub fingerprint: String,
    pub shape: StreamShape,
    /// The version it followed; 0 for the first.
    pub from: u32,
}

/// A drift nobody has put right yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenDrift {
    pub finding: DriftFinding,
    pub from_version: u32,
    pub to_version: u32,
    pub occurrences: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamSchema {
    pub connection_id: Option<ConnectionId>,
    pub stream: String,
    /// The version in force; 0 before the first. It can go back to an earlier one.
    pub current: u32,
    pub versions: BTreeMap<u32, SchemaVersion>,
    pub open: BTreeMap<DriftId, OpenDrift>,
    /// Drifts put right lately: taking their repair back opens them again.
    pub resolved: BTreeMap<DriftId, OpenDrift>,
    pub profile: Option<StreamProfile>,
}
stored_aggregate!(StreamSchema, StreamSchema, StreamSchemaCommand, StreamSchemaEvent);

impl StreamSchema {
    /// Drifts put right that are remembered, for a roll-back.
    const RESOLVED_KEPT: usize = 200;

    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, command: StreamSchemaCommand) -> Result<Vec<StreamSchemaEvent>, Error> {
        match command {
            StreamSchemaCommand::RecordSchema { connection_id, stream, fingerprint, shape, findings } => {
                limits::source_name("/stream", &stream)?;
                limits::hash("/fingerprint", &fingerprint)?;
                limits::count("columns of a stream", shape.fields.len(), limits::COLUMNS_PER_SHAPE)?;
                limits::unique(
                    "/shape/fields",
                    shape.fields.iter().map(|field| field.name.as_str()),
                    "/name",
                )?;
                limits::count("drift findings of one read", findings.len(), limits::FINDINGS_PER_READ)?;
                self.schema_record(connection_id, stream, fingerprint, shape, findings)
            }
            StreamSchemaCommand::ResolveDrift { drift_id, status: DriftStatus::Open } => {
                if self.open.contains_key(&drift_id) {
                    return Ok(Vec::new());
                }
                if !self.resolved.contains_key(&drift_id) {
                    return Err(Error::not_found("drift", drift_id));
                }
                Ok(vec![StreamSchemaEvent::DriftResolved { drift_id, status: DriftStatus::Open }])
            }
            StreamSchemaCommand::ResolveDrift { drift_id, status } => {
                if !self.open.contains_key(&drift_id) {
                    return Err(Error::not_found("open drift", drift_id));
                }
                Ok(vec![StreamSchemaEvent::DriftResolved { drift_id, status }])
            }
            StreamSchemaCommand::RecordProfile { .. } if self.current == 0 => {
                Err(Error::Missing { what: "stream schema" })
            }
            StreamSchemaCommand::RecordProfile { profile } => {
                limits::count("columns of a profile", profile.fields.len(), limits::COLUMNS_PER_SHAPE)?;
                if self.profile.as_ref() == Some(&profile) {
                    return Ok(Vec::new());
                }
                Ok(vec![StreamSchemaEvent::ProfileRecorded { version: self.current, profile }])
            }
        }
    }

    fn schema_record(
        &self,
        connection_id: ConnectionId,
        stream: String,
        fingerprint: String,
        shape: StreamShape,
        findings: Vec<DriftFinding>,
    ) -> Result<Vec<StreamSchemaEvent>, Error> {
        let record = |version| StreamSchemaEvent::SchemaVersionRecorded {
            connection_id,
            stream,
            version,
            fingerprint: fingerprint.clone(),
            shape,
        };
        let Some(current) = self.versions.get(&self.current) else {
            return Ok(vec![record(1)]);
        };
        if self.connection_id != Some(connection_id) {
            return Err(Error::conflict(format!("the schema is not one of connection `{connection_id}`")));
        }
        // The same kind of drift on the same field is one drift, however often it is seen.
        let mut drifts: BTreeMap<(DriftKind, Option<String>), DriftFinding> = BTreeMap::new();
        for finding in findings {
            drifts.entry((finding.kind, finding.field.clone())).or_insert(finding);
        }
        let recurred: Vec<_> = self
            .open
            .iter()
            .filter(|(_, drift)| drifts.remove(&(drift.finding.kind, drift.finding.field.clone())).is_some())
            .map(|(id, drift)| StreamSchemaEvent::DriftRecurred {
                drift_id: *id,
                occurrences: drift.occurrences + 1,
            })
            .collect();
        let new: Vec<_> = drifts.into_values().collect();
        let detected = |to_version| {
            let from_version = self.current;
            new.iter()
                .map(move |finding| StreamSchemaEvent::DriftDetected {
                    finding: Box::new(finding.clone()),
                    from_version,
                    to_version,
                })
                .collect::<Vec<_>>()
        };
        // Values that changed their meaning need a binding of their own, though the shape is the same.
        let values_changed = new.iter().any(|finding| changes_values(finding.kind));
        if current.fingerprint == fingerprint && !values_changed {
            return Ok([recurred, detected(self.current)].concat());
        }
        let earlier = self.versions.iter().rev().find(|(_, known)| known.fingerprint == fingerprint);
        let earlier = earlier.filter(|_| current.fingerprint != fingerprint && !values_changed);
        if let Some((&version, _)) = earlier {
            return Ok(self.return_to(version, record(version), detected(version)));
        }
        let version = self.versions.keys().next_back().copied().unwrap_or(0) + 1;
        limits::count("schema versions of a stream", version as usize, limits::SCHEMA_VERSIONS)?;
        Ok([vec![record(version)], recurred, detected(version)].concat())
    }

    /// Back to an earlier shape. Drifts that do not lie on the way from the first version to it are
    /// undone; a return sideways (to a version the current one does not descend from) is a drift as
    /// well, and what was found stands.
    fn return_to(
        &self,
        version: u32,
        recorded: StreamSchemaEvent,
        detected: Vec<StreamSchemaEvent>,
    ) -> Vec<StreamSchemaEvent> {
        let kept = self.lineage(version);
        let reverted =
            self.open.iter().filter(|(_, drift)| !kept.contains(&drift.to_version)).map(|(id, _)| {
                StreamSchemaEvent::DriftResolved { drift_id: *id, status: DriftStatus::Reverted }
            });
        let mut events = vec![recorded];
        events.extend(reverted);
        if !self.lineage(self.current).contains(&version) {
            events.extend(detected);
        }
        events
    }

    /// The version and those it came from.
    fn lineage(&self, version: u32) -> BTreeSet<u32> {
        let mut lineage = BTreeSet::new();
        let mut next = Some(version);
        while let Some(version) = next {
            if !lineage.insert(version) {
                break;
            }
            next = self.versions.get(&version).map(|known| known.from).filter(|from| *from != 0);
        }
        lineage
    }

    /// The shape in force.
    pub fn shape(&self) -> Option<&StreamShape> {
        self.versions.get(&self.current).map(|version| &version.shape)
    }

    fn evolve(&mut self, event: StreamSchemaEvent) {
        match event {
            StreamSchemaEvent::SchemaVersionRecorded {
                connection_id,
                stream,
                version,
                fingerprint,
                shape,
            } => {
                self.connection_id = Some(connection_id);
                self.stream = stream;
                let from = self.current;
                self.versions.entry(version).or_insert(SchemaVersion { fingerprint, shape, from });
                self.current = version;
            }
            StreamSchemaEvent::DriftDetected { finding, from_version, to_version } => {
                let drift = OpenDrift { finding: *finding, from_version, to_version, occurrences: 1 };
                self.open.insert(drift.finding.id, drift);
            }
            StreamSchemaEvent::DriftRecurred { drift_id, occurrences } => {
                if let Some(drift) = self.open.get_mut(&drift_id) {
                    drift.occurrences = occurrences;
                }
            }
            StreamSchemaEvent::DriftResolved { drift_id, status: DriftStatus::Open } => {
                if let Some(drift) = self.resolved.remove(&drift_id) {
                    self.open.insert(drift_id, drift);
                }
            }
            StreamSchemaEvent::DriftResolved { drift_id, .. } => {
                if let Some(drift) = self.open.remove(&drift_id) {
                    self.resolved.insert(drift_id, drift);
                }
                while self.resolved.len() > Self::RESOLVED_KEPT {
                    self.resolved.pop_first();
                }
            }
            StreamSchemaEvent::ProfileRecorded { profile, .. } => self.profile = Some(profile),
        }
    }
}

/// Kinds that change what a column's values say while its name and type stay.
fn changes_values(kind: DriftKind) -> bool {
    matches!(
        kind,
        DriftKind::EnumChanged
            | DriftKind::UnitChanged
            | DriftKind::FormatChanged
            | DriftKind::MeaningChanged
            | DriftKind::FieldsSwapped
            | DriftKind::KeyChanged
    )
}
