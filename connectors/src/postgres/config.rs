//! The configuration of the Postgres connector.

use super::error;
use crate::error::ConnectorError;
use autonomos_domain::ids::ConnectionId;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::postgres::PgSslMode;

/// A whole configuration. It holds a secret, so that it has no `Debug`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PostgresConfig {
    pub(super) host: String,
    #[serde(default = "usual_port")]
    pub(super) port: u16,
    pub(super) database: String,
    pub(super) user: String,
    #[serde(default)]
    pub(super) password: String,
    #[serde(default)]
    pub(super) ssl_mode: SslMode,
    #[serde(default)]
    ca_certificate: String,
    #[serde(default = "usual_schemas")]
    pub(super) schemas: Vec<String>,
    #[serde(default)]
    pub(super) capture_changes: bool,
    #[serde(default)]
    slot: String,
    #[serde(default)]
    publication: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SslMode {
    Disable,
    Prefer,
    #[default]
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    pub(super) const fn mode(self) -> PgSslMode {
        match self {
            Self::Disable => PgSslMode::Disable,
            Self::Prefer => PgSslMode::Prefer,
            Self::Require => PgSslMode::Require,
            Self::VerifyCa => PgSslMode::VerifyCa,
            Self::VerifyFull => PgSslMode::VerifyFull,
        }
    }
}

const fn usual_port() -> u16 {
    5_432
}

fn usual_schemas() -> Vec<String> {
    vec!["public".to_owned()]
}

impl PostgresConfig {
    pub(super) fn parse(config: &Value) -> Result<Self, ConnectorError> {
        let Value::Object(members) = config else {
            return Err(error::configuration("", "the configuration must be a JSON object"));
        };
        let mut members = members.clone();
        // A form sends what was left empty as nothing.
        members.retain(|_, value| !value.is_null());
        let schema = config_schema();
        let known = schema["properties"].as_object().cloned().unwrap_or_default();
        if let Some(name) = members.keys().find(|name| !known.contains_key(*name)) {
            let known: Vec<&String> = known.keys().collect();
            let message = format!("there is no option `{name}`: use one of {known:?}");
            return Err(error::configuration(&format!("/{name}"), message));
        }
        // In the order in which the form asks for them.
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if members.get(name).and_then(Value::as_str).is_none_or(|text| text.trim().is_empty()) {
                let message = format!("`{name}` is missing");
                return Err(error::configuration(&format!("/{name}"), message));
            }
        }
        for (name, value) in &members {
            let alone = json!({ "host": "h", "database": "d", "user": "u", name: value });
            if let Err(cause) = Self::deserialize(&alone) {
                // What a secret holds is not quoted.
                let secret = known[name]["writeOnly"] == true;
                let cause = if secret { "a text is expected".to_owned() } else { cause.to_string() };
                let message = format!("`{name}` is wrong: {cause}");
                return Err(error::configuration(&format!("/{name}"), message));
            }
        }
        let config = Self::deserialize(&Value::Object(members))
            .map_err(|_| error::configuration("", "the configuration is incomplete"))?;
        if config.schemas.is_empty() {
            return Err(error::configuration("/schemas", "`schemas` names no schema"));
        }
        if config.port == 0 {
            return Err(error::configuration("/port", "`port` must be between 1 and 65535"));
        }
        let slot_letters =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        // A copy of the slot has a longer name, and all end at 63 bytes.
        if !config.slot.chars().all(slot_letters) || config.slot.len() > 50 {
            let message = "`slot` takes lower-case letters, digits and underscores, 50 at most";
            return Err(error::configuration("/slot", message));
        }
        Ok(config)
    }

    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        let text = self.ca_certificate.trim();
        if text.is_empty() {
            return None;
        }
        // What is no PEM is for the client to refuse.
        Some(crate::pem::lines(text).unwrap_or_else(|| text.to_owned()).into_bytes())
    }

    /// The replication slot: the one that is named, or the connection's own.
    pub(super) fn slot(&self, connection: Option<ConnectionId>) -> Result<String, ConnectorError> {
        match (self.slot.is_empty(), connection) {
            (false, _) => Ok(self.slot.clone()),
            (true, Some(connection)) => Ok(format!("aos_{}", connection.0.simple())),
            (true, None) => Err(error::configuration("/slot", "`slot` is missing")),
        }
    }

    /// The publication, and whether it is the connection's own.
    pub(super) fn publication(&self, slot: &str) -> (String, bool) {
        if self.publication.is_empty() { (slot.to_owned(), true) } else { (self.publication.clone(), false) }
    }
}

