//! Committed events of the tenant, live: server-sent events and a WebSocket. They come from the log
//! and from nowhere else; an id is a position, and a stream resumed there misses and repeats nothing.

use super::{
    extract::Query,
    identity::{Caller, unauthenticated},
    problem::ApiError,
    state::App,
};
use crate::platform::Platform;
use autonomos_commands::auth::Identity;
use autonomos_domain::{
    aggregates::{api_key::ApiKey, user::User},
    envelope::Actor,
    ids::TenantId,
};
use autonomos_log::{
    events::open_json,
    port::{Delivery, Filter, StoredCommit},
};
use axum::{
    Json,
    extract::{State, WebSocketUpgrade, ws},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{convert::Infallible, sync::Arc, time::Duration};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// One event as clients see it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    /// Opaque; resumes a stream behind this event.
    pub position: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub schema_version: u16,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub version: u64,
    pub recorded_at: DateTime<Utc>,
    #[schema(value_type = Object)]
    pub actor: Actor,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    /// The event's own fields, secrets and record bodies left out; null if it was erased.
    #[schema(value_type = Object)]
    pub payload: Value,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ticket {
    pub ticket: Uuid,
    pub expires_at: DateTime<Utc>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct StreamQuery {
    /// Begins behind this position; absent: from the tenant's first event. `now`: only what comes.
    from: Option<String>,
    /// Event types, separated by commas; absent: all.
    types: Option<String>,
    /// From `POST /events/ticket`, where no header can be sent.
    ticket: Option<Uuid>,
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(event_ticket))
        .routes(routes!(event_stream))
        .routes(routes!(event_socket))
}

/// A short-lived ticket for one browser's event stream.
#[utoipa::path(post, path = "/events/ticket", tag = "events", responses((status = 201, body = Ticket)))]
async fn event_ticket(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let (ticket, expires_at) = app.platform.tickets.ticket_give(&caller.0).await?;
    Ok((StatusCode::CREATED, Json(Ticket { ticket, expires_at })).into_response())
}

/// The tenant's events as server-sent events, in order, from a position on and then live.
#[utoipa::path(get, path = "/events/stream", tag = "events", params(StreamQuery),
    responses((status = 200, description = "text/event-stream of events", body = EventView, content_type = "text/event-stream")))]
async fn event_stream(
    State(app): State<App>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
    caller: Option<Caller>,
) -> Result<Response, ApiError> {
    let identity = identify(&app, caller, query.ticket).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let from = last.or(query.from);
    let heartbeat = Duration::from_secs(app.config.heartbeat_seconds.max(1));
    let events = follow(&app, &identity, from.as_deref(), query.types.as_deref()).await?;
    let frames = events.map(|event| {
        let frame = Event::default().id(event.position.clone()).event(event.kind.clone());
        Ok::<_, Infallible>(frame.json_data(&event).unwrap_or_default())
    });
    // The answer's head goes out with its first frame: without one, a quiet stream would look like
    // a server that does not answer.
    let opening = stream::once(async { Ok(Event::default().comment("connected")) });
    Ok(Sse::new(opening.chain(frames))
        .keep_alive(KeepAlive::new().interval(heartbeat).text("heartbeat"))
        .into_response())
}

/// The same over a WebSocket: one event a text message.
#[utoipa::path(get, path = "/events/ws", tag = "events", params(StreamQuery),
    responses((status = 101, description = "a WebSocket of events")))]
