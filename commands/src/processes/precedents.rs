//! What was decided about changes of columns' names is kept as the organisation's precedents: of a
//! proposal that was approved, edited, rejected, rolled back or applied alone, and of a mapping edited to
//! follow a column that is gone. Undo: the latest word on a decision counts.

use super::ProcessManager;
use crate::{
    error::CommandError,
    execute::{CommandContext, Commands},
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::{
        mapping::{Mapping, MappingEvent, RepairStatus},
        stream_schema::StreamSchema,
        tenant::{Tenant, TenantCommand},
    },
    envelope::{Actor, AggregateType},
    ids::CommandId,
    mapping::{MappingContent, MappingOrigin},
    repair::precedent::{Precedent, Verdict, decided, renamed},
};
use autonomos_log::{events::open_event, port::StoredCommit};
use uuid::Uuid;

pub(super) struct PrecedentManager;

#[async_trait]
impl ProcessManager for PrecedentManager {
    fn name(&self) -> &'static str {
        "precedents"
    }

    fn follows(&self) -> Vec<AggregateType> {
        vec![AggregateType::Mapping]
    }

    async fn handle(&self, commands: &Commands, commit: &StoredCommit) -> Result<(), CommandError> {
        let mut verdicts = Vec::new();
        let mut edit: Option<(u32, MappingContent)> = None;
        // What a person made of the mapping, of a repair that was edited or of none.
        let mut mapped: Option<(u32, MappingContent)> = None;
        for index in 0..commit.events.len() {
            let event: MappingEvent = match open_event(&**commands.ring(), commit, index) {
                Ok(event) => event,
                Err(error) if error.is_shredded() => continue,
                Err(error) => return Err(error.into()),
            };
            match event {
                MappingEvent::RepairProposed { repair_id, status: RepairStatus::AutoApplied, .. } => {
                    verdicts.push((repair_id, Verdict::Applied));
                }
                MappingEvent::RepairApproved { repair_id, .. } => {
                    verdicts.push((repair_id, Verdict::Approved));
                }
                MappingEvent::RepairRejected { repair_id, .. } => {
                    verdicts.push((repair_id, Verdict::Rejected));
                }
                MappingEvent::RepairRolledBack { repair_id, .. } => {
                    verdicts.push((repair_id, Verdict::RolledBack));
                }
                MappingEvent::MappingRevised {
                    content,
                    based_on,
                    origin: MappingOrigin::Human,
                    repair_id,
                    ..
                } => {
                    let place = if repair_id.is_some() { &mut edit } else { &mut mapped };
                    *place = Some((based_on, content));
                }
                _ => {}
            }
        }
        if verdicts.is_empty() && mapped.is_none() {
            return Ok(());
        }
        let key = commit.header.key;
        let mapping = commands.load::<Mapping>(key.tenant, key.aggregate_id).await?.state;
        let pair = |made: &Option<(u32, MappingContent)>| {
            let (from, made) = made.as_ref()?;
            Some((mapping.contents.get(from)?.clone(), made.clone()))
        };
        for (repair_id, verdict) in verdicts {
            let Some(repair) = mapping.repairs.get(&repair_id) else { continue };
            let edit = pair(&edit).filter(|_| verdict == Verdict::Approved);
            let edit = edit.as_ref().map(|(before, after)| (before, after));
            let precedents = decided(repair_id.0, &repair.changes, verdict, edit);
            note(commands, commit, repair_id.0, precedents).await?;
        }
        if let Some((before, after)) = pair(&mapped) {
            let decision = commit.header.command_id.0;
            let schema = commands.load::<StreamSchema>(key.tenant, key.aggregate_id).await?.state;
            let Some(shape) = schema.shape() else { return Ok(()) };
            let precedents = renamed(decision, &before, &after, Verdict::Mapped)
                .into_iter()
                .filter(|(_, old, new)| shape.field(old).is_none() && shape.field(new).is_some())
                .map(|(precedent, ..)| precedent)
                .collect();
            note(commands, commit, decision, precedents).await?;
        }
        Ok(())
    }
}

async fn note(
    commands: &Commands,
    commit: &StoredCommit,
    decision: Uuid,
    precedents: Vec<Precedent>,
) -> Result<(), CommandError> {
    let key = commit.header.key;
    let context = CommandContext {
        correlation_id: commit.header.correlation_id,
        causation_id: Some(commit.header.command_id.0),
        ..CommandContext::new(
            key.tenant,
            Actor::System("precedents".to_owned()),
            CommandId::derive(&[
                "precedents",
                &key.aggregate_id.to_string(),
                &commit.header.first_version.to_string(),
                &decision.to_string(),
            ]),
        )
    };
    let note = TenantCommand::NotePrecedents { decision, precedents };
    commands.execute::<Tenant>(&context, key.tenant.0, note).await?;
    Ok(())
}
