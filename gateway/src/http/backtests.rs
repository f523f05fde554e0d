//! Backtests: what a policy would have done on what people decided before.

use super::{
    extract::Body,
    identity::Caller,
    problem::ApiError,
    respond::{READ_MODELS, read},
    state::App,
};
use autonomos_domain::{
    aggregates::{
        ontology::TenantOntology,
        tenant::{AutonomyMode, RepairPolicy, Tenant},
    },
    ids::ConnectionId,
    policy::{RepairRule, RepairRules},
    repair::backtest::{Backtest, BacktestReport, Decided},
};
use autonomos_projections::read_models::{query::RepairFilter, rows::PageRequest};
use axum::{extract::State, response::Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa_axum::{router::OpenApiRouter, routes};

/// The newest proposals are looked at, so many at most.
const PROPOSALS: usize = 10_000;
const PAGE: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(repair_backtest))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BacktestRequest {
    policy: RepairPolicy,
    /// Rules beside it; none: those in force.
    #[serde(default)]
    rules: Option<Vec<RepairRule>>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BacktestView {
    #[serde(flatten)]
    report: BacktestReport,
    /// There are older proposals than those looked at.
    truncated: bool,
}

/// Says what a policy would have done alone on the organisation's own past: the changes that people
/// approved, edited, rejected or rolled back. Nothing is set by it.
#[utoipa::path(post, path = "/aam/repairs/backtest", tag = "repairs",
    request_body = ref("#/components/schemas/BacktestRequest"),
    responses((status = 200, body = ref("#/components/schemas/BacktestView")), (status = 422)))]
async fn repair_backtest(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<BacktestRequest>,
) -> Result<Response, ApiError> {
    let (commands, tenant) = (&app.platform.commands, caller.tenant());
    let refused = |error| {
        let mut problem = ApiError::from(autonomos_commands::error::CommandError::from(error));
        for field in &mut problem.errors {
            if !field.pointer.starts_with("/rules") {
                field.pointer = format!("/policy{}", field.pointer);
            }
        }
        problem
    };
    body.policy.check().map_err(refused)?;
    let rules = match body.rules {
        Some(rules) => RepairRules { rules, expire_after_days: None },
        None => commands.load::<Tenant>(tenant, tenant.0).await?.state.rules.clone(),
    };
    rules.check().map_err(refused)?;
    let ontology = commands.load::<TenantOntology>(tenant, tenant.0).await?.state.in_force();
    let position = app.shown(&caller, READ_MODELS);
    let mut backtest = Backtest::default();
    let mut cursor = None;
    for _ in 0..PROPOSALS / PAGE {
        let request = PageRequest { limit: PAGE, cursor };
        let page = app.models().repair_list(tenant, &RepairFilter::default(), &request).await?;
        for row in &page.data {
            let entity = row.entity.as_deref().and_then(|name| ontology.entity(name));
            let policies = rules.in_force(body.policy, Some(ConnectionId(row.connection_id)), entity);
            let decided = Decided {
                status: row.status,
                edited: row.edited,
                changes: &row.proposal,
                before: row.before.as_ref().unwrap_or(&row.after),
                after: &row.after,
            };
            // What it would have done alone; the mode says whether it may.
            backtest.add(decided, &policies, AutonomyMode::Auto);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let answer = BacktestView { report: backtest.report(), truncated: cursor.is_some() };
    Ok(read(&answer, &position))
}
