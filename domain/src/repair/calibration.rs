//! What a tenant's decisions say about probabilities: a correction learned from them, kept with the
//! decisions it was learned from, and applied after the detector's own. It may take certainty away
//! from any change; it may never give so much that a change applies alone that would not have.

use crate::{
    aggregates::tenant::RepairPolicy,
    drift::{RepairChange, calibrate},
    error::Error,
    ids::RepairId,
    limits,
    mapping::{Evidence, MappingOrigin},
    repair::precedent,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Decisions that a correction is learned from: the newest.
pub const DECISIONS: usize = 500;
/// Fewer decisions than this correct nothing: one word against a sure change would have everything asked.
const LEAST: u32 = 10;
/// Changes of one decision that count.
const CHANGES: usize = 50;
/// The evidence that holds a change's probability from before the correction.
const SIGNAL: &str = "calibration";
/// Raised probabilities stay below everything that may apply alone.
pub(super) const RAISED_TO: f64 = RepairPolicy::AUTOMATIC_FLOOR - 0.001;

/// One change that a person decided about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JudgedChange {
    /// As the detector said, without any correction.
    pub probability: f64,
    pub right: bool,
}

/// A decision, as the latest word on its proposal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JudgedRepair {
    pub repair_id: RepairId,
    pub changes: Vec<JudgedChange>,
}

/// Probabilities are corrected on the logit: `slope` times it, plus `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TenantCalibration {
    pub slope: f64,
    pub offset: f64,
    /// Decisions it was learned from, and the changes in them.
    pub decisions: u32,
    pub changes: u32,
    /// Of the changes, those that were right.
    pub right: u32,
}

impl Default for TenantCalibration {
    fn default() -> Self {
        Self { slope: 1.0, offset: 0.0, decisions: 0, changes: 0, right: 0 }
    }
}

/// The decisions that count after another one: it takes the place of an earlier word on the same
/// proposal, and the oldest go.
pub fn remember(known: &[JudgedRepair], judged: JudgedRepair) -> Vec<JudgedRepair> {
    let mut all: Vec<JudgedRepair> =
        known.iter().filter(|other| other.repair_id != judged.repair_id).cloned().collect();
    all.push(judged);
    let excess = all.len().saturating_sub(DECISIONS);
    all.drain(..excess);
    all
}

/// The correction that decisions call for; the same ones always give the same.
pub fn learn(decisions: &[JudgedRepair]) -> TenantCalibration {
    let history: Vec<(f64, bool)> = decisions
        .iter()
        .flat_map(|decision| &decision.changes)
        .map(|change| (change.probability, change.right))
        .collect();
    let found = calibrate::recalibrate(&history);
    TenantCalibration {
        slope: found.slope,
        offset: found.offset,
        decisions: decisions.len() as u32,
        changes: history.len() as u32,
        right: history.iter().filter(|(_, right)| *right).count() as u32,
    }
}

impl JudgedRepair {
    /// Refuses what no decision looks like.
    pub fn check(&self) -> Result<(), Error> {
        limits::count("changes of a decision", self.changes.len(), CHANGES)?;
        for (index, change) in self.changes.iter().enumerate() {
            if !(0.0..=1.0).contains(&change.probability) {
                let message = format!("`{}` is not within 0 and 1", change.probability);
                return Err(Error::invalid(format!("/changes/{index}/probability"), message));
            }
        }
        Ok(())
    }

    /// A decision about a proposal's changes, by the probabilities that the detector gave them. What it
    /// did not find says nothing of it.
    pub fn of(repair_id: RepairId, changes: &[RepairChange], right: impl Fn(&RepairChange) -> bool) -> Self {
        let judged = changes
            .iter()
            .filter(|change| change.probability.is_finite() && change.origin == MappingOrigin::Matcher)
            .take(CHANGES)
            .map(|change| JudgedChange { probability: detected(change), right: right(change) });
        Self { repair_id, changes: judged.collect() }
    }
}

/// A change's probability before any correction.
fn detected(change: &RepairChange) -> f64 {
    let said = |signal: &str| change.evidence.iter().find(|evidence| evidence.signal == signal);
    // The past weighs a change after its correction.
    let before = said(SIGNAL).or_else(|| said(precedent::SIGNAL));
    before.map_or(change.probability, |evidence| evidence.score).clamp(0.0, 1.0)
}

