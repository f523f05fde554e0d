//! How events change the read models. Pure in memory: what a batch touches is loaded before and
//! written after. An event about a row that is not there (its making was erased) changes nothing.

use super::{
    activity::ActivityInsert,
    documents::Set,
    models::{ConnectionModel, MappingModel, StreamModel, SyncModel},
    rows::{
        ApiKeyRow, ConnectionRow, DriftRow, Failure, MappingRow, MappingVersionRow, OntologyRow, RepairRow,
        SchemaVersionRow, SyncRow, SyncStatus, SyncStreamRow, TaskProgress, TaskRow, TenantRow, UploadRow,
        UserRow,
    },
};
use crate::{
    error::ProjectionError,
    runtime::{Event, Opened},
};
use autonomos_domain::{
    aggregates::{
        api_key::ApiKeyEvent,
        connection::{ConnectionEvent, ConnectionStatus},
        feed::FeedEvent,
        mapping::{MappingEvent, RepairStatus},
        ontology::OntologyEvent,
        stream_schema::{DriftStatus, StreamSchemaEvent},
        sync::{StreamProgress, SyncEvent},
        task::{TaskEvent, TaskStatus},
        tenant::TenantEvent,
        user::UserEvent,
    },
    ids::{ConnectionId, FeedId, TenantId},
    mapping::Evidence,
};
use autonomos_log::port::StoredCommit;
use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;
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
    pub(crate) async fn apply(
        connection: &mut SqliteConnection,
        commits: &[Opened],
    ) -> Result<(), ProjectionError> {
        let mut work = Self::default();
        for opened in commits {
            work.want(opened);
        }
        work.load(connection).await?;
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
        work.flush(connection).await
    }

    /// Names the rows the events will look at. A new aggregate has none yet.
    fn want(&mut self, opened: &Opened) {
        let tenant = opened.tenant();
        let id = opened.commit.header.key.aggregate_id;
        let known = opened.commit.header.first_version > 1;
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
                Event::Sync(_) if known => self.syncs.want(tenant, id),
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
                            self.drifts.want(tenant, drift_id)
                        }
                        _ => {}
                    }
                }
                Event::Mapping(event) => {
                    self.streams.want(tenant, id);
                    self.mappings.want(tenant, id);
                    match event {
                        MappingEvent::RepairApproved { repair_id, .. }
                        | MappingEvent::RepairRejected { repair_id, .. }
                        | MappingEvent::RepairRolledBack { repair_id, .. }
                        | MappingEvent::RepairExpired { repair_id }
                        | MappingEvent::MappingRevised { repair_id: Some(repair_id), .. } => {
                            self.repairs.want(tenant, repair_id);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }

    async fn load(&mut self, connection: &mut SqliteConnection) -> Result<(), ProjectionError> {
        self.tenants.load(connection).await?;
        self.users.load(connection).await?;
        self.api_keys.load(connection).await?;
        self.uploads.load(connection).await?;
        self.ontologies.load(connection).await?;
        self.connections.load(connection).await?;
        self.streams.load(connection).await?;
        self.syncs.load(connection).await?;
        self.drifts.load(connection).await?;
        self.mappings.load(connection).await?;
        self.repairs.load(connection).await?;
        self.tasks.load(connection).await?;
        // A run's end changes its connection.
        let of_syncs: Vec<_> =
            self.syncs.present().map(|(tenant, model)| (tenant, model.row.connection_id)).collect();
        for (tenant, connection_id) in of_syncs {
            self.connections.want(tenant, connection_id);
        }
        self.connections.load(connection).await
    }

    async fn flush(mut self, connection: &mut SqliteConnection) -> Result<(), ProjectionError> {
        self.tenants.flush(connection).await?;
        self.users.flush(connection).await?;
        self.api_keys.flush(connection).await?;
        self.uploads.flush(connection).await?;
        self.ontologies.flush(connection).await?;
        self.connections.flush(connection).await?;
        self.streams.flush(connection).await?;
        self.syncs.flush(connection).await?;
        self.schema_versions.flush(connection).await?;
        self.drifts.flush(connection).await?;
        self.mappings.flush(connection).await?;
        self.mapping_versions.flush(connection).await?;
        self.repairs.flush(connection).await?;
        self.tasks.flush(connection).await?;
        ActivityInsert::flush(&self.activity, connection).await
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
            Event::Mapping(event) => self.mapping(scene, event),
            Event::Ontology(OntologyEvent::OntologyRevised { ontology }) => {
                let row = OntologyRow { ontology: ontology.clone(), revised_at: scene.at };
                self.ontologies.put(scene.tenant, scene.tenant, scene.order, row);
            }
            Event::Task(event) => self.task(scene, event),
            Event::Identity(_) | Event::Erased | Event::Unknown => {}
        }
    }

    fn tenant(&mut self, scene: &Scene<'_>, event: &TenantEvent) {
        if let TenantEvent::TenantRegistered { name, cell, owner } = event {
            let row = TenantRow {
                id: scene.id,
                name: name.clone(),
                cell: *cell,
                owner_id: owner.0,
                autonomy_mode: autonomos_domain::aggregates::tenant::AutonomyMode::default(),
                repair_policy: autonomos_domain::aggregates::tenant::RepairPolicy::default(),
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
        match event {
            ConnectionEvent::ConnectionUpdated { name, .. } => {
                model.row.name.clone_from(name);
                model.row.updated_at = scene.at;
                model.key_id = key_id;
                model.version = scene.version;
                model.payload = sealed();
            }
            ConnectionEvent::ConnectionTested { ok, message, .. } => {
                model.row.status = if *ok { ConnectionStatus::Healthy } else { ConnectionStatus::Failing };
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

    fn stream_of(&mut self, scene: &Scene<'_>, connection: ConnectionId, stream: &str) -> &mut StreamModel {
        if self.streams.get(scene.tenant, scene.id).is_none() {
            let model = StreamModel {
                connection_id: connection.0,
                stream: stream.to_owned(),
                schema_version: None,
                mapping_version: None,
                entity: None,
                batches: 0,
                rows: 0,
                bytes: 0,
                cursor: None,
                last_batch_at: None,
                closed: false,
            };
            self.streams.put(scene.tenant, scene.id, scene.order, model);
        }
        self.streams.change(scene.tenant, scene.id).expect("it was put above")
    }

    fn feed(&mut self, scene: &Scene<'_>, event: &FeedEvent) {
        let state = event.state();
        let model = self.stream_of(scene, state.connection_id, &state.stream);
        model.batches = state.batches;
        model.rows = state.rows;
        model.bytes = state.bytes;
        model.cursor.clone_from(&state.cursor);
        model.closed = matches!(event, FeedEvent::FeedClosed { .. });
        let FeedEvent::RecordsIngested { batch, .. } = event else { return };
        model.last_batch_at = Some(scene.at);
        let Some(sync) = self.syncs.change(scene.tenant, batch.sync_id) else { return };
        let sequence = scene.commit.position.sequence;
        let range = sync.sequences.entry(state.stream.clone()).or_insert((sequence, sequence));
        range.1 = sequence;
        if let Some(row) = sync.row.streams.iter_mut().find(|row| row.name == state.stream) {
            row.cursor.clone_from(&state.cursor);
        }
    }

    fn sync(&mut self, scene: &Scene<'_>, event: &SyncEvent) {
        if let SyncEvent::SyncRequested { connection_id, task_id } = event {
            let row = SyncRow {
                id: scene.id,
                connection_id: connection_id.0,
                task_id: task_id.0,
                status: SyncStatus::Queued,
                attempt: 0,
                streams: Vec::new(),
                requested_at: scene.at,
                started_at: None,
                finished_at: None,
                error: None,
            };
            let model = SyncModel { row, sequences: std::collections::BTreeMap::new() };
            self.syncs.put(scene.tenant, scene.id, scene.order, model);
            return;
        }
        let Some(SyncModel { row, .. }) = self.syncs.change(scene.tenant, scene.id) else { return };
        let connection_id = row.connection_id;
        let outcome = match event {
            SyncEvent::SyncRequested { .. } => None,
            SyncEvent::SyncStarted { attempt, streams } => {
                row.status = SyncStatus::Running;
                row.attempt = *attempt;
                row.started_at = row.started_at.or(Some(scene.at));
                row.streams = streams.iter().map(|stream| sync_stream(connection_id, stream)).collect();
                None
            }
            SyncEvent::StreamSyncStarted { stream } => {
                stream_row(row, stream).status = SyncStatus::Running;
                None
            }
            SyncEvent::StreamSyncProgressed { stream, progress, total_rows } => {
                let stream = stream_row(row, stream);
                stream_progress(stream, progress);
                stream.total_rows = *total_rows;
                None
            }
            SyncEvent::StreamSyncCompleted { stream, progress } => {
                let stream = stream_row(row, stream);
                stream_progress(stream, progress);
                stream.status = SyncStatus::Succeeded;
                None
            }
            SyncEvent::StreamSyncFailed { stream, code, message } => {
                let stream = stream_row(row, stream);
                stream.status = SyncStatus::Failed;
                stream.error = Some(Failure { code: code.clone(), message: message.clone() });
                None
            }
            SyncEvent::SyncSucceeded {} => {
                row.status = SyncStatus::Succeeded;
                row.finished_at = Some(scene.at);
                Some((ConnectionStatus::Healthy, None))
            }
            SyncEvent::SyncFailed { code, message } => {
                row.status = SyncStatus::Failed;
                row.finished_at = Some(scene.at);
                row.error = Some(Failure { code: code.clone(), message: message.clone() });
                Some((ConnectionStatus::Failing, Some(message.clone())))
            }
            SyncEvent::SyncCancelled {} => {
                row.status = SyncStatus::Cancelled;
                row.finished_at = Some(scene.at);
                for stream in &mut row.streams {
                    if matches!(stream.status, SyncStatus::Queued | SyncStatus::Running) {
                        stream.status = SyncStatus::Cancelled;
                    }
                }
                None
            }
        };
        if let Some((status, message)) = outcome
            && let Some(model) = self.connections.change(scene.tenant, connection_id)
        {
            model.row.status = status;
            model.row.message = message;
            model.row.last_synced_at = Some(scene.at);
        }
    }

    fn stream_schema(&mut self, scene: &Scene<'_>, event: &StreamSchemaEvent) {
        match event {
            StreamSchemaEvent::SchemaVersionRecorded {
                connection_id,
                stream,
                version,
                fingerprint,
                shape,
            } => {
                self.stream_of(scene, *connection_id, stream).schema_version = Some(*version);
                let row = SchemaVersionRow {
                    connection_id: connection_id.0,
                    stream: stream.clone(),
                    version: *version,
                    fingerprint: fingerprint.clone(),
                    fields: shape.fields.clone(),
                    primary_key: shape.primary_key.clone(),
                    first_seen_at: scene.at,
                };
                self.schema_versions.put(scene.tenant, format!("{}/{version}", scene.id), scene.order, row);
            }
            StreamSchemaEvent::DriftDetected { finding, from_version, to_version } => {
                let Some(stream) = self.streams.get(scene.tenant, scene.id) else { return };
                let row = DriftRow {
                    id: finding.id.0,
                    connection_id: stream.connection_id,
                    stream: stream.stream.clone(),
                    kind: finding.kind,
                    field: finding.field.clone(),
                    before: finding.before.clone(),
                    after: finding.after.clone(),
                    severity: finding.severity,
                    confidence: finding.confidence,
                    evidence: finding.evidence.clone(),
                    status: DriftStatus::Open,
                    occurrences: 1,
                    from_version: *from_version,
                    to_version: *to_version,
                    repair: finding.repair.clone(),
                    detected_at: scene.at,
                    resolved_at: None,
                };
                self.drifts.put(scene.tenant, finding.id, scene.order, row);
            }
            StreamSchemaEvent::DriftRecurred { drift_id, occurrences } => {
                if let Some(row) = self.drifts.change(scene.tenant, drift_id) {
                    row.occurrences = *occurrences;
                }
            }
            StreamSchemaEvent::DriftResolved { drift_id, status } => {
                if let Some(row) = self.drifts.change(scene.tenant, drift_id) {
                    row.status = *status;
                    row.resolved_at = Some(scene.at);
                }
            }
            _ => {}
        }
    }

    fn mapping(&mut self, scene: &Scene<'_>, event: &MappingEvent) {
        match event {
            MappingEvent::MappingCreated { connection_id, stream, version, content, origin } => {
                let model = self.stream_of(scene, *connection_id, stream);
                model.mapping_version = Some(*version);
                model.entity.clone_from(&content.entity);
                let row = MappingRow {
                    id: scene.id,
                    connection_id: connection_id.0,
                    stream: stream.clone(),
                    entity: content.entity.clone(),
                    version: *version,
                    key: content.key.clone(),
                    fields: content.fields.clone(),
                    origin: *origin,
                    bindings: Vec::new(),
                    created_at: scene.at,
                    updated_at: scene.at,
                };
                let model = MappingModel { row, content: content.clone() };
                self.mappings.put(scene.tenant, scene.id, scene.order, model);
                self.mapping_version(scene, *version, content, *origin);
            }
            MappingEvent::MappingRevised { version, content, origin, repair_id, .. } => {
                if let Some(model) = self.streams.change(scene.tenant, scene.id) {
                    model.mapping_version = Some(*version);
                    model.entity.clone_from(&content.entity);
                }
                if let Some(model) = self.mappings.change(scene.tenant, scene.id) {
                    model.row.entity.clone_from(&content.entity);
                    model.row.version = *version;
                    model.row.key.clone_from(&content.key);
                    model.row.fields.clone_from(&content.fields);
                    model.row.origin = *origin;
                    model.row.updated_at = scene.at;
                    model.content = content.clone();
                }
                self.mapping_version(scene, *version, content, *origin);
                if let Some(id) = repair_id
                    && let Some(row) = self.repairs.change(scene.tenant, id)
                    && !matches!(row.status, RepairStatus::RolledBack)
                {
                    row.after = content.clone();
                }
            }
            MappingEvent::MappingBound { binding } => {
                if let Some(model) = self.mappings.change(scene.tenant, scene.id) {
                    let bindings = &mut model.row.bindings;
                    bindings.retain(|other| other.schema_version != binding.schema_version);
                    bindings.push(binding.clone());
                    bindings.sort_by_key(|binding| binding.schema_version);
                }
            }
            MappingEvent::RepairProposed {
                repair_id,
                schema_version,
                changes,
                proposed,
                confidence,
                status,
                targets,
                key,
            } => {
                let Some(stream) = self.streams.get(scene.tenant, scene.id) else { return };
                let evidence: Vec<Evidence> =
                    changes.iter().flat_map(|change| change.evidence.iter().cloned()).collect();
                let mut drift_ids: Vec<_> = changes.iter().map(|change| change.drift_id.0).collect();
                drift_ids.dedup();
                let row = RepairRow {
                    id: repair_id.0,
                    mapping_id: scene.id,
                    connection_id: stream.connection_id,
                    stream: stream.stream.clone(),
                    entity: proposed.entity.clone(),
                    drift_id: drift_ids.first().copied(),
                    drift_ids,
                    schema_version: *schema_version,
                    proposal: changes.clone(),
                    targets: targets.clone(),
                    key_touched: *key,
                    confidence: *confidence,
                    evidence,
                    status: *status,
                    edited: false,
                    before: self.mappings.get(scene.tenant, scene.id).map(|model| model.content.clone()),
                    after: proposed.clone(),
                    proposed_at: scene.at,
                    decided_at: matches!(status, RepairStatus::AutoApplied).then_some(scene.at),
                    decided_by: None,
                };
                self.repairs.put(scene.tenant, repair_id, scene.order, row);
            }
            MappingEvent::RepairApproved { repair_id, by, edited } => {
                self.repair_decided(scene, repair_id.0, RepairStatus::Approved, Some(by.0));
                if let Some(row) = self.repairs.change(scene.tenant, repair_id) {
                    row.edited = *edited;
                }
            }
            MappingEvent::RepairRejected { repair_id, by } => {
                self.repair_decided(scene, repair_id.0, RepairStatus::Rejected, Some(by.0));
            }
            MappingEvent::RepairRolledBack { repair_id, by } => {
                self.repair_decided(scene, repair_id.0, RepairStatus::RolledBack, Some(by.0));
            }
            MappingEvent::RepairExpired { repair_id } => {
                self.repair_decided(scene, repair_id.0, RepairStatus::Expired, None);
            }
        }
    }

    fn mapping_version(
        &mut self,
        scene: &Scene<'_>,
        version: u32,
        content: &autonomos_domain::mapping::MappingContent,
        origin: autonomos_domain::mapping::MappingOrigin,
    ) {
        let row = MappingVersionRow {
            id: scene.id,
            version,
            content: content.clone(),
            origin,
            created_at: scene.at,
        };
        self.mapping_versions.put(scene.tenant, format!("{}/{version}", scene.id), scene.order, row);
    }

    fn repair_decided(&mut self, scene: &Scene<'_>, repair: Uuid, status: RepairStatus, by: Option<Uuid>) {
        if let Some(row) = self.repairs.change(scene.tenant, repair) {
            row.status = status;
            row.decided_at = Some(scene.at);
            row.decided_by = by;
        }
    }

    fn task(&mut self, scene: &Scene<'_>, event: &TaskEvent) {
        if let TaskEvent::TaskQueued {
            action, payload, max_retries, timeout_seconds, run_at, priority, ..
        } = event
        {
            let row = TaskRow {
                id: scene.id,
                action: action.clone(),
                payload: payload.clone(),
                status: TaskStatus::Queued,
                attempt: 0,
                max_retries: *max_retries,
                timeout_seconds: *timeout_seconds,
                priority: *priority,
                run_at: *run_at,
                progress: None,
                cancel_requested: false,
                result: None,
                error: None,
                worker: None,
                created_at: scene.at,
                started_at: None,
                finished_at: None,
            };
            self.tasks.put(scene.tenant, scene.id, scene.order, row);
            return;
        }
        let Some(row) = self.tasks.change(scene.tenant, scene.id) else { return };
        let failure =
            |code: &String, message: &String| Failure { code: code.clone(), message: message.clone() };
        match event {
            TaskEvent::TaskQueued { .. } => {}
            TaskEvent::TaskStarted { attempt, worker } => {
                row.status = TaskStatus::Running;
                row.attempt = *attempt;
                row.worker = Some(worker.clone());
                row.started_at = Some(scene.at);
                row.run_at = None;
                row.progress = None;
            }
            TaskEvent::TaskProgressed { done, total, note } => {
                row.progress = Some(TaskProgress { done: *done, total: *total, note: note.clone() });
            }
            TaskEvent::TaskRetryScheduled { at, code, message, .. } => {
                row.status = TaskStatus::Retrying;
                row.run_at = Some(*at);
                row.error = Some(failure(code, message));
                row.cancel_requested = false;
                row.finished_at = None;
            }
            TaskEvent::TaskSucceeded { result } => {
                row.status = TaskStatus::Succeeded;
                row.result = Some(result.clone());
                row.error = None;
                row.finished_at = Some(scene.at);
            }
            TaskEvent::TaskFailed { code, message } => {
                row.status = TaskStatus::Failed;
                row.error = Some(failure(code, message));
                row.finished_at = Some(scene.at);
            }
            TaskEvent::TaskDied { code, message } => {
                row.status = TaskStatus::Dead;
                row.error = Some(failure(code, message));
                row.finished_at = Some(scene.at);
            }
            TaskEvent::TaskCancelRequested {} => row.cancel_requested = true,
            TaskEvent::TaskCancelled {} => {
                row.status = TaskStatus::Cancelled;
                row.finished_at = Some(scene.at);
            }
        }
    }
}

fn sync_stream(connection_id: Uuid, stream: &str) -> SyncStreamRow {
    SyncStreamRow {
        name: stream.to_owned(),
        feed_id: FeedId::of(ConnectionId(connection_id), stream).0,
        status: SyncStatus::Queued,
        rows_read: 0,
        rows_rejected: 0,
        rows_canonical: 0,
        rows_quarantined: 0,
        batches: 0,
        bytes: 0,
        total_rows: None,
        cursor: None,
        error: None,
        sequences: None,
    }
}

/// The stream's line in the run, made if the run did not name it at its start.
fn stream_row<'a>(row: &'a mut SyncRow, stream: &str) -> &'a mut SyncStreamRow {
    let place = match row.streams.iter().position(|other| other.name == stream) {
        Some(place) => place,
        None => {
            row.streams.push(sync_stream(row.connection_id, stream));
            row.streams.len() - 1
        }
    };
    &mut row.streams[place]
}

fn stream_progress(row: &mut SyncStreamRow, progress: &StreamProgress) {
    row.rows_read = progress.rows_read;
    row.rows_rejected = progress.rows_rejected;
    row.batches = progress.batches;
    row.bytes = progress.bytes;
}
