//! Runs a cell's tasks while this node holds the cell's lease, and ends them when it does not.

use super::{Shared, runner::Runner, table::PostgresTable};
use crate::error::CommandError;
use autonomos_log::{
    database::Database,
    lease::{Lease, Leases},
};
use std::{sync::Arc, time::Duration};

const TRY_AGAIN: Duration = Duration::from_secs(1);

/// One cell's place on this node.
pub(super) struct Host {
    pub(super) shared: Shared,
    pub(super) database: Database,
    pub(super) cell: u16,
}

impl Host {
    /// Waits for the lease, runs, and waits again if it was lost.
    pub(super) async fn run(self, leases: Leases) {
        let stop = self.shared.stop.clone();
        let name = format!("tasks/{}", self.cell);
        while !stop.is_cancelled() {
            let lease = tokio::select! {
                () = stop.cancelled() => return,
                lease = leases.acquire(&name) => lease,
            };
            if let Err(error) = self.tenure(&lease).await {
                tracing::warn!(cell = self.cell, %error, "the cell's tasks cannot be run here, trying again");
                lease.release().await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(TRY_AGAIN) => {}
                }
                continue;
            }
            lease.release().await;
        }
    }

    /// Runs tasks until the lease is lost or the node ends.
    async fn tenure(&self, lease: &Lease) -> Result<(), CommandError> {
        let log_id = self.shared.commands.log().log_id();
        let table = PostgresTable::open(&self.database, log_id, self.cell, lease.fence()).await?;
        let stop = self.shared.stop.child_token();
        let shared = Shared { stop: stop.clone(), term: lease.term(), ..self.shared.clone() };
        let runner = Runner::new(Arc::new(shared), Box::new(table), vec![self.cell])?;
        let mut running = std::pin::pin!(runner.run());
        tokio::select! {
            () = &mut running => return Ok(()),
            () = lease.lost() => {}
        }
        // What runs puts itself back into the queue, as far as nobody else has begun it by now.
        stop.cancel();
        running.await;
        Ok(())
    }
}
