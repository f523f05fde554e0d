//! When something is done by itself. The time that comes next is part of the state, and a run is recorded
//! together with the next one: each is taken at most once, whoever takes it and however often it is tried.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{
    cadence::Cadence,
    ids::{ConnectionId, SyncId, TaskId},
    limits,
};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a schedule does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleAction {
    /// Syncs its connection.
    #[default]
    Sync,
}

/// When: a cron expression of five fields, in an IANA time zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    pub cron: String,
    pub time_zone: String,
}

/// Why a time was let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// A sync of the connection was under way.
    Busy,
    /// The connection is paused.
    Paused,
    /// The source failed lately and is left alone for a while.
    CircuitOpen,
    /// A person cancelled that one.
    Cancelled,
    /// It could not be begun.
    Failed,
}

/// What became of a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum RunOutcome {
    Started {
        task_id: TaskId,
        sync_id: SyncId,
    },
    Skipped {
        reason: SkipReason,
        /// What was under way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task_id: Option<TaskId>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ScheduleEvent {
    ScheduleCreated {
        name: String,
        timing: Timing,
        action: ScheduleAction,
        connection_id: ConnectionId,
        enabled: bool,
        /// None while it is not enabled.
        next_run_at: Option<DateTime<Utc>>,
    },
    ScheduleChanged {
        name: String,
        timing: Timing,
        enabled: bool,
        next_run_at: Option<DateTime<Utc>>,
    },
    /// A time came. Those that nobody was there for count as one, the earliest.
    ScheduleRan {
        slot: DateTime<Utc>,
        outcome: RunOutcome,
        next_run_at: Option<DateTime<Utc>>,
    },
    ScheduleDeleted {},
}
domain_event!(ScheduleEvent { ScheduleCreated, ScheduleChanged, ScheduleRan, ScheduleDeleted });

#[derive(Debug, Clone)]
pub enum ScheduleCommand {
    CreateSchedule {
        name: String,
        timing: Timing,
        action: ScheduleAction,
        connection_id: ConnectionId,
        enabled: bool,
        now: DateTime<Utc>,
    },
    ChangeSchedule {
        name: Option<String>,
        cron: Option<String>,
        time_zone: Option<String>,
        enabled: Option<bool>,
        now: DateTime<Utc>,
    },
    /// Refused unless that is the time that is due, by the timing it was set by.
    RecordRun {
        due: Due,
        outcome: RunOutcome,
        now: DateTime<Utc>,
    },
    DeleteSchedule,
}

/// A time of a schedule. The revision counts how often the schedule was changed, so that what was set up
/// for an earlier timing is told from what is due now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    pub revision: u32,
    pub slot: DateTime<Utc>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// None until created.
    pub connection_id: Option<ConnectionId>,
    pub name: String,
    pub timing: Timing,
    pub action: ScheduleAction,
    pub enabled: bool,
    pub deleted: bool,
    pub revision: u32,
    pub next_run_at: Option<DateTime<Utc>>,
    pub last_slot: Option<DateTime<Utc>>,
}
stored_aggregate!(Schedule, Schedule, ScheduleCommand, ScheduleEvent);

