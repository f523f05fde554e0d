//! The schema versions of one stream, its profile, and the drift found in it.
//! The aggregate's id equals the stream's feed id.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{
    drift::{DriftFinding, profile::StreamProfile},
    ids::{ConnectionId, DriftId},
    schema::StreamShape,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
        finding: DriftFinding,
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
    pub profile: Option<StreamProfile>,
}
stored_aggregate!(StreamSchema, StreamSchema, StreamSchemaCommand, StreamSchemaEvent);

impl StreamSchema {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, _command: StreamSchemaCommand) -> Result<Vec<StreamSchemaEvent>, Error> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _event: StreamSchemaEvent) {}
}
