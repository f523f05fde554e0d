//! Drift: what changed between two versions of a stream, how bad it is, and what shows it.

pub mod adapt;
pub mod calibrate;
pub mod classify;
mod codes;
mod columns;
mod compare;
pub mod fingerprint;
pub mod guard;
mod names;
mod partners;
pub mod profile;
mod profiler;
mod sketch;
mod stranger;
mod time;
pub mod value;

pub use classify::{ArrivingStream, KnownStream, detect, overlap_check};
pub use fingerprint::fingerprint;
pub use names::{normal_name, opposed};
pub use partners::types_fit;

use crate::{
    ids::DriftId,
    mapping::{Evidence, MappingOrigin},
    schema::Field,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    FieldAdded,
    FieldRemoved,
    FieldRenamed,
    FieldsSwapped,
    FieldSplit,
    FieldsMerged,
    FieldNested,
    FieldFlattened,
    TypeWidened,
    TypeNarrowed,
    TypeChanged,
    NullabilityChanged,
    KeyChanged,
    EnumChanged,
    UnitChanged,
    FormatChanged,
    MeaningChanged,
    StreamAdded,
    StreamRemoved,
    StreamRenamed,
    VolumeAnomaly,
    NullRateAnomaly,
}

/// How much harm a drift can do if nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing mapped is touched.
    Info,
    /// Mapped values may be missing or degraded.
    Warning,
    /// Mapped values would be wrong, or rows could not be told apart.
    Critical,
}

/// One side of a drift: what the field was, or became.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DriftSide {
    /// The fields concerned; one for most kinds, more for a split, a merge or a swap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// A few values as they stood, for a person to judge by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
    /// One line: `integer, 12 to 980000`, `enum {open, closed}`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// A change found between the known and the arriving shape of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DriftFinding {
    pub id: DriftId,
    pub kind: DriftKind,
    /// The field it is about, by its known (old) name; for an added one, its new name. None: the stream.
    pub field: Option<String>,
    pub before: Option<DriftSide>,
    pub after: Option<DriftSide>,
    pub severity: Severity,
    /// Probability that the finding is what it says, 0 to 1. Structural facts are 1.
    pub confidence: f64,
    pub evidence: Vec<Evidence>,
    /// What would put the mapping right, if something is known to: see [`RepairChange`].
    pub repair: Option<RepairChange>,
}

/// How one line of a mapping would change to follow a drift.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RepairChange {
    /// The drift it answers.
    pub drift_id: DriftId,
    /// The column the mapping reads now.
    pub old_source: String,
    /// The column (or columns) it would read.
    pub new_sources: Vec<String>,
    /// Applied to the new column before the line's own transform, and gives text as the old column
    /// was written: the repaired line is `Chain[adapt, the line's own]`. None: the values are
    /// written as they were.
    pub adapt: Option<crate::mapping::Transform>,
    /// Calibrated probability that the change is right.
    pub probability: f64,
    pub evidence: Vec<Evidence>,
    /// What the check on overlapping keys said.
    pub overlap: OverlapCheck,
    /// What found it: `matcher`, `retrieval` from past decisions, or `llm`.
    #[serde(default)]
    pub origin: MappingOrigin,
}

/// Old and new values compared on the records both editions have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum OverlapCheck {
    /// Values agree on all but `disagreeing` of `compared` keys, within tolerance of honest edits.
    Agrees { compared: u32, disagreeing: u32 },
    /// They do not: never apply alone.
    Objects { compared: u32, disagreeing: u32 },
    /// Too few common keys to say: ask.
    Unknown { compared: u32 },
}
