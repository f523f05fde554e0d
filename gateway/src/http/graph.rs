//! The graph of what flows where: sources, streams, entities.

use super::{
    extract::Query,
    identity::Caller,
    problem::ApiError,
    respond::{ReadQuery, VIEWS, read},
    state::App,
};
use autonomos_projections::dcl::read as dcl;
use axum::{extract::State, response::Response};
use schemars::JsonSchema;
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(graph_get))
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct GraphView {
    nodes: Vec<GraphNode>,
    edges: Vec<GraphEdge>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct GraphNode {
    id: String,
    /// `source`, `stream` or `entity`.
    kind: &'static str,
    label: String,
    rows: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct GraphEdge {
    from: String,
    to: String,
    /// `has`, `feeds` or `references`.
    kind: &'static str,
    fields: Vec<String>,
    /// Least confidence of the lines between them.
    confidence: Option<f64>,
}

impl From<dcl::Graph> for GraphView {
    fn from(graph: dcl::Graph) -> Self {
        let node = |dcl::GraphNode { id, kind, label, rows }| GraphNode { id, kind, label, rows };
        let edge = |edge: dcl::GraphEdge| {
            let dcl::GraphEdge { from, to, kind, fields, confidence } = edge;
            GraphEdge { from, to, kind, fields, confidence }
        };
        Self {
            nodes: graph.nodes.into_iter().map(node).collect(),
            edges: graph.edges.into_iter().map(edge).collect(),
        }
    }
}

/// Sources, streams and entities, and how they are connected.
#[utoipa::path(get, path = "/dcl/graph", tag = "views", params(ReadQuery),
    responses((status = 200, body = ref("#/components/schemas/GraphView"))))]
async fn graph_get(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), VIEWS).await?;
    let graph = app.views().graph(caller.tenant()).await?;
    Ok(read(&GraphView::from(graph), &position))
}
