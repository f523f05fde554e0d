//! A key for machines: shown once, stored as a hash, scoped by a role.

use super::{domain_event, stored_aggregate, user::Role};
use crate::error::Error;
use crate::ids::UserId;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ApiKeyEvent {
    ApiKeyCreated {
        name: String,
        /// First characters, so that people can tell keys apart.
        prefix: String,
        /// BLAKE3 of the key, hex.
        secret_hash: String,
        role: Role,
        created_by: UserId,
        expires_at: Option<DateTime<Utc>>,
    },
    ApiKeyRevoked {},
}
domain_event!(ApiKeyEvent { ApiKeyCreated, ApiKeyRevoked });

#[derive(Debug, Clone)]
pub enum ApiKeyCommand {
    CreateApiKey {
        name: String,
        prefix: String,
        secret_hash: String,
        role: Role,
        created_by: UserId,
        expires_at: Option<DateTime<Utc>>,
    },
    RevokeApiKey,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    pub name: String,
    pub secret_hash: String,
    pub role: Option<Role>,
    pub created_by: Option<UserId>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked: bool,
}
stored_aggregate!(ApiKey, ApiKey, ApiKeyCommand, ApiKeyEvent);

impl ApiKey {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, _command: ApiKeyCommand) -> Result<Vec<ApiKeyEvent>, Error> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _event: ApiKeyEvent) {}
}
