//! API keys: shown once, stored as a hash, found by the ids they carry.

use super::{AuthService, Identity, tokens::ApiKeyToken, tokens::token_hash};
use crate::{
    error::CommandError,
    execute::{CommandContext, derive_id},
};
use autonomos_domain::{
    aggregates::{
        api_key::{ApiKey, ApiKeyCommand},
        user::Role,
    },
    envelope::{Actor, Position},
    ids::{ApiKeyId, UserId},
};
use chrono::{DateTime, Utc};
use subtle::ConstantTimeEq;

/// A key as its maker sees it, this once.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    pub id: ApiKeyId,
    /// `aos_…`; not kept anywhere.
    pub key: String,
    /// Its first characters, shown in lists.
    pub prefix: String,
    pub position: Option<Position>,
}

impl AuthService {
    /// Makes a key with a role of at most its maker's. Its id follows from the command's: the same
    /// request again makes no other key, and cannot show the first one's text either.
    pub async fn api_key_create(
        &self,
        identity: &Identity,
        context: &CommandContext,
        name: &str,
        role: Role,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<NewApiKey, CommandError> {
        identity.require(Role::Admin)?;
        identity.require(role)?;
        let created_by =
            identity.user.ok_or(CommandError::Forbidden { reason: "an API key cannot make another one" })?;
        self.api_key_make(context, created_by, name, role, expires_at).await
    }

    async fn api_key_make(
        &self,
        context: &CommandContext,
        created_by: UserId,
        name: &str,
        role: Role,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<NewApiKey, CommandError> {
        if expires_at.is_some_and(|at| at <= self.inner.commands.clock().now()) {
            return Err(CommandError::Invalid { field: "/expires_at", message: "it has passed".to_owned() });
        }
        let id = ApiKeyId(derive_id(context.tenant, context.command_id, "api-key"));
        let key = ApiKeyToken { tenant: context.tenant, id }.issue();
        let prefix = key[..ApiKeyToken::SHOWN].to_owned();
        let command = ApiKeyCommand::CreateApiKey {
            name: name.trim().to_owned(),
            prefix: prefix.clone(),
            secret_hash: token_hash(&key),
            role,
            created_by,
            expires_at,
        };
        let outcome = self.inner.commands.create::<ApiKey>(context, id.0, command).await?;
        if outcome.replayed {
            return Err(CommandError::ShownOnce { what: "API key", id: id.to_string() });
        }
        Ok(NewApiKey { id, key, prefix, position: outcome.position })
    }

    /// Revokes a key; it is refused from now on.
    pub async fn api_key_revoke(
        &self,
        identity: &Identity,
        context: &CommandContext,
        id: ApiKeyId,
    ) -> Result<Option<Position>, CommandError> {
        identity.require(Role::Admin)?;
        let commands = &self.inner.commands;
        if commands.load::<ApiKey>(context.tenant, id.0).await?.version == 0 {
            return Err(CommandError::NotFound { what: "API key", id: id.to_string() });
        }
        Ok(commands.execute::<ApiKey>(context, id.0, ApiKeyCommand::RevokeApiKey).await?.position)
    }

    pub(super) async fn api_key_verify(&self, key: &str) -> Result<Identity, CommandError> {
        let refused = || CommandError::InvalidToken { reason: "no such API key" };
        let ids = ApiKeyToken::parse(key).ok_or_else(refused)?;
        let loaded = self.inner.commands.load::<ApiKey>(ids.tenant, ids.id.0).await?;
        let known = loaded.state.secret_hash.as_bytes();
        let matches = bool::from(token_hash(key).as_bytes().ct_eq(known));
        let role = loaded.state.role_at(self.inner.commands.clock().now()).filter(|_| matches);
        Ok(Identity {
            tenant: ids.tenant,
            actor: Actor::ApiKey(ids.id.0),
            role: role.ok_or_else(refused)?,
            user: None,
            session: None,
        })
    }
}
