//! Connects tenants to sources: which folders the file connector may read for whom, and where
//! uploads lie.

use crate::config::Config;
use autonomos_commands::{auth::AuthService, connections::ConnectorFactory, uploads::UploadService};
use autonomos_connectors::{
    error::ConnectorError,
    file::{FileScope, UploadedFile},
    network::NetworkScope,
    port::{Connector, ConnectorInfo},
    registry::{ConnectScope, Registry},
    requests::Requests,
};
use autonomos_domain::ids::{ConnectionId, TenantId, UploadId};
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};
use tokio::runtime::{Handle, RuntimeFlavor};

/// The roots a tenant's file connections may read.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileRoots {
    roots: Vec<String>,
    /// Whom roots without `{tenant}` serve; set once, when the first organisation registers.
    owner: Arc<OnceLock<TenantId>>,
}

impl FileRoots {
    pub(crate) fn new(config: &Config, owner: Option<TenantId>) -> Self {
        let list = config.file_roots.as_deref().unwrap_or_default();
        let roots = list.split(':').filter(|root| !root.is_empty()).map(str::to_owned).collect();
        let cell = OnceLock::new();
        if let Some(owner) = config.file_roots_tenant.map(TenantId).or(owner) {
            let _ = cell.set(owner);
        }
        Self { roots, owner: Arc::new(cell) }
    }

    /// The first organisation of the installation owns the plain roots.
    pub(crate) fn claim(&self, tenant: TenantId) {
        let _ = self.owner.set(tenant);
    }

    /// Whether there are plain roots and nobody is known yet whom they serve.
    fn is_unclaimed(&self) -> bool {
        self.owner.get().is_none() && self.roots.iter().any(|root| !root.contains("{tenant}"))
    }

    /// The folders a tenant may read; anyone may register, so most get none and upload instead.
    pub(crate) fn of(&self, tenant: TenantId) -> Vec<PathBuf> {
        let own = |root: &String| {
            if root.contains("{tenant}") {
                return Some(PathBuf::from(root.replace("{tenant}", &tenant.to_string())));
            }
            (self.owner.get() == Some(&tenant)).then(|| PathBuf::from(root))
        };
        self.roots.iter().filter_map(own).collect()
    }
}

/// Makes connectors for tenants.
pub(crate) struct Connectors {
    pub roots: FileRoots,
    uploads: UploadService,
    auth: AuthService,
    network: NetworkScope,
    registry: Registry,
}

impl Connectors {
    pub(crate) fn new(
        roots: FileRoots,
        network: NetworkScope,
        uploads: UploadService,
        auth: AuthService,
    ) -> Self {
        Self { roots, uploads, auth, network, registry: Registry::new() }
    }

    fn scope(&self, tenant: TenantId, connection: ConnectionId, requests: &Requests) -> ConnectScope {
        // The first organisation may have registered on another node.
        if self.roots.is_unclaimed()
            && let Ok(Some(first)) = waited(self.auth.first_organization())
        {
            self.roots.claim(first);
        }
        let uploads = self.uploads.clone();
        let resolve = move |id: uuid::Uuid| {
            // Connectors resolve on blocking threads or while a command waits for the answer; the
            // tenant's uploads are in its own aggregate, which is hot unless another node changed it.
            let found = waited(uploads.upload_find(tenant, UploadId(id))).ok()?;
            Some(UploadedFile { path: found.path, file_name: found.upload.file_name })
        };
        ConnectScope {
            connection: Some(connection),
            file: FileScope { roots: self.roots.of(tenant), uploads: Some(Arc::new(resolve)) },
            network: self.network,
            requests: requests.clone(),
        }
    }
}

/// Waits where nothing can be awaited. A worker of the runtime hands over what it has to do first.
fn waited<T>(future: impl Future<Output = T>) -> T {
    match Handle::try_current() {
        Ok(current) if current.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(|| current.block_on(future))
        }
        _ => futures::executor::block_on(future),
    }
}

impl ConnectorFactory for Connectors {
    fn connect(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        connector: &str,
        config: &Value,
        requests: &Requests,
    ) -> Result<Arc<dyn Connector>, ConnectorError> {
        self.registry.connect(connector, config, &self.scope(tenant, connection, requests))
    }

    fn catalogue(&self) -> Vec<ConnectorInfo> {
        self.registry.catalogue()
    }
}
