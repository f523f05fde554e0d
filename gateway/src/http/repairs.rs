//! Repairs: proposals for drifted mappings, and what people decide about them.

use super::{
    extract::{Edit, OptionalBody, Path, Query},
    identity::Caller,
    mappings::{MappingEdit, outside},
    problem::ApiError,
    respond::{ListQuery, READ_MODELS, ReadQuery, list, read},
    state::App,
};
use autonomos_domain::{
    aggregates::mapping::{Mapping, MappingCommand, RepairPart, RepairStatus, decided_together},
    drift::{DriftKind, DriftSide, RepairChange},
    envelope::Actor,
    ids::{DriftId, RepairId, UserId},
    mapping::{Evidence, MappingContent},
};
use autonomos_projections::read_models::{
    query::RepairFilter,
    rows::{DriftRow, RepairRow},
};
use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(repair_list))
        .routes(routes!(repair_get))
        .routes(routes!(repair_approve))
        .routes(routes!(repair_reject))
        .routes(routes!(repair_roll_back))
}

/// A proposal, the drift it answers, and what became of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RepairView {
    id: Uuid,
    connection_id: Uuid,
    stream: String,
    entity: Option<String>,
    mapping_id: Uuid,
    schema_version: u32,
    /// The first drift it answers; all are in `drift_ids`.
    drift_id: Option<Uuid>,
    drift_ids: Vec<Uuid>,
    drifts: Vec<AnsweredDrift>,
    status: RepairStatus,
    /// Least probability of its changes.
    confidence: f64,
    proposal: Proposal,
    /// The mapping in force when it was proposed.
    before: Option<MappingContent>,
    evidence: Vec<Evidence>,
    /// A person changed it before approving.
    edited: bool,
    created_at: DateTime<Utc>,
    decided_at: Option<DateTime<Utc>>,
    decided_by: Option<Uuid>,
    /// After a decision about a part: the proposal that its rest became.
    #[serde(skip_serializing_if = "Option::is_none")]
    rest_id: Option<Uuid>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Proposal {
    changes: Vec<RepairChange>,
    /// The drifts it answers, by what is decided together: a decision about a part names whole groups.
    together: Vec<Vec<DriftId>>,
    /// The mapping as it would be, or became.
    mapping: MappingContent,
}

#[derive(Debug, Serialize, JsonSchema)]
struct AnsweredDrift {
    id: Uuid,
    kind: DriftKind,
    field: Option<String>,
    before: Option<DriftSide>,
    after: Option<DriftSide>,
}

impl RepairView {
    /// `known` holds the drifts it answers.
    fn of(row: RepairRow, known: &BTreeMap<Uuid, DriftRow>) -> Self {
        let answered = |drift: &DriftRow| AnsweredDrift {
            id: drift.id,
            kind: drift.kind,
            field: drift.field.clone(),
            before: drift.before.clone(),
            after: drift.after.clone(),
        };
        let content = row.before.as_ref().unwrap_or(&row.after);
        let together = decided_together(content, &row.proposal);
        let drifts = row.drift_ids.iter().filter_map(|id| known.get(id)).map(answered).collect();
        Self {
            id: row.id,
            connection_id: row.connection_id,
            stream: row.stream,
            entity: row.entity,
            mapping_id: row.mapping_id,
            schema_version: row.schema_version,
            drift_id: row.drift_id,
            drift_ids: row.drift_ids,
            drifts,
            status: row.status,
            confidence: row.confidence,
            proposal: Proposal { changes: row.proposal, together, mapping: row.after },
            before: row.before,
            evidence: row.evidence,
            edited: row.edited,
            created_at: row.proposed_at,
            decided_at: row.decided_at,
            decided_by: row.decided_by,
            rest_id: None,
        }
    }
}

impl App {
    async fn repair_shown(&self, caller: &Caller, row: RepairRow) -> Result<RepairView, ApiError> {
        let known = self.models().drifts_by_id(caller.tenant(), &row.drift_ids).await?;
        Ok(RepairView::of(row, &known))
    }

    pub(super) async fn repair_find(&self, caller: &Caller, id: Uuid) -> Result<RepairRow, ApiError> {
        let models = self.models();
        self.find(caller, "repair", id, || models.repair_get(caller.tenant(), id)).await
    }

    /// Carries a decision out and answers with the repair as it became.
    async fn repair_decide(
        &self,
        edit: &Edit,
        row: RepairRow,
        decision: MappingCommand,
        (becomes, rest): (RepairStatus, Option<RepairId>),
    ) -> Result<Response, ApiError> {
        let (commands, mapping) = (&self.platform.commands, row.mapping_id);
        let decided = commands.execute::<Mapping>(&edit.context, mapping, decision).await;
        let outcome = decided.map_err(outside)?;
        let view = async {
            let row = self.repair_find(&edit.caller, row.id).await?;
            let rest = match rest {
                Some(RepairId(id)) => self.models().repair_get(edit.caller.tenant(), id).await?,
                None => None,
            };
            // Even where the projection lags, the decision stands.
            let shown = self.repair_shown(&edit.caller, RepairRow { status: becomes, ..row }).await?;
            Ok(RepairView { rest_id: rest.map(|rest| rest.id), ..shown })
        };
        self.changed(&edit.caller, &outcome, view).await
    }
}

