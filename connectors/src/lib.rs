//! Connectors: the port and the sources behind it. A connector knows nothing of the log.

pub mod error;
pub mod port;
