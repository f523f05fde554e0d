//! What a stream's events change: its feed, the versions of its schema and their drift, its mapping
//! and the repairs of it.

use super::{
    super::{
        models::{MappingModel, StreamModel},
        rows::{DriftRow, MappingRow, MappingVersionRow, RepairRow, SchemaVersionRow},
    },
    Scene, Work,
};
use autonomos_domain::{
    aggregates::{
        feed::FeedEvent,
        mapping::{Binding, MappingEvent, RepairStatus},
        stream_schema::{DriftStatus, StreamSchemaEvent},
    },
    drift::RepairChange,
    ids::ConnectionId,
    mapping::{Evidence, MappingContent, MappingOrigin},
};
use uuid::Uuid;

/// The row of one version of a mapping.
pub(super) fn version_id(mapping: Uuid, version: u32) -> String {
    format!("{mapping}/{version}")
}

impl Work {
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

    pub(super) fn feed(&mut self, scene: &Scene<'_>, event: &FeedEvent) {
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

    pub(super) fn stream_schema(&mut self, scene: &Scene<'_>, event: &StreamSchemaEvent) {
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
            StreamSchemaEvent::ProfileRecorded { .. } => {}
        }
    }

    pub(super) fn mapping(&mut self, scene: &Scene<'_>, event: &MappingEvent) {
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
                self.mapping_version(scene, *version, content, *origin);
                if let Some(id) = repair_id
                    && let Some(row) = self.repairs.change(scene.tenant, id)
                    && !matches!(row.status, RepairStatus::RolledBack)
                {
                    row.after = content.clone();
                }
            }
            MappingEvent::MappingBound { binding } => {
                self.mapping_bound(scene, binding);
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
                let (drift_ids, evidence) = told_of(changes);
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
            MappingEvent::RepairNarrowed { repair_id, changes, proposed, targets, key, confidence } => {
                if let Some(row) = self.repairs.change(scene.tenant, repair_id) {
                    (row.drift_ids, row.evidence) = told_of(changes);
                    row.drift_id = row.drift_ids.first().copied();
                    row.proposal.clone_from(changes);
                    row.after = proposed.clone();
                    row.targets.clone_from(targets);
                    row.key_touched = *key;
                    row.confidence = *confidence;
                }
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

    /// What is shown is what the newest schema version is read with: a roll-back binds it to an
    /// earlier version again, and an approved repair may concern earlier schema versions alone.
    fn mapping_bound(&mut self, scene: &Scene<'_>, binding: &Binding) {
        let Some(model) = self.mappings.change(scene.tenant, scene.id) else { return };
        let bindings = &mut model.row.bindings;
        bindings.retain(|other| other.schema_version != binding.schema_version);
        bindings.push(binding.clone());
        bindings.sort_by_key(|binding| binding.schema_version);
        model.row.updated_at = scene.at;
        let is_newest = bindings.last().is_some_and(|last| last.schema_version == binding.schema_version);
        let id = version_id(scene.id, binding.mapping_version);
        let Some(version) = self.mapping_versions.get(scene.tenant, id).filter(|_| is_newest) else { return };
        model.row.entity.clone_from(&version.content.entity);
        model.row.version = version.version;
        model.row.key.clone_from(&version.content.key);
        model.row.fields.clone_from(&version.content.fields);
        model.row.origin = version.origin;
        model.content = version.content.clone();
        if let Some(stream) = self.streams.change(scene.tenant, scene.id) {
            stream.mapping_version = Some(version.version);
            stream.entity.clone_from(&version.content.entity);
        }
    }

    fn mapping_version(
        &mut self,
        scene: &Scene<'_>,
        version: u32,
        content: &MappingContent,
        origin: MappingOrigin,
    ) {
        let row = MappingVersionRow {
            id: scene.id,
            version,
            content: content.clone(),
            origin,
            created_at: scene.at,
        };
        self.mapping_versions.put(scene.tenant, version_id(scene.id, version), scene.order, row);
    }

    fn repair_decided(&mut self, scene: &Scene<'_>, repair: Uuid, status: RepairStatus, by: Option<Uuid>) {
        if let Some(row) = self.repairs.change(scene.tenant, repair) {
            row.status = status;
            row.decided_at = Some(scene.at);
            row.decided_by = by;
        }
    }
}

/// The drifts that changes answer, and what speaks for them.
fn told_of(changes: &[RepairChange]) -> (Vec<Uuid>, Vec<Evidence>) {
    let mut drift_ids: Vec<_> = changes.iter().map(|change| change.drift_id.0).collect();
    drift_ids.dedup();
    (drift_ids, changes.iter().flat_map(|change| change.evidence.iter().cloned()).collect())
}
