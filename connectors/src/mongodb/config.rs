//! The configuration of the MongoDB connector.

use super::error;
use crate::error::ConnectorError;
use serde::Deserialize;
use serde_json::{Value, json};

const USUAL_PORT: u16 = 27_017;
/// What of a connection string is understood. What names files of this machine, proxies, or other ways
/// to sign in is not; how the connection is used is no matter of the string.
const OPTIONS: [&str; 20] = [
    "appname",
    "authmechanism",
    "authsource",
    "compressors",
    "connecttimeoutms",
    "directconnection",
    "maxpoolsize",
    "minpoolsize",
    "readconcernlevel",
    "readpreference",
    "replicaset",
    "retryreads",
    "retrywrites",
    "serverselectiontimeoutms",
    "sockettimeoutms",
    "ssl",
    "tls",
    "w",
    "wtimeoutms",
    "journal",
];

/// A whole configuration. It holds a secret, so that it has no `Debug`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MongoConfig {
    uri: String,
    pub(super) database: String,
    #[serde(default)]
    pub(super) user: String,
    #[serde(default)]
    pub(super) password: String,
    #[serde(default)]
    auth_database: String,
    #[serde(default)]
    pub(super) tls: TlsMode,
    #[serde(default)]
    ca_certificate: String,
    #[serde(default)]
    pub(super) collections: Vec<String>,
    #[serde(default = "usual_sample")]
    pub(super) sample_size: u32,
    #[serde(default = "usual_levels")]
    pub(super) nested_levels: u8,
    #[serde(default)]
    pub(super) on_lost_history: LostHistory,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TlsMode {
    Disable,
    Require,
    #[default]
    VerifyFull,
}

/// What becomes of a stream whose changes the server no longer has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LostHistory {
    #[default]
    Snapshot,
    Fail,
}

const fn usual_sample() -> u32 {
    1_000
}

const fn usual_levels() -> u8 {
    3
}

/// Where the servers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seeds {
    Hosts(Vec<(String, u16)>),
    /// A name whose SRV records list them.
    Service(String),
}

/// What a connection string says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    seeds: Seeds,
    user: String,
    auth_database: Option<String>,
}

impl MongoConfig {
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
        for name in ["uri", "database"] {
            if members.get(name).and_then(Value::as_str).is_none_or(|text| text.trim().is_empty()) {
                return Err(error::configuration(&format!("/{name}"), format!("`{name}` is missing")));
            }
        }
        for (name, value) in &members {
            let mut alone = json!({ "uri": "mongodb://h", "database": "d" });
            alone[name] = value.clone();
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
        let address = config.address()?;
        if !(1_000..=10_000).contains(&config.sample_size) {
            return Err(error::configuration("/sample_size", "`sample_size` must be between 1000 and 10000"));
        }
        if config.nested_levels > 8 {
            return Err(error::configuration("/nested_levels", "`nested_levels` must be between 0 and 8"));
        }
        if config.password.is_empty() != config.user(&address).is_empty() {
            let missing = if config.password.is_empty() { "password" } else { "user" };
            return Err(error::configuration(&format!("/{missing}"), format!("`{missing}` is missing")));
        }
        Ok(config)
    }

    fn user<'a>(&'a self, address: &'a Address) -> &'a str {
        if self.user.trim().is_empty() { &address.user } else { self.user.trim() }
    }

    fn address(&self) -> Result<Address, ConnectorError> {
        address(self.uri.trim()).map_err(|message| error::configuration("/uri", message))
    }

    pub(super) fn seeds(&self) -> Result<Seeds, ConnectorError> {
        Ok(self.address()?.seeds)
    }

    /// Who signs in, and in which database; nobody, where there is no user.
    pub(super) fn credential(&self) -> Result<Option<(String, String)>, ConnectorError> {
        let address = self.address()?;
        let user = self.user(&address).to_owned();
        let named = self.auth_database.trim();
        let database = if named.is_empty() { address.auth_database } else { Some(named.to_owned()) };
        Ok((!user.is_empty()).then(|| (user, database.unwrap_or_else(|| "admin".to_owned()))))
    }