async fn event_socket(
    State(app): State<App>,
    Query(query): Query<StreamQuery>,
    caller: Option<Caller>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let identity = identify(&app, caller, query.ticket).await?;
    let mut events = Box::pin(follow(&app, &identity, query.from.as_deref(), query.types.as_deref()).await?);
    let heartbeat = Duration::from_secs(app.config.heartbeat_seconds.max(1));
    Ok(upgrade.on_upgrade(move |mut socket| async move {
        loop {
            let sent = tokio::select! {
                event = events.next() => match event {
                    Some(event) => {
                        let text = serde_json::to_string(&event).unwrap_or_default();
                        socket.send(ws::Message::Text(text.into())).await
                    }
                    None => return,
                },
                message = socket.recv() => match message {
                    Some(Ok(ws::Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => Ok(()),
                },
                () = tokio::time::sleep(heartbeat) => socket.send(ws::Message::Ping(Vec::new().into())).await,
            };
            if sent.is_err() {
                return;
            }
        }
    }))
}

async fn identify(app: &App, caller: Option<Caller>, ticket: Option<Uuid>) -> Result<Identity, ApiError> {
    if let Some(caller) = caller {
        return Ok(caller.0);
    }
    let ticket = ticket.ok_or_else(unauthenticated)?;
    app.platform.tickets.ticket_take(ticket).await?.ok_or_else(unauthenticated)
}

/// Events of the caller's tenant behind a position, then live, until the server ends.
async fn follow(
    app: &App,
    identity: &Identity,
    from: Option<&str>,
    types: Option<&str>,
) -> Result<impl Stream<Item = EventView> + Send + use<>, ApiError> {
    let cell = app.platform.log.cell_of(identity.tenant);
    let (after, skip_to) = match from {
        None | Some("") => (0, 0),
        Some("now") => {
            let head = app.platform.log.head(cell).await.map_err(ApiError::internal)?;
            (head.sequence, 0)
        }
        Some(token) => {
            let token = app.position("from", token)?;
            // The commit is read again from its next event on.
            (token.position.sequence.saturating_sub(1), token.event + 1)
        }
    };
    let resumed_at = if skip_to == 0 { 0 } else { after + 1 };
    let wanted: Option<Vec<String>> =
        types.map(|types| types.split(',').map(|kind| kind.trim().to_owned()).collect());
    let filter = Filter { tenant: Some(identity.tenant), aggregate_types: Vec::new() };
    let commits = app.platform.log.subscribe(cell, after, filter);
    let (app, tenant, stopping) = (app.clone(), identity.tenant, app.stopping.clone());
    let (platform, identity) = (Arc::clone(&app.platform), identity.clone());
    let events = commits
        .take_until(async move { stopping.cancelled().await })
        .take_while(move |delivery| {
            let concerns_caller = match delivery {
                Ok(Delivery::Commit(commit)) if is_of(&identity, commit) => {
                    // It may be another node's: what this one remembers is from before it.
                    platform.commands.commit_seen(commit);
                    true
                }
                _ => false,
            };
            let go_on = delivery.is_ok();
            let (platform, identity) = (Arc::clone(&platform), identity.clone());
            // Who is signed out, removed or revoked hears nothing more, from that event on.
            async move { go_on && (!concerns_caller || still_holds(&platform, &identity).await) }
        })
        .flat_map(move |delivery| {
            let views = match delivery {
                Ok(Delivery::Commit(commit)) => {
                    let skip = if commit.position.sequence == resumed_at { skip_to as usize } else { 0 };
                    views(&app, tenant, &commit, skip, wanted.as_deref())
                }
                Ok(Delivery::CaughtUp(_)) | Err(_) => Vec::new(),
            };
            stream::iter(views)
        });
    Ok(events)
}

/// Is the commit about the caller's own user or key?
fn is_of(identity: &Identity, commit: &StoredCommit) -> bool {
    match &identity.actor {
        Actor::User(id) | Actor::ApiKey(id) => commit.header.key.aggregate_id == *id,
        Actor::System(_) => false,
    }
}

/// Does what the stream was opened with still hold?
async fn still_holds(platform: &Platform, identity: &Identity) -> bool {
    let commands = &platform.commands;
    match (&identity.actor, identity.session) {
        (Actor::User(id), Some(session)) => {
            let user = commands.load::<User>(identity.tenant, *id).await;
            user.is_ok_and(|user| !user.state.removed && user.state.sessions.contains_key(&session))
        }
        (Actor::ApiKey(id), _) => {
            let key = commands.load::<ApiKey>(identity.tenant, *id).await;
            key.is_ok_and(|key| key.state.role_at(Utc::now()).is_some())
        }
        _ => true,
    }
}

fn views(
    app: &App,
    tenant: TenantId,
    commit: &Arc<StoredCommit>,
    skip: usize,
    wanted: Option<&[String]>,
) -> Vec<EventView> {
    // The log filters by tenant; that it did is checked where it would hurt.
    if commit.header.key.tenant != tenant {
        return Vec::new();
    }
    let header = &commit.header;
    let kept = commit
        .events
        .iter()
        .enumerate()
        .skip(skip)
        .filter(|(_, event)| wanted.is_none_or(|wanted| wanted.contains(&event.event_type)));
    kept.map(|(index, event)| EventView {
        position: app.token_at(commit.position, index as u32),
        kind: event.event_type.clone(),
        schema_version: event.schema_version,
        aggregate_type: header.key.aggregate_type.to_string(),
        aggregate_id: header.key.aggregate_id,
        version: header.first_version + index as u64,
        recorded_at: header.recorded_at,
        actor: header.actor.clone(),
        correlation_id: header.correlation_id,
        causation_id: header.causation_id,
        payload: open_json(&*app.platform.keys, commit, index)
            .map_or(Value::Null, |payload| outside(app, inner(payload, &event.event_type))),
    })
    .collect()
}

/// The event's fields without the tag around them.
fn inner(mut payload: Value, kind: &str) -> Value {
    match payload.get_mut(kind) {
        Some(fields) => fields.take(),
        None => payload,
    }
}

/// What must not leave: hashes of secrets, and secrets in a connection's configuration.
pub(super) fn outside(app: &App, mut payload: Value) -> Value {
    if let Some(fields) = payload.as_object_mut() {
        for secret in ["password_hash", "refresh_hash", "secret_hash"] {
            fields.remove(secret);
        }
        if let Some(config) = fields.get("config").cloned() {
            let shown = match fields.get("connector").and_then(Value::as_str) {
                Some(connector) => app.platform.connections.config_shown(connector, &config),
                // An update does not name its connector: nothing of it is known to be harmless.
                None => Value::Null,
            };
            fields.insert("config".to_owned(), shown);
        }
        // Profiles quote many values and weigh a lot; the schema pages show them.
        fields.remove("profile");
    }
    payload
}
