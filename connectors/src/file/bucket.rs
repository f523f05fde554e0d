//! Files in a bucket on S3, or on a store that speaks its protocol: the same tables, found by name or
//! pattern in place of a folder.

use super::body::{Object, refused, waited};
use super::config::{self, FileConfig};
use super::error;
use crate::error::ConnectorError;
use crate::network::NetworkScope;
use autonomos_objects::{Place, S3Settings};
use futures::TryStreamExt;
use object_store::{Error, ObjectStore, ObjectStoreExt, path::Path};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// The connector's id in the catalogue.
pub const CONNECTOR_ID: &str = "s3";

/// Members of the configuration that are the bucket's; the others are those of files.
const OWN: [&str; 5] = ["bucket", "region", "endpoint", "access_key_id", "secret_access_key"];

/// A bucket that a connection may read.
#[derive(Clone)]
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    name: Arc<str>,
    /// Host and port of a store that is not Amazon's.
    endpoint: Option<(String, u16)>,
    network: NetworkScope,
}

impl Bucket {
    /// Takes a configuration apart: the bucket, and what is read in it. Touches no network.
    pub(crate) fn parse(config: &Value, network: NetworkScope) -> Result<(Self, FileConfig), ConnectorError> {
        let Value::Object(members) = config else {
            return Err(error::bucket("", "the configuration must be a JSON object"));
        };
        let (own, rest): (Map<_, _>, Map<_, _>) =
            members.clone().into_iter().partition(|(name, _)| OWN.contains(&name.as_str()));
        let text = |name: &str| -> Result<Option<String>, ConnectorError> {
            match own.get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
                Some(_) => Err(error::bucket(&format!("/{name}"), format!("`{name}` must be a text"))),
            }
        };
        let needed = |name: &str| {
            text(name)?.ok_or_else(|| error::bucket(&format!("/{name}"), format!("`{name}` is missing")))
        };
        let (name, endpoint, region) = (needed("bucket")?, text("endpoint")?, text("region")?);
        if endpoint.is_none() && region.is_none() {
            return Err(error::bucket(
                "/region",
                "`region` is missing: a bucket at Amazon needs it, another store needs `endpoint`",
            ));
        }
        let settings = S3Settings {
            region,
            endpoint: endpoint.clone(),
            access_key_id: Some(needed("access_key_id")?),
            secret_access_key: Some(needed("secret_access_key")?.into()),
            virtual_host: None,
        };
        let endpoint = endpoint.map(|endpoint| host_of(&endpoint)).transpose()?;
        if name.contains('/') {
            return Err(error::bucket(
                "/bucket",
                "`bucket` is a name alone: what follows it belongs into `path`",
            ));
        }
        let place = Place::parse(&format!("s3://{name}"), &settings)
            .map_err(|cause| error::bucket("/bucket", cause.to_string()))?;
        let allowed = Arc::new(move |address: IpAddr| network.allows(address));
        let store = place.open_guarded(allowed).map_err(|cause| error::bucket("", cause.to_string()))?;
        let mut files = FileConfig::parse(&Value::Object(rest))?;
        files.path = files.path.trim_start_matches('/').to_owned();
        Ok((Self { store, name: name.into(), endpoint, network }, files))
    }

    /// Whether the endpoint is one that may be reached. An address in place of a name is looked at here
    /// alone: the client looks at what names lead to.
    pub(crate) async fn reachable(&self) -> Result<(), ConnectorError> {
        match &self.endpoint {
            Some((host, port)) => self.network.resolve(host, *port, "/endpoint").await.map(|_| ()),
            None => Ok(()),
        }
    }

    fn path(text: &str) -> Result<Path, ConnectorError> {
        Path::parse(text).map_err(|cause| {
            error::configuration("/path", format!("`{text}` is no path in a bucket: {cause}"))
        })
    }

    /// The object that has this very name.
    pub(crate) fn object(&self, path: &str) -> Result<Option<Object>, ConnectorError> {
        // A folder's mark is no object of its own, and what cannot be a name is none.
        let Some(location) = Path::parse(path).ok().filter(|_| !path.ends_with('/')) else { return Ok(None) };
        match waited(self.store.head(&location)) {
            Ok(meta) => Ok(Some(self.of(meta))),
            // Who may not look at a single object is told when it is listed.
            Err(Error::NotFound { .. } | Error::PermissionDenied { .. }) => Ok(None),
            Err(cause) => Err(refused(path, &cause)),
        }
    }

    /// Gives every object below a path to `take`.
    pub(crate) fn list(
        &self,
        base: &str,
        most: usize,
        too_many: impl Fn() -> ConnectorError,
        mut take: impl FnMut(Object) -> Result<(), ConnectorError>,
    ) -> Result<(), ConnectorError> {
        let prefix = Self::path(base.trim_end_matches('/'))?;
        let prefix = Some(prefix).filter(|prefix| !prefix.as_ref().is_empty());
        let mut listed = self.store.list(prefix.as_ref());
        let mut walked = 0;
        while let Some(meta) = waited(listed.try_next()).map_err(|cause| self.unlisted(&cause))? {
            walked += 1;
            if walked > most {
                return Err(too_many());
            }
            take(self.of(meta))?;
        }
        Ok(())
    }

    fn of(&self, meta: object_store::ObjectMeta) -> Object {
        Object { store: Arc::clone(&self.store), bucket: Arc::clone(&self.name), meta: Arc::new(meta) }
    }

    /// A bucket that is not there is the configuration's fault, not a file that went.
    fn unlisted(&self, cause: &Error) -> ConnectorError {
        // The client has no kind of its own for the protocol's code.
        if matches!(cause, Error::NotFound { .. }) || cause.to_string().contains("<Code>NoSuchBucket<") {
            return error::bucket("/bucket", format!("there is no bucket `{}` at the store", self.name));
        }
        refused(&format!("s3://{}", self.name), cause)
    }
}

