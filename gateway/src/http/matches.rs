//! Entity resolution: which records are one, why, and what people decided otherwise.

use super::{
    extract::{Body, Edit, OptionalBody, Path, Query, bounded},
    identity::Caller,
    problem::ApiError,
    respond::{ListQuery, VIEWS, list, written},
    state::App,
};
use autonomos_commands::execute::Outcome;
use autonomos_domain::aggregates::{
    identity::{Identity, IdentityCommand},
    ontology::TenantOntology,
};
use autonomos_projections::dcl::read::{self as dcl, MatchRow, SourceRef};
use axum::{extract::State, http::StatusCode, response::Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(match_list))
        .routes(routes!(match_merge))
        .routes(routes!(match_unmerge))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct MatchesQuery {
    entity: Option<String>,
}

/// A unified row made of two or more source records, with the reasons.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MatchView {
    /// The unified row's.
    id: Uuid,
    entity: String,
    members: Vec<MatchMember>,
    links: Vec<MatchLink>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MatchMember {
    record_id: Uuid,
    connection_id: Uuid,
    stream: String,
    source_id: String,
    fields: Value,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MatchLink {
    left: Uuid,
    right: Uuid,
    /// Match rules that hold between the two, or `human`.
    reasons: Vec<String>,
}

impl From<MatchRow> for MatchView {
    fn from(MatchRow { id, entity, members, links }: MatchRow) -> Self {
        let member = |member: dcl::MatchMember| {
            let SourceRef { connection_id, stream, source_id } = member.source;
            let (record_id, fields) = (member.record_id, member.fields);
            MatchMember { record_id, connection_id, stream, source_id, fields }
        };
        let link = |dcl::MatchLink { left, right, reasons }| MatchLink { left, right, reasons };
        Self {
            id,
            entity,
            members: members.into_iter().map(member).collect(),
            links: links.into_iter().map(link).collect(),
        }
    }
}

/// Unified rows made of two or more source records, with the reasons.
#[utoipa::path(get, path = "/dcl/matches", tag = "matches", params(MatchesQuery, ListQuery),
    responses((status = 200, body = ref("#/list/MatchView"))))]
async fn match_list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<MatchesQuery>,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let (request, position) = app.listing(&caller, paging, VIEWS).await?;
    let (entity, cursor) = (query.entity.as_deref(), request.cursor.as_deref());
    let dcl = app.views();
    let (rows, next_cursor) = dcl.matches(caller.tenant(), entity, request.limit, cursor).await?;
    let rows = rows.into_iter().map(MatchView::from).collect();
    Ok(list(rows, next_cursor, position))
}

/// The decisions on an entity's records are one aggregate.
fn identity_id(caller: &Caller, entity: &str) -> Uuid {
    Uuid::new_v5(&caller.tenant().0, format!("identity/{entity}").as_bytes())
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Merge {
    entity: String,
    /// The row that is the same thing.
    with: Uuid,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MergeView {
    id: Uuid,
    entity: String,
    merged_with: Uuid,
}

/// Says that two rows are the same thing, whatever the rules say.
#[utoipa::path(post, path = "/dcl/matches/{id}/merge", tag = "matches", params(("id" = Uuid, Path, description = "a row's id")),
    request_body = Merge, responses((status = 200, body = ref("#/components/schemas/MergeView")), (status = 404), (status = 422)))]
async fn match_merge(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
    Body(body): Body<Merge>,
) -> Result<Response, ApiError> {
    bounded("/entity", &body.entity, 200)?;
    let tenant = edit.caller.tenant();
    let ontology = app.platform.commands.load::<TenantOntology>(tenant, tenant.0).await?.state.in_force();
    let entity = ontology
        .entity(&body.entity)
        .ok_or_else(|| ApiError::invalid("/entity", "there is no such entity"))?
        .name
        .clone();
    // A row's id is the id of the record it began with.
    for row in [id, body.with] {
        let found = app.views().row(tenant, &entity, row, None).await?;
        found.ok_or_else(|| ApiError::not_found("row", row))?;
    }
    let merge = IdentityCommand::MergeRecords { entity: entity.clone(), left: id, right: body.with };
    let aggregate = identity_id(&edit.caller, &entity);
    let outcome = app.platform.commands.execute::<Identity>(&edit.context, aggregate, merge).await?;
    Ok(written(&app, StatusCode::OK, &MergeView { id, entity, merged_with: body.with }, &outcome))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Unmerge {
    /// The record to take out; absent: where there are two, the second.
    #[serde(default)]
    record_id: Option<Uuid>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct UnmergeView {
    id: Uuid,
    entity: String,
    record_id: Uuid,
    unmerged_from: Vec<Uuid>,
}

/// Takes a record out of a row, whatever the rules say.
#[utoipa::path(post, path = "/dcl/matches/{id}/unmerge", tag = "matches", params(("id" = Uuid, Path, description = "a row's id")),
    request_body = Option<Unmerge>, responses((status = 200, body = ref("#/components/schemas/UnmergeView")), (status = 404), (status = 422)))]
async fn match_unmerge(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
    OptionalBody(body): OptionalBody<Unmerge>,
) -> Result<Response, ApiError> {
    let found = app.views().match_get(edit.caller.tenant(), id).await?;
    let found = found.ok_or_else(|| ApiError::not_found("match", id))?;
    let record = match body.record_id {
        Some(record) if found.members.iter().any(|member| member.record_id == record) => record,
        Some(record) => {
            return Err(ApiError::invalid("/record_id", format!("`{record}` is no record of this row")));
        }
        None => match found.members.as_slice() {
            [_, second] => second.record_id,
            _ => return Err(ApiError::invalid("/record_id", "the row has more than two records: say which")),
        },
    };
    let aggregate = identity_id(&edit.caller, &found.entity);
    let others: Vec<Uuid> =
        found.members.iter().map(|member| member.record_id).filter(|member| *member != record).collect();
    let mut last = Outcome { position: None, version: 0, replayed: false };
    for other in &others {
        let unmerge =
            IdentityCommand::UnmergeRecords { entity: found.entity.clone(), left: record, right: *other };
        let step = edit.context.step(&other.to_string());
        let outcome = app.platform.commands.execute::<Identity>(&step, aggregate, unmerge).await?;
        if outcome.position.is_some() {
            last = outcome;
        }
    }
    let body = UnmergeView { id, entity: found.entity, record_id: record, unmerged_from: others };
    Ok(written(&app, StatusCode::OK, &body, &last))
}
