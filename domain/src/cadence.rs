//! How often: a cron expression in a time zone, and the instants it names.
//!
//! What a clock change does to it: where the hour is `*`, the rhythm goes on by elapsed time. Otherwise
//! each time of day counts once: one that the clock skips is due as soon as the skipped part is over, one
//! that comes twice is due the first time.

use crate::{error::Error, limits, limits::quoted};
use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

/// How far apart two runs of a schedule must be.
pub const LEAST_MINUTES: i64 = 5;
/// Runs that are looked at for that.
const LOOKED_AT: usize = 150;
/// Clocks skip at most a day at a time (Samoa, 2011).
const LONGEST_SKIP_MINUTES: i64 = 25 * 60;
/// Times of day passed over in search of the next: those of the longest part that came twice.
const PASSED_OVER: usize = 25 * 60;

/// A cron expression of five fields in a time zone, both understood.
#[derive(Debug, Clone)]
pub struct Cadence {
    cron: Cron,
    zone: Tz,
    /// Its hour is `*`.
    hourly: bool,
}

impl Cadence {
    /// Refuses what cannot be read; the pointers are `/cron` and `/time_zone`.
    pub fn parse(cron: &str, time_zone: &str) -> Result<Self, Error> {
        let zone: Tz = time_zone.parse().map_err(|_| {
            let message = format!(
                "{} is no IANA time zone: name one such as `Europe/Berlin` or `UTC`",
                quoted(time_zone)
            );
            Error::invalid("/time_zone", message)
        })?;
        let refused = |why: String| {
            let message = format!(
                "{} {why}: five fields are expected (minute, hour, day of month, month, day of week), such as `0 6 * * 1-5`",
                quoted(cron)
            );
            Error::invalid("/cron", message)
        };
        let fields: Vec<&str> = cron.split_whitespace().collect();
        if cron.len() > limits::CRON_BYTES || fields.len() != 5 {
            return Err(refused(format!("has {} fields", fields.len())));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser.parse(cron).map_err(|cause| refused(format!("cannot be read ({cause})")))?;
        Ok(Self { cron: parsed, zone, hourly: fields[1] == "*" })
    }

    /// The first time after `after` that it names; none if it names no time, as the 30th of February.
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.hourly {
            let next = self.cron.find_next_occurrence(&after.with_timezone(&self.zone), false).ok()?;
            return Some(next.with_timezone(&Utc));
        }
        let mut local = after.with_timezone(&self.zone).naive_local();
        for _ in 0..PASSED_OVER {
            local = self.cron.find_next_occurrence(&local, false).ok()?;
            let instant = self.instant(local)?;
            if instant > after {
                return Some(instant);
            }
        }
        None
    }

