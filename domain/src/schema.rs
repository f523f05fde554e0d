//! Streams as the sources show them: fields, logical types, and how they can be read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the values of a field are, whatever the source's own type system calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogicalType {
    /// Nothing but nulls seen.
    Unknown,
    Boolean,
    Integer,
    Decimal,
    Date,
    Timestamp,
    Text,
    Binary,
    /// JSON object.
    Object,
    /// JSON array.
    Array,
}

impl LogicalType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Object => "object",
            Self::Array => "array",
        }
    }
}

/// One field of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub logical_type: LogicalType,
    pub nullable: bool,
    /// How a date, time or number is written, where it is more than its type says: `%d/%m/%Y`,
    /// `decimal_comma`, `excel_serial`, `epoch_seconds`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// The shape of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamShape {
    pub fields: Vec<Field>,
    /// Names of the fields that tell one record from another; empty if none was found or declared.
    pub primary_key: Vec<String>,
}

impl StreamShape {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// How a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    /// Every row, every time; rows that are gone are closed.
    Full,
    /// What is new or changed since the cursor.
    Incremental,
    /// Change capture, deletes included.
    Cdc,
}

/// A stream that a source offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiscoveredStream {
    pub name: String,
    #[serde(flatten)]
    pub shape: StreamShape,
    pub cursor_fields: Vec<String>,
    pub sync_modes: Vec<SyncMode>,
    /// Rows, where the source knows or it could be estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
    /// What the shape was learnt from, where a source has no schema of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
}

impl DiscoveredStream {
    /// It, chosen without a word on how.
    pub fn selection(&self) -> StreamSelection {
        StreamSelection {
            name: self.name.clone(),
            sync_mode: None,
            cursor_field: None,
            primary_key: None,
            entity: None,
            priority: 0,
        }
    }
}

/// What a sample of a stream without a schema shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sampled {
    /// Records that were looked at.
    pub documents: u64,
    /// By path: how many of them have a value of each type there, in the source's own names.
    pub paths: BTreeMap<String, BTreeMap<String, u64>>,
}

/// A stream that a connection reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamSelection {
    pub name: String,
    #[serde(default)]
    pub sync_mode: Option<SyncMode>,
    #[serde(default)]
    pub cursor_field: Option<String>,
    /// Overrides the key that discovery found.
    #[serde(default)]
    pub primary_key: Option<Vec<String>>,
    /// Overrides the entity that the matcher finds; `"none"` keeps the stream raw.
    #[serde(default)]
    pub entity: Option<String>,
    /// Source priority in survivorship ties: higher wins. Default 0.
    #[serde(default)]
    pub priority: i32,
}