impl Schedule {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, command: ScheduleCommand) -> Result<Vec<ScheduleEvent>, Error> {
        use ScheduleCommand as Command;
        use ScheduleEvent as Event;
        if let Command::CreateSchedule { name, timing, action, connection_id, enabled, now } = command {
            if self.connection_id.is_some() {
                return Err(Error::AlreadyExists { what: "schedule", id: self.name.clone() });
            }
            limits::name("/name", &name)?;
            let next_run_at = self.first(&timing, enabled, now)?;
            return Ok(vec![Event::ScheduleCreated {
                name,
                timing,
                action,
                connection_id,
                enabled,
                next_run_at,
            }]);
        }
        if self.connection_id.is_none() {
            return Err(Error::Missing { what: "schedule" });
        }
        match command {
            Command::DeleteSchedule if self.deleted => Ok(Vec::new()),
            Command::DeleteSchedule => Ok(vec![Event::ScheduleDeleted {}]),
            _ if self.deleted => {
                let (what, status) = ("schedule", "deleted".to_owned());
                Err(Error::WrongState { what, status, action: "change it" })
            }
            Command::CreateSchedule { .. } => unreachable!("answered above"),
            Command::ChangeSchedule { name, cron, time_zone, enabled, now } => {
                let name = name.unwrap_or_else(|| self.name.clone());
                let timing = Timing {
                    cron: cron.unwrap_or_else(|| self.timing.cron.clone()),
                    time_zone: time_zone.unwrap_or_else(|| self.timing.time_zone.clone()),
                };
                let enabled = enabled.unwrap_or(self.enabled);
                let same = timing == self.timing && enabled == self.enabled;
                if same && name == self.name {
                    return Ok(Vec::new());
                }
                limits::name("/name", &name)?;
                // A new name alone must not move a time that is due.
                let next_run_at = if same { self.next_run_at } else { self.first(&timing, enabled, now)? };
                Ok(vec![Event::ScheduleChanged { name, timing, enabled, next_run_at }])
            }
            Command::RecordRun { due, outcome, now } => {
                if !self.is_due(due) {
                    return Err(Error::conflict("the schedule was changed, or has taken that time already"));
                }
                let after = now.max(due.slot);
                let cadence = Cadence::parse(&self.timing.cron, &self.timing.time_zone)?;
                let next_run_at = cadence.next_after(after);
                Ok(vec![Event::ScheduleRan { slot: due.slot, outcome, next_run_at }])
            }
        }
    }

    /// The first time from now on, after all that were taken: a clock that goes back brings none again.
    fn first(
        &self,
        timing: &Timing,
        enabled: bool,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let cadence = Cadence::parse(&timing.cron, &timing.time_zone)?;
        cadence.check(&timing.cron, now)?;
        let after = self.last_slot.map_or(now, |last| last.max(now));
        Ok(cadence.next_after(after).filter(|_| enabled))
    }

    /// Whether that is the time that comes next.
    pub fn is_due(&self, due: Due) -> bool {
        !self.deleted && self.revision == due.revision && self.next_run_at == Some(due.slot)
    }

    /// The time that comes next.
    pub fn due(&self) -> Option<Due> {
        let slot = self.next_run_at.filter(|_| !self.deleted)?;
        Some(Due { revision: self.revision, slot })
    }

    fn evolve(&mut self, event: ScheduleEvent) {
        match event {
            ScheduleEvent::ScheduleCreated { name, timing, action, connection_id, enabled, next_run_at } => {
                let connection_id = Some(connection_id);
                *self = Self { connection_id, name, timing, action, enabled, next_run_at, ..Self::default() };
            }
            ScheduleEvent::ScheduleChanged { name, timing, enabled, next_run_at } => {
                self.name = name;
                self.timing = timing;
                self.enabled = enabled;
                self.next_run_at = next_run_at;
                self.revision += 1;
            }
            ScheduleEvent::ScheduleRan { slot, next_run_at, .. } => {
                self.last_slot = Some(slot);
                self.next_run_at = next_run_at;
            }
            ScheduleEvent::ScheduleDeleted {} => {
                self.deleted = true;
                self.next_run_at = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregates::tests::{check, state};
    use uuid::Uuid;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    }

    fn timing(cron: &str) -> Timing {
        Timing { cron: cron.to_owned(), time_zone: "UTC".to_owned() }
    }

    fn created() -> ScheduleEvent {
        ScheduleEvent::ScheduleCreated {
            name: "nightly".to_owned(),
            timing: timing("0 2 * * *"),
            action: ScheduleAction::Sync,
            connection_id: ConnectionId(Uuid::from_u128(1)),
            enabled: true,
            next_run_at: Some(at("2026-01-02T02:00:00Z")),
        }
    }

    fn outcome() -> RunOutcome {
        RunOutcome::Skipped { reason: SkipReason::Busy, task_id: None }
    }

    fn run(revision: u32, slot: &str, now: &str) -> ScheduleCommand {
        ScheduleCommand::RecordRun { due: Due { revision, slot: at(slot) }, outcome: outcome(), now: at(now) }
    }

    fn ran(slot: &str, next: &str) -> ScheduleEvent {
        ScheduleEvent::ScheduleRan { slot: at(slot), outcome: outcome(), next_run_at: Some(at(next)) }
    }

    fn change(cron: Option<&str>, enabled: Option<bool>, now: &str) -> ScheduleCommand {
        let cron = cron.map(str::to_owned);
        ScheduleCommand::ChangeSchedule { name: None, cron, time_zone: None, enabled, now: at(now) }
    }

    #[test]
    fn a_time_is_taken_once_and_missed_ones_count_as_one() {
        let slot = "2026-01-02T02:00:00Z";
        let next = ran(slot, "2026-01-03T02:00:00Z");
        check::<Schedule>(&[created()], run(0, slot, "2026-01-02T02:00:04Z"), Ok(vec![next.clone()]));
        check::<Schedule>(&[created(), next], run(0, slot, slot), Err("conflict: the schedule was changed"));
        let late = ran(slot, "2026-01-10T02:00:00Z");
        check::<Schedule>(&[created()], run(0, slot, "2026-01-09T12:00:00Z"), Ok(vec![late]));
        // A clock that was set back brings nothing again.
        let early = ran(slot, "2026-01-03T02:00:00Z");
        check::<Schedule>(&[created()], run(0, slot, "2026-01-01T00:00:00Z"), Ok(vec![early]));
    }

    #[test]
    fn a_change_leaves_earlier_times_to_nobody() {
        let changed = ScheduleEvent::ScheduleChanged {
            name: "nightly".to_owned(),
            timing: timing("0 3 * * *"),
            enabled: true,
            next_run_at: Some(at("2026-01-02T03:00:00Z")),
        };
        let now = "2026-01-01T12:00:00Z";
        check::<Schedule>(&[created()], change(Some("0 3 * * *"), None, now), Ok(vec![changed.clone()]));
        let given = [created(), changed];
        check::<Schedule>(&given, run(0, "2026-01-02T02:00:00Z", now), Err("conflict: the schedule was"));
        check::<Schedule>(&given, change(None, Some(true), now), Ok(vec![]));
        assert_eq!(state::<Schedule>(&given).due().unwrap().revision, 1);
        let off = ScheduleEvent::ScheduleChanged {
            name: "nightly".to_owned(),
            timing: timing("0 2 * * *"),
            enabled: false,
            next_run_at: None,
        };
        check::<Schedule>(&[created()], change(None, Some(false), now), Ok(vec![off.clone()]));
        assert_eq!(state::<Schedule>(&[created(), off]).due(), None);
        let given = [created(), ScheduleEvent::ScheduleDeleted {}];
        check::<Schedule>(&given, change(None, Some(true), now), Err("cannot change it"));
        check::<Schedule>(&given, ScheduleCommand::DeleteSchedule, Ok(vec![]));
        check::<Schedule>(&[created()], change(Some("* * * * *"), None, now), Err("`/cron` is not valid"));
    }
}