    /// When it is that time of day there: the first time, or as soon as the clock has skipped it.
    fn instant(&self, local: NaiveDateTime) -> Option<DateTime<Utc>> {
        let at = |local: NaiveDateTime| match self.zone.from_local_datetime(&local) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.with_timezone(&Utc)),
            LocalResult::None => None,
        };
        (0..=LONGEST_SKIP_MINUTES).find_map(|minutes| at(local + TimeDelta::minutes(minutes)))
    }

    /// Refuses one that names no time, or times too close to each other.
    pub fn check(&self, cron: &str, now: DateTime<Utc>) -> Result<(), Error> {
        let mut last: Option<DateTime<Utc>> = None;
        for _ in 0..LOOKED_AT {
            let next = self.next_after(last.unwrap_or(now));
            match (last, next) {
                (None, None) => {
                    let message = format!("{} names no time: there is no such day", quoted(cron));
                    return Err(Error::invalid("/cron", message));
                }
                (Some(earlier), Some(next)) if next - earlier < TimeDelta::minutes(LEAST_MINUTES) => {
                    let message = format!(
                        "{} runs twice within {} minutes: at least {LEAST_MINUTES} are needed, as in `*/{LEAST_MINUTES} * * * *`",
                        quoted(cron),
                        (next - earlier).num_minutes()
                    );
                    return Err(Error::invalid("/cron", message));
                }
                (_, None) => break,
                _ => last = next,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    }

    /// The times after `from`, as they are there.
    fn check(cron: &str, zone: &str, from: &str, expect: &[&str]) {
        let cadence = Cadence::parse(cron, zone).unwrap();
        let mut after = at(from);
        for expected in expect {
            after = cadence.next_after(after).unwrap();
            assert_eq!(after, at(expected), "`{cron}` in `{zone}` after `{from}`");
        }
    }

    #[test]
    fn times_are_those_of_the_zone() {
        check(
            "0 6 * * 1-5",
            "UTC",
            "2026-01-02T06:00:00Z",
            &["2026-01-05T06:00:00Z", "2026-01-06T06:00:00Z"],
        );
        check("0 6 * * *", "Asia/Kolkata", "2026-01-02T01:00:00Z", &["2026-01-03T00:30:00Z"]);
        check(
            "*/15 * * * *",
            "UTC",
            "2026-01-02T06:07:30Z",
            &["2026-01-02T06:15:00Z", "2026-01-02T06:30:00Z"],
        );
        check("0 0 L * *", "UTC", "2026-02-01T00:00:00Z", &["2026-02-28T00:00:00Z"]);
        check("0 0 29 2 *", "UTC", "2026-02-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
    }

    #[test]
    fn a_skipped_time_runs_once_after_and_a_doubled_one_once() {
        // Berlin, 2026-03-29: from 02:00 CET to 03:00 CEST, which is 01:00 UTC.
        let spring = "2026-03-28T12:00:00Z";
        check("30 2 * * *", "Europe/Berlin", spring, &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        check("0,30 2 * * *", "Europe/Berlin", spring, &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]);
        check("30 2,3 * * *", "Europe/Berlin", spring, &["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]);
        // 2026-10-25: from 03:00 CEST back to 02:00 CET, which is 01:00 UTC.
        let autumn = "2026-10-24T12:00:00Z";
        check("30 2 * * *", "Europe/Berlin", autumn, &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        check("0 2,14 * * *", "Europe/Berlin", autumn, &["2026-10-25T00:00:00Z", "2026-10-25T13:00:00Z"]);
        // Samoa had no 30th of December 2011.
        check("0 9 30 * *", "Pacific/Apia", "2011-12-29T00:00:00Z", &["2011-12-30T10:00:00Z"]);
        // A rhythm goes on, through both hours and over the gap.
        let hour = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"];
        check("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &hour);
        let hour = ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"];
        check("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &hour);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_place() {
        let refusal = |cron: &str, zone: &str| {
            let checked = Cadence::parse(cron, zone)
                .and_then(|cadence| cadence.check(cron, at("2026-01-01T00:00:00Z")));
            match checked {
                Err(Error::Invalid { field, message }) => format!("{field} {message}"),
                other => panic!("`{cron}` `{zone}`: {other:?}"),
            }
        };
        assert!(refusal("* * * * *", "UTC").starts_with("/cron `* * * * *` runs twice within 1 minutes"));
        assert!(refusal("0,2 1 1 * *", "UTC").starts_with("/cron `0,2 1 1 * *` runs twice within 2 minutes"));
        assert!(refusal("0 0 30 2 *", "UTC").starts_with("/cron `0 0 30 2 *` names no time"));
        assert!(refusal("0 0 0 * * *", "UTC").starts_with("/cron `0 0 0 * * *` has 6 fields"));
        assert!(refusal("@daily", "UTC").starts_with("/cron `@daily` has 1 fields"));
        assert!(refusal("61 * * * *", "UTC").starts_with("/cron `61 * * * *` cannot be read"));
        assert!(
            refusal("0 6 * * *", "Mars/Olympus")
                .starts_with("/time_zone `Mars/Olympus` is no IANA time zone")
        );
        let fine = ["*/5 * * * *", "59 23 31 12 *", "0 9 * * MON#1"];
        for cron in fine {
            Cadence::parse(cron, "Europe/Berlin").unwrap().check(cron, at("2026-01-01T00:00:00Z")).unwrap();
        }
    }
}
