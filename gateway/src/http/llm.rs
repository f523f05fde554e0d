//! Language models: what the organisation allows and may spend, and what was asked and cost.

use super::{
    extract::{Body, Command, Query},
    identity::Caller,
    problem::ApiError,
    respond::{READ_MODELS, read, written},
    state::App,
};
use autonomos_domain::aggregates::llm_account::{
    LlmAccount, LlmAccountCommand, LlmPurpose, LlmSettings, MICROS,
};
use autonomos_projections::read_models::rows::LlmUsageRow;
use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{Days, NaiveDate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

const DAYS_DEFAULT: u32 = 31;
const DAYS_MOST: u32 = 366;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(llm_settings_get, llm_settings_set)).routes(routes!(llm_usage_get))
}

/// What the organisation allows, with what there is and what is spent.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LlmSettingsView {
    #[serde(flatten)]
    settings: LlmSettings,
    /// The model that the operator set up; none: no question is asked, whatever is allowed.
    model: Option<String>,
    /// Tokens and money of this calendar month (UTC), calls under way at their most.
    tokens_spent: u64,
    cost_spent: f64,
}

/// What models were asked for one purpose on one day.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LlmUsageDay {
    day: NaiveDate,
    /// None: no model was asked, for past decisions had the answer.
    model: Option<String>,
    purpose: LlmPurpose,
    #[serde(flatten)]
    used: LlmUsed,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct LlmUsed {
    calls: u64,
    /// Calls without an answer that holds.
    failed: u64,
    /// Requests made: a call makes a second one where its first answer does not hold.
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// In the currency of the operator's prices.
    cost: f64,
    /// Of all calls together.
    latency_ms: u64,
    /// Proposals that past decisions made, for which no model had to be asked.
    saved_by_retrieval: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LlmUsageView {
    total: LlmUsed,
    /// Newest first.
    data: Vec<LlmUsageDay>,
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct LlmUsageQuery {
    /// Days back from today (UTC), 1 to 366, default 31.
    days: Option<u32>,
    /// Waits up to five seconds until this position is shown.
    min_position: Option<String>,
}

impl LlmUsed {
    fn add(&mut self, row: &LlmUsageRow) {
        self.calls += row.calls;
        self.failed += row.failed;
        self.requests += row.requests;
        self.input_tokens += row.input_tokens;
        self.output_tokens += row.output_tokens;
        self.cost += row.cost_micros as f64 / MICROS;
        self.latency_ms += row.latency_ms;
        self.saved_by_retrieval += row.saved_by_retrieval;
    }
}

impl App {
    async fn llm_settings(&self, caller: &Caller) -> Result<LlmSettingsView, ApiError> {
        let (commands, tenant) = (&self.platform.commands, caller.tenant());
        let account = commands.load::<LlmAccount>(tenant, tenant.0).await?.state;
        let (tokens_spent, cost) = account.spent(commands.clock().now());
        Ok(LlmSettingsView {
            settings: account.settings,
            model: self.platform.model.as_ref().map(|model| model.name().to_owned()),
            tokens_spent,
            cost_spent: cost as f64 / MICROS,
        })
    }
}

/// What the organisation allows language models, and what it may spend on them in a month.
#[utoipa::path(get, path = "/llm/settings", tag = "settings",
    responses((status = 200, body = ref("#/components/schemas/LlmSettingsView"))))]
async fn llm_settings_get(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    Ok(read(&app.llm_settings(&caller).await?, &app.shown(&caller, READ_MODELS)))
}

/// Sets whether a language model may be asked, whether it may see values, and the month's budget.
#[utoipa::path(put, path = "/llm/settings", tag = "settings",
    request_body = ref("#/components/schemas/LlmSettings"),
    responses((status = 200, body = ref("#/components/schemas/LlmSettingsView")), (status = 403), (status = 422)))]
async fn llm_settings_set(
    State(app): State<App>,
    caller: Caller,
    command: Command,
    Body(settings): Body<LlmSettings>,
) -> Result<Response, ApiError> {
    caller.may_administer()?;
    let set = LlmAccountCommand::SetLlmSettings { settings };
    let context = command.context(&caller);
    let outcome = app.platform.commands.execute::<LlmAccount>(&context, caller.tenant().0, set).await?;
    Ok(written(&app, StatusCode::OK, &app.llm_settings(&caller).await?, &outcome))
}

/// What language models were asked and cost, by day, model and purpose, and how often past decisions
/// had the answer instead.
#[utoipa::path(get, path = "/llm/usage", tag = "settings", params(LlmUsageQuery),
    responses((status = 200, body = ref("#/components/schemas/LlmUsageView")), (status = 422)))]
async fn llm_usage_get(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<LlmUsageQuery>,
) -> Result<Response, ApiError> {
    let days = query.days.unwrap_or(DAYS_DEFAULT);
    if !(1..=DAYS_MOST).contains(&days) {
        return Err(ApiError::invalid(
            "/days".to_owned(),
            format!("`{days}` is not within 1 and {DAYS_MOST}"),
        ));
    }
    let today = app.platform.commands.clock().now().date_naive();
    let since = today.checked_sub_days(Days::new(u64::from(days - 1))).unwrap_or(today);
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    let rows = app.models().llm_usage_list(caller.tenant(), since).await?;
    let mut total = LlmUsed::default();
    let data = rows
        .iter()
        .map(|row| {
            total.add(row);
            let mut used = LlmUsed::default();
            used.add(row);
            LlmUsageDay { day: row.day, model: row.model.clone(), purpose: row.purpose, used }
        })
        .collect();
    Ok(read(&LlmUsageView { total, data }, &position))
}