/// JSON Schema of the configuration; the API and the screen use this one.
pub fn config_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Postgres",
        "description": "Tables and views of a Postgres database (13 or newer), read whole, by a cursor column, or by their changes.",
        "type": "object",
        "required": ["host", "database", "user", "password"],
        "additionalProperties": false,
        "x-order": ["host", "port", "database", "user", "password", "ssl_mode", "ca_certificate", "schemas", "capture_changes", "publication", "slot"],
        "properties": {
            "host": {
                "type": "string", "minLength": 1, "title": "Host",
                "description": "The server itself, not a connection pooler. Addresses of private networks must be allowed by the operator.",
                "examples": ["db.example.com"]
            },
            "port": { "type": "integer", "minimum": 1, "maximum": 65535, "default": 5432, "title": "Port" },
            "database": { "type": "string", "minLength": 1, "title": "Database", "examples": ["crm"] },
            "user": {
                "type": "string", "minLength": 1, "title": "User",
                "description": "A role that may read the tables; for changes it also needs REPLICATION.", "examples": ["autonomos"]
            },
            "password": { "type": "string", "writeOnly": true, "title": "Password", "description": "Kept sealed, and never shown again." },
            "ssl_mode": {
                "type": "string", "enum": ["disable", "prefer", "require", "verify-ca", "verify-full"], "default": "require",
                "title": "Encryption",
                "description": "`require` encrypts; `verify-full` also makes sure that the server is the one named."
            },
            "ca_certificate": {
                "type": "string", "title": "Certificate authority",
                "description": "In PEM, where the server's certificate is not signed by a public one."
            },
            "schemas": {
                "type": "array", "items": { "type": "string" }, "minItems": 1, "default": ["public"], "title": "Schemas",
                "description": "Whose tables and views are offered.", "examples": [["public", "sales"]]
            },
            "capture_changes": {
                "type": "boolean", "default": false, "title": "Follow changes",
                "description": "By logical replication, deletes included. The server keeps its log for this connection until it was read: a connection that is never synced fills the server's disk."
            },
            "publication": {
                "type": "string", "title": "Publication",
                "description": "One that exists and holds the tables. Without it the connection makes its own, which needs an owner of the tables."
            },
            "slot": {
                "type": "string", "pattern": "^[a-z0-9_]*$", "maxLength": 50, "title": "Replication slot",
                "description": "Made by the connection under its own name unless set; dropped when the connection is deleted. Two connections never share one."
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::complains;

    #[track_caller]
    fn check(config: Value, expect: Option<&str>) {
        complains(PostgresConfig::parse(&config), expect);
    }

    #[test]
    fn each_mistake_is_told_at_its_field() {
        let with = |name: &str, value: Value| {
            let mut config = json!({"host": "h", "database": "d", "user": "u", "password": "hunter2"});
            config[name] = value;
            config
        };
        check(with("port", json!(5433)), None);
        check(with("slot", Value::Null), None);
        check(with("password", Value::Null), Some("/password"));
        check(json!({"database": "d", "user": "u", "password": "hunter2"}), Some("/host"));
        check(with("host", json!(" ")), Some("/host"));
        check(with("port", json!("x")), Some("/port"));
        check(with("port", json!(0)), Some("/port"));
        check(with("ssl_mode", json!("maybe")), Some("/ssl_mode"));
        check(with("schemas", json!([])), Some("/schemas"));
        check(with("slot", json!("Not That")), Some("/slot"));
        check(with("password", json!(["hunter2"])), Some("/password"));
        check(with("pasword", json!("hunter2")), Some("/pasword"));
    }
}