impl TenantCalibration {
    /// What a probability of the detector's means for this tenant.
    pub fn apply(&self, probability: f64) -> f64 {
        if self.decisions < LEAST || !probability.is_finite() {
            return probability;
        }
        let corrected = calibrate::Calibration { slope: self.slope, offset: self.offset }.apply(probability);
        if corrected <= probability { corrected } else { probability.max(corrected.min(RAISED_TO)) }
    }

    /// Corrects a change, and says so in its evidence.
    pub fn correct(&self, change: &mut RepairChange) {
        let before = detected(change);
        let after = self.apply(before);
        if (after - change.probability).abs() < 1e-12 {
            return;
        }
        change.probability = after;
        change.evidence.retain(|evidence| evidence.signal != SIGNAL);
        change.evidence.push(Evidence {
            signal: SIGNAL.to_owned(),
            score: before,
            detail: format!(
                "{:.1} % before {} decisions of this organisation, which found {} of {} changes right",
                before * 100.0,
                self.decisions,
                self.right,
                self.changes
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{drift::OverlapCheck, ids::DriftId};
    use uuid::Uuid;

    fn judged(number: u128, probability: f64, right: bool) -> JudgedRepair {
        JudgedRepair {
            repair_id: RepairId(Uuid::from_u128(number)),
            changes: vec![JudgedChange { probability, right }],
        }
    }

    fn history(count: u128, probability: f64, right: impl Fn(u128) -> bool) -> Vec<JudgedRepair> {
        (0..count).map(|number| judged(number, probability, right(number))).collect()
    }

    #[test]
    fn few_decisions_move_little_and_many_do() {
        let none = learn(&[]);
        assert!((none.apply(0.97) - 0.97).abs() < 1e-12);
        let one = learn(&history(1, 0.97, |_| false)).apply(0.97);
        assert!((one - 0.97).abs() < 1e-12, "{one}");
        let ten = learn(&history(10, 0.97, |number| number > 0)).apply(0.97);
        assert!(ten > 0.93 && ten < 0.97, "{ten}");
        let many = learn(&history(200, 0.97, |number| number % 2 == 0)).apply(0.97);
        assert!((0.4..0.7).contains(&many), "{many}");
    }

    #[test]
    fn no_decision_makes_a_change_apply_alone() {
        let sure = learn(&history(500, 0.7, |_| true));
        for probability in [0.1, 0.6, 0.7, 0.84, 0.86, 0.98, 0.995] {
            let corrected = sure.apply(probability);
            assert!(corrected >= probability, "{probability} {corrected}");
            assert!(corrected <= probability.max(RAISED_TO), "{probability} {corrected}");
        }
        assert!(sure.apply(0.7) > 0.8);
    }

    #[test]
    fn the_latest_word_on_a_proposal_counts_and_the_oldest_go() {
        let mut known = Vec::new();
        for number in 0..DECISIONS as u128 + 5 {
            known = remember(&known, judged(number, 0.9, true));
        }
        assert_eq!((known.len(), known[0].repair_id), (DECISIONS, RepairId(Uuid::from_u128(5))));
        let again = remember(&known, judged(7, 0.9, false));
        assert_eq!((again.len(), again.last()), (DECISIONS, Some(&judged(7, 0.9, false))));
        assert!(judged(1, 1.5, true).check().is_err());
    }

    #[test]
    fn a_corrected_change_keeps_what_the_detector_said() {
        let mut change = RepairChange {
            drift_id: DriftId(Uuid::nil()),
            old_source: "old".into(),
            new_sources: vec!["new".into()],
            adapt: None,
            probability: 0.99,
            evidence: vec![],
            overlap: OverlapCheck::Unknown { compared: 0 },
            origin: MappingOrigin::Matcher,
        };
        let calibration = learn(&history(50, 0.99, |_| false));
        calibration.correct(&mut change);
        let corrected = change.probability;
        assert!(corrected < 0.99);
        // Corrected again, it is corrected from the same.
        calibration.correct(&mut change);
        assert!((change.probability - corrected).abs() < 1e-12 && change.evidence.len() == 1);
        let decided = JudgedRepair::of(RepairId(Uuid::nil()), &[change], |_| true);
        assert!((decided.changes[0].probability - 0.99).abs() < 1e-12);
    }
}
