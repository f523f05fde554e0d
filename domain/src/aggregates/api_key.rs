//! A key for machines: shown once, stored as a hash, scoped by a role.

use super::{domain_event, stored_aggregate, user::Role};
use crate::error::Error;
use crate::{ids::UserId, limits};
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
    pub fn decide(&self, command: ApiKeyCommand) -> Result<Vec<ApiKeyEvent>, Error> {
        match command {
            ApiKeyCommand::CreateApiKey { name, prefix, secret_hash, role, created_by, expires_at } => {
                if !self.name.is_empty() {
                    return Err(Error::AlreadyExists { what: "API key", id: self.name.clone() });
                }
                limits::name("/name", &name)?;
                limits::name("/prefix", &prefix)?;
                limits::hash("/secret_hash", &secret_hash)?;
                Ok(vec![ApiKeyEvent::ApiKeyCreated {
                    name,
                    prefix,
                    secret_hash,
                    role,
                    created_by,
                    expires_at,
                }])
            }
            ApiKeyCommand::RevokeApiKey if self.name.is_empty() => Err(Error::Missing { what: "API key" }),
            ApiKeyCommand::RevokeApiKey if self.revoked => Ok(Vec::new()),
            ApiKeyCommand::RevokeApiKey => Ok(vec![ApiKeyEvent::ApiKeyRevoked {}]),
        }
    }

    /// The role the key gives now; none if it gives none.
    pub fn role_at(&self, now: DateTime<Utc>) -> Option<Role> {
        let expired = self.expires_at.is_some_and(|at| at <= now);
        self.role.filter(|_| !self.revoked && !expired)
    }

    fn evolve(&mut self, event: ApiKeyEvent) {
        match event {
            ApiKeyEvent::ApiKeyCreated { name, secret_hash, role, created_by, expires_at, .. } => {
                *self = Self {
                    name,
                    secret_hash,
                    role: Some(role),
                    created_by: Some(created_by),
                    expires_at,
                    revoked: false,
                };
            }
            ApiKeyEvent::ApiKeyRevoked {} => self.revoked = true,
        }
    }
}
