//! What is settled about a stream before its rows are taken in: its schema version, its drift, and
//! the mapping bound to it.

use super::{
    Run, SuggestInput, SyncError, feed_uuid,
    judge::{self, Arriving, Own, Rules},
};
use autonomos_domain::{
    aggregates::{
        mapping::{Mapping, MappingCommand},
        ontology::TenantOntology,
        stream_schema::{StreamSchema, StreamSchemaCommand},
        tenant::Tenant,
    },
    drift::{DriftFinding, fingerprint, profile::StreamProfile},
    ids::FeedId,
    mapping::MappingOrigin,
    ontology::Ontology,
    policy::DriftPolicy,
    schema::{StreamSelection, StreamShape},
};
use std::sync::Arc;

/// Settles the schema version that the coming rows belong to; returns it.
///
/// A new stream gets version 1 and its first mapping. A known one is compared with what is known;
/// if it drifted, the new version, its drift and the mapping's answer are all on the log when this
/// returns.
pub(super) async fn settle(
    run: &Run,
    selection: &StreamSelection,
    arriving: Arriving,
) -> Result<u32, SyncError> {
    let feed = feed_uuid(run.connection_id, &selection.name);
    let known = run.commands.load::<StreamSchema>(run.tenant, feed).await?;
    let mapping = run.commands.load::<Mapping>(run.tenant, feed).await?;
    let state = known.state;
    // One that was reported when streams were listed has a version already, and so has one whose attempt was
    // killed before its mapping was made: nothing was read by that shape, so that another one is no drift.
    if mapping.version == 0 || !state.versions.contains_key(&state.current) {
        return begin(run, selection, known.version, arriving).await;
    }
    let content = mapping.state.bound(state.current).map(|(_, content)| content);
    let findings = judge::findings(FeedId(feed), &state, content, &arriving);
    let Arriving { shape, profile, .. } = arriving;
    let version = record_arriving(run, selection, shape, findings, Some(&profile)).await?;
    bind(run, selection, version, &profile).await?;
    go_on(run, selection, version).await?;
    Ok(version)
}

/// Refuses rows of a schema version while something of it waits, where the connection's policy is to
/// pause then.
pub(super) async fn go_on(run: &Run, selection: &StreamSelection, version: u32) -> Result<(), SyncError> {
    let feed = feed_uuid(run.connection_id, &selection.name);
    let mapping = run.commands.load::<Mapping>(run.tenant, feed).await?.state;
    let Some((binding, _)) = mapping.bound(version) else { return Ok(()) };
    if binding.held.is_empty() && !binding.hold_rows {
        return Ok(());
    }
    let tenant = run.commands.load::<Tenant>(run.tenant, run.tenant.0).await?.state;
    let policies = tenant.rules.in_force(tenant.policy, Some(run.connection_id), None);
    if policies.on_drift == DriftPolicy::Pause {
        return Err(SyncError::Paused { stream: selection.name.clone() });
    }
    Ok(())
}

/// Sees to it that the schema version has a mapping bound to it: an attempt that was killed between
/// the two must not leave a stream raw for ever.
async fn bind(
    run: &Run,
    selection: &StreamSelection,
    version: u32,
    arriving: &StreamProfile,
) -> Result<(), SyncError> {
    let feed = feed_uuid(run.connection_id, &selection.name);
    let mapping = run.commands.load::<Mapping>(run.tenant, feed).await?;
    if mapping.state.bound(version).is_some() {
        return Ok(());
    }
    let schema = run.commands.load::<StreamSchema>(run.tenant, feed).await?.state;
    let from = schema.versions.get(&version).map_or(version, |known| known.from);
    let drifts = schema.open.values().filter(|drift| drift.to_version == version);
    let findings: Vec<DriftFinding> = drifts.map(|drift| drift.finding.clone()).collect();
    follow(run, selection, (from, version), &findings, Some(arriving)).await
}

/// Records a shape with what was found in it, and lets the mapping follow.
pub(super) async fn record(
    run: &Run,
    selection: &StreamSelection,
    shape: StreamShape,
    findings: Vec<DriftFinding>,
) -> Result<u32, SyncError> {
    record_arriving(run, selection, shape, findings, None).await
}

