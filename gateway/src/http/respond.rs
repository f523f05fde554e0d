//! Answers: positions in headers, pages in an envelope, waiting for a position before a read.

use super::{identity::Caller, problem::ApiError, state::App};
use autonomos_commands::execute::Outcome;
use autonomos_domain::envelope::Position;
use autonomos_log::token::{PositionToken, TokenError};
use autonomos_projections::{
    ProjectionError,
    dcl::read::DclReads,
    read_models::{
        query::ReadModels,
        rows::{Page, PageRequest},
    },
    runtime,
};
use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Longest wait for a read that asked for a position.
const WAIT: Duration = Duration::from_secs(5);
/// What most reads are answered from.
pub(super) const READ_MODELS: &[&str] = &[runtime::READ_MODELS];
pub(super) const VIEWS: &[&str] = &[runtime::DCL];
pub(super) const BOTH: &[&str] = &[runtime::READ_MODELS, runtime::DCL];

pub(super) const X_POSITION: HeaderName = HeaderName::from_static("x-position");
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

impl App {
    /// The token that clients get for a position.
    pub(crate) fn token(&self, position: Position) -> String {
        self.token_at(position, 0)
    }

    /// The token of one event of a commit.
    pub(crate) fn token_at(&self, position: Position, event: u32) -> String {
        PositionToken::new(self.platform.log_id(), position, event).encode()
    }

    /// A client's token, of this log.
    pub(crate) fn position(&self, name: &str, token: &str) -> Result<PositionToken, ApiError> {
        PositionToken::decode_for(self.platform.log_id(), token).map_err(|error| {
            let foreign = matches!(error, TokenError::OtherLog { .. });
            let status = if foreign { StatusCode::GONE } else { StatusCode::UNPROCESSABLE_ENTITY };
            let mut problem = ApiError::invalid(format!("?{name}"), error.to_string());
            problem.status = status;
            problem.code = error.code();
            problem
        })
    }

    /// Waits, at most five seconds, until the projectors show what the caller has seen written.
    pub(crate) async fn wait(
        &self,
        caller: &Caller,
        min_position: Option<&str>,
        projectors: &[&str],
    ) -> Result<(), ApiError> {
        let Some(token) = min_position else {
            return Ok(());
        };
        let wanted = self.position("min_position", token)?;
        self.platform
            .projections
            .wait_for(caller.tenant(), wanted.position, projectors, WAIT)
            .await
            .map_err(ApiError::from)
    }

    /// What most reads begin with: waits for the position that was asked for, and says where the
    /// projectors stand before they are read, so that the answer shows at least that.
    pub(crate) async fn reading(
        &self,
        caller: &Caller,
        min_position: Option<&str>,
        projectors: &[&str],
    ) -> Result<String, ApiError> {
        self.wait(caller, min_position, projectors).await?;
        Ok(self.shown(caller, projectors))
    }

    /// What every list begins with: which page is asked for, and where its answer stands.
    pub(super) async fn listing(
        &self,
        caller: &Caller,
        query: ListQuery,
        projectors: &[&str],
    ) -> Result<(PageRequest, String), ApiError> {
        let request = PageRequest { limit: limit(query.limit)?, cursor: query.cursor };
        let position = self.reading(caller, query.min_position.as_deref(), projectors).await?;
        Ok((request, position))
    }

    /// One row by its id. One that the read models do not know may be on its way to them.
    pub(super) async fn find<T, F>(
        &self,
        caller: &Caller,
        what: &str,
        id: Uuid,
        get: impl Fn() -> F,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = Result<Option<T>, ProjectionError>>,
    {
        if let Some(row) = get().await? {
            return Ok(row);
        }
        self.catch_up(caller).await;
        get().await?.ok_or_else(|| ApiError::not_found(what, id))
    }

    /// Answers a write with what it changed, as it is shown once the write is.
    pub(super) async fn changed<T: Serialize>(
        &self,
        caller: &Caller,
        outcome: &Outcome,
        row: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<Response, ApiError> {
        self.settle(caller, outcome, READ_MODELS).await;
        Ok(written(self, StatusCode::OK, &row.await?, outcome))
    }

    pub(super) fn models(&self) -> ReadModels {
        self.platform.projections.read_models()
    }

    pub(super) fn views(&self) -> DclReads {
        self.platform.projections.dcl()
    }

    /// Waits, as long as a read would, until what was just written is shown. It was written in any
    /// case: a projection that lags does not make the answer an error.
    pub(super) async fn settle(&self, caller: &Caller, outcome: &Outcome, projectors: &[&str]) {
        if let Some(position) = outcome.position {
            let waited =
                self.platform.projections.wait_for(caller.tenant(), position, projectors, WAIT).await;
            if let Err(error) = waited {
                tracing::debug!(%error, "an answer was given before what was written is shown");
            }
        }
    }

    /// Waits until the read models show everything that is in the log now: before an id that they
    /// do not know is said not to exist.
    pub(super) async fn catch_up(&self, caller: &Caller) {
        let cell = self.cell(caller);
        if let Ok(head) = self.platform.log.head(cell).await {
            let position = Position { cell, sequence: head.sequence };
            let _ = self.platform.projections.wait_for(caller.tenant(), position, READ_MODELS, WAIT).await;
        }
    }

    /// Where a read of these projectors stands.
    pub(crate) fn shown(&self, caller: &Caller, projectors: &[&str]) -> String {
        let cell = self.cell(caller);
        self.token(self.platform.projections.position(caller.tenant(), cell, projectors))
    }

    /// Waits, at most five seconds, until the projectors show everything that is in the log now.
    pub(super) async fn caught_up(&self, caller: &Caller, projectors: &[&str]) -> Result<(), ApiError> {
        let cell = self.cell(caller);
        let head = self.platform.log.head(cell).await.map_err(ProjectionError::from)?;
        let position = Position { cell, sequence: head.sequence };
        Ok(self.platform.projections.wait_for(caller.tenant(), position, projectors, WAIT).await?)
    }

    /// The cell the caller's organisation lives in.
    pub(super) fn cell(&self, caller: &Caller) -> u16 {
        self.platform.log.cell_of(caller.tenant())
    }
}

/// What every list takes.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct ListQuery {
    /// 1 to 1000; 100 if absent.
    pub limit: Option<usize>,
    /// `meta.next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Waits up to five seconds until this position is shown.
    pub min_position: Option<String>,
}

/// What a read of one thing takes.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct ReadQuery {
    /// Waits up to five seconds until this position is shown.
    pub min_position: Option<String>,
}

