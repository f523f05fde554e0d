//! Unified views: rows, one row, and where each of its values comes from.

pub(super) mod shapes;

use super::{
    extract::{Path, Query},
    identity::Caller,
    problem::ApiError,
    respond::{BOTH, ReadQuery, VIEWS, limit, list, listed, read},
    state::App,
};
use autonomos_domain::envelope::Position;
use autonomos_projections::dcl::read::{AsOf, Change, Compare, RowFilter, RowsQuery, Sort};
use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shapes::{ChangeMeta, ChangePage, ChangeView, FieldLineage, RowLineage, ViewSummary};
use std::collections::BTreeSet;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

const FILTERS: usize = 20;
const FILTER_BYTES: usize = 1_000;
const SORTS: usize = 5;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(view_list))
        .routes(routes!(row_list))
        .routes(routes!(row_get))
        .routes(routes!(row_lineage))
        .routes(routes!(change_list))
}

/// The unified views, with their counts.
#[utoipa::path(get, path = "/dcl/views", tag = "views", params(ReadQuery),
    responses((status = 200, body = ref("#/list/ViewSummary"))))]
async fn view_list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    use autonomos_domain::aggregates::ontology::TenantOntology;
    let position = app.reading(&caller, query.min_position.as_deref(), BOTH).await?;
    let tenant = caller.tenant();
    let ontology = app.platform.commands.load::<TenantOntology>(tenant, tenant.0).await?.state.in_force();
    let streams = app.models().stream_list(tenant, None).await?;
    let summaries = app.views().entities(tenant).await?;
    let views = summaries.into_iter().map(|summary| {
        let feeding = streams.iter().filter(|stream| !stream.closed && stream.rows > 0);
        let sources: BTreeSet<Uuid> = feeding
            .filter(|stream| stream.entity.as_deref() == Some(summary.entity.as_str()))
            .map(|stream| stream.connection_id)
            .collect();
        let description = ontology.entity(&summary.entity).map(|entity| entity.description.clone());
        ViewSummary::of(summary, description.unwrap_or_default(), sources.len())
    });
    Ok(list(views.collect(), None, position))
}

/// What a list of rows takes, besides `filter[field]` and `filter[field][operator]`.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct RowsParameters {
    /// `filter[name]=Acme`, or with an operator `filter[annual_revenue][gte]=1000`: `eq`, `ne`, `lt`,
    /// `lte`, `gt`, `gte`, `contains`, `is_null`. At most 20.
    #[param(style = DeepObject, value_type = Option<Object>)]
    filter: Vec<RowFilter>,
    /// Fields, separated by commas; `-` before one: descending. At most 5.
    #[param(value_type = Option<String>)]
    sort: Vec<Sort>,
    /// Anywhere in a text field, whatever the case.
    q: Option<String>,
    /// The rows as they were: a time (RFC 3339) or a position.
    as_of: Option<String>,
    /// `true`: `meta.total` counts all matching rows.
    #[param(value_type = Option<bool>)]
    count: bool,
    limit: Option<usize>,
    cursor: Option<String>,
    min_position: Option<String>,
}

impl RowsParameters {
    fn parse(pairs: Vec<(String, String)>) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for (name, value) in pairs {
            let pointer = format!("?{}", name.chars().take(80).collect::<String>());
            if value.len() > FILTER_BYTES {
                return Err(ApiError::invalid(pointer, format!("it has more than {FILTER_BYTES} bytes")));
            }
            match name.as_str() {
                "sort" => parsed.sort = sorts(&value)?,
                "q" => parsed.q = Some(value),
                "as_of" => parsed.as_of = Some(value),
                "count" => {
                    parsed.count = value
                        .parse()
                        .map_err(|_| ApiError::invalid("?count", "`true` or `false` is expected"))?;
                }
                "limit" => {
                    let number = value.parse().map_err(|_| {
                        let shown: String = value.chars().take(40).collect();
                        ApiError::invalid("?limit", format!("`{shown}` is not from 1 to 1000"))
                    })?;
                    parsed.limit = Some(number);
                }
                "cursor" => parsed.cursor = Some(value),
                "min_position" => parsed.min_position = Some(value),
                other => {
                    let filter = filter(other, value)
                        .ok_or_else(|| ApiError::invalid(pointer, "there is no such parameter"))?;
                    parsed.filter.push(filter);
                }
            }
        }
        if parsed.filter.len() > FILTERS {
            return Err(ApiError::invalid("?filter", format!("there are more than {FILTERS} filters")));
        }
        Ok(parsed)
    }
}