/// The same, with the profile of what arrives where it is at hand.
async fn record_arriving(
    run: &Run,
    selection: &StreamSelection,
    shape: StreamShape,
    mut findings: Vec<DriftFinding>,
    arriving: Option<&StreamProfile>,
) -> Result<u32, SyncError> {
    let feed = feed_uuid(run.connection_id, &selection.name);
    let before = run.commands.load::<StreamSchema>(run.tenant, feed).await?;
    let current = before.state.current;
    let known = before.state.versions.get(&current);
    let shape_fingerprint = fingerprint(&shape);
    let same_shape = known.is_some_and(|known| fingerprint(&known.shape) == shape_fingerprint);
    if findings.is_empty() && same_shape {
        // The stream still is as it drifted: what is open is seen once more, not reported anew.
        let open = before.state.open.values().filter(|open| open.to_version == current);
        findings.extend(open.map(|open| open.finding.clone()));
        if findings.is_empty() {
            return Ok(current);
        }
        let same = known.map(|known| known.fingerprint.clone()).unwrap_or_default();
        record_schema(run, selection, before.version, same, shape, findings).await?;
        return Ok(current);
    }
    record_schema(run, selection, before.version, shape_fingerprint, shape, findings.clone()).await?;
    let version = run.commands.load::<StreamSchema>(run.tenant, feed).await?.state.current;
    if version != current {
        follow(run, selection, (current, version), &findings, arriving).await?;
    }
    Ok(version)
}

async fn record_schema(
    run: &Run,
    selection: &StreamSelection,
    after_version: u64,
    fingerprint: String,
    shape: StreamShape,
    findings: Vec<DriftFinding>,
) -> Result<(), SyncError> {
    run.commands
        .execute::<StreamSchema>(
            &run.context(&["schema", &selection.name, &after_version.to_string()]),
            feed_uuid(run.connection_id, &selection.name),
            StreamSchemaCommand::RecordSchema {
                connection_id: run.connection_id,
                stream: selection.name.clone(),
                fingerprint,
                shape,
                findings,
            },
        )
        .await?;
    Ok(())
}

/// The mapping moves to the new schema version: it carries over, is repaired, or holds cells.
async fn follow(
    run: &Run,
    selection: &StreamSelection,
    (from_version, version): (u32, u32),
    findings: &[DriftFinding],
    arriving: Option<&StreamProfile>,
) -> Result<(), SyncError> {
    let feed = feed_uuid(run.connection_id, &selection.name);
    let mapping = run.commands.load::<Mapping>(run.tenant, feed).await?;
    let Some((_, content)) = mapping.state.bound(from_version) else {
        return Ok(());
    };
    let tenant = run.commands.load::<Tenant>(run.tenant, run.tenant.0).await?.state;
    let ontology = ontology(run).await?;
    let entity = content.entity.as_deref().and_then(|entity| ontology.entity(entity));
    let known = run.commands.load::<StreamSchema>(run.tenant, feed).await?.state;
    let step = format!("{version}/{}", mapping.version);
    let rules = Rules { entity, policy: tenant.policy, mode: tenant.mode };
    let own = Own {
        policies: tenant.rules.in_force(tenant.policy, Some(run.connection_id), entity),
        calibration: tenant.calibration,
        precedents: &tenant.precedents,
        editions: known.profile.as_ref().zip(arriving),
    };
    let versions = (from_version, version);
    let command = judge::follow_under(FeedId(feed), &step, versions, content, findings, (rules, own));
    run.commands.execute::<Mapping>(&run.context(&["follow", &selection.name, &step]), feed, command).await?;
    Ok(())
}

/// The first sight of a stream's rows.
async fn begin(
    run: &Run,
    selection: &StreamSelection,
    after_version: u64,
    arriving: Arriving,
) -> Result<u32, SyncError> {
    let feed = feed_uuid(run.connection_id, &selection.name);
    let fingerprint = fingerprint(&arriving.shape);
    record_schema(run, selection, after_version, fingerprint, arriving.shape.clone(), Vec::new()).await?;
    let version = run.commands.load::<StreamSchema>(run.tenant, feed).await?.state.current;
    first_mapping(run, selection, version, arriving).await?;
    Ok(version)
}

async fn first_mapping(
    run: &Run,
    selection: &StreamSelection,
    schema_version: u32,
    arriving: Arriving,
) -> Result<(), SyncError> {
    let feed = feed_uuid(run.connection_id, &selection.name);
    let ontology = ontology(run).await?;
    let suggester = Arc::clone(&run.suggester);
    let name = selection.name.clone();
    let entity = selection.entity.clone();
    let content = tokio::task::spawn_blocking(move || {
        let mut content = suggester.suggest(&SuggestInput {
            stream: &name,
            shape: &arriving.shape,
            profile: &arriving.profile,
            ontology: &ontology,
            entity: entity.as_deref(),
        });
        if content.key.is_empty() {
            content.key.clone_from(&arriving.shape.primary_key);
        }
        content
    })
    .await
    .map_err(|error| SyncError::Encode(error.to_string()))?;
    run.commands
        .execute::<Mapping>(
            &run.context(&["mapping", &selection.name]),
            feed,
            MappingCommand::CreateMapping {
                connection_id: run.connection_id,
                stream: selection.name.clone(),
                schema_version,
                content,
                origin: MappingOrigin::Matcher,
            },
        )
        .await?;
    Ok(())
}

async fn ontology(run: &Run) -> Result<Ontology, SyncError> {
    Ok(run.commands.load::<TenantOntology>(run.tenant, run.tenant.0).await?.state.in_force())
}
