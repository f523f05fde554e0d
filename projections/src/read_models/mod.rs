//! The read models of the API: tables computed from the log, and the queries over them. In SQLite
//! or in Postgres: what is asked and written is one text for both (see [`crate::runtime::sql`]).

mod activity;
mod documents;
mod models;
mod project;
pub mod query;
pub mod rows;

use crate::runtime::{
    ApplyError, Opened, READ_MODELS, Tables,
    sql::{Session, Table},
};
use async_trait::async_trait;
use autonomos_domain::envelope::AggregateType;
use project::Work;

/// Raised when the same log would give other rows: the next start builds them again.
const VERSION: u32 = 3;

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

    fn definitions(&self) -> Vec<Table> {
        let mut tables = vec![activity::table()];
        tables.extend(models::tables());
        tables
    }

    async fn apply(&self, session: &mut Session<'_>, commits: &[Opened]) -> Result<(), ApplyError> {
        Work::apply(session, commits).await?;
        Ok(())
    }
}
