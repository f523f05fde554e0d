//! The audit trail, and the check that nobody has rewritten it.

mod chains;

use super::{
    extract::Query,
    identity::Caller,
    problem::ApiError,
    respond::{ListQuery, READ_MODELS, list, read},
    state::App,
};
use autonomos_domain::envelope::Position;
use autonomos_log::port::{Filter, ReadLimit};
use autonomos_projections::read_models::{query::ActivityFilter, rows::ActivityRow};
use axum::{extract::State, response::Response};
use chains::Chains;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

const TYPES: usize = 100;
/// What a verification reads at a time.
const READ: ReadLimit = ReadLimit { commits: 1_000, bytes: 4 << 20 };
/// Findings named; there may be more.
const NAMED: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(history_list)).routes(routes!(history_verify))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct HistoryQuery {
    /// `connection`, `mapping`, …
    aggregate_type: Option<String>,
    aggregate_id: Option<Uuid>,
    /// Event types, separated by commas.
    types: Option<String>,
    /// The id of a user or of an API key, or the name of a part of the platform.
    actor: Option<String>,
    /// Everything one request brought about.
    correlation_id: Option<Uuid>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    /// `asc`: oldest first; else newest first.
    order: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HistoryView {
    position: String,
    #[serde(rename = "type")]
    kind: String,
    /// The event's content, without secrets and without bulk.
    payload: serde_json::Value,
    #[serde(flatten)]
    row: ActivityRow,
}

/// Who did what, when, and why.
#[utoipa::path(get, path = "/history", tag = "history", params(HistoryQuery, ListQuery),
    responses((status = 200, body = ref("#/list/HistoryView"))))]
async fn history_list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<HistoryQuery>,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let split = |types: &str| {
        types.split(',').map(|kind| kind.trim().to_owned()).filter(|kind| !kind.is_empty()).collect()
    };
    let types: Vec<String> = query.types.as_deref().map(split).unwrap_or_default();
    if types.len() > TYPES {
        return Err(ApiError::invalid("?types", format!("there are more than {TYPES} types")));
    }
    let ascending = match query.order.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(ApiError::invalid("?order", "`asc` or `desc` is expected")),
    };
    let (request, position) = app.listing(&caller, paging, READ_MODELS).await?;
    let filter = ActivityFilter {
        aggregate_type: query.aggregate_type,
        aggregate_id: query.aggregate_id,
        types,
        actor: query.actor,
        correlation_id: query.correlation_id,
        from: query.from,
        to: query.to,
        ascending,
    };
    let rows = app.models().activity_list(caller.tenant(), &filter, &request).await?;
    let data = rows.data.into_iter().map(|mut row| HistoryView {
        position: app.token_at(row.position, row.event_index),
        kind: row.event_type.clone(),
        payload: std::mem::take(&mut row.data),
        row,
    });
    Ok(list(data.collect(), rows.next_cursor, position))
}

/// What a verification found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Verification {
    ok: bool,
    commits_checked: u64,
    /// At most 1,000 of them.
    broken: Vec<Broken>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Broken {
    /// `log`, `store`, `content` or `chain`.
    kind: &'static str,
    position: String,
    aggregate_type: Option<String>,
    aggregate_id: Option<Uuid>,
    reason: String,
}

/// Recomputes the hash chains of everything the organisation has in the log.
#[utoipa::path(get, path = "/history/verify", tag = "history",
    responses((status = 200, body = ref("#/components/schemas/Verification"))))]
async fn history_verify(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    caller.may_edit()?;
    let _turn = app.verifying.lock().await;
    let tenant = caller.tenant();
    let cell = app.cell(&caller);
    let position = app.shown(&caller, READ_MODELS);
    let mut broken = Vec::new();
    let at = |sequence| app.token(Position { cell, sequence });
    // What every start looks for in the whole cell; only what concerns this tenant, or nobody in
    // particular, is named here.
    for finding in app.platform.log.damage() {
        if finding.cell == cell && finding.tenant.is_none_or(|of| of == tenant) {
            broken.push(Broken {
                kind: "log",
                position: at(finding.first_sequence),
                aggregate_type: finding.aggregate.map(|aggregate| aggregate.aggregate_type.to_string()),
                aggregate_id: finding.aggregate.map(|aggregate| aggregate.aggregate_id),
                reason: finding.reason,
            });
        }
    }
    let head = app.platform.log.head(cell).await.map_err(ApiError::internal)?;
    let filter = Filter { tenant: Some(tenant), aggregate_types: Vec::new() };
    let mut chains = Chains::default();
    let mut after = 0;
    loop {
        if after >= head.sequence {
            if !chains.next_pass() {
                break;
            }
            after = 0;
        }
        let page = match app.platform.log.read(cell, after, &filter, READ).await {
            Ok(page) => page,
            Err(error) => {
                broken.push(Broken {
                    kind: "store",
                    position: at(after + 1),
                    aggregate_type: None,
                    aggregate_id: None,
                    reason: error.to_string(),
                });
                break;
            }
        };
        for commit in &page.commits {
            if let Some((kind, reason)) = chains.follow(commit)
                && broken.len() < NAMED
            {
                let key = commit.header.key;
                broken.push(Broken {
                    kind,
                    position: at(commit.position.sequence),
                    aggregate_type: Some(key.aggregate_type.to_string()),
                    aggregate_id: Some(key.aggregate_id),
                    reason,
                });
            }
        }
        // A page that gets no further is the end, whatever the head says.
        after = if page.scanned_to > after { page.scanned_to } else { head.sequence };
        tokio::task::yield_now().await;
    }
    let body = Verification { ok: broken.is_empty(), commits_checked: chains.checked, broken };
    Ok(read(&body, &position))
}
