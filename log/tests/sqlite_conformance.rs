//! The SQLite adapter against the suite every adapter must pass, and random histories.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use async_trait::async_trait;
use autonomos_domain::envelope::AggregateType;
use autonomos_log::{
    conformance::{Chain, Fixture, history},
    conformance_tests,
    control::ControlStore,
    error::AppendError,
    port::{EventLog, StoredCommit},
    sqlite::{Options, SqliteLog},
};
use proptest::prelude::*;
use std::sync::Arc;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Fixture for Folder {
    async fn open(&self) -> Arc<dyn EventLog> {
        let control = Arc::new(ControlStore::open(&self.0.path().join("control.sqlite")).unwrap());
        SqliteLog::open(Options::new(self.0.path().join("log")), control).unwrap()
    }
}

conformance_tests!(Folder::new());

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Append { aggregate: usize, events: usize },
    Stale { aggregate: usize, behind: u64 },
    Together { events: usize },
    Archive { aggregate: usize, keep_last: bool },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_usize, 1..4_usize).prop_map(|(aggregate, events)| Step::Append { aggregate, events }),
        2 => (0..4_usize, 1..3_u64).prop_map(|(aggregate, behind)| Step::Stale { aggregate, behind }),
        2 => (1..3_usize).prop_map(|events| Step::Together { events }),
        1 => (0..4_usize, any::<bool>()).prop_map(|(aggregate, keep_last)| Step::Archive { aggregate, keep_last }),
        1 => Just(Step::Reopen),
    ]
}

async fn steps_run(steps: Vec<Step>) {
    let folder = Folder::new();
    let mut log = folder.open().await;
    let mut chains: Vec<Chain> = (0..4).map(|_| Chain::new(AggregateType::Task)).collect();
    let mut appended = 0;
    for step in steps {
        match step {
            Step::Append { aggregate, events } => {
                chains[aggregate].append(&*log, &vec![b"x".as_slice(); events]).await;
                appended += 1;
            }
            Step::Stale { aggregate, behind } => {
                let chain = &chains[aggregate];
                if chain.version > behind {
                    let stale = Chain { version: chain.version - behind, ..chain.clone() };
                    let answer = log.append(stale.next(&[b"x"])).await;
                    assert!(matches!(answer, Err(AppendError::Conflict { .. })), "{answer:?}");
                }
            }
            Step::Together { events } => {
                let payloads = vec![b"x".as_slice(); events];
                let appends = chains.iter_mut().map(|chain| chain.append(&*log, &payloads));
                appended += futures::future::join_all(appends).await.len() as u64;
            }
            Step::Archive { aggregate, keep_last } => {
                log.archive(&chains[aggregate].key, keep_last).await.unwrap();
            }
            Step::Reopen => {
                drop(log);
                log = folder.open().await;
            }
        }
    }
    assert_eq!(history(&*log).await.len() as u64, appended);
    for chain in &chains {
        let loaded = log.load(&chain.key, 0).await.unwrap();
        assert_eq!(loaded.last().map_or(0, StoredCommit::last_version), chain.version);
    }
    assert_eq!(log.stopped(0), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_histories_stay_dense_and_contiguous(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(steps_run(steps));
    }
}
