//! The task that asks a language model where the columns of waiting fields went. It runs after the drift
//! was followed, so no sync waits for a model; what it finds is offered to the mapping and waits for a
//! person.

use super::{
    ModelClient, ModelError,
    question::{Column, Gone, Pair, REPAIR_PROMPT_VERSION, RepairQuestion},
};
use crate::{
    error::CommandError,
    execute::{CommandContext, Commands},
    tasks::{TaskFailure, TaskHandler, TaskRun},
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::{
        llm_account::{LlmAccount, LlmAccountCommand, LlmCall, LlmPurpose},
        mapping::{Mapping, MappingCommand},
        ontology::TenantOntology,
        stream_schema::{OpenDrift, StreamSchema},
        tenant::{AutonomyMode, Tenant},
    },
    drift::{DriftFinding, DriftKind, OverlapCheck, RepairChange},
    envelope::Actor,
    error::Error,
    ids::{CommandId, RepairId},
    mapping::{MappingField, MappingOrigin},
    ontology::Entity,
    repair::precedent,
    schema::Field,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};
use uuid::Uuid;

/// The action of the task that asks.
pub const ASK_MODEL_ACTION: &str = "ask_model";

/// What is asked about.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AskPayload {
    pub(crate) mapping_id: Uuid,
    pub(crate) schema_version: u32,
}

/// Asks, where the operator set a model up and the organisation allows it.
pub struct ModelAdvisor {
    commands: Commands,
    model: Option<Arc<ModelClient>>,
}

/// Columns that are gone and that waiting fields are read from, which nothing answers so far.
pub(crate) fn open_questions(
    mapping: &Mapping,
    schema: &StreamSchema,
    schema_version: u32,
) -> BTreeSet<String> {
    let Some(version) = schema.versions.get(&schema_version) else { return BTreeSet::new() };
    let mut columns = mapping.uncovered(schema_version);
    columns.retain(|column| version.shape.field(column).is_none());
    columns
}

/// All that a question is made of.
struct Ground {
    mapping: Arc<Mapping>,
    schema: Arc<StreamSchema>,
    tenant: Arc<Tenant>,
    entity: Option<Entity>,
    raw_values: bool,
}

impl Ground {
    fn finding(&self, kind: DriftKind, column: &str) -> Option<&DriftFinding> {
        let of =
            |drift: &&OpenDrift| drift.finding.kind == kind && drift.finding.field.as_deref() == Some(column);
        self.schema.open.values().find(of).map(|drift| &drift.finding)
    }

    fn question(&self, payload: &AskPayload) -> Option<RepairQuestion> {
        let (_, content) = self.mapping.bound(payload.schema_version)?;
        let columns = open_questions(&self.mapping, &self.schema, payload.schema_version);
        let gone: Vec<Gone> = columns
            .iter()
            .filter_map(|column| {
                let side = self.finding(DriftKind::FieldRemoved, column)?.before.as_ref()?;
                let line =
                    content.fields.iter().find(|line| line.sources().any(|source| source == column))?;
                let field = self.entity.as_ref().and_then(|entity| entity.field(&line.target));
                Some(Gone {
                    column: Column::of(side.fields.first()?, &side.samples, self.raw_values),
                    field: line.target.clone(),
                    description: field.map(|field| field.description.clone()),
                })
            })
            .collect();
        let version = self.schema.versions.get(&payload.schema_version)?;
        let before = self.schema.versions.get(&version.from)?;
        let read: BTreeSet<&str> = content
            .fields
            .iter()
            .flat_map(MappingField::sources)
            .chain(content.key.iter().map(String::as_str))
            .collect();
        let came =
            |field: &&Field| before.shape.field(&field.name).is_none() && !read.contains(field.name.as_str());
        let new: Vec<Column> = version
            .shape
            .fields
            .iter()
            .filter(came)
            .map(|field| {
                let side = self.finding(DriftKind::FieldAdded, &field.name).and_then(|it| it.after.as_ref());
                Column::of(field, side.map_or(&[], |side| side.samples.as_slice()), self.raw_values)
            })
            .collect();
        let question =
            RepairQuestion { stream: self.mapping.stream.clone(), entity: content.entity.clone(), gone, new };
        (!question.gone.is_empty() && !question.new.is_empty()).then(|| question.bounded())
    }

    /// A candidate: what a model says is bounded by what is known without it.
    fn change(&self, schema_version: u32, pair: &Pair, model: &str) -> Option<RepairChange> {
        let finding = self.finding(DriftKind::FieldRemoved, &pair.from)?;
        let old = finding.before.as_ref()?.fields.first()?;
        let new = self.schema.versions.get(&schema_version)?.shape.field(&pair.to)?;
        let prompt = format!("repair {REPAIR_PROMPT_VERSION}");
        let (probability, evidence) = pair.weighed(old, new, model, &prompt);
        let mut change = RepairChange {
            drift_id: finding.id,
            old_source: pair.from.clone(),
            new_sources: vec![pair.to.clone()],
            adapt: None,
            probability,
            evidence,
            overlap: OverlapCheck::Unknown { compared: 0 },
            origin: MappingOrigin::Llm,
        };
        precedent::weigh(&self.tenant.precedents, &mut change);
        Some(change)
    }
}

