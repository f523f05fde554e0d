//! How events change the read models. Pure in memory: what a batch touches is loaded before and
//! written after. An event about a row that is not there (its making was erased) changes nothing.

mod llm;
mod runs;
mod schedules;
mod streams;

use super::{
    activity::ActivityInsert,
    documents::Set,
    models::{ConnectionModel, MappingModel, StreamModel, SyncModel},
    rows::{
        ApiKeyRow, ConnectionRow, DriftRow, LlmUsageRow, MappingVersionRow, OntologyRow, RepairRow,
        ScheduleRow, SchemaVersionRow, TaskRow, TenantRow, UploadRow, UserRow,
    },
};
use crate::{
    error::ProjectionError,
    runtime::{Event, Opened, sql::Session},
};
use autonomos_domain::{
    aggregates::{
        api_key::ApiKeyEvent,
        connection::{ConnectionEvent, ConnectionStatus, stand_after},
        feed::FeedEvent,
        mapping::MappingEvent,
        ontology::OntologyEvent,
        stream_schema::StreamSchemaEvent,
        sync::SyncEvent,
        tenant::{AutonomyMode, RepairPolicy, TenantEvent},
        user::UserEvent,
    },
    health::{ConnectionLimits, Health},
    ids::TenantId,
};
use autonomos_log::port::StoredCommit;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Everything a batch touches.
#[derive(Default)]
pub(crate) struct Work {
    tenants: Set<TenantRow>,
    users: Set<UserRow>,
    api_keys: Set<ApiKeyRow>,
    uploads: Set<UploadRow>,
    ontologies: Set<OntologyRow>,
    connections: Set<ConnectionModel>,
    streams: Set<StreamModel>,
    syncs: Set<SyncModel>,
    schema_versions: Set<SchemaVersionRow>,
    drifts: Set<DriftRow>,
    mappings: Set<MappingModel>,
    mapping_versions: Set<MappingVersionRow>,
    repairs: Set<RepairRow>,
    tasks: Set<TaskRow>,
    schedules: Set<ScheduleRow>,
    llm_usage: Set<LlmUsageRow>,
    activity: Vec<ActivityInsert>,
}

/// One event's surroundings.
struct Scene<'a> {
    tenant: TenantId,
    id: Uuid,
    at: DateTime<Utc>,
    /// Order of making: position and event index.
    order: i64,
    version: u64,
    index: usize,
    commit: &'a StoredCommit,
}

impl Work {
    pub(crate) async fn apply(session: &mut Session<'_>, commits: &[Opened]) -> Result<(), ProjectionError> {
        let mut work = Self::default();
        for opened in commits {
            work.want(opened);
        }
        work.load(session).await?;
        for opened in commits {
            let commit = &opened.commit;
            for (index, event) in opened.events.iter().enumerate() {
                let scene = Scene {
                    tenant: opened.tenant(),
                    id: commit.header.key.aggregate_id,
                    at: commit.header.recorded_at,
                    order: ((commit.position.sequence << 12) | (index as u64).min(0xfff)) as i64,
                    version: commit.header.first_version + index as u64,
                    index,
                    commit,
                };
                work.activity.push(ActivityInsert::of(commit, index, event)?);
                work.event(&scene, event);
            }
        }
        work.flush(session).await
    }

