//! How a connection is, by what really happened to it: its syncs and tests. What follows from that (a
//! warning, a pause, a while of being left alone) is decided here, and is the same on every node and
//! after every restart.

use crate::{error::Error, ids::SyncId};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Attempts that fail in a row before a source is left alone for a while.
pub const CIRCUIT_AFTER: u32 = 3;
/// For how long first; twice as long each time after that.
pub const CIRCUIT_FIRST_SECONDS: i64 = 60;
pub const CIRCUIT_LONGEST_SECONDS: i64 = 3_600;
/// What a source may ask for itself.
pub const CIRCUIT_ASKED_SECONDS: i64 = 86_400;

/// What kind of failure it was, which says what may mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    Configuration,
    Authentication,
    Permission,
    RateLimited,
    /// The source was not reached, broke off or fell silent.
    Transient,
    Schema,
    Data,
    /// Drift waits for a person, as the connection's policy says.
    Drift,
    /// On this side.
    Internal,
}

impl FailureKind {
    /// Time alone mends nothing: a person must.
    pub const fn needs_a_person(self) -> bool {
        matches!(self, Self::Configuration | Self::Authentication | Self::Permission)
    }

    /// The source is better left alone for a while.
    pub const fn opens_circuit(self) -> bool {
        matches!(self, Self::RateLimited | Self::Transient)
    }

    /// Says something about how the connection is. Drift that waits has an inbox of its own.
    pub const fn counts(self) -> bool {
        !matches!(self, Self::Drift)
    }
}

/// A failure, as it was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub kind: FailureKind,
    /// Stable code, `AOS-…`.
    pub code: String,
    pub message: String,
}

/// Why nothing is synced by itself any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// Syncs failed as often in a row as the limits allow.
    RepeatedFailure,
    /// The source refuses the connection, which only a person can mend.
    Refused,
    /// A person asked for it.
    Asked,
}

/// Since when a connection is paused, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pause {
    pub at: DateTime<Utc>,
    pub reason: PauseReason,
    /// What was met last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// The source is left alone until then, but for what a person asks. The first attempt after that
/// decides: a success closes the circuit, a failure opens it for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Circuit {
    pub until: DateTime<Utc>,
    /// How often in a row it was opened.
    pub opened: u32,
}

/// What a connection's owner allows; none: the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionLimits {
    /// Syncs that fail in a row before there is a warning, 1 to 100; 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warn_after: Option<u32>,
    /// Before the connection is paused, 1 to 1,000; 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_after: Option<u32>,
    /// The same where the source refuses the connection, which time does not mend; 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_after_refused: Option<u32>,
    /// Requests to the source a day (UTC), 1 to 100,000,000, of connectors that make requests; none: no
    /// ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<u64>,
}

impl ConnectionLimits {
    pub fn warn_after(&self) -> u32 {
        self.warn_after.unwrap_or(3)
    }

    pub fn pause_after(&self) -> u32 {
        self.pause_after.unwrap_or(10)
    }

    pub fn pause_after_refused(&self) -> u32 {
        self.pause_after_refused.unwrap_or(2)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let within = |name: &str, value: Option<u64>, most: u64| match value {
            Some(value) if !(1..=most).contains(&value) => {
                let message = format!("`{value}` is not from 1 to {most}");
                Err(Error::invalid(format!("/limits/{name}"), message))
            }
            _ => Ok(()),
        };
        within("warn_after", self.warn_after.map(u64::from), 100)?;
        within("pause_after", self.pause_after.map(u64::from), 1_000)?;
        within("pause_after_refused", self.pause_after_refused.map(u64::from), 1_000)?;
        within("requests_per_day", self.requests_per_day, 100_000_000)
    }
}

/// Requests made of a source on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestCount {
    /// In UTC.
    pub day: NaiveDate,
    pub requests: u64,
}

/// How a connection is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Syncs that failed since the last that went well.
    pub consecutive_failures: u32,
    /// As many of them failed as there is a warning after.
    pub warned: bool,
    pub last_success_at: Option<DateTime<Utc>>,
    pub last_failure_at: Option<DateTime<Utc>>,
    pub last_failure: Option<Failure>,
    pub paused: Option<Pause>,
    pub circuit: Option<Circuit>,
    /// Attempts, of which a sync has several, that failed in a row as sources fail that are down.
    #[serde(default)]
    pub failed_attempts: u32,
    /// Of the last day on which there were any.
    pub requests: Option<RequestCount>,
    /// The last sync that ended and the last attempt that was counted, which are told of more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync: Option<SyncId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<(SyncId, u32)>,
}

impl Health {
    /// The circuit that the next failed attempt leaves; none: it stays closed.
    pub(crate) fn circuit_after(
        &self,
        kind: FailureKind,
        wait_seconds: Option<u64>,
        now: DateTime<Utc>,
    ) -> Option<Circuit> {
        if !kind.opens_circuit() {
            return None;
        }
        let opened = self.circuit.map_or(0, |circuit| circuit.opened);
        let asked = wait_seconds.map(|seconds| seconds.min(CIRCUIT_ASKED_SECONDS as u64) as i64);
        let own = (self.failed_attempts + 1 >= CIRCUIT_AFTER)
            .then(|| (CIRCUIT_FIRST_SECONDS << opened.min(16)).min(CIRCUIT_LONGEST_SECONDS));
        let seconds = asked.max(own).filter(|seconds| *seconds > 0)?;
        Some(Circuit { until: now + TimeDelta::seconds(seconds), opened: opened + 1 })
    }

