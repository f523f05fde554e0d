//! Dry runs: what a decision about a repair would change in the view, before it is made.

use super::{
    extract::{OptionalBody, Path},
    identity::Caller,
    mappings::{MappingEdit, outside},
    problem::ApiError,
    repairs::{decider, part_of},
    respond::{VIEWS, read},
    state::App,
};
use autonomos_domain::{
    aggregates::mapping::{Mapping, MappingCommand},
    envelope::Position,
    ids::{FeedId, RepairId},
};
use autonomos_projections::dcl::read::{DryRun, DryRunQuery};
use axum::{extract::State, response::Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// Shorter than another node waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);
const EXAMPLES: usize = 50;
const EXAMPLES_MAX: usize = 500;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(repair_dry_run))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DryRunRequest {
    /// The mapping as it should be instead of as proposed; of a repair that waits.
    #[serde(default)]
    mapping: Option<MappingEdit>,
    /// Only the changes that answer these drifts; of a repair that waits, and not with `mapping`.
    #[serde(default)]
    drift_ids: Option<Vec<Uuid>>,
    /// Examples of this field alone.
    #[serde(default)]
    field: Option<String>,
    /// Examples at most, 1 to 500; 50 if absent.
    #[serde(default)]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DryRunOf {
    /// The repair waits: what approving it would do.
    Approve,
    /// It is applied: what rolling it back would do.
    Rollback,
}

/// What the next decision about a repair would change. Cells are those of the stream's own records,
/// before records of several sources are made one.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DryRunView {
    repair_id: Uuid,
    action: DryRunOf,
    /// Where the views were that it was computed on.
    position: String,
    #[serde(flatten)]
    changes: DryRun,
}

/// Says what approving a repair that waits, or rolling back one that is applied, would change: counts
/// by field, and the first cells before and after. Nothing is written. At most 15 seconds, one at a
/// time a node.
#[utoipa::path(post, path = "/aam/repairs/{id}/dry-run", tag = "repairs", params(("id" = Uuid, Path,)),
    request_body = Option<DryRunRequest>,
    responses((status = 200, body = ref("#/components/schemas/DryRunView")), (status = 404),
              (status = 409, description = "it is decided already"),
              (status = 422, description = "refused, or took too long")))]
async fn repair_dry_run(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    OptionalBody(body): OptionalBody<DryRunRequest>,
) -> Result<Response, ApiError> {
    let examples = match body.limit {
        None => EXAMPLES,
        Some(limit @ 1..=EXAMPLES_MAX) => limit,
        Some(other) => return Err(ApiError::invalid("/limit", format!("`{other}` is not from 1 to 500"))),
    };
    let row = app.repair_find(&caller, id).await?;
    let mapping = app.platform.commands.load::<Mapping>(caller.tenant(), row.mapping_id).await?.state;
    let repair_id = RepairId(id);
    let is_applied = mapping.repairs.get(&repair_id).is_some_and(|repair| repair.status.is_applied());
    let by = decider(&caller);
    let (action, decision) = if is_applied {
        let whole = [("/mapping", body.mapping.is_some()), ("/drift_ids", body.drift_ids.is_some())];
        if let Some((pointer, _)) = whole.into_iter().find(|(_, is_there)| *is_there) {
            let message = "the repair is applied: it can be rolled back as it is";
            return Err(ApiError::invalid(pointer, message));
        }
        (DryRunOf::Rollback, MappingCommand::RollBackRepair { repair_id, by })
    } else {
        let edited = match body.mapping {
            Some(edit) => {
                let editing = app.mapping_editing(&caller, row.mapping_id).await?;
                Some(app.mapping_checked(&caller, &editing, edit, "/mapping").await?)
            }
            None => None,
        };
        let part = part_of(id, body.drift_ids, "dry-run");
        (DryRunOf::Approve, MappingCommand::ApproveRepair { repair_id, edited, part, by })
    };
    let refused = |error| outside(autonomos_commands::error::CommandError::from(error));
    let events = mapping.decide(decision).map_err(refused)?;
    app.caught_up(&caller, VIEWS).await?;
    let query = DryRunQuery { field: body.field, examples, timeout: TIMEOUT };
    let changes = app.views().dry_run(caller.tenant(), FeedId(row.mapping_id), events, query).await?;
    let position = app.token(Position { cell: app.cell(&caller), sequence: changes.sequence });
    Ok(read(&DryRunView { repair_id: id, action, position: position.clone(), changes }, &position))
}
