//! Names of connections: each is held by one connection of a tenant at a time. Whether it is, is the
//! reservation's state and nothing else: a step that is repeated is decided anew, so that a name given
//! up after a failure is held again by the try that follows.

use super::ConnectionService;
use crate::{
    error::{CommandError, Kind},
    execute::CommandContext,
};
use autonomos_domain::{
    aggregates::{
        connection::{Connection, ConnectionEvent},
        reservation::{Holder, Reservation, ReservationCommand},
    },
    envelope::{AggregateKey, AggregateType},
    error::{Error as DomainError, ErrorKind},
    ids::{CommandId, ConnectionId, TenantId},
};
use autonomos_log::{events::open_event, port::StoredCommit};
use chrono::TimeDelta;
use std::collections::BTreeMap;

const NAME: &str = "connection_name";
/// How long an unfinished creation keeps its name.
const HOLD: TimeDelta = TimeDelta::minutes(1);

/// Names are told apart without regard to case.
pub(super) fn reserved(name: &str) -> String {
    name.trim().to_lowercase()
}

impl ConnectionService {
    async fn name_change(
        &self,
        context: &CommandContext,
        name: &str,
        command: ReservationCommand,
    ) -> Result<(), CommandError> {
        let step = CommandContext {
            command_id: CommandId::random(),
            causation_id: Some(context.command_id.0),
            ..context.clone()
        };
        let reservation = self.keys.reservation_id(NAME, &format!("{}/{}", context.tenant, reserved(name)));
        self.commands.execute::<Reservation>(&step, reservation, command).await.map(|_| ())
    }

    async fn name_hold(
        &self,
        context: &CommandContext,
        name: &str,
        id: ConnectionId,
    ) -> Result<(), CommandError> {
        let now = self.commands.clock().now();
        let command = ReservationCommand::Hold {
            purpose: NAME.to_owned(),
            holder: holder(context.tenant, id),
            deadline: now + HOLD,
            now,
        };
        self.name_change(context, name, command).await.map_err(|error| match error {
            CommandError::Refused(DomainError::Reserved { .. }) => {
                CommandError::NameTaken { name: name.to_owned() }
            }
            error => error,
        })
    }

    /// Holds the name a command asks for. A command that was carried out before gets its answer again,
    /// also if the name is another connection's by now.
    pub(super) async fn name_hold_unless_repeated(
        &self,
        context: &CommandContext,
        name: &str,
        id: ConnectionId,
    ) -> Result<(), CommandError> {
        let held = self.name_hold(context, name, id).await;
        if matches!(held, Err(CommandError::NameTaken { .. })) {
            let before = self.history(context.tenant, id).await?;
            if before.iter().any(|commit| commit.header.command_id == context.command_id) {
                return Ok(());
            }
        }
        held
    }

    pub(super) async fn name_confirm(
        &self,
        context: &CommandContext,
        name: &str,
        id: ConnectionId,
    ) -> Result<(), CommandError> {
        let confirm = ReservationCommand::Confirm { holder: holder(context.tenant, id) };
        match self.name_change(context, name, confirm.clone()).await {
            // Given up meanwhile: it is taken again, unless somebody else has it.
            Err(CommandError::Refused(error)) if error.kind() == ErrorKind::Conflict => {
                self.name_hold(context, name, id).await?;
                self.name_change(context, name, confirm).await
            }
            confirmed => confirmed,
        }
    }

    pub(super) async fn name_release(
        &self,
        context: &CommandContext,
        name: &str,
        id: ConnectionId,
    ) -> Result<(), CommandError> {
        let command = ReservationCommand::Release { holder: holder(context.tenant, id) };
        self.name_change(context, name, command).await
    }

    /// Frees a name that was held in vain. Where nobody knows whether the change is in the log, the
    /// name stays held until its deadline: who asked comes again.
    pub(super) async fn name_release_after(
        &self,
        error: &CommandError,
        context: &CommandContext,
        name: &str,
        id: ConnectionId,
    ) {
        if matches!(error.kind(), Kind::Unavailable | Kind::Internal) {
            return;
        }
        let used = match self.commands.load::<Connection>(context.tenant, id.0).await {
            Ok(loaded) => reserved(&loaded.state.name) == reserved(name),
            Err(_) => true,
        };
        if !used && let Err(error) = self.name_release(context, name, id).await {
            tracing::warn!(%error, "a connection's name stays held until its deadline");
        }
    }

    /// Makes the connection's name its own and frees all others it ever had, whichever command had
    /// begun with that and was cut short.
    pub(super) async fn names_settle(
        &self,
        context: &CommandContext,
        id: ConnectionId,
    ) -> Result<(), CommandError> {
        // What this node remembers may be of before the last change: only the log tells the name.
        let mut known = 0;
        loop {
            let history = self.history(context.tenant, id).await?;
            let version = history.last().map_or(0, StoredCommit::last_version);
            if version == known {
                return Ok(());
            }
            known = version;
            let mut names = BTreeMap::new();
            let mut current = None;
            for commit in &history {
                for index in 0..commit.events.len() {
                    match open_event::<ConnectionEvent>(&**self.commands.ring(), commit, index)? {
                        ConnectionEvent::ConnectionCreated { name, .. }
                        | ConnectionEvent::ConnectionUpdated { name, .. } => {
                            names.insert(reserved(&name), name.clone());
                            current = Some(name);
                        }
                        // Its task frees the name.
                        ConnectionEvent::ConnectionDeleted {} => return Ok(()),
                        _ => {}
                    }
                }
            }
            let Some(current) = current else { return Ok(()) };
            self.name_confirm(context, &current, id).await?;
            names.remove(&reserved(&current));
            for name in names.into_values() {
                self.name_release(context, &name, id).await?;
            }
            // Once more, if it was renamed meanwhile.
        }
    }

    async fn history(&self, tenant: TenantId, id: ConnectionId) -> Result<Vec<StoredCommit>, CommandError> {
        let key = AggregateKey { tenant, aggregate_type: AggregateType::Connection, aggregate_id: id.0 };
        Ok(self.commands.log().load(&key, 0).await?)
    }
}

fn holder(tenant: TenantId, id: ConnectionId) -> Holder {
    Holder { tenant, id: id.0 }
}
