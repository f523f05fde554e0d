//! A member of an organisation and the sessions it has open.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::ids::SessionId;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Editor,
    Admin,
    Owner,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum UserEvent {
    UserRegistered {
        email: String,
        /// Argon2id, PHC string.
        password_hash: String,
        role: Role,
    },
    UserRoleChanged {
        role: Role,
    },
    UserPasswordChanged {
        password_hash: String,
    },
    UserRemoved {},
    SessionStarted {
        session_id: SessionId,
        /// BLAKE3 of the refresh token, hex.
        refresh_hash: String,
        expires_at: DateTime<Utc>,
    },
    /// The refresh token was used and replaced.
    SessionRefreshed {
        session_id: SessionId,
        refresh_hash: String,
        expires_at: DateTime<Utc>,
    },
    SessionRevoked {
        session_id: SessionId,
        reason: String,
    },
}
domain_event!(UserEvent {
    UserRegistered,
    UserRoleChanged,
    UserPasswordChanged,
    UserRemoved,
    SessionStarted,
    SessionRefreshed,
    SessionRevoked,
});

#[derive(Debug, Clone)]
pub enum UserCommand {
    RegisterUser {
        email: String,
        password_hash: String,
        role: Role,
    },
    ChangeRole {
        role: Role,
    },
    ChangePassword {
        password_hash: String,
    },
    RemoveUser,
    StartSession {
        session_id: SessionId,
        refresh_hash: String,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    },
    /// An old refresh token used again revokes the session: it was stolen. That is a change, not a
    /// refusal, so it succeeds: ask [`User::session_holds`] afterwards before a token is handed out.
    RefreshSession {
        session_id: SessionId,
        presented_hash: String,
        new_hash: String,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    },
    RevokeSession {
        session_id: SessionId,
        reason: String,
    },
}

/// An open session. Hashes of refresh tokens only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub refresh_hash: String,
    /// Refresh tokens used before, newest last, at most [`MAX_PAST_HASHES`].
    pub past_hashes: Vec<String>,
    pub expires_at: DateTime<Utc>,
}

/// How many used refresh tokens of a session are remembered, to notice a stolen one.
pub const MAX_PAST_HASHES: usize = 64;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Empty until registered.
    pub email: String,
    pub password_hash: String,
    pub role: Option<Role>,
    pub removed: bool,
    pub sessions: BTreeMap<SessionId, Session>,
}
stored_aggregate!(User, User, UserCommand, UserEvent);

impl User {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, _command: UserCommand) -> Result<Vec<UserEvent>, Error> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _event: UserEvent) {}
}