    /// The authority's certificate in PEM.
    pub(super) fn certificate(&self) -> Option<String> {
        let pem = self.ca_certificate.trim();
        if pem.is_empty() {
            return None;
        }
        // A form's single line has blanks where lines ended.
        let lines = pem.split("-----").map(str::trim).filter(|part| !part.is_empty()).map(|part| {
            if part.starts_with("BEGIN ") || part.starts_with("END ") {
                format!("-----{part}-----\n")
            } else {
                part.split_whitespace().flat_map(|line| [line, "\n"]).collect()
            }
        });
        Some(lines.collect())
    }
}

/// Reads a connection string
/// (<https://www.mongodb.com/docs/manual/reference/connection-string/>); nothing of it is quoted, for
/// somebody may have put a password in it.
fn address(uri: &str) -> Result<Address, String> {
    let (service, rest) = if let Some(rest) = uri.strip_prefix("mongodb://") {
        (false, rest)
    } else if let Some(rest) = uri.strip_prefix("mongodb+srv://") {
        (true, rest)
    } else {
        return Err("the connection string must begin with `mongodb://` or `mongodb+srv://`".to_owned());
    };
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (rest, default_database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = rest.rsplit_once('@').unwrap_or(("", rest));
    if user.contains(':') {
        return Err("leave the password out of the connection string: it has a field of its own".to_owned());
    }
    let user = decoded(user).ok_or("the user in the connection string is not readable")?;
    let mut auth_database = decoded(default_database).filter(|name| !name.is_empty() && !user.is_empty());
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let name = name.to_ascii_lowercase();
        if !OPTIONS.contains(&name.as_str()) {
            return Err(
                "the connection string has an option that is not taken from there: encryption, certificates and ways to sign in have fields of their own"
                    .to_owned(),
            );
        }
        let scram = value.is_empty() || value.to_ascii_uppercase().starts_with("SCRAM-");
        if name == "authmechanism" && !scram {
            return Err(
                "`authMechanism`: a user and a password (SCRAM) are the only way to sign in".to_owned()
            );
        }
        if name == "authsource" {
            auth_database = decoded(value).filter(|name| !name.is_empty());
        }
    }
    let unnamed = || "the connection string names no host".to_owned();
    let seeds = if service {
        let valid = hosts.split('.').count() > 2 && hosts.split('.').all(|label| !label.is_empty());
        if !valid || hosts.contains([',', ':', '%']) {
            return Err("`mongodb+srv://` takes the one name that the service has, without a port".to_owned());
        }
        Seeds::Service(hosts.to_owned())
    } else {
        let hosts: Option<Vec<(String, u16)>> = hosts.split(',').map(host).collect();
        Seeds::Hosts(hosts.filter(|hosts| !hosts.is_empty()).ok_or_else(unnamed)?)
    };
    Ok(Address { seeds, user, auth_database })
}

