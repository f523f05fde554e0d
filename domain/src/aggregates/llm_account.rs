//! An organisation's account with language models: what it allows, what it may spend in a month, and
//! each call. A call is reserved before it is made and settled after it, so that no number of them at
//! the same time spends more than the budget. The aggregate's id is the tenant's.

use super::{domain_event, stored_aggregate};
use crate::{error::Error, limits};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A call that was not settled for so long never will be: its process ended.
const LOST_AFTER: TimeDelta = TimeDelta::hours(1);
/// Largest budgets that can be set.
pub const TOKENS_MOST: u64 = 1_000_000_000_000;
pub const COST_MOST: f64 = 1_000_000.0;
/// Parts of the operator's currency that costs are counted in.
pub const MICROS: f64 = 1_000_000.0;
/// Calls that may be under way at a time.
const OPEN_CALLS: usize = 100;

/// What an organisation allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LlmSettings {
    /// Whether a language model may be asked at all.
    pub allowed: bool,
    /// Whether it may be shown values as they stand. Else it sees names, types and the forms of values.
    pub raw_values: bool,
    /// Tokens a calendar month (UTC), of questions and answers together.
    pub tokens_per_month: u64,
    /// Money a calendar month, in the currency of the operator's prices.
    pub cost_per_month: f64,
}

impl Default for LlmSettings {
    fn default() -> Self {
        Self { allowed: false, raw_values: false, tokens_per_month: 1_000_000, cost_per_month: 10.0 }
    }
}

/// What a language model was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LlmPurpose {
    /// Where a column went that is gone.
    Repair,
}

impl LlmPurpose {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Repair => "repair",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LlmOutcome {
    /// With an answer that holds.
    Answered,
    /// The provider refused the request.
    Refused,
    RateLimited,
    TimedOut,
    /// It could not be reached, or failed.
    Unavailable,
    /// What it answered, twice, is not what was asked for.
    Malformed,
    /// Its answer was cut off.
    Truncated,
    /// The process ended while it was under way: counted as if all reserved had been spent.
    Lost,
}

/// A call about to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LlmCall {
    pub call_id: Uuid,
    pub model: String,
    pub purpose: LlmPurpose,
    pub prompt_version: u32,
    /// BLAKE3 of the question, hex: never the question itself.
    pub question_hash: String,
    /// The most it may cost.
    pub tokens: u64,
    pub cost_micros: u64,
    pub at: DateTime<Utc>,
}

/// What a call was and cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LlmUse {
    pub outcome: LlmOutcome,
    /// Requests made: two where the first answer had to be asked for again.
    pub requests: u32,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_micros: u64,
    pub latency_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum LlmAccountEvent {
    LlmSettingsSet { settings: LlmSettings },
    LlmCallReserved { call: LlmCall },
    LlmCallSettled { call_id: Uuid, model: String, purpose: LlmPurpose, prompt_version: u32, used: LlmUse },
}
domain_event!(LlmAccountEvent { LlmSettingsSet, LlmCallReserved, LlmCallSettled });

