//! The configuration of the Supabase connector: one of two ways to the same tables.

use super::error;
use crate::{error::ConnectorError, postgres};
use reqwest::Url;
use serde_json::{Map, Value, json};

const REST: &str = "rest";
const DATABASE: &str = "database";

/// A way to the tables.
pub(super) enum Access {
    Rest(RestConfig),
    /// What the Postgres connector takes.
    Database(Value),
}

/// Through PostgREST. It holds a secret, so that it has no `Debug`.
#[derive(Clone)]
pub(super) struct RestConfig {
    pub(super) url: Url,
    pub(super) api_key: String,
    pub(super) schema: String,
    /// Which are offered; all if empty.
    pub(super) tables: Vec<String>,
}

/// An object without what a form left empty.
fn said(value: &Value) -> Option<Map<String, Value>> {
    let mut members = value.as_object()?.clone();
    members.retain(|_, value| !value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty()));
    Some(members)
}

pub(super) fn parse(config: &Value) -> Result<Access, ConnectorError> {
    let schema = config_schema();
    let Some(members) = said(config) else {
        return Err(error::configuration("", "the configuration must be a JSON object"));
    };
    known(&schema, &members, "")?;
    let Some(access) = members.get("access") else {
        return Err(error::configuration("/access", "`access` is missing"));
    };
    let Some(mut access) = said(access) else {
        return Err(error::configuration("/access", "`access` must be a JSON object"));
    };
    let ways = schema["properties"]["access"]["oneOf"].as_array().cloned().unwrap_or_default();
    let kind = access.remove("kind");
    let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
    let Some(way) = ways.iter().find(|way| way["properties"]["kind"]["const"] == kind) else {
        return Err(error::configuration("/access/kind", format!("`kind` must be `{REST}` or `{DATABASE}`")));
    };
    known(way, &access, "/access")?;
    if kind == DATABASE {
        return database(access).map(Access::Database);
    }
    rest(way, &access).map(Access::Rest)
}

fn known(schema: &Value, members: &Map<String, Value>, at: &str) -> Result<(), ConnectorError> {
    let known = schema["properties"].as_object().cloned().unwrap_or_default();
    match members.keys().find(|name| !known.contains_key(*name)) {
        Some(name) => {
            let known: Vec<&String> = known.keys().collect();
            let message = format!("there is no option `{name}`: use one of {known:?}");
            Err(error::configuration(&format!("{at}/{name}"), message))
        }
        None => Ok(()),
    }
}

fn rest(way: &Value, access: &Map<String, Value>) -> Result<RestConfig, ConnectorError> {
    let refused = |name: &str, message: &str| {
        error::configuration(&format!("/access/{name}"), format!("`{name}` {message}"))
    };
    for name in way["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if name != "kind" && !access.contains_key(name) {
            return Err(refused(name, "is missing"));
        }
    }
    // What a secret holds is not quoted.
    let text = |name: &str| match access.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
        Some(_) => Err(refused(name, "is wrong: a text is expected")),
    };
    let mut url = text("url")?
        .and_then(|url| Url::parse(&url).ok())
        .filter(|url| {
            matches!(url.scheme(), "https" | "http")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        })
        .ok_or_else(|| refused("url", "must be `https://`, a host, and at most a path"))?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    let api_key = text("api_key")?.unwrap_or_default();
    // It goes into a header.
    if !api_key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused("api_key", "holds what no key holds"));
    }
    let tables = match access.get("tables") {
        None => Vec::new(),
        Some(Value::Array(tables)) => {
            let name = |table: &Value| table.as_str().map(str::trim).map(str::to_owned);
            let tables: Option<Vec<String>> = tables.iter().map(name).collect();
            tables.ok_or_else(|| refused("tables", "is wrong: names are expected"))?
        }
        Some(_) => return Err(refused("tables", "is wrong: a list of names is expected")),
    };
    let schema = text("schema")?.unwrap_or_else(|| "public".to_owned());
    Ok(RestConfig { url, api_key, schema, tables })
}

/// The Postgres connector checks the rest; a pooler is refused where it does harm.
fn database(access: Map<String, Value>) -> Result<Value, ConnectorError> {
    let host = access.get("host").and_then(Value::as_str).unwrap_or_default().trim().to_ascii_lowercase();
    let supabase = host.ends_with(".supabase.com") || host.ends_with(".supabase.co");
    if supabase && access.get("port").and_then(Value::as_u64) == Some(6_543) {
        return Err(error::pooler(
            "/access/port",
            "port 6543 is the pooler in transaction mode, which forgets a session's settings: use 5432",
        ));
    }
    if host.ends_with(".pooler.supabase.com") && access.get("capture_changes") == Some(&json!(true)) {
        return Err(error::pooler(
            "/access/host",
            "changes cannot be followed through the pooler: use the direct connection, `db.<project>.supabase.co`",
        ));
    }
    Ok(Value::Object(access))
}