/// `host`, `host:port`, `[::1]:port`; a socket of this machine is none.
pub(super) fn host(text: &str) -> Option<(String, u16)> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (address, port.strip_prefix(':'))
        }
        None => text.rsplit_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let port = port.map_or(Some(USUAL_PORT), |port| port.parse().ok().filter(|port| *port > 0))?;
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_' | ':');
    (!name.is_empty() && name.chars().all(plain)).then(|| (name.to_owned(), port))
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// JSON Schema of the configuration; the API and the screen use this one.
pub fn config_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "MongoDB",
        "description": "Collections of a MongoDB database (4.4 or newer, Atlas too), read whole, by a cursor field, or by their changes.",
        "type": "object",
        "required": ["uri", "database"],
        "additionalProperties": false,
        "x-order": ["uri", "database", "user", "password", "auth_database", "tls", "ca_certificate", "collections", "on_lost_history", "sample_size", "nested_levels"],
        "properties": {
            "uri": {
                "type": "string", "minLength": 1, "pattern": "^mongodb(\\+srv)?://", "title": "Connection string",
                "description": "Without the password, which has a field of its own. Addresses of private networks must be allowed by the operator, those of all members of a replica set.",
                "examples": ["mongodb+srv://cluster0.abcde.mongodb.net", "mongodb://db1.example.com,db2.example.com:27018"]
            },
            "database": { "type": "string", "minLength": 1, "title": "Database", "examples": ["crm"] },
            "user": {
                "type": "string", "title": "User",
                "description": "With the role `read` on the database, which is enough for changes too.", "examples": ["autonomos"]
            },
            "password": { "type": "string", "writeOnly": true, "title": "Password", "description": "Kept sealed, and never shown again." },
            "auth_database": {
                "type": "string", "title": "Database of the user",
                "description": "Where the user was made, unless the connection string says it; usually `admin`.", "examples": ["admin"]
            },
            "tls": {
                "type": "string", "enum": ["disable", "require", "verify-full"], "default": "verify-full", "title": "Encryption",
                "description": "`require` encrypts; `verify-full` also makes sure that the server is the one named."
            },
            "ca_certificate": {
                "type": "string", "title": "Certificate authority",
                "description": "In PEM, where the server's certificate is not signed by a public one."
            },
            "collections": {
                "type": "array", "items": { "type": "string" }, "default": [], "title": "Collections",
                "description": "Which are offered; all of the database unless set.", "examples": [["accounts", "contacts"]]
            },
            "on_lost_history": {
                "type": "string", "enum": ["snapshot", "fail"], "default": "snapshot", "title": "When changes are lost",
                "description": "The server keeps its changes for a while only. A stream that was not synced for longer is read anew (`snapshot`), or its sync fails until somebody decides (`fail`)."
            },
            "sample_size": {
                "type": "integer", "minimum": 1000, "maximum": 10000, "default": 1000, "title": "Sample size",
                "description": "Documents of a collection that are looked at to learn its fields. What they lack is noticed when it comes."
            },
            "nested_levels": {
                "type": "integer", "minimum": 0, "maximum": 8, "default": 3, "title": "Nested levels",
                "description": "So many levels of nested objects become columns of their own (`address.city`), so that their fields are mapped and watched like others. What lies deeper, and arrays, are JSON text."
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
        complains(MongoConfig::parse(&config), expect);
    }

    #[test]
    fn each_mistake_is_told_at_its_field_and_nothing_secret() {
        let with = |name: &str, value: Value| {
            let mut config =
                json!({"uri": "mongodb://h", "database": "d", "user": "u", "password": "hunter2"});
            config[name] = value;
            config
        };
        check(with("database", json!("e")), None);
        check(json!({"uri": "mongodb://h", "database": "d"}), None);
        check(with("uri", Value::Null), Some("/uri"));
        check(with("uri", json!("postgres://h")), Some("/uri"));
        check(with("uri", json!("mongodb://u:hunter2@h")), Some("/uri"));
        check(with("uri", json!("mongodb://h/?tlsCAFile=/etc/passwd")), Some("/uri"));
        check(with("uri", json!("mongodb://%2Ftmp%2Fmongodb.sock")), Some("/uri"));
        check(with("uri", json!("mongodb://h/?authMechanism=MONGODB-AWS")), Some("/uri"));
        check(with("uri", json!("mongodb+srv://one.example.com,two")), Some("/uri"));
        check(with("database", json!(" ")), Some("/database"));
        check(with("password", json!(["hunter2"])), Some("/password"));
        check(with("password", json!("")), Some("/password"));
        check(with("user", json!("")), Some("/user"));
        check(with("sample_size", json!(10)), Some("/sample_size"));
        check(with("nested_levels", json!(9)), Some("/nested_levels"));
        check(with("on_lost_history", json!("maybe")), Some("/on_lost_history"));
        check(with("pasword", json!("hunter2")), Some("/pasword"));
    }

    #[test]
    fn a_connection_string_is_read() {
        let config = |uri: &str| {
            let config = json!({"uri": uri, "database": "d", "user": "", "password": "p"});
            MongoConfig::parse(&config).map_err(|error| error.to_string())
        };
        let Ok(several) = config("mongodb://me@a.example.com,[::1]:7,b:27018/staff?replicaSet=rs&w=majority")
        else {
            panic!("a configuration")
        };
        let hosts = [("a.example.com", 27_017), ("::1", 7), ("b", 27_018)];
        let hosts = hosts.map(|(name, port)| (name.to_owned(), port)).to_vec();
        assert_eq!(several.seeds().expect("hosts"), Seeds::Hosts(hosts));
        let credential = several.credential().expect("reads");
        assert_eq!(credential, Some(("me".to_owned(), "staff".to_owned())));
        let Ok(service) = config("mongodb+srv://a%40b@cluster0.abcde.mongodb.net/?authSource=own") else {
            panic!("a configuration")
        };
        assert_eq!(service.seeds().expect("a name"), Seeds::Service("cluster0.abcde.mongodb.net".to_owned()));
        assert_eq!(service.credential().expect("reads"), Some(("a@b".to_owned(), "own".to_owned())));
    }
}
