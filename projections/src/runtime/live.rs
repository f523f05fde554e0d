//! Where readers find the live generation: they follow a swap by themselves, whoever did it.

use super::{
    postgres::LiveSchema,
    sql::{Row, Session, Statement},
};
use crate::error::ProjectionError;
use autonomos_domain::ids::TenantId;
use autonomos_log::port::cell_of;
use parking_lot::RwLock;
use sqlx::SqlitePool;
use std::sync::Arc;

/// The live generation of a projector, for its readers. Cheap to clone.
#[derive(Clone)]
pub enum Live {
    Sqlite(LivePool),
    Postgres(LiveSchema),
    /// One a cell: a tenant is read where its cell's are.
    Cells(Arc<[Self]>),
}

impl Live {
    /// Runs a query of one tenant. It sees one generation, a whole one; on Postgres it sees rows of
    /// that tenant alone, whatever it asks for.
    pub async fn fetch(&self, tenant: TenantId, query: Statement) -> Result<Vec<Row>, ProjectionError> {
        match self {
            Self::Sqlite(live) => {
                let mut connection = live.get()?.acquire().await?;
                Ok(Session::Sqlite(&mut connection).fetch(query).await?)
            }
            Self::Postgres(live) => live.fetch(tenant, query).await,
            Self::Cells(cells) => {
                let cell = cell_of(tenant, cells.len() as u16);
                let live = cells.get(usize::from(cell)).ok_or(ProjectionError::Stopped)?;
                Box::pin(live.fetch(tenant, query)).await
            }
        }
    }
}

/// The pool of the live generation's file.
#[derive(Clone, Default)]
pub struct LivePool(Arc<RwLock<Option<SqlitePool>>>);

impl LivePool {
    fn get(&self) -> Result<SqlitePool, ProjectionError> {
        self.0.read().clone().ok_or(ProjectionError::Stopped)
    }

    pub(crate) fn replace(&self, pool: Option<SqlitePool>) -> Option<SqlitePool> {
        std::mem::replace(&mut *self.0.write(), pool)
    }
}
