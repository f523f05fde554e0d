//! What people decide about proposals bends their organisation's probabilities: each decision is
//! recorded with the correction that it leads to. Undo: the latest word on a proposal counts, so a
//! roll-back takes the place of its approval.

use super::{ProcessManager, events, follow_up};
use crate::{error::CommandError, execute::Commands};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::{
        mapping::{Mapping, MappingEvent},
        tenant::{Tenant, TenantCommand},
    },
    envelope::AggregateType,
    mapping::MappingContent,
    repair::{backtest::kept, calibration::JudgedRepair},
};
use autonomos_log::port::StoredCommit;

pub(super) struct RepairCalibrationManager;

#[async_trait]
impl ProcessManager for RepairCalibrationManager {
    fn name(&self) -> &'static str {
        "repair-calibration"
    }

    fn follows(&self) -> Vec<AggregateType> {
        vec![AggregateType::Mapping]
    }

    async fn handle(&self, commands: &Commands, commit: &StoredCommit) -> Result<(), CommandError> {
        let mut decided = None;
        // What an approval made of the mapping, which an edit may have left the change out of.
        let mut made: Option<(u32, MappingContent)> = None;
        for (_, event) in events::<MappingEvent>(commands, commit)? {
            match event {
                MappingEvent::RepairApproved { repair_id, .. } => decided = Some((repair_id, true)),
                MappingEvent::RepairRejected { repair_id, .. }
                | MappingEvent::RepairRolledBack { repair_id, .. } => decided = Some((repair_id, false)),
                MappingEvent::MappingRevised { content, based_on, .. } => made = Some((based_on, content)),
                _ => {}
            }
        }
        let Some((repair_id, approved)) = decided else { return Ok(()) };
        let key = commit.header.key;
        let mapping = commands.load::<Mapping>(key.tenant, key.aggregate_id).await?.state;
        let Some(repair) = mapping.repairs.get(&repair_id) else { return Ok(()) };
        let edit = made.as_ref().and_then(|(from, made)| Some((mapping.contents.get(from)?, made)));
        let right = |change: &_| approved && edit.is_none_or(|(before, made)| kept(before, made, change));
        let judged = JudgedRepair::of(repair_id, &repair.changes, right);
        let context = follow_up(
            commit,
            "repair-calibration",
            &[&key.aggregate_id.to_string(), &commit.header.first_version.to_string()],
        );
        commands.execute::<Tenant>(&context, key.tenant.0, TenantCommand::RecordJudgement { judged }).await?;
        Ok(())
    }
}
