//! Configuration: flags, then environment (`AOS_…`), then `autonomos.toml`, then defaults.

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
    /// Whether anyone may register an organisation.
    pub open_registration: bool,
    /// `info`, or a filter such as `autonomos=debug`.
    pub log: String,
    /// `text` or `json`.
    pub log_format: String,
    /// Seconds of quiet after which an event stream sends a heartbeat.
    pub heartbeat_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("autonomos-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            file_roots: None,
            file_roots_tenant: None,
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
    let figment = Figment::from(Serialized::defaults(Config::default()))
        .merge(Toml::file(path))
        .merge(environment)
        .merge(Serialized::defaults(overrides));
    let mut config: Config = figment.extract().map_err(Box::new)?;
    // Paths below it are handed on, to connections among others, and must mean the same everywhere.
    if let Ok(absolute) = std::path::absolute(&config.data_dir) {
        config.data_dir = absolute;
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
