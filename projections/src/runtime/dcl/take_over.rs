//! The beginning of a tenure: files that are missing or older than their newest snapshot are fetched,
//! and the checkpoint says of each tenant from where its tail is to be applied. What does not verify
//! changes nothing: those views are built from the log.

use super::{Backup, Control, DclStore, checkpoint_swap, file_add, position_set};
use crate::{
    dcl::{Facts, tables::PROJECTOR_VERSION},
    error::ProjectionError,
    runtime::{
        DCL,
        projector::{CellCheckpoint, Store, Tables, TenantMark},
        sql::Session,
    },
    snapshots::{Key, Manifest, Snapshots, blocking},
};
use autonomos_domain::ids::TenantId;
use autonomos_log::port::{EventLog, Filter, ReadLimit};
use futures::{StreamExt, TryStreamExt};
use sqlx::Connection;
use std::{collections::BTreeMap, sync::Arc};

/// Snapshots that are fetched at a time.
const AT_A_TIME: usize = 4;

pub(super) async fn take_over(
    store: &DclStore,
    backup: &Backup,
    log: &dyn EventLog,
    cell: u16,
) -> Result<(), ProjectionError> {
    let snapshots = backup.snapshots();
    let from = store.checkpoint(cell).await?;
    let head = log.head(cell).await?.sequence;
    if from.highest() > head {
        // It was rolled back: the follower says so, and nothing is to be changed before.
        return Ok(());
    }
    let found = match snapshots.tenants().await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "snapshots of the unified views cannot be listed: none is used");
            return Ok(());
        }
    };
    let found: BTreeMap<_, _> =
        found.into_iter().filter(|(tenant, _)| log.cell_of(*tenant) == cell).collect();
    let manifest = manifest(snapshots, log, cell, head).await?.filter(|known| known.sequence > from.sequence);
    let mut to = from.clone();
    if let Some(manifest) = &manifest {
        let kept = store.kept(cell).await?;
        let own = |tenant| {
            let has_some = kept.contains(&tenant) || from.tenants.contains_key(&tenant);
            if has_some { position(&from, tenant) } else { 0 }
        };
        to.sequence = manifest.sequence;
        to.hash_sequence = manifest.sequence;
        to.hash = Some(manifest.hash);
        for tenant in manifest.tenants.keys().chain(found.keys()).chain(&kept) {
            if !matches!(from.tenants.get(tenant), Some(TenantMark::Parked { .. })) {
                mark(&mut to, Some(manifest), *tenant, own(*tenant));
            }
        }
    }
    let taking = found.into_iter().map(|(tenant, keys)| {
        let own = position(&to, tenant);
        let newer: Vec<Key> = keys.into_iter().filter(|key| key.sequence > own).collect();
        async move {
            let wanted = newer.first().map(|key| key.sequence);
            let taken = newest(store, snapshots, log, head, tenant, newer).await?;
            Ok::<_, ProjectionError>((tenant, wanted, taken))
        }
    });
    let taken: Vec<_> = futures::stream::iter(taking).buffer_unordered(AT_A_TIME).try_collect().await?;
    let mut restored = Vec::new();
    for (tenant, wanted, sequence) in taken {
        restored.extend(sequence.map(|sequence| (tenant, sequence)));
        if sequence != wanted {
            // What was left out is to be replaced.
            backup.changed(tenant, 0);
        }
    }
    for (tenant, sequence) in &restored {
        mark(&mut to, manifest.as_ref(), *tenant, *sequence);
    }
    if to == from && restored.is_empty() {
        return Ok(());
    }
    to.revision += 1;
    write(store, cell, &from, &to, &restored).await?;
    metrics::counter!("aos_snapshots_restored_total").increment(restored.len() as u64);
    tracing::info!(cell, tenants = restored.len(), "unified views were taken over from snapshots");
    Ok(())
}

/// Up to where the tenant's own file has everything.
fn position(checkpoint: &CellCheckpoint, tenant: TenantId) -> u64 {
    match checkpoint.tenants.get(&tenant) {
        Some(TenantMark::Parked { sequence, .. }) => sequence - 1,
        Some(TenantMark::Behind { sequence }) => *sequence,
        Some(TenantMark::Ahead { sequence }) => checkpoint.sequence.max(*sequence),
        None => checkpoint.sequence,
    }
}

