//! The configuration of the file connector: what is declared overrides what would be detected.

use super::error;
use crate::error::ConnectorError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How a table is written. Detected unless declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Csv,
    Tsv,
    Ndjson,
    Json,
    Parquet,
    Excel,
}

/// Options of a read; every one overrides what is detected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TableOptions {
    pub format: Option<Format>,
    pub delimiter: Option<String>,
    pub quote: Option<String>,
    pub escape: Option<String>,
    pub encoding: Option<String>,
    pub header: Option<bool>,
    pub sheet: Option<String>,
    pub null_values: Vec<String>,
    pub primary_key: Option<Vec<String>>,
    /// Limit of unpacked bytes of a compressed file.
    pub max_unpacked_bytes: u64,
}

/// 64 GiB: beyond what a single export holds, below what fills a disk of temporary columns.
const MAX_UNPACKED_BYTES: u64 = 64 << 30;

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            format: None,
            delimiter: None,
            quote: None,
            escape: None,
            encoding: None,
            header: None,
            sheet: None,
            null_values: ["", "NULL", "null", "\\N"].map(str::to_owned).to_vec(),
            primary_key: None,
            max_unpacked_bytes: MAX_UNPACKED_BYTES,
        }
    }
}

impl TableOptions {
    /// Checks what serde can't: single bytes, known encodings.
    pub(crate) fn validate(&self) -> Result<(), ConnectorError> {
        for (field, value) in
            [("delimiter", &self.delimiter), ("quote", &self.quote), ("escape", &self.escape)]
        {
            if let Some(text) = value {
                single_byte(field, text)?;
            }
        }
        if let Some(label) = &self.encoding {
            encoding_rs::Encoding::for_label(label.as_bytes()).ok_or_else(|| error::encoding(label))?;
        }
        if self.primary_key.as_ref().is_some_and(Vec::is_empty) {
            return Err(error::configuration(
                "/primary_key",
                "`primary_key` names no column: leave it out to have it found",
            ));
        }
        Ok(())
    }

    pub(crate) fn delimiter_byte(&self) -> Option<u8> {
        self.delimiter.as_deref().and_then(|text| single_byte("delimiter", text).ok())
    }

    pub(crate) fn quote_byte(&self) -> Option<u8> {
        self.quote.as_deref().and_then(|text| single_byte("quote", text).ok())
    }

    pub(crate) fn escape_byte(&self) -> Option<u8> {
        self.escape.as_deref().and_then(|text| single_byte("escape", text).ok())
    }
}

fn single_byte(field: &str, text: &str) -> Result<u8, ConnectorError> {
    match text {
        "\\t" | "tab" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
            _ => Err(error::configuration(
                &format!("/{field}"),
                format!("`{field}` must be a single ASCII character, not `{text}`"),
            )),
        },
    }
}

/// A whole configuration: where, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConfig {
    pub path: String,
    /// All files of a pattern are one stream, joined by column name.
    pub combine: bool,
    pub options: TableOptions,
}

