//! Tickets: short-lived, good for one use, for those who cannot send a token (a browser that opens an
//! event stream). With several nodes, any of them takes what another one gave.

use crate::{auth::Identity, error::CommandError};
use autonomos_log::{database::Database, error::LogError};
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;
use uuid::Uuid;

/// How long a ticket is good.
const TICKET_SECONDS: i64 = 60;
/// Tickets that may be open at a time in one process.
const OPEN: u64 = 100_000;
const TABLES: &[&str] = &["CREATE TABLE IF NOT EXISTS autonomos.tickets (
     id TEXT PRIMARY KEY, identity TEXT NOT NULL, expires_at TIMESTAMPTZ NOT NULL)"];

/// Gives tickets and takes them. Cheap to clone.
#[derive(Clone)]
pub struct Tickets {
    kept: Kept,
}

#[derive(Clone)]
enum Kept {
    Here(moka::sync::Cache<Uuid, (Identity, DateTime<Utc>)>),
    Shared(Database),
}

impl Default for Tickets {
    /// Tickets of this process alone; a browser that lost one asks for another.
    fn default() -> Self {
        let open = moka::sync::Cache::builder()
            .max_capacity(OPEN)
            .time_to_live(Duration::from_secs(TICKET_SECONDS as u64));
        Self { kept: Kept::Here(open.build()) }
    }
}

impl Tickets {
    /// Tickets that all nodes know.
    pub async fn shared(database: &Database) -> Result<Self, LogError> {
        database.define(TABLES).await?;
        Ok(Self { kept: Kept::Shared(database.clone()) })
    }

    /// A new ticket for a caller, and until when it is good.
    pub async fn ticket_give(&self, identity: &Identity) -> Result<(Uuid, DateTime<Utc>), CommandError> {
        let ticket = Uuid::new_v4();
        let expires_at = Utc::now() + TimeDelta::seconds(TICKET_SECONDS);
        match &self.kept {
            Kept::Here(open) => open.insert(ticket, (identity.clone(), expires_at)),
            Kept::Shared(database) => {
                let whose = serde_json::to_string(identity).map_err(unreadable)?;
                database
                    .run(move |pool| async move {
                        // Those nobody used go with the next ones.
                        sqlx::query("DELETE FROM autonomos.tickets WHERE expires_at < now()")
                            .execute(&pool)
                            .await?;
                        sqlx::query(
                            "INSERT INTO autonomos.tickets (id, identity, expires_at)
                             VALUES ($1, $2, now() + make_interval(secs => $3))",
                        )
                        .bind(ticket.to_string())
                        .bind(whose)
                        .bind(TICKET_SECONDS as f64)
                        .execute(&pool)
                        .await
                    })
                    .await?;
            }
        }
        Ok((ticket, expires_at))
    }

    /// Whose ticket it is; it is used up by asking.
    pub async fn ticket_take(&self, ticket: Uuid) -> Result<Option<Identity>, CommandError> {
        match &self.kept {
            Kept::Here(open) => {
                let found = open.remove(&ticket);
                Ok(found.filter(|(_, expires_at)| *expires_at >= Utc::now()).map(|(identity, _)| identity))
            }
            Kept::Shared(database) => {
                let found: Option<String> = database
                    .run(move |pool| async move {
                        sqlx::query_scalar(
                            "DELETE FROM autonomos.tickets WHERE id = $1 AND expires_at >= now()
                             RETURNING identity",
                        )
                        .bind(ticket.to_string())
                        .fetch_optional(&pool)
                        .await
                    })
                    .await?;
                found.map(|whose| serde_json::from_str(&whose).map_err(unreadable)).transpose()
            }
        }
    }
}

fn unreadable(error: serde_json::Error) -> CommandError {
    CommandError::Log(LogError::Store(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use autonomos_domain::{
        aggregates::user::Role,
        envelope::Actor,
        ids::{SessionId, TenantId, UserId},
    };
    use autonomos_log::postgres_server::Postgres;

    fn identity() -> Identity {
        let user = UserId::random();
        Identity {
            tenant: TenantId::random(),
            actor: Actor::User(user.0),
            role: Role::Editor,
            user: Some(user),
            session: Some(SessionId::random()),
        }
    }

    /// A ticket that `here` gives opens once, `there` or here.
    async fn conformance(here: Tickets, there: Tickets) {
        let whose = identity();
        let (ticket, _) = here.ticket_give(&whose).await.unwrap();
        let (other, _) = here.ticket_give(&identity()).await.unwrap();
        assert_eq!(there.ticket_take(ticket).await.unwrap(), Some(whose));
        assert_eq!(here.ticket_take(ticket).await.unwrap(), None, "it is good once");
        assert_eq!(there.ticket_take(Uuid::new_v4()).await.unwrap(), None);
        assert!(here.ticket_take(other).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn tickets_of_one_process() {
        let tickets = Tickets::default();
        conformance(tickets.clone(), tickets).await;
    }

    #[tokio::test]
    async fn tickets_of_several_nodes() {
        let server = Postgres::shared();
        let url = server.database();
        let node = async || {
            let database = Database::connect(&url, Duration::from_secs(10)).await.unwrap();
            Tickets::shared(&database).await.unwrap()
        };
        conformance(node().await, node().await).await;
    }
}
