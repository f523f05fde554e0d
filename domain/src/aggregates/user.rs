//! A member of an organisation and the sessions it has open.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{ids::SessionId, limits};
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
    pub fn decide(&self, command: UserCommand) -> Result<Vec<UserEvent>, Error> {
        if let UserCommand::RegisterUser { email, password_hash, role } = command {
            if !self.email.is_empty() {
                return Err(Error::AlreadyExists { what: "user", id: self.email.clone() });
            }
            limits::email("/email", &email)?;
            check_password_hash(&password_hash)?;
            return Ok(vec![UserEvent::UserRegistered { email, password_hash, role }]);
        }
        if self.email.is_empty() {
            return Err(Error::Missing { what: "user" });
        }
        if self.removed {
            return match command {
                UserCommand::RemoveUser | UserCommand::RevokeSession { .. } => Ok(Vec::new()),
                _ => Err(Error::WrongState {
                    what: "user",
                    status: "removed".to_owned(),
                    action: "act for them",
                }),
            };
        }
        match command {
            UserCommand::RegisterUser { .. } => unreachable!("answered above"),
            UserCommand::ChangeRole { role } if self.role == Some(role) => Ok(Vec::new()),
            UserCommand::ChangeRole { role } => Ok(vec![UserEvent::UserRoleChanged { role }]),
            UserCommand::ChangePassword { password_hash } => {
                check_password_hash(&password_hash)?;
                // Whoever knew the old one is out.
                let mut events = vec![UserEvent::UserPasswordChanged { password_hash }];
                events.extend(self.sessions.keys().map(|id| revoked(*id, "password_changed")));
                Ok(events)
            }
            UserCommand::RemoveUser => Ok(vec![UserEvent::UserRemoved {}]),
            UserCommand::StartSession { session_id, refresh_hash, expires_at, now } => {
                self.session_start(session_id, refresh_hash, expires_at, now)
            }
            UserCommand::RefreshSession { session_id, presented_hash, new_hash, expires_at, now } => {
                self.session_refresh(session_id, &presented_hash, new_hash, expires_at, now)
            }
            UserCommand::RevokeSession { session_id, reason } => {
                if !self.sessions.contains_key(&session_id) {
                    return Ok(Vec::new());
                }
                Ok(vec![UserEvent::SessionRevoked { session_id, reason: limits::cut(reason) }])
            }
        }
    }

    /// Is `refresh_hash` the token that the open session takes next? Ask after each refresh: one
    /// that was answered with a revocation does not hold.
    pub fn session_holds(&self, session_id: SessionId, refresh_hash: &str) -> bool {
        self.sessions.get(&session_id).is_some_and(|session| session.refresh_hash == refresh_hash)
    }

    fn session_start(
        &self,
        session_id: SessionId,
        refresh_hash: String,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<UserEvent>, Error> {
        if self.sessions.contains_key(&session_id) {
            return Err(Error::AlreadyExists { what: "session", id: session_id.to_string() });
        }
        limits::hash("/refresh_hash", &refresh_hash)?;
        check_expiry(expires_at, now)?;
        let mut events = self.expired(now, session_id);
        let mut live: Vec<_> = self.sessions.iter().filter(|(_, session)| session.expires_at > now).collect();
        live.sort_by_key(|(id, session)| (session.expires_at, **id));
        let excess = (live.len() + 1).saturating_sub(limits::SESSIONS_PER_USER);
        events.extend(live.into_iter().take(excess).map(|(id, _)| revoked(*id, "too_many_sessions")));
        events.push(UserEvent::SessionStarted { session_id, refresh_hash, expires_at });
        Ok(events)
    }

    fn session_refresh(
        &self,
        session_id: SessionId,
        presented_hash: &str,
        new_hash: String,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<UserEvent>, Error> {
        let ended = || Error::Forbidden { message: "the session has ended, sign in again".to_owned() };
        let session = self.sessions.get(&session_id).ok_or_else(ended)?;
        if session.past_hashes.iter().any(|past| past == presented_hash) {
            return Ok(vec![revoked(session_id, "refresh_token_reused")]);
        }
        if session.refresh_hash != presented_hash || session.expires_at <= now {
            return Err(ended());
        }
        limits::hash("/new_hash", &new_hash)?;
        if new_hash == presented_hash || session.past_hashes.contains(&new_hash) {
            return Err(Error::invalid("/new_hash", "a refresh token is never used twice"));
        }
        check_expiry(expires_at, now)?;
        let mut events = self.expired(now, session_id);
        events.push(UserEvent::SessionRefreshed { session_id, refresh_hash: new_hash, expires_at });
        Ok(events)
    }

    fn expired(&self, now: DateTime<Utc>, but: SessionId) -> Vec<UserEvent> {
        let expired = self.sessions.iter().filter(|(id, session)| **id != but && session.expires_at <= now);
        expired.map(|(id, _)| revoked(*id, "expired")).collect()
    }

    fn evolve(&mut self, event: UserEvent) {
        match event {
            UserEvent::UserRegistered { email, password_hash, role } => {
                *self = Self { email, password_hash, role: Some(role), ..Self::default() };
            }
            UserEvent::UserRoleChanged { role } => self.role = Some(role),
            UserEvent::UserPasswordChanged { password_hash } => self.password_hash = password_hash,
            UserEvent::UserRemoved {} => {
                self.removed = true;
                self.sessions.clear();
            }
            UserEvent::SessionStarted { session_id, refresh_hash, expires_at } => {
                let session = Session { refresh_hash, past_hashes: Vec::new(), expires_at };
                self.sessions.insert(session_id, session);
            }
            UserEvent::SessionRefreshed { session_id, refresh_hash, expires_at } => {
                if let Some(session) = self.sessions.get_mut(&session_id) {
                    let used = std::mem::replace(&mut session.refresh_hash, refresh_hash);
                    session.past_hashes.push(used);
                    if session.past_hashes.len() > MAX_PAST_HASHES {
                        session.past_hashes.remove(0);
                    }
                    session.expires_at = expires_at;
                }
            }
            UserEvent::SessionRevoked { session_id, .. } => {
                self.sessions.remove(&session_id);
            }
        }
    }
}

fn revoked(session_id: SessionId, reason: &str) -> UserEvent {
    UserEvent::SessionRevoked { session_id, reason: reason.to_owned() }
}

fn check_password_hash(password_hash: &str) -> Result<(), Error> {
    if password_hash.starts_with("$argon2id$") && password_hash.len() <= limits::PASSWORD_HASH_BYTES {
        return Ok(());
    }
    // Never quoted: it may be the password itself.
    Err(Error::invalid("/password_hash", "an Argon2id hash in PHC form is expected"))
}

fn check_expiry(expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Error> {
    if expires_at <= now {
        return Err(Error::invalid("/expires_at", format!("`{expires_at}` has passed")));
    }
    Ok(())
}
