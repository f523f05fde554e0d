//! The configuration of the Salesforce connector.

use super::error;
use crate::error::ConnectorError;
use reqwest::Url;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// A whole configuration. It holds secrets, so that it has no `Debug`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SalesforceConfig {
    #[serde(default = "usual_login", deserialize_with = "url")]
    pub(super) login_url: Url,
    pub(super) auth: Auth,
    #[serde(default = "usual_version")]
    pub(super) api_version: String,
    /// Whose objects are offered; all if empty.
    #[serde(default)]
    pub(super) objects: Vec<String>,
    #[serde(default = "usual_share")]
    pub(super) api_share: f64,
    #[serde(default = "usual_overlap")]
    pub(super) overlap_minutes: u32,
    #[serde(default = "usual_bulk_rows")]
    pub(super) bulk_rows: u64,
    #[serde(default = "usual_snapshot_days")]
    pub(super) snapshot_days: u32,
}

/// The three ways to a token.
#[derive(Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Auth {
    RefreshToken {
        client_id: String,
        #[serde(default)]
        client_secret: String,
        refresh_token: String,
    },
    JwtBearer {
        client_id: String,
        username: String,
        private_key: String,
    },
    ClientCredentials {
        client_id: String,
        client_secret: String,
    },
}

fn usual_login() -> Url {
    Url::parse("https://login.salesforce.com").unwrap_or_else(|_| unreachable!("a literal"))
}

fn url<'de, D: Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    Url::parse(String::deserialize(from)?.trim()).map_err(serde::de::Error::custom)
}

fn usual_version() -> String {
    "62.0".to_owned()
}

const fn usual_share() -> f64 {
    0.8
}

const fn usual_overlap() -> u32 {
    10
}

const fn usual_bulk_rows() -> u64 {
    10_000
}

const fn usual_snapshot_days() -> u32 {
    7
}

/// An object without what a form left empty.
fn said(config: &Value) -> Option<serde_json::Map<String, Value>> {
    let mut members = config.as_object()?.clone();
    members.retain(|_, value| !value.is_null());
    Some(members)
}

/// The first required text that is missing.
fn missing(schema: &Value, members: &serde_json::Map<String, Value>) -> Option<String> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let empty = |value: &Value| value.as_str().is_some_and(|text| text.trim().is_empty());
    required.into_iter().find(|name| members.get(*name).is_none_or(empty)).map(str::to_owned)
}

impl SalesforceConfig {
    pub(super) fn parse(config: &Value) -> Result<Self, ConnectorError> {
        let schema = config_schema();
        let Some(mut members) = said(config) else {
            return Err(error::configuration("", "the configuration must be a JSON object"));
        };
        members.retain(|_, value| value.as_str().is_none_or(|text| !text.trim().is_empty()));
        known(&schema, &members, "")?;
        if let Some(name) = missing(&schema, &members) {
            return Err(error::configuration(&format!("/{name}"), format!("`{name}` is missing")));
        }
        let auth = auth(&schema, &members["auth"])?;
        members.insert("auth".to_owned(), Value::Object(auth));
        for (name, value) in members.iter().filter(|(name, _)| *name != "auth") {
            let alone = json!({ "auth": { "kind": "client_credentials", "client_id": "", "client_secret": "" }, name: value });
            if let Err(cause) = Self::deserialize(&alone) {
                let message = format!("`{name}` is wrong: {cause}");
                return Err(error::configuration(&format!("/{name}"), message));
            }
        }
        let config = Self::deserialize(&Value::Object(members))
            .map_err(|_| error::configuration("/auth", "`auth` is incomplete"))?;
        config.check()
    }

    fn check(self) -> Result<Self, ConnectorError> {
        let url = &self.login_url;
        let plain = matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none();
        if !plain {
            return Err(error::configuration(
                "/login_url",
                "`login_url` must be `https://` and a host, and nothing more",
            ));
        }
        let version = self.api_version.strip_suffix(".0").and_then(|number| number.parse::<u16>().ok());
        // Bulk API 2.0 queries came with 47.0.
        if version.is_none_or(|version| version < 47) {
            return Err(error::configuration(
                "/api_version",
                format!("`api_version` is like `62.0`, from `47.0` on: `{}` is not", self.api_version),
            ));
        }
        if !(0.01..=1.0).contains(&self.api_share) {
            return Err(error::configuration("/api_share", "`api_share` must be between 0.01 and 1"));
        }
        if self.overlap_minutes > 1_440 {
            return Err(error::configuration("/overlap_minutes", "`overlap_minutes` must be 1440 at most"));
        }
        let name = |object: &String| {
            !object.is_empty() && object.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        };
        if let Some(object) = self.objects.iter().find(|object| !name(object)) {
            let message = format!("`{object}` is no API name: like `Account` or `Invoice__c`");
            return Err(error::configuration("/objects", message));
        }
        if let Auth::JwtBearer { private_key, .. } = &self.auth
            && crate::pem::lines(private_key).is_none()
        {
            return Err(error::configuration("/auth/private_key", "`private_key` is no key in PEM"));
        }
        Ok(self)
    }
}