/// Host and port of `https://host:port`.
fn host_of(endpoint: &str) -> Result<(String, u16), ConnectorError> {
    let wrong = || {
        error::bucket(
            "/endpoint",
            format!("`{endpoint}` is not `https://host` or `http://host`, with a port or without"),
        )
    };
    let (scheme, host) = endpoint.trim_end_matches('/').split_once("://").ok_or_else(wrong)?;
    let usual = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return Err(wrong()),
    };
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        return Err(wrong());
    }
    // What follows the last colon is the port, unless that colon is an address's own.
    let (name, port) =
        match host.rsplit_once(':').filter(|(name, _)| !name.contains(':') || name.ends_with(']')) {
            Some((name, port)) => (name, port.parse().map_err(|_| wrong())?),
            None => (host, usual),
        };
    Ok((name.to_owned(), port))
}

/// JSON Schema of the configuration; the API and the screen use this one.
pub fn config_schema() -> Value {
    let mut schema = config::config_schema();
    schema["title"] = json!("Files on S3");
    schema["description"] = json!(
        "Tables in the objects of a bucket, on Amazon S3 or a store that speaks its protocol: CSV, TSV, NDJSON, JSON, Parquet and Excel, plain or compressed."
    );
    schema["required"] = json!(["bucket", "access_key_id", "secret_access_key", "path"]);
    schema["properties"]["path"] = json!({
        "type": "string", "minLength": 1, "title": "Object, folder or pattern",
        "description": "Below the bucket: an object, a folder (what lies in it directly), or a pattern.",
        "examples": ["exports/accounts.csv", "exports", "exports/orders-*.csv"]
    });
    schema["properties"]["bucket"] = json!({
        "type": "string", "title": "Bucket", "description": "Its name alone.", "minLength": 3, "maxLength": 63,
        "pattern": "^[a-z0-9.-]+$", "examples": ["acme-exports"]
    });
    schema["properties"]["region"] = json!({
        "type": "string", "title": "Region", "description": "Of a bucket at Amazon.", "examples": ["eu-central-1"]
    });
    schema["properties"]["endpoint"] = json!({
        "type": "string", "title": "Endpoint",
        "description": "Of a store that is not Amazon's: `https://host:port`. Private addresses need the operator's consent.",
        "examples": ["https://storage.example.com"]
    });
    schema["properties"]["access_key_id"] = json!({
        "type": "string", "title": "Access key", "minLength": 1,
        "description": "Of a user that may list the bucket and read what is in it, and nothing more.", "examples": ["AKIA…"]
    });
    schema["properties"]["secret_access_key"] = json!({
        "type": "string", "title": "Secret key", "writeOnly": true, "minLength": 1,
        "description": "Kept sealed, and shown to nobody."
    });
    let files = schema["x-order"].as_array().cloned().unwrap_or_default();
    schema["x-order"] = OWN.iter().map(|name| json!(name)).chain(files).collect();
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let host = |endpoint: &str| host_of(endpoint).ok().map(|(host, port)| format!("{host} {port}"));
        assert_eq!(host("https://store.example.com/").as_deref(), Some("store.example.com 443"));
        assert_eq!(host("http://store:9000").as_deref(), Some("store 9000"));
        assert_eq!(host("http://[::1]:9000").as_deref(), Some("[::1] 9000"));
        for wrong in ["store", "ftp://store", "https://", "https://a@b", "https://a/b", "https://a:b"] {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_no_secret_is_quoted() {
        let parsed = |config: Value| Bucket::parse(&config, NetworkScope::default()).map(|_| ());
        let whole = json!({
            "bucket": "exports", "region": "eu-central-1", "access_key_id": "AKIA", "secret_access_key": "s3cret",
            "path": "a.csv"
        });
        parsed(whole.clone()).expect("whole");
        for (name, value, field) in [
            ("bucket", json!(null), "/bucket"),
            ("bucket", json!("a/b"), "/bucket"),
            ("region", json!(""), "/region"),
            ("secret_access_key", json!(["s3cret"]), "/secret_access_key"),
            ("endpoint", json!("store"), "/endpoint"),
            ("path", json!(" "), "/path"),
            ("colour", json!("red"), "/colour"),
        ] {
            let mut wrong = whole.clone();
            wrong[name] = value;
            match parsed(wrong) {
                Err(ConnectorError::Configuration { field: found, message, .. }) => {
                    assert_eq!(found, field);
                    assert!(!message.contains("s3cret"), "{message}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
