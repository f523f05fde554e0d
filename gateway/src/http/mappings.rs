//! Mappings: how a stream's columns become an entity's fields, and a person's corrections.

use super::{
    extract::{Body, Edit, Path, Query, invalid_fields},
    identity::Caller,
    problem::{ApiError, FieldProblem},
    respond::{READ_MODELS, ReadQuery, limit, list, read, written},
    state::App,
};
use autonomos_domain::{
    aggregates::{
        mapping::{Mapping, MappingCommand},
        ontology::TenantOntology,
        stream_schema::StreamSchema,
    },
    mapping::{MappingContent, MappingField, MappingOrigin, Transform},
    schema::StreamShape,
};
use autonomos_projections::read_models::query::MappingFilter;
use axum::{extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(mapping_list))
        .routes(routes!(mapping_get, mapping_revise))
        .routes(routes!(mapping_version_list))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct MappingsQuery {
    connection_id: Option<Uuid>,
    stream: Option<String>,
    entity: Option<String>,
    limit: Option<usize>,
    min_position: Option<String>,
}

/// The mappings in force.
#[utoipa::path(get, path = "/aam/mappings", tag = "mappings", params(MappingsQuery),
    responses((status = 200, body = ref("#/list/MappingRow"))))]
async fn mapping_list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<MappingsQuery>,
) -> Result<Response, ApiError> {
    limit(query.limit)?;
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    let filter =
        MappingFilter { connection_id: query.connection_id, stream: query.stream, entity: query.entity };
    let rows = app.models().mapping_list(caller.tenant(), &filter).await?;
    Ok(list(rows, None, position))
}

/// One mapping.
#[utoipa::path(get, path = "/aam/mappings/{id}", tag = "mappings", params(("id" = Uuid, Path,), ReadQuery),
    responses((status = 200, body = ref("#/components/schemas/MappingRow")), (status = 404)))]
async fn mapping_get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    let row = app.models().mapping_get(caller.tenant(), id).await?;
    Ok(read(&row.ok_or_else(|| ApiError::not_found("mapping", id))?, &position))
}

/// All versions of a mapping, oldest first.
#[utoipa::path(get, path = "/aam/mappings/{id}/versions", tag = "mappings", params(("id" = Uuid, Path,), ReadQuery),
    responses((status = 200, body = ref("#/list/MappingVersionRow")), (status = 404)))]
async fn mapping_version_list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    let rows = app.models().mapping_version_list(caller.tenant(), id).await?;
    if rows.is_empty() {
        return Err(ApiError::not_found("mapping", id));
    }
    Ok(list(rows, None, position))
}

/// A mapping as a person wants it. A line that is as it was keeps its confidence and evidence; the
/// others are a person's, and certain.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(super) struct MappingEdit {
    /// None: the stream stays raw.
    #[serde(default)]
    pub(super) entity: Option<String>,
    /// Columns whose values tell one record from another.
    #[serde(default)]
    pub(super) key: Vec<String>,
    pub(super) fields: Vec<LineEdit>,
    /// The version it was made from: refused if there is a newer one.
    #[serde(default)]
    pub(super) version: Option<u32>,
}

#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(super) struct LineEdit {
    pub(super) source: String,
    #[serde(default)]
    pub(super) also: Vec<String>,
    pub(super) target: String,
    #[serde(default = "copy")]
    #[schema(value_type = Object)]
    pub(super) transform: Transform,
}

const fn copy() -> Transform {
    Transform::Copy
}

/// What an edit is judged by.
pub(super) struct Editing {
    pub(super) mapping: Arc<Mapping>,
    schema: Arc<StreamSchema>,
    /// The newest schema version that the mapping follows.
    pub(super) schema_version: u32,
}

impl App {
    /// The mapping of a stream with what an edit of it must fit.
    pub(super) async fn mapping_editing(&self, caller: &Caller, id: Uuid) -> Result<Editing, ApiError> {
        let commands = &self.platform.commands;
        let mapping = commands.load::<Mapping>(caller.tenant(), id).await?;
        let schema = commands.load::<StreamSchema>(caller.tenant(), id).await?;
        let schema_version = mapping.state.bindings.keys().next_back().copied();
        let Some(schema_version) = schema_version.filter(|_| mapping.version > 0) else {
            return Err(ApiError::not_found("mapping", id));
        };
        Ok(Editing { mapping: mapping.state, schema: schema.state, schema_version })
    }

