//! The contracts as files, generated from the types: what `schemas/` holds.

pub mod compat;

use autonomos_connectors::registry::Registry;
use autonomos_domain::{
    aggregates::{
        api_key::ApiKeyEvent, connection::ConnectionEvent, feed::FeedEvent, identity::IdentityEvent,
        llm_account::LlmAccountEvent, mapping::MappingEvent, ontology::OntologyEvent,
        reservation::ReservationEvent, schedule::ScheduleEvent, stream_schema::StreamSchemaEvent,
        sync::SyncEvent, task::TaskEvent, tenant::TenantEvent, user::UserEvent,
    },
    ontology::default_ontology,
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
const DEFINITIONS: &str = "#/$defs/";

/// The folder in this repository.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

/// Every file, by its path in the folder.
pub fn all() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut put = |path: String, value: &Value| {
        files.insert(path, format!("{}\n", serde_json::to_string_pretty(value).unwrap_or_default()));
    };
    put("openapi.json".to_owned(), &autonomos_gateway::openapi());
    put("ontology.json".to_owned(), &serde_json::to_value(default_ontology()).unwrap_or_default());
    for connector in Registry::new().catalogue() {
        put(format!("connectors/{}.json", connector.id), &connector.config_schema);
    }
    for (name, schema) in events() {
        put(format!("events/{name}"), &schema);
    }
    files
}

/// The committed schemas of events: what the log may hold. Earlier versions stay beside later ones.
pub fn events_committed() -> io::Result<compat::Schemas> {
    let mut schemas = compat::Schemas::new();
    for entry in fs::read_dir(folder().join("events"))? {
        let entry = entry?;
        let schema = serde_json::from_slice(&fs::read(entry.path())?)?;
        schemas.insert(entry.file_name().to_string_lossy().into_owned(), schema);
    }
    Ok(schemas)
}

/// A schema of each event type's payload, in the version it is written in.
pub fn events() -> compat::Schemas {
    let mut events = compat::Schemas::new();
    of::<ApiKeyEvent>(ApiKeyEvent::TYPES, &mut events);
    of::<ConnectionEvent>(ConnectionEvent::TYPES, &mut events);
    of::<FeedEvent>(FeedEvent::TYPES, &mut events);
    of::<IdentityEvent>(IdentityEvent::TYPES, &mut events);
    of::<LlmAccountEvent>(LlmAccountEvent::TYPES, &mut events);
    of::<MappingEvent>(MappingEvent::TYPES, &mut events);
    of::<OntologyEvent>(OntologyEvent::TYPES, &mut events);
    of::<ReservationEvent>(ReservationEvent::TYPES, &mut events);
    of::<ScheduleEvent>(ScheduleEvent::TYPES, &mut events);
    of::<StreamSchemaEvent>(StreamSchemaEvent::TYPES, &mut events);
    of::<SyncEvent>(SyncEvent::TYPES, &mut events);
    of::<TaskEvent>(TaskEvent::TYPES, &mut events);
    of::<TenantEvent>(TenantEvent::TYPES, &mut events);
    of::<UserEvent>(UserEvent::TYPES, &mut events);
    events
}

/// The aggregate's event enum is tagged by the type's name; each type gets its own file.
fn of<E: JsonSchema>(types: &[(&str, u16)], events: &mut compat::Schemas) {
    let mut generator: SchemaGenerator = SchemaSettings::draft2020_12().into_generator();
    let schema = generator.root_schema_for::<E>().to_value();
    let definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
    let variants = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    for variant in variants.into_iter().flatten() {
        let Some((name, payload)) = variant["properties"].as_object().and_then(|map| map.iter().next())
        else {
            continue;
        };
        let mut file = payload.clone();
        file["$schema"] = json!(DRAFT);
        file["title"] = json!(name);
        if let Some(description) = variant.get("description") {
            file["description"] = description.clone();
        }
        let mut needed = Map::new();
        collect(payload, &definitions, &mut needed);
        if !needed.is_empty() {
            file["$defs"] = Value::Object(needed);
        }
        let version = types.iter().find(|(known, _)| known == name).map(|(_, version)| *version);
        let version = version.unwrap_or_else(|| panic!("`{name}` is no type of its aggregate"));
        events.insert(format!("{name}.v{version}.json"), file);
    }
    for (name, version) in types {
        assert!(events.contains_key(&format!("{name}.v{version}.json")), "`{name}` has no schema");
    }
}

/// The definitions that a schema leads to.
fn collect(schema: &Value, definitions: &Map<String, Value>, needed: &mut Map<String, Value>) {
    match schema {
        Value::Object(fields) => {
            let name =
                fields.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(DEFINITIONS));
            if let Some((name, definition)) = name.and_then(|name| definitions.get_key_value(name))
                && !needed.contains_key(name)
            {
                needed.insert(name.clone(), definition.clone());
                collect(definition, definitions, needed);
            }
            fields.values().for_each(|field| collect(field, definitions, needed));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, definitions, needed)),
        _ => {}
    }
}