    /// Names the rows the events will look at. A new aggregate has none yet.
    fn want(&mut self, opened: &Opened) {
        let tenant = opened.tenant();
        let id = opened.commit.header.key.aggregate_id;
        let known = opened.commit.header.first_version > 1;
        let at = opened.commit.header.recorded_at;
        for event in &opened.events {
            match event {
                Event::Tenant(event) => {
                    self.tenants.want(tenant, id);
                    if let TenantEvent::UploadRemoved { upload_id } = event {
                        self.uploads.want(tenant, upload_id);
                    }
                }
                Event::User(_) if known => self.users.want(tenant, id),
                Event::ApiKey(_) if known => self.api_keys.want(tenant, id),
                Event::Connection(_) if known => self.connections.want(tenant, id),
                Event::Task(_) if known => self.tasks.want(tenant, id),
                Event::Schedule(_) if known => self.schedules.want(tenant, id),
                Event::Sync(event) => {
                    if known {
                        self.syncs.want(tenant, id);
                    }
                    // Its end, which may be among these commits, changes its connection.
                    if let SyncEvent::SyncRequested { connection_id, .. } = event {
                        self.connections.want(tenant, connection_id);
                    }
                }
                Event::Ontology(_) => self.ontologies.want(tenant, tenant),
                Event::Feed(event) => {
                    self.streams.want(tenant, id);
                    if let FeedEvent::RecordsIngested { batch, .. } = event {
                        self.syncs.want(tenant, batch.sync_id);
                    }
                }
                Event::StreamSchema(event) => {
                    self.streams.want(tenant, id);
                    match event {
                        StreamSchemaEvent::DriftRecurred { drift_id, .. }
                        | StreamSchemaEvent::DriftResolved { drift_id, .. } => {
                            self.drifts.want(tenant, drift_id);
                        }
                        _ => {}
                    }
                }
                Event::LlmAccount(event) => {
                    if let Some(settled) = llm::settled_id(event, at) {
                        self.llm_usage.want(tenant, settled);
                    }
                }
                Event::Mapping(event) => {
                    self.streams.want(tenant, id);
                    self.mappings.want(tenant, id);
                    if let Some(saved) = llm::saved_id(event, at) {
                        self.llm_usage.want(tenant, saved);
                    }
                    match event {
                        MappingEvent::RepairNarrowed { repair_id, .. }
                        | MappingEvent::RepairApproved { repair_id, .. }
                        | MappingEvent::RepairRejected { repair_id, .. }
                        | MappingEvent::RepairRolledBack { repair_id, .. }
                        | MappingEvent::RepairExpired { repair_id }
                        | MappingEvent::MappingRevised { repair_id: Some(repair_id), .. } => {
                            self.repairs.want(tenant, repair_id);
                        }
                        // A roll-back binds a version that was made long before.
                        MappingEvent::MappingBound { binding } => {
                            let version = streams::version_id(id, binding.mapping_version);
                            self.mapping_versions.want(tenant, version);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }

    async fn load(&mut self, session: &mut Session<'_>) -> Result<(), ProjectionError> {
        self.tenants.load(session).await?;
        self.users.load(session).await?;
        self.api_keys.load(session).await?;
        self.uploads.load(session).await?;
        self.ontologies.load(session).await?;
        self.connections.load(session).await?;
        self.streams.load(session).await?;
        self.syncs.load(session).await?;
        self.drifts.load(session).await?;
        self.mappings.load(session).await?;
        self.mapping_versions.load(session).await?;
        self.repairs.load(session).await?;
        self.tasks.load(session).await?;
        self.schedules.load(session).await?;
        self.llm_usage.load(session).await?;
        // A run's end changes its connection.
        let of_syncs: Vec<_> =
            self.syncs.present().map(|(tenant, model)| (tenant, model.row.connection_id)).collect();
        for (tenant, connection_id) in of_syncs {
            self.connections.want(tenant, connection_id);
        }
        self.connections.load(session).await
    }

    async fn flush(mut self, session: &mut Session<'_>) -> Result<(), ProjectionError> {
        self.tenants.flush(session).await?;
        self.users.flush(session).await?;
        self.api_keys.flush(session).await?;
        self.uploads.flush(session).await?;
        self.ontologies.flush(session).await?;
        self.connections.flush(session).await?;
        self.streams.flush(session).await?;
        self.syncs.flush(session).await?;
        self.schema_versions.flush(session).await?;
        self.drifts.flush(session).await?;
        self.mappings.flush(session).await?;
        self.mapping_versions.flush(session).await?;
        self.repairs.flush(session).await?;
        self.tasks.flush(session).await?;
        self.schedules.flush(session).await?;
        self.llm_usage.flush(session).await?;
        ActivityInsert::flush(self.activity, session).await
    }

    fn event(&mut self, scene: &Scene<'_>, event: &Event) {
        match event {
            Event::Tenant(event) => self.tenant(scene, event),
            Event::User(event) => self.user(scene, event),
            Event::ApiKey(event) => self.api_key(scene, event),
            Event::Connection(event) => self.connection(scene, event),
            Event::Feed(event) => self.feed(scene, event),
            Event::Sync(event) => self.sync(scene, event),
            Event::StreamSchema(event) => self.stream_schema(scene, event),
            Event::Mapping(event) => {
                self.saved_by_retrieval(scene, event);
                self.mapping(scene, event);
            }
            Event::LlmAccount(event) => self.llm_account(scene, event),
            Event::Ontology(OntologyEvent::OntologyRevised { ontology }) => {
                let row = OntologyRow { ontology: ontology.clone(), revised_at: scene.at };
                self.ontologies.put(scene.tenant, scene.tenant, scene.order, row);
            }
            Event::Task(event) => self.task(scene, event),
            Event::Schedule(event) => self.schedule(scene, event),
            Event::Identity(_) | Event::UnifiedView(_) | Event::Erased | Event::Unknown => {}
        }
    }

    fn tenant(&mut self, scene: &Scene<'_>, event: &TenantEvent) {
        if let TenantEvent::TenantRegistered { name, cell, owner } = event {
            let row = TenantRow {
                id: scene.id,
                name: name.clone(),
                cell: *cell,
                owner_id: owner.0,
                autonomy_mode: AutonomyMode::default(),
                repair_policy: RepairPolicy::default(),
                upload_quota_bytes: None,
                uploaded_bytes: 0,
                created_at: scene.at,
            };
            self.tenants.put(scene.tenant, scene.id, scene.order, row);
            return;
        }
        let removed = match event {
            TenantEvent::UploadRemoved { upload_id } => {
                self.uploads.get(scene.tenant, upload_id).map_or(0, |upload| upload.bytes)
            }
            _ => 0,
        };
        let Some(row) = self.tenants.change(scene.tenant, scene.id) else { return };
        match event {
            TenantEvent::TenantRenamed { name } => row.name.clone_from(name),
            TenantEvent::AutonomyModeSet { mode } => row.autonomy_mode = *mode,
            TenantEvent::RepairPolicySet { policy } => row.repair_policy = *policy,
            TenantEvent::UploadQuotaSet { bytes } => row.upload_quota_bytes = Some(*bytes),
            TenantEvent::UploadStored { upload } => {
                row.uploaded_bytes += upload.bytes;
                let stored = UploadRow {
                    id: upload.id.0,
                    file_name: upload.file_name.clone(),
                    bytes: upload.bytes,
                    content_hash: upload.content_hash.clone(),
                    uploaded_at: upload.uploaded_at,
                };
                self.uploads.put(scene.tenant, upload.id, scene.order, stored);
            }
            TenantEvent::UploadRemoved { upload_id } => {
                row.uploaded_bytes = row.uploaded_bytes.saturating_sub(removed);
                self.uploads.remove(scene.tenant, upload_id);
            }
            // Owners are users with that role.
            _ => {}
        }
    }

    fn user(&mut self, scene: &Scene<'_>, event: &UserEvent) {
        match event {
            UserEvent::UserRegistered { email, role, .. } => {
                let row = UserRow {
                    id: scene.id,
                    email: email.clone(),
                    role: *role,
                    created_at: scene.at,
                    last_login_at: None,
                };
                self.users.put(scene.tenant, scene.id, scene.order, row);
            }
            UserEvent::UserRoleChanged { role } => {
                if let Some(row) = self.users.change(scene.tenant, scene.id) {
                    row.role = *role;
                }
            }
            UserEvent::SessionStarted { .. } => {
                if let Some(row) = self.users.change(scene.tenant, scene.id) {
                    row.last_login_at = Some(scene.at);
                }
            }
            UserEvent::UserRemoved {} => self.users.remove(scene.tenant, scene.id),
            // Passwords and tokens are nobody's to read.
            _ => {}
        }
    }

    fn api_key(&mut self, scene: &Scene<'_>, event: &ApiKeyEvent) {
        match event {
            ApiKeyEvent::ApiKeyCreated { name, prefix, role, created_by, expires_at, .. } => {
                let row = ApiKeyRow {
                    id: scene.id,
                    name: name.clone(),
                    prefix: prefix.clone(),
                    role: *role,
                    created_by: created_by.0,
                    created_at: scene.at,
                    expires_at: *expires_at,
                    revoked_at: None,
                };
                self.api_keys.put(scene.tenant, scene.id, scene.order, row);
            }
            ApiKeyEvent::ApiKeyRevoked {} => {
                if let Some(row) = self.api_keys.change(scene.tenant, scene.id) {
                    row.revoked_at = Some(scene.at);
                }
            }
        }
    }

    fn connection(&mut self, scene: &Scene<'_>, event: &ConnectionEvent) {
        // The configuration stays as the log has it: sealed. It is opened for the one who may see it.
        let sealed = || hex::encode(&scene.commit.events[scene.index].payload);
        let key_id = scene.commit.header.key_id;
        if let ConnectionEvent::ConnectionCreated { name, connector, .. } = event {
            let row = ConnectionRow {
                id: scene.id,
                name: name.clone(),
                connector: connector.clone(),
                config: super::rows::SealedConfig::default(),
                status: ConnectionStatus::Draft,
                message: None,
                created_at: scene.at,
                updated_at: scene.at,
                last_tested_at: None,
                last_synced_at: None,
                health: Health::default(),
                limits: ConnectionLimits::default(),
            };
            let model = ConnectionModel {
                row,
                key_id,
                version: scene.version,
                payload: sealed(),
                discovered: Vec::new(),
                selected: Vec::new(),
            };
            self.connections.put(scene.tenant, scene.id, scene.order, model);
            return;
        }
        if matches!(event, ConnectionEvent::ConnectionDeleted {}) {
            self.connections.remove(scene.tenant, scene.id);
            return;
        }
        let Some(model) = self.connections.change(scene.tenant, scene.id) else { return };
        stand_after(&mut model.row.status, &mut model.row.health, event);
        match event {
            ConnectionEvent::ConnectionUpdated { name, .. } => {
                model.row.name.clone_from(name);
                model.row.updated_at = scene.at;
                model.key_id = key_id;
                model.version = scene.version;
                model.payload = sealed();
            }
            ConnectionEvent::LimitsSet { limits } => {
                model.row.limits = *limits;
                model.row.updated_at = scene.at;
            }
            ConnectionEvent::ConnectionTested { message, .. } => {
                model.row.message = Some(message.clone());
                model.row.last_tested_at = Some(scene.at);
            }
            ConnectionEvent::StreamsDiscovered { streams } => model.discovered.clone_from(streams),
            ConnectionEvent::StreamsSelected { streams } => {
                model.selected.clone_from(streams);
                model.row.updated_at = scene.at;
            }
            _ => {}
        }
    }
}
