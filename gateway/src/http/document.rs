//! The OpenAPI document: paths from the routes, schemas from the types themselves. Types of the
//! inner rooms describe themselves as JSON Schema and know no HTTP; here they become components.

use super::{
    idempotency::{EXEMPT, UNREPEATED},
    respond,
    views::shapes,
};
use autonomos_commands::connections::TestReport;
use autonomos_connectors::port::ConnectorInfo;
use autonomos_domain::{
    aggregates::{llm_account::LlmSettings, tenant::RepairPolicy},
    health::ConnectionLimits,
    mapping::{MappingContent, Transform},
    ontology::Ontology,
    policy::PolicyInForce,
    schema::{DiscoveredStream, StreamSelection},
};
use autonomos_projections::read_models::rows;
use axum::http::StatusCode;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

const COMPONENTS: &str = "/components/schemas";

/// Components of the inner rooms' types, and for each that is listed a page of it.
fn components() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = COMPONENTS.into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    add::<Ontology>(&mut generator);
    add::<MappingContent>(&mut generator);
    add::<Transform>(&mut generator);
    add::<RepairPolicy>(&mut generator);
    add::<PolicyInForce>(&mut generator);
    add::<super::policies::PoliciesView>(&mut generator);
    add::<LlmSettings>(&mut generator);
    add::<super::llm::LlmSettingsView>(&mut generator);
    add::<super::llm::LlmUsageView>(&mut generator);
    add::<super::rules::RulesView>(&mut generator);
    add::<StreamSelection>(&mut generator);
    add::<DiscoveredStream>(&mut generator);
    add::<rows::UserRow>(&mut generator);
    add::<rows::ApiKeyRow>(&mut generator);
    add::<super::connections::ConnectionView>(&mut generator);
    add::<super::connections::DiscoveredStreams>(&mut generator);
    add::<super::connections::SelectedStreams>(&mut generator);
    add::<super::connections::SyncQueued>(&mut generator);
    add::<ConnectorInfo>(&mut generator);
    add::<TestReport>(&mut generator);
    add::<rows::StreamRow>(&mut generator);
    add::<rows::SyncRow>(&mut generator);
    add::<rows::SchemaVersionRow>(&mut generator);
    add::<rows::DriftRow>(&mut generator);
    add::<rows::MappingRow>(&mut generator);
    add::<rows::MappingVersionRow>(&mut generator);
    add::<super::repairs::RepairView>(&mut generator);
    add::<super::dry_runs::DryRunView>(&mut generator);
    add::<super::backtests::BacktestRequest>(&mut generator);
    add::<super::backtests::BacktestView>(&mut generator);
    add::<rows::TaskRow>(&mut generator);
    add::<rows::ScheduleRow>(&mut generator);
    add::<ConnectionLimits>(&mut generator);
    add::<rows::TaskLogRow>(&mut generator);
    add::<rows::UploadRow>(&mut generator);
    add::<super::quarantine::QuarantineView>(&mut generator);
    add::<super::graph::GraphView>(&mut generator);
    add::<super::matches::MatchView>(&mut generator);
    add::<super::matches::MergeView>(&mut generator);
    add::<super::matches::UnmergeView>(&mut generator);
    add::<super::history::HistoryView>(&mut generator);
    add::<super::history::Verification>(&mut generator);
    add::<super::ops::ProjectionView>(&mut generator);
    add::<shapes::ViewSummary>(&mut generator);
    add::<shapes::UnifiedRow>(&mut generator);
    add::<shapes::RowLineage>(&mut generator);
    add::<shapes::ChangePage>(&mut generator);
    generator.take_definitions(true)
}

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    let _ = generator.subschema_for::<T>();
}

/// Completes what the routes gave.
pub(super) fn complete(document: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let known = &mut document["components"]["schemas"];
    if !known.is_object() {
        *known = json!({});
    }
    if let Some(known) = known.as_object_mut() {
        for (name, schema) in components() {
            known.entry(name).or_insert(schema);
        }
        known.insert("Meta".to_owned(), schema_of::<respond::Meta>());
        known.insert("Problem".to_owned(), schema_of::<super::problem::Problem>());
        known.insert("FieldProblem".to_owned(), schema_of::<super::problem::FieldProblem>());
    }
    let problem = json!({
        "description": "what went wrong, with a stable code",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } }
    });
    let key = json!({
        "name": "Idempotency-Key", "in": "header", "required": false, "schema": { "type": "string", "maxLength": 255 },
        "description": "the same key and body gives the first answer again for 24 hours",
    });
    let mut key_once = key.clone();
    key_once["description"] =
        json!("the same key and body does nothing more and answers 409: the first answer carried a secret");
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            if method != "get" && !EXEMPT.contains(&path.as_str()) {
                let key = if UNREPEATED.contains(&path.as_str()) { &key_once } else { &key };
                match operation["parameters"].as_array_mut() {
                    Some(parameters) => parameters.push(key.clone()),
                    None => operation["parameters"] = json!([key]),
                }
            }
            if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
                responses.entry("default").or_insert_with(|| problem.clone());
                for (status, response) in responses.iter_mut() {
                    let said = response["description"].as_str().is_some_and(|text| !text.is_empty());
                    let reason = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
                    let is_error = status.starts_with(['4', '5']);
                    if is_error && response.get("content").is_none() {
                        response["content"] = problem["content"].clone();
                    }
                    if !said && let Some(reason) = reason.and_then(|status| status.canonical_reason()) {
                        response["description"] = json!(reason.to_lowercase());
                    }
                }
            }
            describe_lists(operation);
        }
    }
    document
}

fn schema_of<T: utoipa::PartialSchema>() -> Value {
    serde_json::to_value(T::schema()).unwrap_or_default()
}

/// `x-list: Name` in a response's schema stands for a page of that component.
fn describe_lists(operation: &mut Value) {
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return;
    };
    for response in responses.values_mut() {
        let schemas = response.get_mut("content").and_then(Value::as_object_mut);
        for content in schemas.into_iter().flat_map(Map::values_mut) {
            let listed = content["schema"]["$ref"].as_str().and_then(|name| name.strip_prefix("#/list/"));
            if let Some(name) = listed {
                content["schema"] = json!({
                    "type": "object",
                    "required": ["data", "meta"],
                    "properties": {
                        "data": { "type": "array", "items": { "$ref": format!("#{COMPONENTS}/{name}") } },
                        "meta": { "$ref": format!("#{COMPONENTS}/Meta") },
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference.clone());
                }
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
        let document = crate::http::document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("references stay within the document");
            assert!(document.pointer(pointer).is_some(), "`{reference}` leads nowhere");
        }
        let mut names = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                let name = operation["operationId"].as_str().expect("a name");
                assert!(names.insert(name.to_owned()), "`{method} {path}` has the name of another: `{name}`");
                assert!(operation["summary"].is_string(), "`{method} {path}` says nothing about itself");
                for (status, response) in operation["responses"].as_object().expect("answers") {
                    // Nothing to carry, or no HTTP from here on.
                    let is_empty = ["101", "204"].contains(&status.as_str());
                    let content = response["content"].as_object();
                    let is_typed =
                        content.is_some_and(|all| all.values().all(|one| one["schema"].is_object()));
                    assert!(is_empty || is_typed, "`{method} {path}` does not say what {status} carries");
                }
            }
        }
    }
}
