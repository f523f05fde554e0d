//! Configuration: flags, then environment (`AOS_…`), then `autonomos.toml`, then defaults.

mod mode;
mod model;
mod secret;

pub(crate) use mode::{Mode, Roles, Scaled};
pub use secret::{Address, Secret};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf};

/// What is in force. Every key can be set as `AOS_<KEY>` or in `autonomos.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where the server listens; port 0 picks one.
    pub listen: SocketAddr,
    /// Folders the file connector may read, separated by colons. `{tenant}` in a path makes the
    /// folder that tenant's own.
    pub file_roots: Option<String>,
    /// The tenant that roots without `{tenant}` serve; none: the installation's first organisation.
    pub file_roots_tenant: Option<uuid::Uuid>,
    /// Whether connections may reach addresses of private networks and of this machine.
    pub allow_private_sources: bool,
    /// Largest upload, bytes.
    pub upload_max_bytes: u64,
    /// Bytes of uploads a tenant may keep.
    pub upload_quota_bytes: u64,
    /// Largest body of any other request, bytes.
    pub body_max_bytes: usize,
    /// Requests a tenant may make in a minute.
    pub rate_limit_per_minute: u32,
    /// Requests an address may make in a minute without being signed in: registration, sign-in.
    pub anonymous_rate_limit_per_minute: u32,
    /// Tasks that run at a time.
    pub task_concurrency: usize,
    /// Memory of one open tenant's views, MB.
    pub dcl_memory_mb: usize,
    /// Tenants whose views are open at a time.
    pub dcl_open_tenants: usize,
    /// Where the embedding model and the ONNX runtime are; absent files fall back to names and values.
    pub model_dir: Option<PathBuf>,
    /// The protocol of a language model's server: `openai` (of many servers) or `gemini`. Absent: no
    /// language model is ever asked.
    pub llm_provider: Option<String>,
    /// Where the server is; absent: the provider's own. Addresses of private networks too.
    pub llm_base_url: Option<Address>,
    /// Which of its models.
    pub llm_model: Option<String>,
    /// The key it asks for, if it does; or the file it is in.
    pub llm_api_key: Option<Secret>,
    pub llm_api_key_file: Option<PathBuf>,
    /// Money per million tokens of questions, and of answers.
    pub llm_input_price: f64,
    pub llm_output_price: f64,
    /// Seconds after which an answer is not waited for.
    pub llm_timeout_seconds: u64,
    /// Questions asked at a time.
    pub llm_concurrency: usize,
    /// Whether anyone may register an organisation.
    pub open_registration: bool,
    /// `info`, or a filter such as `autonomos=debug`.
    pub log: String,
    /// `text` or `json`.
    pub log_format: String,
    /// Seconds of quiet after which an event stream sends a heartbeat.
    pub heartbeat_seconds: u64,
    /// Servers of the log, `nats://user:password@host:4222`, separated by commas. With
    /// `database_url`: the scaled mode, of several nodes; without both: embedded, of one.
    pub nats_url: Option<Address>,
    /// Copies of the log: 1 on one server, 3 on three.
    pub nats_replicas: usize,
    /// Monitoring pages of the log's servers, `http://host:8222`, separated by commas: each is checked
    /// for `sync_interval: always` at start.
    pub nats_monitoring: Option<String>,
    /// Cells of the log, fixed when it is made.
    pub cells: u16,
    /// The Postgres that all nodes share, `postgres://user:password@host:5432/database`.
    pub database_url: Option<Address>,
    /// Whether the unified views are copied to tables of the shared Postgres, for BI tools.
    pub unified_tables: bool,
    /// What this node does: any of `gateway`, `worker` and `projector`, separated by commas.
    pub roles: String,
    /// This node's name, in logs and in leases.
    pub node_id: String,
    /// Where other nodes reach this one; absent: where it listens.
    pub advertise_url: Option<String>,
    /// The folder that every node sees: uploads and archived commits. Needed in the scaled mode.
    pub shared_dir: Option<PathBuf>,
    /// The file that unwraps all keys, the same for every node; absent: `keys/master.key` in the data
    /// folder.
    pub master_key_file: Option<PathBuf>,
    /// Where snapshots of the unified views go, for the node that keeps the views next: `file:///path`
    /// of a folder that every node sees, `s3://bucket/prefix`, or `off`; absent: `snapshots` in
    /// `shared_dir`. In the scaled mode alone.
    pub snapshots: Option<Address>,
    /// The region of the bucket; needed of Amazon's.
    pub s3_region: Option<String>,
    /// `https://host:port` of a store that is not Amazon's; with `http://` nothing is encrypted.
    pub s3_endpoint: Option<Address>,
    pub s3_access_key_id: Option<String>,
    /// The secret of the access key; or the file it is in.
    pub s3_secret_access_key: Option<Secret>,
    pub s3_secret_access_key_file: Option<PathBuf>,
    /// Whether the bucket is part of the host's name, or of the path; absent: of the host's name with
    /// Amazon's stores, of the path with others.
    pub s3_virtual_host: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("autonomos-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            file_roots: None,
            file_roots_tenant: None,
            allow_private_sources: false,
            upload_max_bytes: 2 * 1024 * 1024 * 1024,
            upload_quota_bytes: 20 * 1024 * 1024 * 1024,
            body_max_bytes: 4 * 1024 * 1024,
            rate_limit_per_minute: 6_000,
            anonymous_rate_limit_per_minute: 300,
            task_concurrency: 4,
            dcl_memory_mb: 160,
            dcl_open_tenants: 8,
            model_dir: None,
            open_registration: true,
            log: "info".to_owned(),
            log_format: "text".to_owned(),
            heartbeat_seconds: 15,
            nats_url: None,
            nats_replicas: 1,
            nats_monitoring: None,
            cells: 1,
            database_url: None,
            unified_tables: false,
            roles: "gateway,worker,projector".to_owned(),
            node_id: "node".to_owned(),
            advertise_url: None,
            shared_dir: None,
            master_key_file: None,
            snapshots: None,
            s3_region: None,
            s3_endpoint: None,
            s3_access_key_id: None,
            s3_secret_access_key: None,
            s3_secret_access_key_file: None,
            s3_virtual_host: None,
            llm_provider: None,
            llm_base_url: None,
            llm_model: None,
            llm_api_key: None,
            llm_api_key_file: None,
            llm_input_price: 0.0,
            llm_output_price: 0.0,
            llm_timeout_seconds: 30,
            llm_concurrency: 2,
        }
    }
}