/// Why nothing was asked, or what is wrong.
enum Stop {
    Idle(&'static str),
    Failed(TaskFailure),
}

impl From<CommandError> for Stop {
    fn from(error: CommandError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<ModelError> for Stop {
    fn from(error: ModelError) -> Self {
        Self::Failed(TaskFailure {
            code: error.code().to_owned(),
            message: error.to_string(),
            retryable: error.retryable(),
            wait: error.wait(),
        })
    }
}

impl ModelAdvisor {
    /// Without a model it asks nothing.
    pub const fn new(commands: Commands, model: Option<Arc<ModelClient>>) -> Self {
        Self { commands, model }
    }

    async fn answer(&self, task: &TaskRun, payload: &AskPayload) -> Result<Value, Stop> {
        let Some(model) = &self.model else { return Err(Stop::Idle("no language model is set up")) };
        let ground = self.ground(task, payload).await?;
        let Some(question) = ground.question(payload) else {
            return Err(Stop::Idle("nothing is left to ask"));
        };
        let asked = question.question();
        let call_id = Uuid::new_v5(&task.task_id.0, task.attempt.to_string().as_bytes());
        let (tokens, cost_micros) = model.most(&asked);
        let hash = blake3::hash(format!("{}\n{}", asked.system, asked.user).as_bytes());
        let call = LlmCall {
            call_id,
            model: model.name().to_owned(),
            purpose: LlmPurpose::Repair,
            prompt_version: REPAIR_PROMPT_VERSION,
            question_hash: hash.to_hex().to_string(),
            tokens,
            cost_micros,
            at: self.commands.clock().now(),
        };
        self.account(task, call_id, "reserve", LlmAccountCommand::ReserveLlmCall { call }).await?;
        let consulted = model.consult(&asked, |text| question.read(text)).await;
        metrics::counter!("llm_calls_total").increment(1);
        let settle = LlmAccountCommand::SettleLlmCall { call_id, used: consulted.used };
        self.account(task, call_id, "settle", settle).await?;
        let pairs = consulted.result?;
        let changes: Vec<RepairChange> = pairs
            .iter()
            .filter_map(|pair| ground.change(payload.schema_version, pair, model.name()))
            .collect();
        let offered = changes.len();
        if !changes.is_empty() {
            self.offer(task, payload, &ground, changes).await?;
        }
        Ok(json!({ "asked": true, "offered": offered }))
    }

    async fn ground(&self, task: &TaskRun, payload: &AskPayload) -> Result<Ground, Stop> {
        let (tenant, id) = (task.tenant, payload.mapping_id);
        let account = self.commands.load::<LlmAccount>(tenant, tenant.0).await?.state;
        if !account.settings.allowed {
            return Err(Stop::Idle("the organisation allows no language model"));
        }
        let owner = self.commands.load::<Tenant>(tenant, tenant.0).await?.state;
        if owner.mode == AutonomyMode::Observe {
            return Err(Stop::Idle("nothing is proposed in this mode"));
        }
        let mapping = self.commands.load::<Mapping>(tenant, id).await?.state;
        let schema = self.commands.load::<StreamSchema>(tenant, id).await?.state;
        let ontology = self.commands.load::<TenantOntology>(tenant, tenant.0).await?.state.in_force();
        let entity = mapping.bound(payload.schema_version).and_then(|(_, content)| content.entity.clone());
        let entity = entity.and_then(|name| ontology.entity(&name).cloned());
        let raw_values = account.settings.raw_values;
        Ok(Ground { mapping, schema, tenant: owner, entity, raw_values })
    }

    async fn offer(
        &self,
        task: &TaskRun,
        payload: &AskPayload,
        ground: &Ground,
        changes: Vec<RepairChange>,
    ) -> Result<(), CommandError> {
        let mapping = payload.mapping_id.to_string();
        let version = payload.schema_version.to_string();
        let repair_id = RepairId::derive(&[&mapping, &version, "language model"]);
        let connection = ground.mapping.connection_id;
        let policies = ground.tenant.rules.in_force(ground.tenant.policy, connection, ground.entity.as_ref());
        let offer = MappingCommand::OfferRepair {
            schema_version: payload.schema_version,
            changes,
            policies,
            mode: ground.tenant.mode,
            repair_id,
        };
        let context = context(task, &[&mapping, &version, "offer"]);
        self.commands.execute::<Mapping>(&context, payload.mapping_id, offer).await?;
        Ok(())
    }

    async fn account(
        &self,
        task: &TaskRun,
        call_id: Uuid,
        step: &str,
        command: LlmAccountCommand,
    ) -> Result<(), Stop> {
        let context = context(task, &[&call_id.to_string(), step]);
        match self.commands.execute::<LlmAccount>(&context, task.tenant.0, command).await {
            Ok(_) => Ok(()),
            Err(CommandError::Refused(Error::Forbidden { .. })) => {
                Err(Stop::Idle("the organisation allows no language model"))
            }
            Err(CommandError::Refused(error @ Error::LimitExceeded { .. })) => {
                Err(Stop::Failed(TaskFailure::lasting("AOS-0377", error.to_string())))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn context(task: &TaskRun, parts: &[&str]) -> CommandContext {
    let mut all = vec!["ask-model"];
    all.extend_from_slice(parts);
    CommandContext {
        causation_id: Some(task.task_id.0),
        ..CommandContext::new(
            task.tenant,
            Actor::System("language-model".to_owned()),
            CommandId::derive(&all),
        )
    }
}

#[async_trait]
impl TaskHandler for ModelAdvisor {
    async fn run(&self, task: TaskRun) -> Result<Value, TaskFailure> {
        let payload: AskPayload = serde_json::from_value(task.payload.clone()).map_err(|error| {
            TaskFailure::lasting("AOS-0378", format!("the task's payload is no question's: {error}"))
        })?;
        match self.answer(&task, &payload).await {
            Ok(result) => Ok(result),
            Err(Stop::Idle(reason)) => Ok(json!({ "asked": false, "reason": reason })),
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }
}
