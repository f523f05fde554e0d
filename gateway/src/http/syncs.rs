//! Runs of connections: their state, their counts, what went wrong.

use super::{
    extract::{Path, Query},
    identity::Caller,
    problem::ApiError,
    respond::{BOTH, ListQuery, ReadQuery, list, read},
    state::App,
};
use autonomos_projections::{
    dcl::read::BatchRange,
    read_models::{
        query::SyncFilter,
        rows::{SyncRow, SyncStatus, SyncStreamRow},
    },
};
use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(sync_list)).routes(routes!(sync_get))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct SyncsQuery {
    connection_id: Option<Uuid>,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    #[param(value_type = Option<String>)]
    status: Option<SyncStatus>,
}

/// Syncs, newest first.
#[utoipa::path(get, path = "/aam/syncs", tag = "syncs", params(SyncsQuery, ListQuery),
    responses((status = 200, body = ref("#/list/SyncRow"))))]
async fn sync_list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<SyncsQuery>,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let (request, position) = app.listing(&caller, paging, BOTH).await?;
    let filter = SyncFilter { connection_id: query.connection_id, status: query.status };
    let mut rows = app.models().sync_list(caller.tenant(), &filter, &request).await?;
    app.count(&caller, &mut rows.data).await?;
    Ok(list(rows.data, rows.next_cursor, position))
}

/// One sync.
#[utoipa::path(get, path = "/aam/syncs/{id}", tag = "syncs", params(("id" = Uuid, Path,), ReadQuery),
    responses((status = 200, body = ref("#/components/schemas/SyncRow")), (status = 404)))]
async fn sync_get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), BOTH).await?;
    let row = app.models().sync_get(caller.tenant(), id).await?;
    let mut row = row.ok_or_else(|| ApiError::not_found("sync", id))?;
    app.count(&caller, std::slice::from_mut(&mut row)).await?;
    Ok(read(&row, &position))
}

impl App {
    /// What became of the rows of runs is known to the views alone.
    async fn count(&self, caller: &Caller, syncs: &mut [SyncRow]) -> Result<(), ApiError> {
        let read = |stream: &SyncStreamRow| {
            let (first, last) = stream.sequences?;
            Some(BatchRange { feed_id: stream.feed_id, first, last })
        };
        let streams = || syncs.iter().flat_map(|sync| &sync.streams);
        let ranges: Vec<BatchRange> = streams().filter_map(read).collect();
        if ranges.is_empty() {
            return Ok(());
        }
        let counts = self.views().batch_counts(caller.tenant(), ranges).await?;
        let streams = syncs.iter_mut().flat_map(|sync| &mut sync.streams);
        for (stream, counted) in streams.filter(|stream| read(stream).is_some()).zip(counts) {
            if let Some(counted) = counted {
                stream.rows_canonical = counted.rows_canonical(stream.rows_read);
                stream.rows_quarantined = counted.rows_quarantined;
            }
        }
        Ok(())
    }
}
