//! Mappings: how the columns of one stream become the fields of one entity.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a raw text value becomes a canonical one. Each is a pure function of its inputs; the DCL
/// engine compiles it to SQL. A value that does not fit is quarantined alone.
///
/// Within a [`Transform::Chain`] every step but the last takes text and gives text. A repair puts
/// its `adapt` step before the line's own transform, and that step's text is in the form the *old*
/// column was written in, so the line's own transform goes on working untouched.
/// The steps that write text for a following step are `FormatTime`, `FormatDecimalComma`,
/// `ParseDecimalComma` (writes a plain decimal point number), `Scale` (a plain number without
/// trailing zeros), `MapValues`, `SplitPart`, `Join`, `JsonPath` (scalars bare, objects and arrays
/// as JSON) and `JsonObject`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Transform {
    /// Cast to the target field's type as it stands.
    Copy,
    /// Read a date or time written in this strptime format.
    ParseTime { format: String },
    /// Numbers counted from an epoch: `unit` is `seconds` or `milliseconds`.
    ParseEpoch { unit: String },
    /// Days since 1899-12-30, as Excel keeps dates.
    ParseExcelSerial,
    /// Decimal comma: `1.234,50`.
    ParseDecimalComma,
    /// Multiply by `factor`, written as a decimal number (cents to dollars: `0.01`).
    Scale { factor: String },
    /// Replace codes by values; a value not listed is kept when `keep_others`, else quarantined.
    MapValues { values: BTreeMap<String, String>, keep_others: bool },
    /// Text that stands for true and for false.
    ParseBoolean { truthy: Vec<String>, falsy: Vec<String> },
    /// The registrable host of a URL or an e-mail address.
    ExtractDomain,
    /// Part `index` (from 0) of the text split at `separator`.
    SplitPart { separator: String, index: u32 },
    /// All source columns joined by `separator`, nulls left out.
    Join { separator: String },
    /// The value at a JSON path (`$.a.b`) of a nested column.
    JsonPath { path: String },
    /// Read a date or time written as `from` and write it as `to`: text to text. Both are strptime
    /// formats or one of `epoch_seconds`, `epoch_milliseconds`, `excel_serial`. A time without a
    /// zone is UTC; written into a form without a time of day, the time of day is dropped; read
    /// from one, it is midnight.
    FormatTime { from: String, to: String },
    /// Write a plain number with a decimal comma: `1234.50` → `1234,50`. The inverse of
    /// `ParseDecimalComma`, for a line that still reads the comma.
    FormatDecimalComma,
    /// All source columns as one JSON object, the n-th under `keys[n]`; nulls left out. For a
    /// nested column that was flattened.
    JsonObject { keys: Vec<String> },
    /// One after the other, left to right.
    Chain { steps: Vec<Transform> },
}

/// Where a mapping of a field came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MappingOrigin {
    #[default]
    Matcher,
    Retrieval,
    Llm,
    Human,
}

/// One line of a mapping: source column (or columns, for `join`) to target field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MappingField {
    /// The source column. More columns of a join are in `also`.
    pub source: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// The field of the entity.
    pub target: String,
    pub transform: Transform,
    /// Calibrated probability that this line is right, 0 to 1.
    pub confidence: f64,
    pub origin: MappingOrigin,
    pub evidence: Vec<Evidence>,
}

impl MappingField {
    /// All source columns the line reads.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.source.as_str()).chain(self.also.iter().map(String::as_str))
    }
}

/// One reason for (or against) a decision. `score` is 0 to 1; higher speaks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// `name`, `type`, `values`, `embedding`, `overlap`, `format`, `unit_ratio`, `position`, …
    pub signal: String,
    pub score: f64,
    /// One sentence a person can read; it may quote values, so it is sealed wherever it is stored.
    pub detail: String,
}

/// A whole mapping, as proposed, edited or in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MappingContent {
    /// The target entity; none: the stream stays raw.
    pub entity: Option<String>,
    /// Columns whose values tell one record from another; empty: the whole row does.
    pub key: Vec<String>,
    pub fields: Vec<MappingField>,
}
