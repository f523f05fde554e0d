//! Logs to standard error, as text or JSON.

use crate::config::Config;
use tracing_subscriber::EnvFilter;

/// Installs the subscriber; a second call does nothing.
pub(crate) fn install(config: &Config) {
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = if config.log_format == "json" { builder.json().try_init() } else { builder.try_init() };
}
