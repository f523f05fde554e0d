//! Schedules: what is done by itself, and when.

use super::{
    extract::{Body, Edit, Path, Query, bounded},
    identity::Caller,
    problem::ApiError,
    respond::{ListQuery, READ_MODELS, ReadQuery, no_content, page, read, written},
    state::App,
};
use autonomos_commands::schedules::{NewSchedule as Create, ScheduleChange as Change};
use autonomos_domain::{
    aggregates::schedule::{ScheduleAction, Timing},
    ids::{ConnectionId, ScheduleId},
};
use autonomos_projections::read_models::rows::ScheduleRow;
use axum::{extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

const NAME_BYTES: usize = 480;
const CRON_BYTES: usize = 200;
const ZONE_BYTES: usize = 64;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(schedule_list, schedule_create)).routes(routes!(
        schedule_get,
        schedule_update,
        schedule_delete
    ))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct SchedulesQuery {
    connection_id: Option<Uuid>,
}

/// Schedules of the organisation, or of one connection.
#[utoipa::path(get, path = "/schedules", tag = "schedules", params(SchedulesQuery, ListQuery),
    responses((status = 200, body = ref("#/list/ScheduleRow"))))]
async fn schedule_list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<SchedulesQuery>,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let (request, position) = app.listing(&caller, paging, READ_MODELS).await?;
    let rows = app.models().schedule_list(caller.tenant(), query.connection_id, &request).await?;
    Ok(page(rows, position, |row| row))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSchedule {
    name: String,
    /// Five fields: minute, hour, day of month, month, day of week. At least five minutes apart.
    #[schema(example = "0 6 * * 1-5")]
    cron: String,
    /// IANA; `UTC` if absent.
    #[serde(default = "utc")]
    #[schema(example = "Europe/Berlin", default = "UTC")]
    time_zone: String,
    /// `sync`.
    #[serde(default)]
    #[schema(value_type = String, default = "sync")]
    action: ScheduleAction,
    connection_id: Uuid,
    #[serde(default = "yes")]
    #[schema(default = true)]
    enabled: bool,
}

fn utc() -> String {
    "UTC".to_owned()
}

const fn yes() -> bool {
    true
}

/// Makes a schedule; at most 20 a connection. Times that pass while no server runs count as one, which is
/// taken as soon as one does. A time that comes while the connection's sync is under way, or while the
/// connection is paused, is let pass.
#[utoipa::path(post, path = "/schedules", tag = "schedules", request_body = NewSchedule,
    responses((status = 201, body = ref("#/components/schemas/ScheduleRow")), (status = 404), (status = 413), (status = 422)))]
async fn schedule_create(
    State(app): State<App>,
    edit: Edit,
    Body(body): Body<NewSchedule>,
) -> Result<Response, ApiError> {
    bounded("/name", &body.name, NAME_BYTES)?;
    bounded("/cron", &body.cron, CRON_BYTES)?;
    bounded("/time_zone", &body.time_zone, ZONE_BYTES)?;
    let new = Create {
        name: body.name,
        timing: Timing { cron: body.cron, time_zone: body.time_zone },
        action: body.action,
        connection_id: ConnectionId(body.connection_id),
        enabled: body.enabled,
    };
    let (id, outcome) = app.platform.schedules.schedule_create(&edit.context, new).await?;
    app.settle(&edit.caller, &outcome, READ_MODELS).await;
    let row = app.schedule_find(&edit.caller, id.0).await?;
    Ok(written(&app, StatusCode::CREATED, &row, &outcome))
}

impl App {
    async fn schedule_find(&self, caller: &Caller, id: Uuid) -> Result<ScheduleRow, ApiError> {
        let models = self.models();
        self.find(caller, "schedule", id, || models.schedule_get(caller.tenant(), id)).await
    }
}

/// One schedule.
#[utoipa::path(get, path = "/schedules/{id}", tag = "schedules", params(("id" = Uuid, Path,), ReadQuery),
    responses((status = 200, body = ref("#/components/schemas/ScheduleRow")), (status = 404)))]
async fn schedule_get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    Ok(read(&app.schedule_find(&caller, id).await?, &position))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleChange {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    cron: Option<String>,
    #[serde(default)]
    time_zone: Option<String>,
    /// False: it waits until it is enabled again.
    #[serde(default)]
    enabled: Option<bool>,
}

/// Changes a schedule. Its next time follows from what it is changed to.
#[utoipa::path(patch, path = "/schedules/{id}", tag = "schedules", params(("id" = Uuid, Path,)),
    request_body = ScheduleChange,
    responses((status = 200, body = ref("#/components/schemas/ScheduleRow")), (status = 404), (status = 422)))]
async fn schedule_update(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
    Body(body): Body<ScheduleChange>,
) -> Result<Response, ApiError> {
    let texts = [
        ("/name", &body.name, NAME_BYTES),
        ("/cron", &body.cron, CRON_BYTES),
        ("/time_zone", &body.time_zone, ZONE_BYTES),
    ];
    for (pointer, text, most) in texts {
        text.as_deref().map_or(Ok(()), |text| bounded(pointer, text, most))?;
    }
    let ScheduleChange { name, cron, time_zone, enabled } = body;
    let change = Change { name, cron, time_zone, enabled };
    let outcome = app.platform.schedules.schedule_update(&edit.context, ScheduleId(id), change).await?;
    app.changed(&edit.caller, &outcome, app.schedule_find(&edit.caller, id)).await
}

/// Ends a schedule. What it has begun goes on.
#[utoipa::path(delete, path = "/schedules/{id}", tag = "schedules", params(("id" = Uuid, Path,)),
    responses((status = 204), (status = 404)))]
async fn schedule_delete(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let schedules = &app.platform.schedules;
    // A keyed request may be a repetition, after the schedule is gone.
    if !edit.is_keyed {
        schedules.schedule_load(edit.caller.tenant(), ScheduleId(id)).await?;
    }
    let outcome = schedules.schedule_delete(&edit.context, ScheduleId(id)).await?;
    if outcome.position.is_none() {
        return Err(ApiError::not_found("schedule", id));
    }
    Ok(no_content(&app, &outcome))
}
