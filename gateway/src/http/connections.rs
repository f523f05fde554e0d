//! Connections to sources: the catalogue, their configuration, and what is done with them.

use super::{
    extract::{Body, Edit, Path, Query, bounded},
    identity::Caller,
    problem::ApiError,
    respond::{ListQuery, READ_MODELS, ReadQuery, limit, list, no_content, read, written},
    state::App,
};
use autonomos_commands::sync::{SyncCause, SyncRequest, sync_request};
use autonomos_domain::{
    aggregates::{
        connection::{Connection, ConnectionStatus},
        ontology::TenantOntology,
        task::TaskStatus,
    },
    health::{ConnectionLimits, Health},
    ids::{ConnectionId, TenantId},
    schema::{DiscoveredStream, StreamSelection},
};
use autonomos_projections::read_models::rows::ConnectionRow;
use axum::{extract::State, http::StatusCode, response::Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

const NAME_BYTES: usize = 480;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(connector_list))
        .routes(routes!(connection_list, connection_create))
        .routes(routes!(connection_get, connection_update, connection_delete))
        .routes(routes!(connection_test))
        .routes(routes!(connection_pause))
        .routes(routes!(connection_resume))
        .routes(routes!(connection_discover))
        .routes(routes!(stream_list, stream_select))
        .routes(routes!(sync_create))
        .routes(routes!(stream_backfill))
        .routes(routes!(schema_list))
}

/// A connection as clients see it: its secrets are `"***"`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ConnectionView {
    id: Uuid,
    name: String,
    connector: String,
    /// As the connector's schema says, secrets masked.
    config: Value,
    status: ConnectionStatus,
    /// What the last test or failed sync said.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The streams chosen; none: all.
    streams: Vec<StreamSelection>,
    /// By what really happened: its syncs and tests.
    health: Health,
    limits: ConnectionLimits,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    times: Option<Times>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "the contract's names")]
struct Times {
    created_at: chrono::DateTime<chrono::Utc>,
    updated_at: chrono::DateTime<chrono::Utc>,
    last_tested_at: Option<chrono::DateTime<chrono::Utc>>,
    last_synced_at: Option<chrono::DateTime<chrono::Utc>>,
}

impl App {
    fn connection_shown(
        &self,
        tenant: TenantId,
        row: ConnectionRow,
        streams: Vec<StreamSelection>,
    ) -> ConnectionView {
        // A configuration whose key was destroyed is gone for good: the rest can still be shown.
        let config = row.config.open(&*self.platform.keys, tenant, row.id).unwrap_or_default();
        let shown = self.platform.connections.config_shown(&row.connector, &config);
        ConnectionView {
            id: row.id,
            name: row.name,
            config: shown,
            connector: row.connector,
            status: row.status,
            message: row.message,
            streams,
            health: row.health,
            limits: row.limits,
            times: Some(Times {
                created_at: row.created_at,
                updated_at: row.updated_at,
                last_tested_at: row.last_tested_at,
                last_synced_at: row.last_synced_at,
            }),
        }
    }

    /// A connection as its aggregate has it, after a write: no projection is asked.
    async fn connection_now(&self, caller: &Caller, id: ConnectionId) -> Result<ConnectionView, ApiError> {
        let loaded = self.platform.commands.load::<Connection>(caller.tenant(), id.0).await?;
        if loaded.version == 0 || loaded.state.status == ConnectionStatus::Deleted {
            return Err(ApiError::not_found("connection", id));
        }
        let state = &*loaded.state;
        Ok(ConnectionView {
            id: id.0,
            name: state.name.clone(),
            connector: state.connector.clone(),
            config: self.platform.connections.config_shown(&state.connector, &state.config),
            status: state.status,
            message: None,
            streams: state.selected.clone(),
            health: state.health.clone(),
            limits: state.limits,
            times: None,
        })
    }
}

/// The kinds of source there are, each with the JSON Schema of its configuration.
#[utoipa::path(get, path = "/aam/connectors", tag = "connections",
    responses((status = 200, body = ref("#/list/ConnectorInfo"))))]
async fn connector_list(State(app): State<App>, caller: Caller) -> Response {
    let position = app.shown(&caller, READ_MODELS);
    list(app.platform.connections.catalogue(), None, position)
}

/// Connections of the organisation.
#[utoipa::path(get, path = "/aam/connections", tag = "connections", params(ListQuery),
    responses((status = 200, body = ref("#/list/ConnectionView"))))]