    /// The edit as a mapping, checked against the ontology and the stream's columns. `at` is where
    /// it stands in the request.
    pub(super) async fn mapping_checked(
        &self,
        caller: &Caller,
        editing: &Editing,
        edit: MappingEdit,
        at: &str,
    ) -> Result<MappingContent, ApiError> {
        let tenant = caller.tenant();
        let ontology =
            self.platform.commands.load::<TenantOntology>(tenant, tenant.0).await?.state.in_force();
        let mut problems = Vec::new();
        let mut problem = |pointer: String, message: String| {
            if problems.len() < 100 {
                problems.push(FieldProblem { pointer, message });
            }
        };
        let entity = match &edit.entity {
            Some(name) => {
                let known = ontology.entity(name);
                if known.is_none() {
                    problem(format!("{at}/entity"), format!("there is no entity `{}`", short(name)));
                }
                known
            }
            None => None,
        };
        let shape = editing.shape();
        let known = |column: &str| shape.is_none_or(|shape| shape.field(column).is_some());
        for (index, column) in edit.key.iter().enumerate() {
            if !known(column) {
                problem(format!("{at}/key/{index}"), format!("the stream has no column `{}`", short(column)));
            }
        }
        for (index, line) in edit.fields.iter().enumerate() {
            if let Some(entity) = entity
                && entity.field(&line.target).is_none()
            {
                let message = format!("entity `{}` has no field `{}`", entity.name, short(&line.target));
                problem(format!("{at}/fields/{index}/target"), message);
            }
            for (place, column) in std::iter::once(&line.source).chain(&line.also).enumerate() {
                if !known(column) {
                    let of = if place == 0 { "source".to_owned() } else { format!("also/{}", place - 1) };
                    let message = format!("the stream has no column `{}`", short(column));
                    problem(format!("{at}/fields/{index}/{of}"), message);
                }
            }
        }
        invalid_fields(problems)?;
        let in_force = editing.mapping.bound(editing.schema_version).map(|(_, content)| content);
        let lines = edit.fields.into_iter().map(|line| {
            let as_it_was = in_force.into_iter().flat_map(|content| &content.fields).find(|known| {
                known.source == line.source
                    && known.also == line.also
                    && known.target == line.target
                    && known.transform == line.transform
            });
            as_it_was.cloned().unwrap_or(MappingField {
                source: line.source,
                also: line.also,
                target: line.target,
                transform: line.transform,
                confidence: 1.0,
                origin: MappingOrigin::Human,
                evidence: Vec::new(),
            })
        });
        Ok(MappingContent {
            fields: lines.collect(),
            entity: entity.map(|entity| entity.name.clone()),
            key: edit.key,
        })
    }
}

impl Editing {
    fn shape(&self) -> Option<&StreamShape> {
        self.schema.versions.get(&self.schema_version).map(|version| &version.shape)
    }

    /// Earlier schema versions that have every column the mapping reads.
    fn also_for(&self, content: &MappingContent) -> Vec<u32> {
        let reads: Vec<&str> = content
            .fields
            .iter()
            .flat_map(MappingField::sources)
            .chain(content.key.iter().map(String::as_str))
            .collect();
        let fits = |shape: &StreamShape| reads.iter().all(|column| shape.field(column).is_some());
        let earlier = self.schema.versions.iter().filter(|(number, _)| **number < self.schema_version);
        earlier.filter(|(_, version)| fits(&version.shape)).map(|(number, _)| *number).collect()
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Puts a person's mapping in force; the affected history is projected again by itself.
#[utoipa::path(put, path = "/aam/mappings/{id}", tag = "mappings", params(("id" = Uuid, Path,)),
    request_body = MappingEdit,
    responses((status = 200, body = ref("#/components/schemas/MappingRow")), (status = 404), (status = 409), (status = 422)))]
async fn mapping_revise(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
    Body(body): Body<MappingEdit>,
) -> Result<Response, ApiError> {
    let editing = app.mapping_editing(&edit.caller, id).await?;
    if let Some(version) = body.version
        && version != editing.mapping.version
        && editing.mapping.bindings[&editing.schema_version].mapping_version != version
    {
        let message =
            format!("made from version `{version}`, but `{}` is the newest", editing.mapping.version);
        return Err(ApiError::new(StatusCode::CONFLICT, "AOS-0519", message));
    }
    let content = app.mapping_checked(&edit.caller, &editing, body, "").await?;
    let also_for = editing.also_for(&content);
    let revise =
        MappingCommand::ReviseMapping { content, schema_version: Some(editing.schema_version), also_for };
    let outcome =
        app.platform.commands.execute::<Mapping>(&edit.context, id, revise).await.map_err(outside)?;
    let after = app.platform.commands.load::<Mapping>(edit.caller.tenant(), id).await?.state;
    Ok(written(&app, StatusCode::OK, &shown(id, &after, editing.schema_version), &outcome))
}

/// The aggregate knows the mapping as `content`; a client sent it as the body.
pub(super) fn outside(error: autonomos_commands::error::CommandError) -> ApiError {
    let mut problem = ApiError::from(error);
    for field in &mut problem.errors {
        if let Some(rest) = field.pointer.strip_prefix("/content") {
            field.pointer = rest.to_owned();
        }
    }
    problem
}

fn shown(id: Uuid, mapping: &Mapping, schema_version: u32) -> Value {
    let bound = mapping.bound(schema_version);
    let content = bound.map(|(_, content)| content);
    json!({
        "id": id,
        "connection_id": mapping.connection_id,
        "stream": mapping.stream,
        "entity": content.and_then(|content| content.entity.clone()),
        "version": bound.map(|(binding, _)| binding.mapping_version),
        "key": content.map(|content| content.key.clone()),
        "fields": content.map(|content| content.fields.clone()),
        "bindings": mapping.bindings.values().collect::<Vec<_>>(),
    })
}