/// Who decides, for the record.
pub(super) fn decider(caller: &Caller) -> UserId {
    match &caller.0.actor {
        Actor::User(id) | Actor::ApiKey(id) => UserId(*id),
        Actor::System(_) => UserId(Uuid::nil()),
    }
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct RepairsQuery {
    connection_id: Option<Uuid>,
    stream: Option<String>,
    /// `auto_applied`, `pending_review`, `held`, `approved`, `rejected`, `rolled_back` or `expired`.
    #[param(value_type = Option<String>)]
    status: Option<RepairStatus>,
}

/// Proposals, newest first.
#[utoipa::path(get, path = "/aam/repairs", tag = "repairs", params(RepairsQuery, ListQuery),
    responses((status = 200, body = ref("#/list/RepairView"))))]
async fn repair_list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<RepairsQuery>,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let (request, position) = app.listing(&caller, paging, READ_MODELS).await?;
    let filter =
        RepairFilter { connection_id: query.connection_id, stream: query.stream, status: query.status };
    let rows = app.models().repair_list(caller.tenant(), &filter, &request).await?;
    let ids: BTreeSet<Uuid> = rows.data.iter().flat_map(|row| &row.drift_ids).copied().collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let known = app.models().drifts_by_id(caller.tenant(), &ids).await?;
    let data: Vec<RepairView> = rows.data.into_iter().map(|row| RepairView::of(row, &known)).collect();
    Ok(list(data, rows.next_cursor, position))
}

/// One proposal.
#[utoipa::path(get, path = "/aam/repairs/{id}", tag = "repairs", params(("id" = Uuid, Path,), ReadQuery),
    responses((status = 200, body = ref("#/components/schemas/RepairView")), (status = 404)))]
async fn repair_get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    let row = app.repair_find(&caller, id).await?;
    Ok(read(&app.repair_shown(&caller, row).await?, &position))
}

/// The part of a proposal that a decision is about.
pub(super) fn part_of(id: Uuid, drift_ids: Option<Vec<Uuid>>, decision: &str) -> Option<RepairPart> {
    let drifts: Vec<DriftId> = drift_ids?.into_iter().map(DriftId).collect();
    let rest_id = RepairId::derive(&[&id.to_string(), "rest", decision]);
    Some(RepairPart { drifts, rest_id })
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Approval {
    /// The mapping as it should be instead of as proposed.
    #[serde(default)]
    mapping: Option<MappingEdit>,
    /// Only the changes that answer these drifts; the rest becomes a proposal of its own. Not together
    /// with `mapping`.
    #[serde(default)]
    drift_ids: Option<Vec<Uuid>>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rejection {
    /// Only the changes that answer these drifts; the rest becomes a proposal of its own.
    #[serde(default)]
    drift_ids: Option<Vec<Uuid>>,
}

/// Applies a proposal, as it is or edited, or a part of it.
#[utoipa::path(post, path = "/aam/repairs/{id}/approve", tag = "repairs", params(("id" = Uuid, Path,)),
    request_body = Option<Approval>,
    responses((status = 200, body = ref("#/components/schemas/RepairView")), (status = 404), (status = 409), (status = 422)))]
async fn repair_approve(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
    OptionalBody(body): OptionalBody<Approval>,
) -> Result<Response, ApiError> {
    let row = app.repair_find(&edit.caller, id).await?;
    let edited = match body.mapping {
        Some(mapping) => {
            let editing = app.mapping_editing(&edit.caller, row.mapping_id).await?;
            Some(app.mapping_checked(&edit.caller, &editing, mapping, "/mapping").await?)
        }
        None => None,
    };
    let part = part_of(id, body.drift_ids, &edit.context.command_id.to_string());
    let rest = part.as_ref().map(|part| part.rest_id);
    let by = decider(&edit.caller);
    let decision = MappingCommand::ApproveRepair { repair_id: RepairId(id), edited, part, by };
    app.repair_decide(&edit, row, decision, (RepairStatus::Approved, rest)).await
}

/// Refuses a proposal or a part of it; what waits for it goes on waiting.
#[utoipa::path(post, path = "/aam/repairs/{id}/reject", tag = "repairs", params(("id" = Uuid, Path,)),
    request_body = Option<Rejection>,
    responses((status = 200, body = ref("#/components/schemas/RepairView")), (status = 404), (status = 409), (status = 422)))]
async fn repair_reject(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
    OptionalBody(body): OptionalBody<Rejection>,
) -> Result<Response, ApiError> {
    let row = app.repair_find(&edit.caller, id).await?;
    let part = part_of(id, body.drift_ids, &edit.context.command_id.to_string());
    let rest = part.as_ref().map(|part| part.rest_id);
    let decision = MappingCommand::RejectRepair { repair_id: RepairId(id), part, by: decider(&edit.caller) };
    app.repair_decide(&edit, row, decision, (RepairStatus::Rejected, rest)).await
}

/// Takes an applied repair back: the mapping before it is in force again, its fields are held.
#[utoipa::path(post, path = "/aam/repairs/{id}/rollback", tag = "repairs", params(("id" = Uuid, Path,)),
    responses((status = 200, body = ref("#/components/schemas/RepairView")), (status = 404), (status = 409)))]
async fn repair_roll_back(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let row = app.repair_find(&edit.caller, id).await?;
    let decision = MappingCommand::RollBackRepair { repair_id: RepairId(id), by: decider(&edit.caller) };
    app.repair_decide(&edit, row, decision, (RepairStatus::RolledBack, None)).await
}
