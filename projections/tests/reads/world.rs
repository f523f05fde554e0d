//! A log in a folder of its own, and short ways to append to it.

use autonomos_domain::{
    envelope::{Actor, AggregateKey, AggregateType, CommitHeader, Hash, Position, StoredBody},
    ids::{CommandId, TenantId},
};
use autonomos_log::{
    control::ControlStore,
    events::{seal_body, seal_event},
    port::{EventLog, NewCommit},
    seal::{KeyRing, SealError},
    sqlite::{Options as LogOptions, SqliteLog},
};
use autonomos_projections::runtime::{Handle, Options, Service};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// Seals by turning bits and checking the context.
pub(crate) struct TestRing;

impl KeyRing for TestRing {
    fn payload_key(&self, _: TenantId) -> Result<u64, SealError> {
        Ok(1)
    }

    fn batch_keys(&self, _: TenantId, count: usize) -> Result<Vec<u64>, SealError> {
        Ok((2..2 + count as u64).collect())
    }

    fn seal(&self, _: TenantId, _: u64, context: &[u8], clear: &[u8]) -> Result<Bytes, SealError> {
        let turned = clear.iter().map(|byte| byte ^ 0x5a);
        Ok(context.iter().copied().chain(turned).collect::<Vec<u8>>().into())
    }

    fn open(&self, tenant: TenantId, key_id: u64, context: &[u8], sealed: &[u8]) -> Result<Bytes, SealError> {
        match sealed.strip_prefix(context) {
            Some(rest) => Ok(rest.iter().map(|byte| byte ^ 0x5a).collect::<Vec<u8>>().into()),
            None => Err(SealError::Altered { tenant, key_id }),
        }
    }

    fn destroy(&self, _: TenantId, _: Option<u64>) -> Result<(), SealError> {
        Ok(())
    }
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) log: Arc<SqliteLog>,
    pub(crate) ring: Arc<dyn KeyRing>,
    versions: Mutex<HashMap<AggregateKey, (u64, Hash)>>,
    commits: Mutex<i64>,
}

pub(crate) fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = Arc::new(ControlStore::open(&folder.path().join("control.sqlite")).unwrap());
        let log = SqliteLog::open(LogOptions::new(folder.path().join("log")), control).unwrap();
        Self { folder, log, ring: Arc::new(TestRing), versions: Mutex::default(), commits: Mutex::default() }
    }

    pub(crate) fn log(&self) -> Arc<dyn EventLog> {
        self.log.clone()
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(self.folder.path())
    }

    /// The same projections over another log.
    pub(crate) fn with_log(self, log: Arc<SqliteLog>) -> Self {
        Self { log, ..self }
    }

    pub(crate) async fn start(&self) -> Handle {
        Service::start(self.options(), self.log(), Arc::clone(&self.ring)).await.unwrap()
    }

    /// Appends one commit; every commit is a second later than the one before.
    pub(crate) async fn append<E: serde::Serialize + cqrs_es::DomainEvent>(
        &self,
        tenant: TenantId,
        aggregate_type: AggregateType,
        aggregate_id: Uuid,
        events: &[E],
    ) -> Position {
        self.append_with(tenant, aggregate_type, aggregate_id, events, None).await
    }

    /// The same; the first event has a body.
    pub(crate) async fn append_with<E: serde::Serialize + cqrs_es::DomainEvent>(
        &self,
        tenant: TenantId,
        aggregate_type: AggregateType,
        aggregate_id: Uuid,
        events: &[E],
        body: Option<&[u8]>,
    ) -> Position {
        let key = AggregateKey { tenant, aggregate_type, aggregate_id };
        let (version, prev_hash) = match self.versions.lock().get(&key) {
            Some((version, hash)) => (*version, Some(hex::encode(hash))),
            None => (0, None),
        };
        let mut stored: Vec<_> = events
            .iter()
            .enumerate()
            .map(|(index, event)| {
                seal_event(&*self.ring, tenant, aggregate_id, 1, version + 1 + index as u64, event).unwrap()
            })
            .collect();
        if let Some(body) = body {
            let sealed: StoredBody =
                seal_body(&*self.ring, tenant, aggregate_id, 2, version + 1, body).unwrap();
            stored[0].body = Some(sealed);
        }
        let number = {
            let mut commits = self.commits.lock();
            *commits += 1;
            *commits
        };
        let header = CommitHeader {
            key,
            first_version: version + 1,
            command_id: CommandId(Uuid::from_u128(number as u128)),
            request_hash: None,
            actor: Actor::User(Uuid::from_u128(77)),
            correlation_id: Uuid::from_u128(number as u128),
            causation_id: None,
            recorded_at: epoch() + TimeDelta::seconds(number),
            key_id: 1,
            prev_hash,
            origin: None,
        };
        let appended = self.log.append(NewCommit { header, events: stored }).await.unwrap();
        self.versions.lock().insert(key, (version + events.len() as u64, appended.hash));
        appended.position
    }
}

pub(crate) fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(0x7e00 + number))
}