async fn connection_list(
    State(app): State<App>,
    caller: Caller,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let (request, position) = app.listing(&caller, paging, READ_MODELS).await?;
    let tenant = caller.tenant();
    let models = app.models();
    let rows = models.connection_list(tenant, &request).await?;
    let mut streams = models.stream_list(tenant, None).await?;
    let shown = rows.data.into_iter().map(|row| {
        let own = streams.extract_if(.., |stream| stream.connection_id == row.id);
        let selected = own.filter_map(|stream| stream.selection).collect();
        app.connection_shown(tenant, row, selected)
    });
    Ok(list(shown.collect(), rows.next_cursor, position))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewConnection {
    name: String,
    /// From the catalogue: `file`.
    connector: String,
    /// As the connector's schema says.
    #[schema(value_type = Object)]
    config: Value,
}

/// Makes a connection. Nothing is read yet.
#[utoipa::path(post, path = "/aam/connections", tag = "connections", request_body = NewConnection,
    responses((status = 201, body = ref("#/components/schemas/ConnectionView")), (status = 409, description = "the name is taken"),
              (status = 422, description = "an unknown connector or a wrong configuration")))]
async fn connection_create(
    State(app): State<App>,
    edit: Edit,
    Body(body): Body<NewConnection>,
) -> Result<Response, ApiError> {
    bounded("/name", &body.name, NAME_BYTES)?;
    bounded("/connector", &body.connector, 64)?;
    let (id, outcome) = app
        .platform
        .connections
        .connection_create(&edit.context, &body.name, &body.connector, body.config)
        .await
        .map_err(under_config)?;
    let view = app.connection_now(&edit.caller, id).await?;
    Ok(written(&app, StatusCode::CREATED, &view, &outcome))
}

/// A connector's pointers are into its configuration; a client's into its request.
fn under_config(error: autonomos_commands::error::CommandError) -> ApiError {
    use autonomos_commands::error::CommandError;
    use autonomos_connectors::error::ConnectorError;
    let field = match &error {
        CommandError::Connector(ConnectorError::Configuration { field, .. }) => Some(field.clone()),
        _ => None,
    };
    let mut problem = ApiError::from(error);
    if let Some(field) = field {
        let pointer = if field == "/connector" { field } else { format!("/config{field}") };
        let message = problem.detail.clone();
        problem.errors = vec![super::problem::FieldProblem { pointer, message }];
    }
    problem
}

/// One connection.
#[utoipa::path(get, path = "/aam/connections/{id}", tag = "connections", params(("id" = Uuid, Path,), ReadQuery),
    responses((status = 200, body = ref("#/components/schemas/ConnectionView")), (status = 404)))]
async fn connection_get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    let models = app.models();
    let row = models.connection_get(caller.tenant(), id).await?;
    let row = row.ok_or_else(|| ApiError::not_found("connection", id))?;
    let streams = models.stream_list(caller.tenant(), Some(id)).await?;
    let selected = streams.into_iter().filter_map(|stream| stream.selection).collect();
    Ok(read(&app.connection_shown(caller.tenant(), row, selected), &position))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConnectionChange {
    #[serde(default)]
    name: Option<String>,
    /// All of it; a secret sent as `"***"` keeps its value.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// All of them; what is left out has its default.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    limits: Option<ConnectionLimits>,
}

/// Changes a connection's name, its configuration, its limits, or any of them. What is under way goes on as
/// it was; its next attempt takes the new ones.
#[utoipa::path(patch, path = "/aam/connections/{id}", tag = "connections", params(("id" = Uuid, Path,)),
    request_body = ConnectionChange, responses((status = 200, body = ref("#/components/schemas/ConnectionView")), (status = 404), (status = 409)))]
async fn connection_update(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
    Body(body): Body<ConnectionChange>,
) -> Result<Response, ApiError> {
    if let Some(name) = &body.name {
        bounded("/name", name, NAME_BYTES)?;
    }
    let id = ConnectionId(id);
    let connections = &app.platform.connections;
    let limited = match body.limits {
        Some(limits) => Some(connections.connection_limit(&edit.context.step("limits"), id, limits).await?),
        None => None,
    };
    let updated = connections
        .connection_update(&edit.context, id, body.name.as_deref(), body.config)
        .await
        .map_err(under_config)?;
    let outcome = limited.filter(|_| updated.position.is_none()).unwrap_or(updated);
    let view = app.connection_now(&edit.caller, id).await?;
    Ok(written(&app, StatusCode::OK, &view, &outcome))
}