/// The limit of a list, checked.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, ApiError> {
    match asked {
        None => Ok(100),
        Some(limit @ 1..=1000) => Ok(limit),
        Some(other) => Err(ApiError::invalid("?limit", format!("`{other}` is not from 1 to 1000"))),
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Meta {
    /// Absent on the last page.
    pub next_cursor: Option<String>,
    pub position: String,
    /// How many there are in all, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<T> {
    pub data: Vec<T>,
    pub meta: Meta,
}

/// A page with its position in the header too.
pub(super) fn list<T: Serialize>(data: Vec<T>, next_cursor: Option<String>, position: String) -> Response {
    listed(data, next_cursor, position, None)
}

/// The same, with how many there are in all.
pub(super) fn listed<T: Serialize>(
    data: Vec<T>,
    next_cursor: Option<String>,
    position: String,
    total: Option<u64>,
) -> Response {
    let header = position.clone();
    let body = Json(List { data, meta: Meta { next_cursor, position, total } });
    with_position(body.into_response(), &header)
}

/// A page of read-model rows, each shown by `show`.
pub(super) fn page<R, T: Serialize>(rows: Page<R>, position: String, show: impl Fn(R) -> T) -> Response {
    list(rows.data.into_iter().map(show).collect(), rows.next_cursor, position)
}

/// One thing that was read.
pub(super) fn read<T: Serialize>(body: &T, position: &str) -> Response {
    with_position(Json(body).into_response(), position)
}

pub(super) fn with_position(mut response: Response, position: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(position) {
        response.headers_mut().insert(X_POSITION, value);
    }
    response
}

/// The answer to a write: where it stands, and whether it is a repetition.
pub(super) fn written<T: Serialize>(app: &App, status: StatusCode, body: &T, outcome: &Outcome) -> Response {
    acknowledged(app, (status, Json(body)).into_response(), outcome)
}

/// 204 to a write, likewise.
pub(super) fn no_content(app: &App, outcome: &Outcome) -> Response {
    acknowledged(app, StatusCode::NO_CONTENT.into_response(), outcome)
}

fn acknowledged(app: &App, response: Response, outcome: &Outcome) -> Response {
    let mut response = positioned(app, response, outcome.position);
    if outcome.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// An answer with where the write behind it stands, if it changed anything.
pub(super) fn positioned(app: &App, response: Response, position: Option<Position>) -> Response {
    match position {
        Some(position) => with_position(response, &app.token(position)),
        None => response,
    }
}

impl From<ProjectionError> for ApiError {
    fn from(error: ProjectionError) -> Self {
        use ProjectionError as E;
        let status = match &error {
            E::UnknownEntity { .. } | E::UnknownProjector { .. } => StatusCode::NOT_FOUND,
            E::UnknownField { .. }
            | E::BadValue { .. }
            | E::BadCursor
            | E::QueryRefused(_)
            | E::QueryFailed(_)
            | E::QueryTimeout { .. }
            | E::DryRunTimeout { .. }
            | E::DryRunTooLarge => StatusCode::UNPROCESSABLE_ENTITY,
            E::WaitTimeout { .. }
            | E::Parked { .. }
            | E::RolledBack { .. }
            | E::Stopped
            | E::GenerationGone
            | E::Elsewhere { .. } => StatusCode::SERVICE_UNAVAILABLE,
            E::NotParked { .. }
            | E::AlreadyRebuilding { .. }
            | E::NotRebuilding { .. }
            | E::RebuildAborted { .. }
            | E::Fenced { .. } => StatusCode::CONFLICT,
            E::Store(_)
            | E::Views(_)
            | E::Payload(_)
            | E::Log { .. }
            | E::Export(_)
            | E::Unstorable(_)
            | E::Address
            | E::Snapshot(_) => {
                let mut internal = Self::internal(&error);
                internal.code = error.code();
                return internal;
            }
        };
        let mut api = Self::new(status, error.code(), error.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            api.retry_after = Some(1);
        }
        api
    }
}