/// Settings given as flags; absent ones leave the layers below in force.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cells: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_dir: Option<PathBuf>,
}

/// A configuration with where each value came from.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// Key, value (secrets masked), source.
    pub origins: Vec<(String, String, String)>,
}

/// Reads all layers. `file` is `autonomos.toml` unless another was named.
pub fn load(file: Option<&std::path::Path>, overrides: &Overrides) -> Result<Loaded, Box<figment::Error>> {
    let path = file.unwrap_or_else(|| std::path::Path::new("autonomos.toml"));
    // Paths to the cache and the switches of tools share the prefix and are not settings.
    let environment =
        Env::prefixed("AOS_").ignore(&["cache_dir", "config", "url", "email", "password", "screenshots"]);
    let layers = |plain: &[&str]| {
        Figment::from(Serialized::defaults(Config::default()))
            .merge(Toml::file(path))
            .merge(Env::raw().only(plain))
            .merge(environment.clone())
            .merge(Serialized::defaults(overrides))
    };
    let mut figment = layers(&["nats_url"]);
    // Many programs have a `DATABASE_URL`: alone it does not ask for the scaled mode.
    if figment.extract_inner::<Option<String>>("nats_url").map_err(Box::new)?.is_some() {
        figment = layers(&["nats_url", "database_url"]);
    }
    let mut config: Config = figment.extract().map_err(Box::new)?;
    // Paths below them are handed on, to connections among others, and must mean the same everywhere.
    for folder in [Some(&mut config.data_dir), config.shared_dir.as_mut()].into_iter().flatten() {
        if let Ok(absolute) = std::path::absolute(&*folder) {
            *folder = absolute;
        }
    }
    let shown = serde_json::to_value(&config).unwrap_or_default();
    let mut origins = Vec::new();
    if let Some(map) = shown.as_object() {
        for (key, value) in map {
            let source = figment.find_metadata(key).map_or_else(
                || "default".to_owned(),
                |metadata| match metadata.name.as_ref() {
                    name if name.contains("Config") => "default".to_owned(),
                    name if name.contains("Overrides") => "flag".to_owned(),
                    name => name.replace('`', ""),
                },
            );
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            origins.push((key.clone(), text, source));
        }
    }
    Ok(Loaded { config, origins })
}