#[derive(Debug, Clone)]
pub enum LlmAccountCommand {
    SetLlmSettings {
        settings: LlmSettings,
    },
    /// Refused where it is not allowed, or would pass the month's budget.
    ReserveLlmCall {
        call: LlmCall,
    },
    SettleLlmCall {
        call_id: Uuid,
        used: LlmUse,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LlmAccount {
    pub settings: LlmSettings,
    /// The month that `tokens` and `cost_micros` were spent in: years times twelve and months.
    pub month: u32,
    pub tokens: u64,
    pub cost_micros: u64,
    /// Reserved and not settled.
    pub open: BTreeMap<Uuid, LlmCall>,
}
stored_aggregate!(LlmAccount, LlmAccount, LlmAccountCommand, LlmAccountEvent);

fn month_of(at: DateTime<Utc>) -> u32 {
    at.year().unsigned_abs() * 12 + at.month0()
}

impl LlmSettings {
    fn check(&self) -> Result<(), Error> {
        if self.tokens_per_month > TOKENS_MOST {
            let message = format!("`{}` is more than {TOKENS_MOST}", self.tokens_per_month);
            return Err(Error::invalid("/tokens_per_month", message));
        }
        if !(0.0..=COST_MOST).contains(&self.cost_per_month) {
            let message = format!("`{}` is not within 0 and {COST_MOST}", self.cost_per_month);
            return Err(Error::invalid("/cost_per_month", message));
        }
        Ok(())
    }
}

impl LlmAccount {
    /// Tokens and money spent in the month of `at`, with what is reserved.
    pub fn spent(&self, at: DateTime<Utc>) -> (u64, u64) {
        let same = self.month == month_of(at);
        let settled = if same { (self.tokens, self.cost_micros) } else { (0, 0) };
        self.open.values().fold(settled, |(tokens, cost), call| {
            (tokens.saturating_add(call.tokens), cost.saturating_add(call.cost_micros))
        })
    }

    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, command: LlmAccountCommand) -> Result<Vec<LlmAccountEvent>, Error> {
        match command {
            LlmAccountCommand::SetLlmSettings { settings } => {
                settings.check()?;
                let same = settings == self.settings;
                Ok(if same { Vec::new() } else { vec![LlmAccountEvent::LlmSettingsSet { settings }] })
            }
            LlmAccountCommand::ReserveLlmCall { call } => self.reserve(call),
            LlmAccountCommand::SettleLlmCall { call_id, used } => {
                let settled = self.open.get(&call_id).map(|call| settled(call, used));
                Ok(settled.into_iter().collect())
            }
        }
    }

    fn reserve(&self, call: LlmCall) -> Result<Vec<LlmAccountEvent>, Error> {
        if !self.settings.allowed {
            let message = "the organisation allows no language model".to_owned();
            return Err(Error::Forbidden { message });
        }
        limits::name("/model", &call.model)?;
        limits::hash("/question_hash", &call.question_hash)?;
        let lost = |known: &&LlmCall| call.at - known.at > LOST_AFTER;
        let mut after = self.clone();
        let mut events: Vec<LlmAccountEvent> = Vec::new();
        for known in self.open.values().filter(lost) {
            let used = LlmUse {
                outcome: LlmOutcome::Lost,
                requests: 0,
                input_tokens: known.tokens,
                output_tokens: 0,
                cost_micros: known.cost_micros,
                latency_ms: 0,
            };
            let event = settled(known, used);
            after.evolve(event.clone());
            events.push(event);
        }
        limits::count("calls of language models at a time", after.open.len() + 1, OPEN_CALLS)?;
        let (tokens, cost) = after.spent(call.at);
        let tokens = tokens.saturating_add(call.tokens);
        if tokens > self.settings.tokens_per_month {
            return Err(Error::LimitExceeded {
                what: "the month's tokens of language models",
                value: tokens,
                limit: self.settings.tokens_per_month,
            });
        }
        let cost = cost.saturating_add(call.cost_micros);
        let limit = (self.settings.cost_per_month * MICROS) as u64;
        if cost > limit {
            return Err(Error::LimitExceeded {
                what: "the month's cost of language models, in millionths,",
                value: cost,
                limit,
            });
        }
        events.push(LlmAccountEvent::LlmCallReserved { call });
        Ok(events)
    }

    fn evolve(&mut self, event: LlmAccountEvent) {
        match event {
            LlmAccountEvent::LlmSettingsSet { settings } => self.settings = settings,
            LlmAccountEvent::LlmCallReserved { call } => {
                let month = month_of(call.at);
                if month != self.month {
                    (self.month, self.tokens, self.cost_micros) = (month, 0, 0);
                }
                self.open.insert(call.call_id, call);
            }
            LlmAccountEvent::LlmCallSettled { call_id, used, .. } => {
                // A call counts in the month it was made in.
                let own = self.open.remove(&call_id).map(|call| month_of(call.at));
                if own == Some(self.month) {
                    let tokens = used.input_tokens.saturating_add(used.output_tokens);
                    self.tokens = self.tokens.saturating_add(tokens);
                    self.cost_micros = self.cost_micros.saturating_add(used.cost_micros);
                }
            }
        }
    }
}

fn settled(call: &LlmCall, used: LlmUse) -> LlmAccountEvent {
    LlmAccountEvent::LlmCallSettled {
        call_id: call.call_id,
        model: call.model.clone(),
        purpose: call.purpose,
        prompt_version: call.prompt_version,
        used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregates::tests::state;

    fn at(day: u32, hour: u32) -> DateTime<Utc> {
        chrono::NaiveDate::from_ymd_opt(2026, 3, day).unwrap().and_hms_opt(hour, 0, 0).unwrap().and_utc()
    }

    fn call(number: u128, tokens: u64, at: DateTime<Utc>) -> LlmAccountCommand {
        let call = LlmCall {
            call_id: Uuid::from_u128(number),
            model: "model".into(),
            purpose: LlmPurpose::Repair,
            prompt_version: 1,
            question_hash: "0".repeat(64),
            tokens,
            cost_micros: tokens * 10,
            at,
        };
        LlmAccountCommand::ReserveLlmCall { call }
    }

    fn settle(number: u128, tokens: u64) -> LlmAccountCommand {
        let used = LlmUse {
            outcome: LlmOutcome::Answered,
            requests: 1,
            input_tokens: tokens,
            output_tokens: 0,
            cost_micros: tokens * 10,
            latency_ms: 5,
        };
        LlmAccountCommand::SettleLlmCall { call_id: Uuid::from_u128(number), used }
    }

    fn allowed(tokens_per_month: u64, cost_per_month: f64) -> LlmAccount {
        let settings = LlmSettings { allowed: true, raw_values: false, tokens_per_month, cost_per_month };
        state::<LlmAccount>(&[LlmAccountEvent::LlmSettingsSet { settings }])
    }

    fn run(account: &mut LlmAccount, command: LlmAccountCommand) -> Result<usize, &'static str> {
        let events = account.decide(command).map_err(|error| error.code())?;
        let count = events.len();
        for event in events {
            account.evolve(event);
        }
        Ok(count)
    }

    #[test]
    fn nothing_is_asked_before_it_is_allowed() {
        assert_eq!(run(&mut LlmAccount::default(), call(1, 10, at(1, 0))), Err("AOS-0006"));
        let mut account = LlmAccount::default();
        let refused = LlmSettings { cost_per_month: f64::NAN, ..LlmSettings::default() };
        assert_eq!(
            run(&mut account, LlmAccountCommand::SetLlmSettings { settings: refused }),
            Err("AOS-0001")
        );
    }

    #[test]
    fn what_is_reserved_counts_until_it_is_settled() {
        let mut account = allowed(100, 1.0);
        assert_eq!(run(&mut account, call(1, 60, at(1, 0))), Ok(1));
        assert_eq!(run(&mut account, call(2, 60, at(1, 0))), Err("AOS-0007"));
        assert_eq!(run(&mut account, settle(1, 20)), Ok(1));
        assert_eq!(run(&mut account, settle(1, 20)), Ok(0), "settled once");
        assert_eq!(run(&mut account, call(2, 60, at(1, 0))), Ok(1));
        assert_eq!(account.spent(at(1, 1)), (80, 800));
    }

    #[test]
    fn money_is_a_limit_of_its_own_and_months_begin_anew() {
        let mut account = allowed(1_000, 0.000_5);
        assert_eq!(run(&mut account, call(1, 60, at(1, 0))), Err("AOS-0007"));
        assert_eq!(run(&mut account, call(1, 50, at(1, 0))), Ok(1));
        assert_eq!(run(&mut account, settle(1, 50)), Ok(1));
        assert_eq!(run(&mut account, call(2, 1, at(31, 0))), Err("AOS-0007"));
        let april = at(31, 0) + TimeDelta::days(1);
        assert_eq!(run(&mut account, call(2, 50, april)), Ok(1));
        assert_eq!(account.spent(april), (50, 500));
    }

    #[test]
    fn a_call_that_was_lost_counts_as_spent() {
        let mut account = allowed(100, 1.0);
        assert_eq!(run(&mut account, call(1, 60, at(1, 0))), Ok(1));
        assert_eq!(run(&mut account, call(2, 60, at(1, 3))), Err("AOS-0007"));
        assert_eq!(run(&mut account, call(2, 40, at(1, 3))), Ok(2), "the lost one is settled");
        assert_eq!(account.open.len(), 1);
        assert_eq!(account.spent(at(1, 3)), (100, 1_000));
    }
}