/// Deletes a connection: its records close at this position, its history stays.
#[utoipa::path(delete, path = "/aam/connections/{id}", tag = "connections", params(("id" = Uuid, Path,)),
    responses((status = 204), (status = 404)))]
async fn connection_delete(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    // A keyed request may be a repetition, after the connection is gone.
    if !edit.is_keyed {
        app.connection_must_exist(&edit.caller, id).await?;
    }
    let outcome = app
        .platform
        .connections
        .connection_delete(&edit.context, ConnectionId(id), &app.platform.tasks)
        .await?;
    if outcome.position.is_none() {
        return Err(ApiError::not_found("connection", id));
    }
    Ok(no_content(&app, &outcome))
}

/// Talks to the real source and says what worked.
#[utoipa::path(post, path = "/aam/connections/{id}/test", tag = "connections", params(("id" = Uuid, Path,)),
    responses((status = 200, body = ref("#/components/schemas/TestReport")), (status = 404)))]
async fn connection_test(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let (report, outcome) = app.platform.connections.connection_test(&edit.context, ConnectionId(id)).await?;
    Ok(written(&app, StatusCode::OK, &report, &outcome))
}

/// Pauses a connection: its schedules let their times pass, and syncs by hand go on.
#[utoipa::path(post, path = "/aam/connections/{id}/pause", tag = "connections", params(("id" = Uuid, Path,)),
    responses((status = 200, body = ref("#/components/schemas/ConnectionView")), (status = 404)))]
async fn connection_pause(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    paused(&app, &edit, ConnectionId(id), true).await
}

/// Ends a pause, whoever or whatever began it; failures are counted anew.
#[utoipa::path(post, path = "/aam/connections/{id}/resume", tag = "connections", params(("id" = Uuid, Path,)),
    responses((status = 200, body = ref("#/components/schemas/ConnectionView")), (status = 404)))]
async fn connection_resume(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    paused(&app, &edit, ConnectionId(id), false).await
}

async fn paused(app: &App, edit: &Edit, id: ConnectionId, paused: bool) -> Result<Response, ApiError> {
    let outcome = app.platform.connections.connection_pause(&edit.context, id, paused).await?;
    let view = app.connection_now(&edit.caller, id).await?;
    Ok(written(app, StatusCode::OK, &view, &outcome))
}

/// What a source offers.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DiscoveredStreams {
    streams: Vec<DiscoveredStream>,
}

/// Asks the source for its streams.
#[utoipa::path(post, path = "/aam/connections/{id}/discover", tag = "connections", params(("id" = Uuid, Path,)),
    responses((status = 200, body = ref("#/components/schemas/DiscoveredStreams")),
              (status = 404), (status = 502, description = "the source failed")))]
async fn connection_discover(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let (streams, outcome) =
        app.platform.connections.connection_discover(&edit.context, ConnectionId(id)).await?;
    Ok(written(&app, StatusCode::OK, &DiscoveredStreams { streams }, &outcome))
}

/// Streams of a connection: found, selected or read.
#[utoipa::path(get, path = "/aam/connections/{id}/streams", tag = "connections",
    params(("id" = Uuid, Path,), ReadQuery), responses((status = 200, body = ref("#/list/StreamRow")), (status = 404)))]
async fn stream_list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    app.connection_must_exist(&caller, id).await?;
    let rows = app.models().stream_list(caller.tenant(), Some(id)).await?;
    Ok(list(rows, None, position))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Selection {
    #[schema(value_type = Vec<Object>)]
    streams: Vec<StreamSelection>,
}

/// The streams as chosen.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SelectedStreams {
    streams: Vec<StreamSelection>,
}

/// Chooses which streams are read, and how. An empty list chooses all, each in its best way.
#[utoipa::path(put, path = "/aam/connections/{id}/streams", tag = "connections", params(("id" = Uuid, Path,)),
    request_body = Selection, responses((status = 200, body = ref("#/components/schemas/SelectedStreams")), (status = 404), (status = 422)))]
