//! Survivorship: how a unified view picks its values where its sources differ.

use super::{
    extract::{Body, Edit, Path},
    identity::Caller,
    problem::ApiError,
    respond::{READ_MODELS, VIEWS, read, written},
    state::App,
};
use autonomos_domain::{
    aggregates::{
        connection::Connection,
        ontology::TenantOntology,
        unified_view::{FieldRule, UnifiedView, UnifiedViewCommand, ViewRules},
    },
    ids::ConnectionId,
    ontology::Entity,
};
use axum::{extract::State, http::StatusCode, response::Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(rules_get, rules_revise))
}

/// The rules of one unified view.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RulesView {
    /// The version in force; an edit names the one it began from. 0: the default.
    version: u32,
    /// Connections, the most trusted first; those not named rank after them, by their streams'
    /// priority. At most 1,000.
    #[serde(default)]
    source_rank: Vec<ConnectionId>,
    /// `source_rank`: the most trusted source that has a value wins. Fields not named go by `latest`:
    /// the value that changed last wins, and the rank breaks ties.
    #[serde(default)]
    fields: BTreeMap<String, FieldRule>,
}

impl From<&UnifiedView> for RulesView {
    fn from(UnifiedView { version, rules }: &UnifiedView) -> Self {
        Self { version: *version, source_rank: rules.source_rank.clone(), fields: rules.fields.clone() }
    }
}

impl App {
    async fn entity(&self, caller: &Caller, name: &str) -> Result<Entity, ApiError> {
        let tenant = caller.tenant();
        let ontology =
            self.platform.commands.load::<TenantOntology>(tenant, tenant.0).await?.state.in_force();
        ontology.entity(name).cloned().ok_or_else(|| ApiError::not_found("entity", name))
    }

    async fn rules(&self, caller: &Caller, entity: &Entity) -> Result<RulesView, ApiError> {
        let id = UnifiedView::id_of(caller.tenant(), &entity.name);
        let view = self.platform.commands.load::<UnifiedView>(caller.tenant(), id).await?.state;
        Ok(RulesView::from(&*view))
    }
}

/// How the view picks its values.
#[utoipa::path(get, path = "/dcl/views/{entity}/rules", tag = "views", params(("entity" = String, Path,)),
    responses((status = 200, body = ref("#/components/schemas/RulesView")), (status = 404)))]
async fn rules_get(
    State(app): State<App>,
    caller: Caller,
    Path(entity): Path<String>,
) -> Result<Response, ApiError> {
    let entity = app.entity(&caller, &entity).await?;
    Ok(read(&app.rules(&caller, &entity).await?, &app.shown(&caller, READ_MODELS)))
}

/// Revises how the view picks its values. Its rows are picked again from here on; what was shown
/// before stays as it was under `as_of`.
#[utoipa::path(put, path = "/dcl/views/{entity}/rules", tag = "views", params(("entity" = String, Path,)),
    request_body = ref("#/components/schemas/RulesView"),
    responses((status = 200, body = ref("#/components/schemas/RulesView")), (status = 404),
              (status = 409, description = "there is a newer version"), (status = 422)))]
async fn rules_revise(
    State(app): State<App>,
    edit: Edit,
    Path(entity): Path<String>,
    Body(body): Body<RulesView>,
) -> Result<Response, ApiError> {
    let tenant = edit.caller.tenant();
    let entity = app.entity(&edit.caller, &entity).await?;
    for (index, connection) in body.source_rank.iter().enumerate() {
        if app.platform.commands.load::<Connection>(tenant, connection.0).await?.version == 0 {
            let message = format!("there is no connection `{connection}`");
            return Err(ApiError::invalid(format!("/source_rank/{index}"), message));
        }
    }
    let rules = ViewRules { source_rank: body.source_rank, fields: body.fields };
    let id = UnifiedView::id_of(tenant, &entity.name);
    let revise = UnifiedViewCommand::ReviseUnifiedView {
        based_on: body.version,
        entity: Box::new(entity.clone()),
        rules,
    };
    let outcome = app.platform.commands.execute::<UnifiedView>(&edit.context, id, revise).await?;
    app.settle(&edit.caller, &outcome, VIEWS).await;
    Ok(written(&app, StatusCode::OK, &app.rules(&edit.caller, &entity).await?, &outcome))
}