/// `filter[field]` or `filter[field][operator]`.
fn filter(name: &str, value: String) -> Option<RowFilter> {
    let inner = name.strip_prefix("filter[")?.strip_suffix(']')?;
    let (field, compare) = match inner.split_once("][") {
        Some((field, operator)) => (field, Compare::parse(operator)?),
        None => (inner, Compare::Equal),
    };
    Some(RowFilter { field: field.to_owned(), compare, value })
}

/// `name,-created_at`.
pub(super) fn sorts(text: &str) -> Result<Vec<Sort>, ApiError> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let sorts: Vec<Sort> = parts
        .map(|part| {
            let (field, descending) = part.strip_prefix('-').map_or((part, false), |field| (field, true));
            Sort { field: field.to_owned(), descending }
        })
        .collect();
    if sorts.len() > SORTS {
        return Err(ApiError::invalid("?sort", format!("there are more than {SORTS} fields")));
    }
    Ok(sorts)
}

impl App {
    /// A moment of the past, as a time or a position. A position that the views do not show yet is
    /// waited for: it is one that the caller has seen.
    pub(super) async fn as_of(&self, caller: &Caller, text: Option<&str>) -> Result<Option<AsOf>, ApiError> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        // A `+` of a time zone arrives as a space where it was not escaped.
        if let Ok(time) = DateTime::parse_from_rfc3339(&text.replace(' ', "+")) {
            return Ok(Some(AsOf::Time(time.with_timezone(&Utc))));
        }
        let token = self.position("as_of", text).map_err(|mut error| {
            if error.status == axum::http::StatusCode::UNPROCESSABLE_ENTITY {
                error.detail = format!(
                    "`{}` is neither a time such as `2026-01-31T12:00:00Z` nor a position",
                    text.chars().take(80).collect::<String>()
                );
            }
            error
        })?;
        self.wait(caller, Some(text), VIEWS).await?;
        Ok(Some(AsOf::Sequence(token.position.sequence)))
    }
}

/// Unified rows: `{id, <fields>, _sources, _updated_at, _held, _extra}`.
#[utoipa::path(get, path = "/dcl/views/{entity}", tag = "views",
    params(("entity" = String, Path, description = "`account` or `accounts`"), RowsParameters),
    responses((status = 200, body = ref("#/list/UnifiedRow")), (status = 404, description = "no such entity"),
              (status = 422, description = "no such field, or a value that is not one of it")))]
async fn row_list(
    State(app): State<App>,
    caller: Caller,
    Path(entity): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let parameters = RowsParameters::parse(pairs)?;
    app.wait(&caller, parameters.min_position.as_deref(), VIEWS).await?;
    let as_of = app.as_of(&caller, parameters.as_of.as_deref()).await?;
    let position = app.shown(&caller, VIEWS);
    let query = RowsQuery {
        filters: parameters.filter,
        sort: parameters.sort,
        q: parameters.q,
        limit: limit(parameters.limit)?,
        cursor: parameters.cursor,
        as_of,
        count: parameters.count,
    };
    let page = app.views().rows(caller.tenant(), &entity, &query).await?;
    Ok(listed(page.data, page.next_cursor, position, page.total))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct RowQuery {
    /// The row as it was: a time (RFC 3339) or a position.
    as_of: Option<String>,
    min_position: Option<String>,
}

/// One unified row.
#[utoipa::path(get, path = "/dcl/views/{entity}/{id}", tag = "views",
    params(("entity" = String, Path,), ("id" = Uuid, Path,), RowQuery),
    responses((status = 200, body = ref("#/components/schemas/UnifiedRow")), (status = 404)))]
async fn row_get(
    State(app): State<App>,
    caller: Caller,
    Path((entity, id)): Path<(String, Uuid)>,
    Query(query): Query<RowQuery>,
) -> Result<Response, ApiError> {
    app.wait(&caller, query.min_position.as_deref(), VIEWS).await?;
    let as_of = app.as_of(&caller, query.as_of.as_deref()).await?;
    let position = app.shown(&caller, VIEWS);
    let row = app.views().row(caller.tenant(), &entity, id, as_of).await?;
    Ok(read(&row.ok_or_else(|| ApiError::not_found("row", id))?, &position))
}

