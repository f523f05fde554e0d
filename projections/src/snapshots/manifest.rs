//! What a cell's checkpoint was when snapshots were taken: with it the next owner reads the log from
//! there, and not from its start to learn that nothing is new.

use super::{Snapshots, Subject, blocking, failed};
use crate::error::ProjectionError;
use autonomos_domain::{envelope::Hash, ids::TenantId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A cell at a sequence: every tenant that has views there is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) sequence: u64,
    /// The running hash of the cell at `sequence`.
    pub(crate) hash: Hash,
    /// The last commit in each tenant's views: a snapshot that has it has everything up to
    /// `sequence`. None: the tenant stood behind it.
    pub(crate) tenants: BTreeMap<TenantId, Option<u64>>,
}

impl Snapshots {
    pub(crate) async fn manifest_put(&self, cell: u16, manifest: &Manifest) -> Result<(), ProjectionError> {
        let file = self.temporary();
        let text = serde_json::to_vec(manifest).map_err(|error| unreadable(&error))?;
        tokio::fs::write(file.path(), text).await.map_err(|error| failed(file.path(), &error))?;
        self.put(Subject::Cell(cell), manifest.sequence, file.path()).await.map(drop)
    }

    /// The manifests of a cell that verify, newest first.
    pub(crate) async fn manifests(&self, cell: u16) -> Result<Vec<Manifest>, ProjectionError> {
        let mut found = Vec::new();
        for key in self.of(Subject::Cell(cell)).await? {
            match self.manifest(&key).await {
                Ok(manifest) if manifest.sequence == key.sequence => found.push(manifest),
                Ok(_) => {}
                Err(error) => tracing::warn!(cell, %error, "a manifest of snapshots is left out"),
            }
        }
        Ok(found)
    }

    async fn manifest(&self, key: &super::Key) -> Result<Manifest, ProjectionError> {
        let file = self.fetch(key).await?;
        blocking(move || {
            let text = std::fs::read(file.path()).map_err(|error| failed(file.path(), &error))?;
            serde_json::from_slice(&text).map_err(|error| unreadable(&error))
        })
        .await
    }
}

fn unreadable(error: &serde_json::Error) -> ProjectionError {
    ProjectionError::Snapshot(format!("a manifest of snapshots cannot be read: {error}"))
}
