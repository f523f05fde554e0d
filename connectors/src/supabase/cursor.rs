//! Where a read goes on.

use super::describe::Column;
use autonomos_domain::schema::SyncMode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) mode: SyncMode,
    pub(super) stream: String,
    pub(super) columns: Vec<Column>,
    /// By which rows are taken in order; empty where they cannot be.
    pub(super) key: Vec<String>,
    #[serde(flatten)]
    pub(super) phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    Done,
}

/// What follows a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "then", rename_all = "snake_case")]
pub(super) enum Next {
    Done,
    Incremental { field: String, from: Option<String> },
}

impl Next {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Done => Phase::Done,
            Self::Incremental { field, from } => {
                Phase::Incremental { field: field.clone(), from: from.clone() }
            }
        }
    }
}

impl Cursor {
    /// A cursor of this mode and stream; one that cannot be read is as good as none, and the table is read
    /// anew.
    pub(super) fn of(value: Option<Value>, mode: SyncMode, stream: &str) -> Option<Self> {
        let cursor = serde_json::from_value::<Self>(value?).ok()?;
        (cursor.mode == mode && cursor.stream == stream).then_some(cursor)
    }

    pub(super) fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The same place in another phase.
    pub(super) fn at(&self, phase: Phase) -> Self {
        Self { phase, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let from = Some("2026-01-01T00:00:00+00:00".to_owned());
        for next in [Next::Done, Next::Incremental { field: "at".to_owned(), from }] {
            for phase in [next.phase(), Phase::Snapshot { after: Some(vec!["1".to_owned()]), next }] {
                let cursor = Cursor {
                    mode: SyncMode::Incremental,
                    stream: "t".to_owned(),
                    columns: Vec::new(),
                    key: vec!["id".to_owned()],
                    phase,
                };
                let back = |mode, stream| Cursor::of(Some(cursor.value()), mode, stream);
                assert_eq!(back(SyncMode::Incremental, "t"), Some(cursor.clone()));
                assert_eq!(back(SyncMode::Full, "t"), None);
                assert_eq!(back(SyncMode::Incremental, "u"), None);
            }
        }
    }
}