/// The error of the Postgres connector, at the field where this configuration has it.
pub(super) fn within(cause: ConnectorError) -> ConnectorError {
    match cause {
        ConnectorError::Configuration { code, field, message } => {
            ConnectorError::Configuration { code, field: format!("/access{field}"), message }
        }
        other => other,
    }
}

/// JSON Schema of the configuration; the API and the screen use this one.
pub fn config_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Supabase",
        "description": "The tables and views of a Supabase project, or of any Postgres behind PostgREST: by its REST API, or by the database itself, whose changes can be followed.",
        "type": "object",
        "required": ["access"],
        "additionalProperties": false,
        "x-order": ["access"],
        "properties": {
            "access": {
                "type": "object", "title": "Way to the tables", "required": ["kind"],
                "oneOf": [by_rest(), by_database()]
            }
        }
    })
}

fn by_rest() -> Value {
    json!({
        "title": "REST API", "type": "object", "additionalProperties": false,
        "required": ["kind", "url", "api_key"],
        "x-order": ["url", "api_key", "schema", "tables"],
        "properties": {
            "kind": { "const": REST },
            "url": {
                "type": "string", "format": "uri", "pattern": "^https?://[^?#@]+$", "title": "Project URL",
                "description": "Of the project, or of a PostgREST of your own. Addresses of private networks must be allowed by the operator.",
                "examples": ["https://abcdefghijklm.supabase.co"]
            },
            "api_key": {
                "type": "string", "minLength": 1, "writeOnly": true, "title": "API key",
                "description": "A secret key (`sb_secret_…`) or the old `service_role` key: row-level security hides rows from the others. Kept sealed, and never shown again."
            },
            "schema": {
                "type": "string", "default": "public", "title": "Schema",
                "description": "One that the API exposes.", "examples": ["public"]
            },
            "tables": {
                "type": "array", "items": { "type": "string" }, "title": "Tables",
                "description": "Which are offered, views too; all that the API shows if left empty.",
                "examples": [["accounts", "contacts"]]
            }
        }
    })
}

fn by_database() -> Value {
    let mut way = postgres::config_schema();
    if let Some(members) = way.as_object_mut() {
        members.remove("$schema");
        members.remove("description");
    }
    way["title"] = json!("Database");
    way["properties"]["kind"] = json!({ "const": DATABASE });
    way["properties"]["host"]["description"] = json!(
        "The direct connection (it may need IPv6); the session pooler if changes are not followed. Addresses of private networks must be allowed by the operator."
    );
    way["properties"]["host"]["examples"] = json!(["db.abcdefghijklm.supabase.co"]);
    if let Some(required) = way["required"].as_array_mut() {
        required.insert(0, json!("kind"));
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectorError, NetworkScope, error::complains, supabase::SupabaseConnector};

    #[track_caller]
    fn check(config: Value, expect: Option<&str>) {
        let connected: Result<_, ConnectorError> =
            SupabaseConnector::new(&config, NetworkScope::default(), None);
        complains(connected, expect);
    }

    #[test]
    fn each_mistake_is_told_at_its_field() {
        let rest = |name: &str, value: Value| {
            let mut access = json!({ "kind": "rest", "url": "https://x.supabase.co", "api_key": "hunter2" });
            access[name] = value;
            json!({ "access": access })
        };
        check(rest("schema", Value::Null), None);
        check(rest("url", json!("https://api.example.com/rest/v1")), None);
        check(rest("url", json!("https://u:hunter2@x.supabase.co")), Some("/access/url"));
        check(rest("url", json!("x.supabase.co")), Some("/access/url"));
        check(rest("url", json!("https://x.supabase.co?apikey=hunter2")), Some("/access/url"));
        check(rest("api_key", json!(" ")), Some("/access/api_key"));
        check(rest("api_key", json!(["hunter2"])), Some("/access/api_key"));
        check(rest("api_key", json!("hunter2\nX: y")), Some("/access/api_key"));
        check(rest("tables", json!("accounts")), Some("/access/tables"));
        check(rest("host", json!("h")), Some("/access/host"));
        check(rest("kind", json!("fax")), Some("/access/kind"));
        check(json!({}), Some("/access"));
        check(json!({ "acces": {} }), Some("/acces"));

        let database = |name: &str, value: Value| {
            let mut access = json!({
                "kind": "database", "host": "db.x.supabase.co", "database": "postgres", "user": "postgres",
                "password": "hunter2", "slot": "s",
            });
            access[name] = value;
            json!({ "access": access })
        };
        check(database("capture_changes", json!(true)), None);
        check(database("host", json!("aws-0-eu.pooler.supabase.com")), None);
        check(database("port", json!(6543)), Some("/access/port"));
        check(database("port", json!("x")), Some("/access/port"));
        check(database("password", Value::Null), Some("/access/password"));
        check(database("url", json!("https://x")), Some("/access/url"));
        let mut pooled = database("host", json!("aws-0-eu.pooler.supabase.com"));
        pooled["access"]["capture_changes"] = json!(true);
        check(pooled, Some("/access/host"));
    }
}
