//! The gateway: HTTP and the command line over everything else. Only this room knows HTTP.

pub mod cli;
pub mod config;
mod connectors;
mod demo;
mod error;
mod http;
mod intelligence;
mod platform;
mod telemetry;

pub use error::GatewayError;
pub use http::document as openapi;
