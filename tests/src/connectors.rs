//! What every connector must do, whatever its source: a reader that is cut off after any batch ends with
//! the same rows, each once; nothing is read ahead of who takes it; one that is cancelled ends; no secret
//! is told; and a cursor of no use begins anew. A connector's test keeps a [`Fixture`], and
//! [`connector_tests`](crate::connector_tests) makes a test of each check.

mod checks;
mod copy;

pub use checks::{
    cut_anywhere, ends_when_told, reads_no_further_than_taken, stale_cursor_begins_anew, tells_no_secret,
};
pub use copy::{Copy, Rows};

use autonomos_connectors::{Connector, ConnectorError};
use autonomos_domain::schema::{StreamSelection, SyncMode};
use futures::StreamExt;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A record that a check writes to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub number: u32,
    pub name: String,
    /// Bytes beside them.
    pub pad: usize,
}

/// How much a connection has asked of its source so far, in any unit.
pub type Meter = Box<dyn Fn() -> u64 + Send>;

/// A source of its own, empty at first, and connections to it.
pub trait Fixture {
    /// A connection to it: the same one each time.
    fn connector(&self) -> Arc<dyn Connector>;

    /// Another one, and how much it alone has asked for.
    fn metered(&self) -> impl Future<Output = (Arc<dyn Connector>, Meter)>;

    /// Its stream, as a person would choose it.
    fn selection(&self, mode: SyncMode) -> StreamSelection;

    fn modes(&self) -> Vec<SyncMode>;

    /// The columns of a record's number and of its name.
    fn columns(&self) -> [&'static str; 2];

    /// So many records of a kilobyte make several batches.
    fn several(&self) -> u32 {
        3_000
    }

    /// So many records of four kilobytes are far more than a few batches.
    fn many(&self) -> u32 {
        8_000
    }

    /// Whether a read in this mode tells what was deleted.
    fn tells_deletes(&self, _mode: SyncMode) -> bool {
        true
    }

    /// Whether whatever changes makes another edition, which is read from its beginning.
    fn has_editions(&self) -> bool {
        false
    }

    fn insert(&self, records: &[Record]) -> impl Future<Output = ()>;

    /// Gives records another name.
    fn rename(&self, numbers: &[u32], name: &str) -> impl Future<Output = ()>;

    fn delete(&self, numbers: &[u32]) -> impl Future<Output = ()>;

    /// Gives a record another number; false: the source does not let one.
    fn renumber(&self, from: u32, to: u32) -> impl Future<Output = bool>;

    /// Connections that the source refuses, or that do not reach it.
    fn refused(&self) -> Vec<Arc<dyn Connector>>;

    /// What none of the connections may tell.
    fn secrets(&self) -> Vec<String>;
}

/// Makes a test of each check: `connector_tests!(future of a Fixture)`.
#[macro_export]
macro_rules! connector_tests {
    ($fixture:expr) => {
        $crate::connector_tests!($fixture;
            cut_anywhere, reads_no_further_than_taken, ends_when_told, tells_no_secret,
            stale_cursor_begins_anew
        );
    };
    ($fixture:expr; $($check:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $check() {
            $crate::connectors::$check(&$fixture.await).await;
        }
    )+};
}

/// A stream, read in a mode, as a person would choose it.
pub fn selection(name: &str, mode: SyncMode) -> StreamSelection {
    StreamSelection {
        name: name.to_owned(),
        sync_mode: Some(mode),
        cursor_field: None,
        primary_key: None,
        entity: None,
        priority: 0,
    }
}

/// A read that is cancelled after its first event says so, and ends.
pub async fn ends_when_cancelled(connector: &dyn Connector, selection: &StreamSelection) {
    let mode = selection.sync_mode.unwrap_or(SyncMode::Full);
    let cancel = CancellationToken::new();
    let mut events = connector.read(selection, mode, None, cancel.clone());
    assert!(events.next().await.expect("an event").is_ok());
    cancel.cancel();
    assert!(matches!(events.next().await, Some(Err(ConnectorError::Cancelled))));
    assert!(events.next().await.is_none());
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    assert!(matches!(connector.discover(cancelled).await, Err(ConnectorError::Cancelled)));
}

/// Nothing that is said holds a secret.
pub fn keeps_secrets<'a>(said: impl IntoIterator<Item = &'a str>, secrets: &[&str]) {
    for text in said {
        for secret in secrets {
            assert!(!text.contains(secret), "a secret is told: {text}");
        }
    }
}
