//! Where a read goes on.

use super::{describe::Column, value};
use autonomos_domain::schema::SyncMode;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A place in the order in which records changed: from this time on, or if there is an id, after that
/// record of this time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) field: String,
    pub(super) stamp: Option<String>,
    pub(super) id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) mode: SyncMode,
    pub(super) object: String,
    pub(super) columns: Vec<Column>,
    /// When the last whole read began, by Salesforce's clock.
    pub(super) taken: Option<DateTime<Utc>>,
    #[serde(flatten)]
    pub(super) phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub(super) enum Phase {
    /// All records, page by page in the order of their ids, up to and with `after`.
    Pages {
        after: Option<String>,
        then: Then,
    },
    /// The results of a bulk job: so many records of the page at `locator` are in. `from`: it brings what
    /// changed since there, and not all.
    Job {
        job: String,
        locator: Option<String>,
        skip: u64,
        from: Option<Place>,
        then: Then,
    },
    /// What changed since. `begun`: when this incremental read was, if it is under way.
    Since {
        place: Place,
        begun: Option<DateTime<Utc>>,
    },
    Done,
}

/// What follows a snapshot, or a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Then {
    Done,
    Since { place: Place },
}

impl Then {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Done => Phase::Done,
            Self::Since { place } => Phase::Since { place: place.clone(), begun: None },
        }
    }
}

impl Cursor {
    /// A cursor of this mode and object; one that cannot be read is as good as none, and the object is
    /// read anew.
    pub(super) fn of(value: Option<Value>, mode: SyncMode, object: &str) -> Option<Self> {
        let cursor = serde_json::from_value::<Self>(value?).ok()?;
        (cursor.mode == mode && cursor.object == object && cursor.phase != Phase::Done).then_some(cursor)
    }

    pub(super) fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The same place in another phase.
    pub(super) fn at(&self, phase: Phase) -> Self {
        Self { phase, ..self.clone() }
    }
}

impl Place {
    /// Where the next read begins, after one that saw this last record at `now`. A transaction stamps its
    /// records before it ends: what is younger than the overlap may get company, and is read again.
    pub(super) fn after(
        field: &str,
        last: Option<(&str, &str)>,
        now: Option<DateTime<Utc>>,
        overlap: TimeDelta,
    ) -> Self {
        let place = |stamp: Option<String>, id: Option<String>| Self { field: field.to_owned(), stamp, id };
        let Some((stamp, id)) = last else { return place(None, None) };
        let stamp = value::instant(stamp).unwrap_or_else(|| stamp.to_owned());
        let Ok(moment) = DateTime::parse_from_rfc3339(&stamp) else { return place(None, None) };
        let moment = moment.to_utc();
        let sure = now.unwrap_or(moment) - overlap;
        if moment < sure {
            return place(Some(stamp), Some(id.to_owned()));
        }
        place(Some(sure.to_rfc3339_opts(SecondsFormat::Millis, true)), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(last: Option<(&str, &str)>, now: Option<&str>, expect: (Option<&str>, Option<&str>)) {
        let now = now.map(|now| DateTime::parse_from_rfc3339(now).expect("a time").to_utc());
        let place = Place::after("SystemModstamp", last, now, TimeDelta::minutes(10));
        assert_eq!((place.stamp.as_deref(), place.id.as_deref()), expect);
    }

    #[test]
    fn what_is_young_is_read_again_and_what_is_old_is_not() {
        let last = Some(("2026-01-01T12:00:00.000+0000", "001A"));
        check(None, Some("2026-01-01T12:00:00Z"), (None, None));
        check(last, Some("2026-01-01T12:30:00Z"), (Some("2026-01-01T12:00:00.000Z"), Some("001A")));
        check(last, Some("2026-01-01T12:05:00Z"), (Some("2026-01-01T11:55:00.000Z"), None));
        // The server's clock is behind its stamps, or is not known.
        check(last, Some("2026-01-01T11:00:00Z"), (Some("2026-01-01T10:50:00.000Z"), None));
        check(last, None, (Some("2026-01-01T11:50:00.000Z"), None));
    }

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let place = Place { field: "SystemModstamp".to_owned(), stamp: None, id: Some("001".to_owned()) };
        let then = Then::Since { place: place.clone() };
        for phase in [
            Phase::Pages { after: None, then: Then::Done },
            Phase::Job { job: "750".to_owned(), locator: None, skip: 3, from: Some(place.clone()), then },
            Phase::Since { place, begun: None },
        ] {
            let mode = SyncMode::Incremental;
            let cursor =
                Cursor { mode, object: "Account".to_owned(), columns: Vec::new(), taken: None, phase };
            assert_eq!(Cursor::of(Some(cursor.value()), mode, "Account"), Some(cursor.clone()));
            assert_eq!(Cursor::of(Some(cursor.value()), SyncMode::Full, "Account"), None);
            assert_eq!(Cursor::of(Some(cursor.value()), mode, "Contact"), None);
        }
    }
}