fn known(schema: &Value, members: &serde_json::Map<String, Value>, at: &str) -> Result<(), ConnectorError> {
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

/// The members of one of the ways to sign in, each a text.
fn auth(schema: &Value, auth: &Value) -> Result<serde_json::Map<String, Value>, ConnectorError> {
    let Some(members) = said(auth) else {
        return Err(error::configuration("/auth", "`auth` must be a JSON object"));
    };
    let ways = schema["properties"]["auth"]["oneOf"].as_array().cloned().unwrap_or_default();
    let kinds: Vec<&str> =
        ways.iter().filter_map(|way| way["properties"]["kind"]["const"].as_str()).collect();
    let kind = members.get("kind").and_then(Value::as_str).unwrap_or_default();
    let Some(way) = kinds.iter().position(|known| *known == kind).map(|place| &ways[place]) else {
        let message = format!("`kind` must be one of `{}`", kinds.join("`, `"));
        return Err(error::configuration("/auth/kind", message));
    };
    known(way, &members, "/auth")?;
    // What a secret holds is not quoted.
    if let Some((name, _)) = members.iter().find(|(_, value)| !value.is_string()) {
        let message = format!("`{name}` is wrong: a text is expected");
        return Err(error::configuration(&format!("/auth/{name}"), message));
    }
    match missing(way, &members) {
        Some(name) => Err(error::configuration(&format!("/auth/{name}"), format!("`{name}` is missing"))),
        None => Ok(members),
    }
}

/// JSON Schema of the configuration; the API and the screen use this one.
pub fn config_schema() -> Value {
    let client_id = json!({
        "type": "string", "minLength": 1, "title": "Consumer key",
        "description": "Of the connected app. Its scopes need `api`, and for a refresh token `refresh_token`.",
        "examples": ["3MVG9…"]
    });
    let client_secret = |description: &str| json!({ "type": "string", "writeOnly": true, "title": "Consumer secret", "description": description });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Salesforce",
        "description": "The objects of a Salesforce organisation, standard and custom: whole by the Bulk API, then by what changed, deletes included.",
        "type": "object",
        "required": ["auth"],
        "additionalProperties": false,
        "x-order": ["login_url", "auth", "objects", "api_share", "overlap_minutes", "bulk_rows", "snapshot_days", "api_version"],
        "properties": {
            "login_url": {
                "type": "string", "format": "uri", "pattern": "^https?://[^/?#@]+/?$", "default": "https://login.salesforce.com",
                "title": "Login host",
                "description": "`https://test.salesforce.com` for a sandbox, or the organisation's My Domain, which client credentials need.",
                "examples": ["https://login.salesforce.com", "https://test.salesforce.com", "https://acme.my.salesforce.com"]
            },
            "auth": {
                "type": "object", "title": "Way to sign in", "required": ["kind"],
                "oneOf": [
                    {
                        "title": "Refresh token", "type": "object", "additionalProperties": false,
                        "required": ["kind", "client_id", "refresh_token"],
                        "x-order": ["client_id", "client_secret", "refresh_token"],
                        "properties": {
                            "kind": { "const": "refresh_token" },
                            "client_id": client_id.clone(),
                            "client_secret": client_secret("Where the app asks for it. Kept sealed, and never shown again."),
                            "refresh_token": {
                                "type": "string", "minLength": 1, "writeOnly": true, "title": "Refresh token",
                                "description": "Kept sealed, and never shown again."
                            }
                        }
                    },
                    {
                        "title": "JWT bearer", "type": "object", "additionalProperties": false,
                        "required": ["kind", "client_id", "username", "private_key"],
                        "x-order": ["client_id", "username", "private_key"],
                        "properties": {
                            "kind": { "const": "jwt_bearer" },
                            "client_id": client_id.clone(),
                            "username": {
                                "type": "string", "minLength": 1, "title": "User",
                                "description": "Whom the app acts for; an administrator has approved it.",
                                "examples": ["integration@acme.example"]
                            },
                            "private_key": {
                                "type": "string", "minLength": 1, "writeOnly": true, "title": "Private key",
                                "description": "RSA, in PEM, of the certificate that the app holds. Kept sealed, and never shown again."
                            }
                        }
                    },
                    {
                        "title": "Client credentials", "type": "object", "additionalProperties": false,
                        "required": ["kind", "client_id", "client_secret"],
                        "x-order": ["client_id", "client_secret"],
                        "properties": {
                            "kind": { "const": "client_credentials" },
                            "client_id": client_id,
                            "client_secret": client_secret("Kept sealed, and never shown again.")
                        }
                    }
                ]
            },
            "objects": {
                "type": "array", "items": { "type": "string", "pattern": "^[A-Za-z0-9_]+$" }, "title": "Objects",
                "description": "Which are offered, by their API names; all that can be queried if left empty. Each costs a request whenever the connection is looked at.",
                "examples": [["Account", "Contact", "Opportunity"]]
            },
            "api_share": {
                "type": "number", "minimum": 0.01, "maximum": 1, "default": 0.8, "title": "Share of the request quota",
                "description": "Syncs stop once so much of the organisation's requests of a day is used, by whomever."
            },
            "overlap_minutes": {
                "type": "integer", "minimum": 0, "maximum": 1440, "default": 10, "title": "Overlap in minutes",
                "description": "How far back an incremental read begins: a transaction that ends late carries an earlier time."
            },
            "bulk_rows": {
                "type": "integer", "minimum": 0, "default": 10000, "title": "Rows from which the Bulk API is used",
                "description": "Fewer are read page by page."
            },
            "snapshot_days": {
                "type": "integer", "minimum": 0, "default": 7, "title": "Days between whole reads of objects with formulas",
                "description": "A formula's value changes without a trace: objects that have one are read whole again after so many days. 0: never."
            },
            "api_version": {
                "type": "string", "pattern": "^[0-9]{2,3}\\.0$", "default": "62.0", "title": "API version"
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
        complains(SalesforceConfig::parse(&config), expect);
    }

    #[test]
    fn each_mistake_is_told_at_its_field() {
        let refresh =
            || json!({ "auth": { "kind": "refresh_token", "client_id": "k", "refresh_token": "hunter2" } });
        let with = |name: &str, value: Value| {
            let mut config = refresh();
            config[name] = value;
            config
        };
        let signed = |auth: Value| json!({ "auth": auth });
        check(refresh(), None);
        check(with("login_url", json!("https://acme.my.salesforce.com")), None);
        check(with("login_url", json!("")), None);
        check(with("login_url", json!("https://u:hunter2@acme.my.salesforce.com")), Some("/login_url"));
        check(with("login_url", json!("https://acme.my.salesforce.com/path")), Some("/login_url"));
        check(with("login_url", json!("ftp://acme")), Some("/login_url"));
        check(with("api_share", json!(0)), Some("/api_share"));
        check(with("api_version", json!("46.0")), Some("/api_version"));
        check(with("api_version", json!("latest")), Some("/api_version"));
        check(with("objects", json!(["Account; DROP"])), Some("/objects"));
        check(with("bulk_rows", json!("many")), Some("/bulk_rows"));
        check(with("colour", json!("red")), Some("/colour"));
        check(json!({}), Some("/auth"));
        check(signed(json!("hunter2")), Some("/auth"));
        check(signed(json!({ "client_id": "k" })), Some("/auth/kind"));
        check(signed(json!({ "kind": "refresh_token", "client_id": "k" })), Some("/auth/refresh_token"));
        check(
            signed(json!({ "kind": "client_credentials", "client_id": "k", "client_secret": ["hunter2"] })),
            Some("/auth/client_secret"),
        );
        check(
            signed(
                json!({ "kind": "client_credentials", "client_id": "k", "client_secret": "hunter2", "username": "u" }),
            ),
            Some("/auth/username"),
        );
        check(
            signed(
                json!({ "kind": "jwt_bearer", "client_id": "k", "username": "u", "private_key": "hunter2" }),
            ),
            Some("/auth/private_key"),
        );
    }
}
