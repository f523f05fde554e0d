//! Where a read goes on.

use crate::error::ConnectorError;
use autonomos_domain::schema::SyncMode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A column as the rows of a cursor had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    /// The type's number in `pg_type`.
    pub(super) oid: u32,
    pub(super) nullable: bool,
}

/// A position in the server's log of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Every transaction that ended up to here is in.
    pub(super) lsn: u64,
    /// Of the transaction that commits at `.0`, so many changes are in too.
    pub(super) within: Option<(u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) mode: SyncMode,
    /// The table's number: another one under the same name is another table.
    pub(super) table: u32,
    pub(super) columns: Vec<Column>,
    pub(super) key: Vec<String>,
    #[serde(flatten)]
    pub(super) phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub(super) enum Phase {
    /// Rows in the order of the key, up to and with `after`; then `next`.
    Snapshot {
        after: Option<Vec<String>>,
        next: Next,
    },
    /// Rows whose cursor column is at least `from`: those that are equal come again, for more of them
    /// may have been written since.
    Incremental {
        field: String,
        from: Option<String>,
    },
    Changes {
        place: Place,
    },
    Done,
}

/// What follows a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "then", rename_all = "snake_case")]
pub(super) enum Next {
    Done,
    Changes { lsn: u64 },
    Incremental { field: String, from: Option<String> },
}

impl Next {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Done => Phase::Done,
            Self::Changes { lsn } => Phase::Changes { place: Place { lsn: *lsn, within: None } },
            Self::Incremental { field, from } => {
                Phase::Incremental { field: field.clone(), from: from.clone() }
            }
        }
    }
}

impl Cursor {
    /// A cursor of this mode; one that cannot be read is as good as none, and the table is read anew.
    pub(super) fn of(value: Option<Value>, mode: SyncMode) -> Option<Self> {
        let cursor = serde_json::from_value::<Self>(value?).ok()?;
        (cursor.mode == mode).then_some(cursor)
    }

    pub(super) fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The same place in another phase.
    pub(super) fn at(&self, phase: Phase) -> Self {
        Self { phase, ..self.clone() }
    }
}

/// `16/B374D848` as a number.
pub(super) fn lsn(text: &str) -> Result<u64, ConnectorError> {
    let parsed = text.split_once('/').and_then(|(high, low)| {
        Some((u64::from_str_radix(high, 16).ok()? << 32) | u64::from_str_radix(low, 16).ok()?)
    });
    parsed.ok_or_else(|| super::error::unreadable(format!("`{text}` is no position in the server's log")))
}

pub(super) fn lsn_text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        for next in [Next::Done, Next::Changes { lsn: 7 }] {
            let cursor = Cursor {
                mode: SyncMode::Cdc,
                table: 9,
                columns: vec![Column { name: "id".to_owned(), oid: 23, nullable: false }],
                key: vec!["id".to_owned()],
                phase: Phase::Snapshot { after: Some(vec!["1".to_owned()]), next },
            };
            assert_eq!(Cursor::of(Some(cursor.value()), SyncMode::Cdc), Some(cursor.clone()));
            assert_eq!(Cursor::of(Some(cursor.value()), SyncMode::Full), None);
        }
        assert_eq!(lsn_text(lsn("16/B374D848").expect("a position")), "16/B374D848");
        assert!(lsn("16").is_err());
    }
}
