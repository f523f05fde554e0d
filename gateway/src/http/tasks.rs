//! Background tasks: what runs, what ran, and what was said meanwhile.

use super::{
    connections::sync_start,
    extract::{Body, Edit, Path, Query},
    identity::Caller,
    problem::ApiError,
    respond::{ListQuery, READ_MODELS, ReadQuery, list, page, read},
    state::App,
};
use autonomos_commands::sync::{SYNC_ACTION, SyncCause};
use autonomos_domain::{
    aggregates::task::TaskStatus,
    ids::{ConnectionId, TaskId},
};
use autonomos_projections::read_models::{query::TaskFilter, rows::TaskRow};
use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(task_list, task_create))
        .routes(routes!(task_get))
        .routes(routes!(task_log))
        .routes(routes!(task_cancel))
        .routes(routes!(task_retry))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTask {
    /// `sync`.
    action: String,
    payload: SyncTask,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SyncTask {
    connection_id: Uuid,
}

/// Queues a task. The only action to ask for is `sync`, which takes `{connection_id}`.
#[utoipa::path(post, path = "/tasks", tag = "tasks", request_body = NewTask,
    responses((status = 202, body = ref("#/components/schemas/SyncQueued")), (status = 404), (status = 409), (status = 422)))]
async fn task_create(
    State(app): State<App>,
    edit: Edit,
    Body(body): Body<NewTask>,
) -> Result<Response, ApiError> {
    if body.action != SYNC_ACTION {
        let shown: String = body.action.chars().take(80).collect();
        return Err(ApiError::invalid(
            "/action",
            format!("there is no action `{shown}`: use `{SYNC_ACTION}`"),
        ));
    }
    sync_start(&app, &edit, ConnectionId(body.payload.connection_id), SyncCause::default()).await
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct TasksQuery {
    /// `queued`, `running`, `retrying`, `succeeded`, `failed`, `dead` or `cancelled`.
    #[param(value_type = Option<String>)]
    status: Option<TaskStatus>,
    action: Option<String>,
}

/// Tasks, newest first.
#[utoipa::path(get, path = "/tasks", tag = "tasks", params(TasksQuery, ListQuery),
    responses((status = 200, body = ref("#/list/TaskRow"))))]
async fn task_list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<TasksQuery>,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let (request, position) = app.listing(&caller, paging, READ_MODELS).await?;
    let filter = TaskFilter { status: query.status, action: query.action };
    let rows = app.models().task_list(caller.tenant(), &filter, &request).await?;
    Ok(page(rows, position, |row| row))
}

impl App {
    async fn task_find(&self, caller: &Caller, id: Uuid) -> Result<TaskRow, ApiError> {
        let models = self.models();
        self.find(caller, "task", id, || models.task_get(caller.tenant(), id)).await
    }
}

/// One task.
#[utoipa::path(get, path = "/tasks/{id}", tag = "tasks", params(("id" = Uuid, Path,), ReadQuery),
    responses((status = 200, body = ref("#/components/schemas/TaskRow")), (status = 404)))]
async fn task_get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    Ok(read(&app.task_find(&caller, id).await?, &position))
}

/// What happened to a task, oldest first.
#[utoipa::path(get, path = "/tasks/{id}/log", tag = "tasks", params(("id" = Uuid, Path,), ReadQuery),
    responses((status = 200, body = ref("#/list/TaskLogRow")), (status = 404)))]
async fn task_log(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    app.task_find(&caller, id).await?;
    let rows = app.models().task_log(caller.tenant(), id).await?;
    Ok(list(rows, None, position))
}

/// Asks for a task's end: at once if it waits, when it has stopped if it runs.
#[utoipa::path(post, path = "/tasks/{id}/cancel", tag = "tasks", params(("id" = Uuid, Path,)),
    responses((status = 200, body = ref("#/components/schemas/TaskRow")), (status = 404), (status = 409)))]
async fn task_cancel(State(app): State<App>, edit: Edit, Path(id): Path<Uuid>) -> Result<Response, ApiError> {
    let outcome = app.platform.tasks.task_cancel(&edit.context, TaskId(id)).await?;
    app.changed(&edit.caller, &outcome, app.task_find(&edit.caller, id)).await
}

/// Runs a failed, dead or cancelled task again.
#[utoipa::path(post, path = "/tasks/{id}/retry", tag = "tasks", params(("id" = Uuid, Path,)),
    responses((status = 200, body = ref("#/components/schemas/TaskRow")), (status = 404), (status = 409)))]
async fn task_retry(State(app): State<App>, edit: Edit, Path(id): Path<Uuid>) -> Result<Response, ApiError> {
    // A sync that ended has ended: its retry is a new sync.
    let task = app.task_find(&edit.caller, id).await?;
    if task.action == SYNC_ACTION {
        let connection = task.payload["connection_id"].as_str().and_then(|id| Uuid::parse_str(id).ok());
        let ended = matches!(task.status, TaskStatus::Failed | TaskStatus::Dead | TaskStatus::Cancelled);
        if let Some(connection) = connection.filter(|_| ended) {
            let backfill = task.payload["backfill"].as_str().map(str::to_owned);
            let cause = SyncCause { backfill, ..SyncCause::default() };
            return sync_start(&app, &edit, ConnectionId(connection), cause).await;
        }
    }
    let outcome = app.platform.tasks.task_retry(&edit.context, TaskId(id)).await?;
    app.changed(&edit.caller, &outcome, app.task_find(&edit.caller, id)).await
}