async fn stream_select(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
    Body(body): Body<Selection>,
) -> Result<Response, ApiError> {
    let mut streams = body.streams;
    let tenant = edit.caller.tenant();
    let ontology = app.platform.commands.load::<TenantOntology>(tenant, tenant.0).await?.state.in_force();
    for (index, stream) in streams.iter_mut().enumerate() {
        let Some(name) = stream.entity.as_deref().filter(|name| *name != "none") else {
            continue;
        };
        let entity = ontology.entity(name).ok_or_else(|| {
            let known: Vec<&str> = ontology.entities.iter().map(|entity| entity.name.as_str()).collect();
            let shown: String = name.chars().take(80).collect();
            let message =
                format!("there is no entity `{shown}`: use one of `{}`, or `none`", known.join("`, `"));
            ApiError::invalid(format!("/streams/{index}/entity"), message)
        })?;
        stream.entity = Some(entity.name.clone());
    }
    let connections = &app.platform.connections;
    let outcome = connections.connection_select(&edit.context, ConnectionId(id), streams).await?;
    let streams = app.connection_now(&edit.caller, ConnectionId(id)).await?.streams;
    Ok(written(&app, StatusCode::OK, &SelectedStreams { streams }, &outcome))
}

/// A sync's task, as it waits for its turn.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SyncQueued {
    /// The task's.
    id: Uuid,
    task_id: Uuid,
    sync_id: Uuid,
    status: TaskStatus,
}

/// Starts a sync in the background. One at a time a connection: 409 names the task that runs.
#[utoipa::path(post, path = "/aam/connections/{id}/syncs", tag = "syncs", params(("id" = Uuid, Path,)),
    responses((status = 202, body = ref("#/components/schemas/SyncQueued")), (status = 404),
              (status = 409, description = "one is under way: `task_id`")))]
async fn sync_create(State(app): State<App>, edit: Edit, Path(id): Path<Uuid>) -> Result<Response, ApiError> {
    sync_start(&app, &edit, ConnectionId(id), SyncCause::default()).await
}

/// Reads one stream anew, from its beginning: records that are gone from it close once it is read. The
/// other streams, and where they stand, are left alone.
#[utoipa::path(post, path = "/aam/connections/{id}/streams/{stream}/backfill", tag = "syncs",
    params(("id" = Uuid, Path,), ("stream" = String, Path, description = "the stream's name")),
    responses((status = 202, body = ref("#/components/schemas/SyncQueued")),
              (status = 404, description = "no such connection, or it does not read the stream"),
              (status = 409, description = "a sync is under way: `task_id`")))]
async fn stream_backfill(
    State(app): State<App>,
    edit: Edit,
    Path((id, stream)): Path<(Uuid, String)>,
) -> Result<Response, ApiError> {
    let cause = SyncCause { backfill: Some(stream), ..SyncCause::default() };
    sync_start(&app, &edit, ConnectionId(id), cause).await
}

pub(super) async fn sync_start(
    app: &App,
    edit: &Edit,
    id: ConnectionId,
    cause: SyncCause,
) -> Result<Response, ApiError> {
    let platform = &app.platform;
    match sync_request(&platform.commands, &edit.context, id, cause).await? {
        SyncRequest::Granted(granted) => {
            let (task_id, sync_id) = (granted.task_id.0, granted.sync_id.0);
            let body = SyncQueued { id: task_id, task_id, sync_id, status: TaskStatus::Queued };
            Ok(written(app, StatusCode::ACCEPTED, &body, &granted.outcome))
        }
        SyncRequest::Busy(task) => {
            let mut error = ApiError::new(
                StatusCode::CONFLICT,
                "AOS-0518",
                format!("a sync of this connection is under way: task `{task}`"),
            );
            error.task_id = Some(task.0);
            Err(error)
        }
    }
}

impl App {
    /// 404 for what is not there, or is another tenant's.
    pub(super) async fn connection_must_exist(&self, caller: &Caller, id: Uuid) -> Result<(), ApiError> {
        let loaded = self.platform.commands.load::<Connection>(caller.tenant(), id).await?;
        if loaded.version == 0 || loaded.state.status == ConnectionStatus::Deleted {
            return Err(ApiError::not_found("connection", id));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct SchemaQuery {
    stream: Option<String>,
    limit: Option<usize>,
    min_position: Option<String>,
}

/// The schema versions of a connection's streams, oldest first.
#[utoipa::path(get, path = "/aam/connections/{id}/schemas", tag = "drift", params(("id" = Uuid, Path,), SchemaQuery),
    responses((status = 200, body = ref("#/list/SchemaVersionRow")), (status = 404)))]
async fn schema_list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<SchemaQuery>,
) -> Result<Response, ApiError> {
    limit(query.limit)?;
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    app.connection_must_exist(&caller, id).await?;
    let models = app.models();
    let rows = models.schema_list(caller.tenant(), id, query.stream.as_deref()).await?;
    Ok(list(rows, None, position))
}
