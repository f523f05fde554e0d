//! The catalogue of connectors: what can be connected, and how a configuration becomes a source.
//! What isn't built isn't listed.

use crate::error::ConnectorError;
use crate::file::{self, FileConnector, FileScope};
use crate::mongodb::{self, MongoConnector};
use crate::network::NetworkScope;
use crate::port::{Capabilities, Connector, ConnectorInfo};
use crate::postgres::{self, PostgresConnector};
use crate::requests::Requests;
use crate::salesforce::{self, SalesforceConnector};
use crate::supabase::{self, SupabaseConnector};
use autonomos_domain::ids::ConnectionId;
use serde_json::Value;
use std::sync::Arc;

/// What a tenant's connections may reach on this installation.
#[derive(Clone, Default)]
pub struct ConnectScope {
    /// The connection it is for: what is made in a source is named after it.
    pub connection: Option<ConnectionId>,
    pub file: FileScope,
    pub network: NetworkScope,
    /// What its requests are taken from.
    pub requests: Requests,
}

/// All connectors that this build holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Registry;

impl Registry {
    pub const fn new() -> Self {
        Self
    }

    /// The connectors as the API and the screen show them.
    pub fn catalogue(&self) -> Vec<ConnectorInfo> {
        vec![
            ConnectorInfo {
                id: file::CONNECTOR_ID,
                name: "Files",
                config_schema: file::config_schema(),
                capabilities: Capabilities {
                    full: true,
                    incremental: true,
                    deletes: true,
                    ..Capabilities::default()
                },
            },
            ConnectorInfo {
                id: file::bucket::CONNECTOR_ID,
                name: "Files on S3",
                config_schema: file::bucket::config_schema(),
                capabilities: Capabilities {
                    full: true,
                    incremental: true,
                    deletes: true,
                    ..Capabilities::default()
                },
            },
            ConnectorInfo {
                id: postgres::CONNECTOR_ID,
                name: "Postgres",
                config_schema: postgres::config_schema(),
                capabilities: Capabilities {
                    full: true,
                    incremental: true,
                    incremental_dedup: true,
                    cdc: true,
                    deletes: true,
                    counts_requests: false,
                },
            },
            ConnectorInfo {
                id: supabase::CONNECTOR_ID,
                name: "Supabase",
                config_schema: supabase::config_schema(),
                capabilities: Capabilities {
                    full: true,
                    incremental: true,
                    incremental_dedup: true,
                    cdc: true,
                    deletes: true,
                    counts_requests: true,
                },
            },
            ConnectorInfo {
                id: salesforce::CONNECTOR_ID,
                name: "Salesforce",
                config_schema: salesforce::config_schema(),
                capabilities: Capabilities {
                    full: true,
                    incremental: true,
                    incremental_dedup: true,
                    cdc: false,
                    deletes: true,
                    counts_requests: true,
                },
            },
            ConnectorInfo {
                id: mongodb::CONNECTOR_ID,
                name: "MongoDB",
                config_schema: mongodb::config_schema(),
                capabilities: Capabilities {
                    full: true,
                    incremental: true,
                    incremental_dedup: true,
                    cdc: true,
                    deletes: true,
                    counts_requests: false,
                },
            },
        ]
    }

    /// A source from the id of its connector and its configuration.
    pub fn connect(
        &self,
        connector: &str,
        config: &Value,
        scope: &ConnectScope,
    ) -> Result<Arc<dyn Connector>, ConnectorError> {
        match connector {
            file::CONNECTOR_ID => Ok(Arc::new(FileConnector::new(config, scope.file.clone())?)),
            file::bucket::CONNECTOR_ID => Ok(Arc::new(FileConnector::in_bucket(config, scope.network)?)),
            postgres::CONNECTOR_ID => {
                Ok(Arc::new(PostgresConnector::new(config, scope.network, scope.connection)?))
            }
            supabase::CONNECTOR_ID => {
                let supabase = SupabaseConnector::new(config, scope.network, scope.connection)?;
                Ok(Arc::new(supabase.counting(scope.requests.clone())))
            }
            salesforce::CONNECTOR_ID => {
                let salesforce = SalesforceConnector::new(config, scope.network)?;
                Ok(Arc::new(salesforce.counting(scope.requests.clone())))
            }
            mongodb::CONNECTOR_ID => Ok(Arc::new(MongoConnector::new(config, scope.network)?)),
            unknown => {
                let known: Vec<&str> = self.catalogue().iter().map(|info| info.id).collect();
                Err(ConnectorError::Configuration {
                    code: "AOS-0201",
                    field: "/connector".to_owned(),
                    message: format!(
                        "there is no connector `{unknown}`: use one of `{}`",
                        known.join("`, `")
                    ),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unknown_connector_is_named_with_the_list_of_known_ones() {
        let Err(error) = Registry::new().connect("fax", &json!({}), &ConnectScope::default()) else {
            panic!("`fax` must not connect")
        };
        assert_eq!(error.code(), "AOS-0201");
        assert_eq!(
            error.to_string(),
            "there is no connector `fax`: use one of `file`, `s3`, `postgres`, `supabase`, `salesforce`, `mongodb`"
        );
    }
}