    /// Until when the source is left alone.
    pub fn open_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.circuit.map(|circuit| circuit.until).filter(|until| *until > now)
    }

    /// Requests made on the day of `now`.
    pub fn requests_on(&self, now: DateTime<Utc>) -> u64 {
        self.requests.filter(|count| count.day == now.date_naive()).map_or(0, |count| count.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregates::{
        connection::{Connection, ConnectionCommand as Command, ConnectionEvent as Event},
        tests::{at, check},
    };
    use uuid::Uuid;

    fn sync(number: u128) -> SyncId {
        SyncId(Uuid::from_u128(number))
    }

    fn created() -> Event {
        Event::ConnectionCreated {
            name: "CRM".to_owned(),
            connector: "postgres".to_owned(),
            config: serde_json::json!({}),
        }
    }

    fn failure(kind: FailureKind) -> Failure {
        Failure { kind, code: "AOS-0272".to_owned(), message: "no".to_owned() }
    }

    fn wrong(number: u128, kind: FailureKind, consecutive_failures: u32) -> Event {
        let failure = failure(kind);
        Event::SyncWentWrong { sync_id: sync(number), at: at(0), failure, consecutive_failures }
    }

    fn record(number: u128, kind: FailureKind) -> Command {
        Command::RecordSync { sync_id: sync(number), failure: Some(failure(kind)), now: at(0) }
    }

    fn paused(reason: PauseReason, kind: FailureKind) -> Event {
        Event::ConnectionPaused { pause: Pause { at: at(0), reason, failure: Some(failure(kind)) } }
    }

    #[test]
    fn repeated_failure_warns_and_then_pauses() {
        use FailureKind::{Authentication, Drift, Transient};
        check::<Connection>(&[created()], record(1, Transient), Ok(vec![wrong(1, Transient, 1)]));
        // Told again, it counts once.
        check::<Connection>(&[created(), wrong(1, Transient, 1)], record(1, Transient), Ok(vec![]));
        let warned = Event::ConnectionWarned { consecutive_failures: 3 };
        let given = [created(), wrong(2, Transient, 2)];
        check::<Connection>(&given, record(3, Transient), Ok(vec![wrong(3, Transient, 3), warned.clone()]));
        let given = [created(), wrong(9, Transient, 9), warned.clone()];
        let pause = paused(PauseReason::RepeatedFailure, Transient);
        check::<Connection>(&given, record(10, Transient), Ok(vec![wrong(10, Transient, 10), pause.clone()]));
        // What only a person can mend pauses sooner.
        let given = [created(), wrong(1, Authentication, 1)];
        let refused = paused(PauseReason::Refused, Authentication);
        check::<Connection>(
            &given,
            record(2, Authentication),
            Ok(vec![wrong(2, Authentication, 2), refused]),
        );
        // Drift that waits for a person has an inbox of its own.
        check::<Connection>(&given, record(2, Drift), Ok(vec![wrong(2, Drift, 1)]));
        let went_well = Command::RecordSync { sync_id: sync(11), failure: None, now: at(5) };
        let well = Event::SyncWentWell { sync_id: sync(11), at: at(5) };
        let given = [created(), wrong(10, Transient, 10), warned, pause];
        check::<Connection>(&given, went_well, Ok(vec![well, Event::ConnectionResumed {}]));
        check::<Connection>(&given, Command::Resume, Ok(vec![Event::ConnectionResumed {}]));
        check::<Connection>(&[created()], Command::Resume, Ok(vec![]));
    }

    #[test]
    fn a_source_that_fails_is_left_alone_for_longer_each_time_within_bounds() {
        use FailureKind::{Permission, RateLimited, Transient};
        let health = |failed_attempts, opened| Health {
            failed_attempts,
            circuit: (opened > 0).then(|| Circuit { until: at(0), opened }),
            ..Health::default()
        };
        let seconds = |health: &Health, kind, asked| {
            health.circuit_after(kind, asked, at(0)).map(|circuit| (circuit.until - at(0)).num_seconds())
        };
        assert_eq!(seconds(&health(0, 0), Transient, None), None);
        assert_eq!(seconds(&health(2, 0), Transient, None), Some(60));
        assert_eq!(seconds(&health(3, 1), Transient, None), Some(120));
        assert_eq!(seconds(&health(30, 20), Transient, None), Some(3_600));
        assert_eq!(seconds(&health(9, 1), Permission, None), None);
        assert_eq!(seconds(&health(0, 0), RateLimited, Some(90)), Some(90));
        assert_eq!(seconds(&health(0, 0), RateLimited, Some(9_999_999)), Some(86_400));
    }

    #[test]
    fn limits_and_requests_are_kept_within_their_bounds() {
        let set = |warn_after| Command::SetLimits {
            limits: ConnectionLimits { warn_after: Some(warn_after), ..ConnectionLimits::default() },
        };
        check::<Connection>(
            &[created()],
            set(0),
            Err("`/limits/warn_after` is not valid: `0` is not from 1"),
        );
        let day = |days: i64| (at(0) + TimeDelta::days(days)).date_naive();
        let count = |day, requests| RequestCount { day, requests };
        let counted = |count| Event::RequestsCounted { count };
        let add = |count| Command::CountRequests { count };
        let given = [created(), counted(count(day(0), 5))];
        check::<Connection>(&given, add(count(day(0), 2)), Ok(vec![counted(count(day(0), 7))]));
        check::<Connection>(&given, add(count(day(1), 2)), Ok(vec![counted(count(day(1), 2))]));
        check::<Connection>(&given, add(count(day(-1), 2)), Ok(vec![]));
    }
}