/// Says that a tenant's file has everything up to `sequence`, and what follows from it.
fn mark(to: &mut CellCheckpoint, manifest: Option<&Manifest>, tenant: TenantId, sequence: u64) {
    let last = manifest.and_then(|manifest| manifest.tenants.get(&tenant).copied().flatten());
    let has_all = last.is_some_and(|last| sequence >= last);
    if sequence > to.sequence {
        to.tenants.insert(tenant, TenantMark::Ahead { sequence });
    } else if has_all || sequence == to.sequence {
        to.tenants.remove(&tenant);
    } else {
        to.tenants.insert(tenant, TenantMark::Behind { sequence });
    }
}

/// The newest manifest that is one of this log.
async fn manifest(
    snapshots: &Snapshots,
    log: &dyn EventLog,
    cell: u16,
    head: u64,
) -> Result<Option<Manifest>, ProjectionError> {
    let found = snapshots.manifests(cell).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "manifests of snapshots cannot be read: the log is read from its start");
        Vec::new()
    });
    for manifest in found {
        let is_there = manifest.sequence <= head
            && log.running_hash(cell, manifest.sequence).await? == Some(manifest.hash);
        if is_there {
            return Ok(Some(manifest));
        }
        tracing::warn!(cell, sequence = manifest.sequence, "a manifest of snapshots is not of this log");
    }
    Ok(None)
}

/// Puts the newest snapshot that verifies in the place of the tenant's file: the position of it.
async fn newest(
    store: &DclStore,
    snapshots: &Snapshots,
    log: &dyn EventLog,
    head: u64,
    tenant: TenantId,
    keys: Vec<Key>,
) -> Result<Option<u64>, ProjectionError> {
    let had_file = store.file(tenant).exists();
    for key in keys {
        match restore(store, snapshots, log, head, tenant, &key).await {
            Ok(()) => return Ok(Some(key.sequence)),
            // Its own was taken away and nothing came: the next start finds it missing.
            Err(error) if had_file && !store.file(tenant).exists() => return Err(error),
            Err(error) => {
                tracing::warn!(%tenant, sequence = key.sequence, %error, "a snapshot of the unified views is left out");
            }
        }
    }
    Ok(None)
}

async fn restore(
    store: &DclStore,
    snapshots: &Snapshots,
    log: &dyn EventLog,
    head: u64,
    tenant: TenantId,
    key: &Key,
) -> Result<(), ProjectionError> {
    let refused = |reason: &str| Err(ProjectionError::Snapshot(reason.to_owned()));
    if key.sequence > head {
        return refused("it is ahead of the log, which was rolled back");
    }
    let filter = Filter { tenant: Some(tenant), aggregate_types: Control.aggregate_types() };
    let limit = ReadLimit { commits: 1, bytes: 1 };
    let page = log.read(log.cell_of(tenant), key.sequence - 1, &filter, limit).await?;
    let last = page.commits.first().filter(|commit| commit.position.sequence == key.sequence);
    let Some(last) = last else {
        // The tenant was purged, or the log was rolled back and went on: it is of no use any more.
        snapshots.remove(key).await?;
        return refused("the log does not have its last commit any more: the snapshot is removed");
    };
    let file = snapshots.fetch(key).await?;
    let said =
        Facts { version: Some(PROJECTOR_VERSION), sequence: key.sequence, running_hash: last.running_hash };
    let (dcl, generation) = (Arc::clone(&store.dcl), store.generation);
    let placed = blocking(move || {
        if Facts::of(file.path())? != said {
            return Err(ProjectionError::Snapshot(
                "it is not of this log, or not of its position".to_owned(),
            ));
        }
        dcl.place(tenant, generation, file.path())
    });
    if placed.await? { Ok(()) } else { refused("the tenant's own views are open") }
}

/// Moves the checkpoint to what was taken over.
async fn write(
    store: &DclStore,
    cell: u16,
    from: &CellCheckpoint,
    to: &CellCheckpoint,
    restored: &[(TenantId, u64)],
) -> Result<(), ProjectionError> {
    let mut guard = store.control.lock().await;
    let connection = guard.as_mut().ok_or(ProjectionError::Stopped)?;
    let mut transaction = connection.begin().await?;
    checkpoint_swap(&mut Session::Sqlite(&mut transaction), DCL, cell, from, to).await?;
    for (tenant, sequence) in restored {
        file_add(&mut transaction, *tenant, cell).await?;
        position_set(&mut transaction, *tenant, *sequence).await?;
    }
    transaction.commit().await?;
    Ok(())
}
