//! A member of an organisation and the sessions it has open.

use super::domain_event;
use crate::ids::SessionId;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    },
    /// An old refresh token used again revokes the session: it was stolen.
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
