//! The read models of the API: SQLite tables computed from the log, and the queries over them.

mod activity;
mod documents;
mod models;
mod project;
pub mod query;
pub mod rows;

use crate::runtime::{ApplyError, Opened, READ_MODELS, Tables};
use async_trait::async_trait;
use autonomos_domain::envelope::AggregateType;
use project::Work;
use sqlx::SqliteConnection;

/// Raised when the same log would give other rows: the next start builds them again.
const VERSION: u32 = 2;

/// The projector of all read models.
pub struct ReadModelTables;

#[async_trait]
impl Tables for ReadModelTables {
    fn name(&self) -> &'static str {
        READ_MODELS
    }

    fn version(&self) -> u32 {
        VERSION
    }

    /// All but reservations, whose ids say nothing to anybody.
    fn aggregate_types(&self) -> Vec<AggregateType> {
        AggregateType::ALL.into_iter().filter(|kind| *kind != AggregateType::Reservation).collect()
    }

    fn definitions(&self) -> Vec<String> {
        let mut statements: Vec<String> = activity::DEFINITIONS.iter().map(ToString::to_string).collect();
        statements.extend(models::definitions());
        statements
    }

    async fn apply(&self, connection: &mut SqliteConnection, commits: &[Opened]) -> Result<(), ApplyError> {
        Work::apply(connection, commits).await?;
        Ok(())
    }
}