/// For each field of a row: which connection, stream, batch, row, mapping and rule its value is from.
#[utoipa::path(get, path = "/dcl/views/{entity}/{id}/lineage", tag = "views",
    params(("entity" = String, Path,), ("id" = Uuid, Path,), ReadQuery),
    responses((status = 200, body = ref("#/components/schemas/RowLineage")), (status = 404)))]
async fn row_lineage(
    State(app): State<App>,
    caller: Caller,
    Path((entity, id)): Path<(String, Uuid)>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), VIEWS).await?;
    let lineage = app.views().lineage(caller.tenant(), &entity, id).await?;
    let lineage = lineage.ok_or_else(|| ApiError::not_found("row", id))?;
    let cell = app.cell(&caller);
    let fields = lineage.fields.into_iter().map(|field| {
        let batch = app.token(Position { cell, sequence: field.sequence });
        FieldLineage::of(field, batch)
    });
    let body = RowLineage { id: lineage.id, entity: lineage.entity, fields: fields.collect() };
    Ok(read(&body, &position))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct ChangesQuery {
    /// Begins behind this position; absent: at the first change.
    from: Option<String>,
    limit: Option<usize>,
    min_position: Option<String>,
}

/// The change feed of an entity: versions opened and closed, in order. `meta.next` resumes it.
#[utoipa::path(get, path = "/dcl/views/{entity}/changes", tag = "views",
    params(("entity" = String, Path,), ChangesQuery),
    responses((status = 200, body = ref("#/components/schemas/ChangePage")), (status = 404)))]
async fn change_list(
    State(app): State<App>,
    caller: Caller,
    Path(entity): Path<String>,
    Query(query): Query<ChangesQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), VIEWS).await?;
    let after = match query.from.as_deref().filter(|from| !from.is_empty()) {
        Some(from) => {
            let token = app.position("from", from)?;
            (token.position.sequence, token.event)
        }
        None => (0, 0),
    };
    let dcl = app.views();
    let page = dcl.changes(caller.tenant(), &entity, after, limit(query.limit)?).await?;
    let cell = app.cell(&caller);
    let at = |sequence, index| app.token_at(Position { cell, sequence }, index);
    let change = |change: Change| {
        let position = at(change.sequence, change.index);
        ChangeView::of(change, position)
    };
    let data = page.data.into_iter().map(change).collect();
    let next = at(page.next.0, page.next.1);
    let next_cursor = page.more.then(|| next.clone());
    let meta = ChangeMeta { next, next_cursor, more: page.more, position: position.clone() };
    Ok(read(&ChangePage { data, meta }, &position))
}

#[cfg(test)]
mod tests {
    use super::{RowsParameters, sorts};

    /// The filters, as `field compare value`; or the refused parameter.
    fn check(pairs: &[(&str, &str)], expect: Result<&[&str], &str>) {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let parsed = RowsParameters::parse(pairs);
        let shown = parsed
            .map(|parsed| {
                let shown = |filter: &super::RowFilter| {
                    format!("{} {:?} {}", filter.field, filter.compare, filter.value)
                };
                parsed.filter.iter().map(shown).collect::<Vec<_>>()
            })
            .map_err(|error| error.errors[0].pointer.clone());
        let expect =
            expect.map(|all| all.iter().map(|one| (*one).to_owned()).collect()).map_err(str::to_owned);
        assert_eq!(shown, expect);
    }

    #[test]
    fn parameters_of_rows() {
        check(&[("filter[name]", "A"), ("q", "x")], Ok(&["name Equal A"]));
        check(&[("filter[a][gte]", "1")], Ok(&["a AtLeast 1"]));
        check(&[("filter[a][like]", "1")], Err("?filter[a][like]"));
        check(&[("filter[a", "1")], Err("?filter[a"));
        check(&[("limit", "many")], Err("?limit"));
        check(&[("fliter[a]", "1")], Err("?fliter[a]"));
        check(&[("filter[a]", "1"); 21], Err("?filter"));
        check(&[("q", &"x".repeat(1_001))], Err("?q"));
        let sorted = sorts("name,-created_at").expect("valid");
        assert!(!sorted[0].descending && sorted[1].descending && sorted[1].field == "created_at");
        assert!(sorts("a,b,c,d,e,f").is_err());
    }
}
