//! A drift's status follows from what became of its repair. Undo: a repair rolled back opens its
//! drifts again.

use super::{ProcessManager, events, follow_up};
use crate::{error::CommandError, execute::Commands};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::{
        mapping::{Mapping, MappingEvent, RepairStatus},
        stream_schema::{DriftStatus, StreamSchema, StreamSchemaCommand},
    },
    envelope::AggregateType,
    ids::RepairId,
};
use autonomos_log::port::StoredCommit;

pub(super) struct DriftStatusManager;

#[async_trait]
impl ProcessManager for DriftStatusManager {
    fn name(&self) -> &'static str {
        "drift-status"
    }

    fn follows(&self) -> Vec<AggregateType> {
        vec![AggregateType::Mapping]
    }

    async fn handle(&self, commands: &Commands, commit: &StoredCommit) -> Result<(), CommandError> {
        for (index, event) in events::<MappingEvent>(commands, commit)? {
            let decided = match event {
                MappingEvent::RepairProposed { repair_id, status: RepairStatus::AutoApplied, .. }
                | MappingEvent::RepairApproved { repair_id, .. } => Some((repair_id, DriftStatus::Repaired)),
                MappingEvent::RepairRolledBack { repair_id, .. } => Some((repair_id, DriftStatus::Open)),
                _ => None,
            };
            if let Some((repair_id, status)) = decided {
                let version = commit.header.first_version + index as u64;
                resolve(commands, commit, repair_id, status, version).await?;
            }
        }
        Ok(())
    }
}

async fn resolve(
    commands: &Commands,
    commit: &StoredCommit,
    repair_id: RepairId,
    status: DriftStatus,
    version: u64,
) -> Result<(), CommandError> {
    let key = commit.header.key;
    let mapping = commands.load::<Mapping>(key.tenant, key.aggregate_id).await?;
    let Some(repair) = mapping.state.repairs.get(&repair_id) else {
        return Ok(());
    };
    let mut drifts: Vec<_> = repair.changes.iter().map(|change| change.drift_id).collect();
    drifts.sort_unstable();
    drifts.dedup();
    for drift_id in drifts {
        let context = follow_up(
            commit,
            "drift-status",
            &[&key.aggregate_id.to_string(), &version.to_string(), &drift_id.to_string()],
        );
        // The schema's aggregate has the feed's id, as the mapping's has.
        let command = StreamSchemaCommand::ResolveDrift { drift_id, status };
        commands.execute::<StreamSchema>(&context, key.aggregate_id, command).await?;
    }
    Ok(())
}