impl FileConfig {
    pub fn parse(config: &Value) -> Result<Self, ConnectorError> {
        let Value::Object(members) = config else {
            return Err(error::configuration("", "the configuration must be a JSON object with a `path`"));
        };
        let mut members = members.clone();
        members.retain(|_, value| !value.is_null());
        let path = match members.remove("path") {
            Some(Value::String(path)) if !path.trim().is_empty() && !path.contains('\0') => {
                path.trim().to_owned()
            }
            Some(_) => return Err(error::configuration("/path", "`path` must be a non-empty text")),
            None => {
                return Err(error::configuration(
                    "/path",
                    "`path` is missing: name a file, a folder, a pattern or an upload's id",
                ));
            }
        };
        let combine = match members.remove("combine") {
            None => false,
            Some(Value::Bool(combine)) => combine,
            Some(_) => return Err(error::configuration("/combine", "`combine` must be true or false")),
        };
        if let Some(Value::String(key)) = members.get("primary_key") {
            let columns: Vec<Value> = key.split(',').map(|column| json!(column.trim())).collect();
            members.insert("primary_key".to_owned(), Value::Array(columns));
        }
        let known: Vec<String> = config_schema()["properties"]
            .as_object()
            .map(|all| all.keys().cloned().collect())
            .unwrap_or_default();
        for (name, value) in &members {
            if !known.contains(name) {
                return Err(error::configuration(
                    &format!("/{name}"),
                    format!("there is no option `{name}`: use `{}`", known.join("`, `")),
                ));
            }
            let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
            if let Err(cause) = TableOptions::deserialize(&alone) {
                return Err(error::configuration(&format!("/{name}"), format!("`{name}` is wrong: {cause}")));
            }
        }
        let options = TableOptions::deserialize(Value::Object(members))
            .map_err(|cause| error::configuration("", cause.to_string()))?;
        options.validate()?;
        Ok(Self { path, combine, options })
    }
}

/// JSON Schema of the configuration; the API and the screen use this one.
pub fn config_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Files",
        "description": "Tables in files: CSV, TSV, NDJSON, JSON, Parquet and Excel, plain or compressed with gzip or zstd.",
        "type": "object",
        "required": ["path"],
        "additionalProperties": false,
        "x-order": ["path", "format", "delimiter", "quote", "escape", "encoding", "header", "sheet", "null_values", "primary_key", "combine", "max_unpacked_bytes"],
        "properties": {
            "path": {
                "type": "string", "minLength": 1, "title": "File, folder or pattern",
                "description": "A file, a folder, a pattern such as `orders-*.csv`, or the id of an upload. Paths must lie inside a folder the operator opened to this organisation.",
                "examples": ["exports/accounts.csv", "exports", "exports/orders-*.csv"]
            },
            "format": {
                "type": "string", "enum": ["csv", "tsv", "ndjson", "json", "parquet", "excel"], "title": "Format",
                "description": "Detected from the content and the name unless set."
            },
            "delimiter": {
                "type": "string", "title": "Delimiter", "description": "A single character, or `\\t`. Detected unless set.",
                "examples": [",", ";", "\\t", "|"], "maxLength": 3
            },
            "quote": { "type": "string", "title": "Quote", "description": "A single character. Detected unless set.", "examples": ["\"", "'"], "maxLength": 1 },
            "escape": {
                "type": "string", "title": "Escape", "description": "The character before a quote inside quotes, where quotes are not doubled. Detected unless set.",
                "examples": ["\\"], "maxLength": 1
            },
            "encoding": {
                "type": "string", "title": "Encoding", "description": "Detected (UTF-8, UTF-16, Windows-1252) unless set.",
                "examples": ["utf-8", "utf-16le", "windows-1252"]
            },
            "header": { "type": "boolean", "title": "First row is a header", "description": "Detected unless set." },
            "sheet": {
                "type": "string", "title": "Sheet", "description": "One sheet of a workbook, hidden ones too. All visible sheets unless set.",
                "examples": ["Accounts"]
            },
            "null_values": {
                "type": "array", "items": { "type": "string" }, "title": "Texts that mean no value",
                "description": "Only where they are not quoted.", "default": ["", "NULL", "null", "\\N"], "examples": [["", "NA", "n/a"]]
            },
            "primary_key": {
                "type": "array", "items": { "type": "string" }, "minItems": 1, "title": "Key columns",
                "description": "The columns that tell one record from another. Guessed from names and values unless set.", "examples": [["id"]]
            },
            "combine": {
                "type": "boolean", "default": false, "title": "One stream of all files",
                "description": "Joins all files of the folder or pattern into one stream, by column name."
            },
            "max_unpacked_bytes": {
                "type": "integer", "minimum": 1, "default": MAX_UNPACKED_BYTES, "title": "Most bytes when unpacked",
                "description": "A compressed file that unpacks to more is refused."
            }
        }
    })
}
