//! A policy on a tenant's own past: what it would have done alone, and whether people's decisions say
//! that it would have been right. A change is one case. It was right if its proposal was approved and
//! the mapping that became of it has the change; it was wrong if its proposal was rejected or rolled
//! back, or an edit left the change out. What nobody decided about says nothing.

use crate::{
    aggregates::{
        mapping::{RepairStatus, judged},
        tenant::AutonomyMode,
    },
    drift::RepairChange,
    mapping::{MappingContent, MappingField},
    policy::PolicyInForce,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bins of the reliability table, each a tenth of the probabilities.
pub const BINS: usize = 10;

/// A proposal of the past.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    pub status: RepairStatus,
    /// A person changed it before approving.
    pub edited: bool,
    pub changes: &'a [RepairChange],
    /// The mapping it was made for.
    pub before: &'a MappingContent,
    /// The mapping that became of it.
    pub after: &'a MappingContent,
}

/// A change of the past, with what the policy would have made of it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Case {
    probability: f64,
    right: bool,
    fate: RepairStatus,
}

/// Decisions gathered, one proposal after the other.
#[derive(Debug, Clone, Default)]
pub struct Backtest {
    cases: Vec<Case>,
    proposals: u64,
    undecided: u64,
}

/// What a policy would have done on the tenant's own decisions. Shares are none where nothing is
/// counted by them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BacktestReport {
    /// Proposals that people decided about.
    pub proposals: u64,
    /// Proposals that say nothing: they wait, expired, or applied alone and stand.
    pub undecided: u64,
    /// Changes of the decided proposals.
    pub changes: u64,
    /// Of these, the ones that people found right.
    pub right: u64,
    /// Changes that the policy would have applied alone.
    pub automatic: u64,
    pub automatic_right: u64,
    pub automatic_wrong: u64,
    /// Changes that it would have asked about.
    pub asked: u64,
    /// Changes that it would have held.
    pub held: u64,
    /// Of what would have applied alone, the share that was right.
    pub precision: Option<f64>,
    /// Of what was right, the share that would have applied alone.
    pub recall: Option<f64>,
    /// Of all, the share that would have applied alone.
    pub coverage: Option<f64>,
    pub calibration: Calibration,
}

/// How well probabilities meant what they said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    /// Expected calibration error over ten bins of equal width.
    pub ece: Option<f64>,
    /// Mean squared distance of the probability from what was found.
    pub brier: Option<f64>,
    pub bins: Vec<ReliabilityBin>,
}

/// Changes whose probability is from `from` (inclusive) to `to` (exclusive; the last one inclusive).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReliabilityBin {
    pub from: f64,
    pub to: f64,
    pub changes: u64,
    /// Mean of the probabilities; none: there is no change.
    pub said: Option<f64>,
    /// Share that was right.
    pub found: Option<f64>,
}

impl Backtest {
    /// Takes a proposal in, under the policy that would have been in force for its stream.
    pub fn add(&mut self, decided: Decided<'_>, policies: &PolicyInForce, mode: AutonomyMode) {
        let approved = match decided.status {
            RepairStatus::Approved => true,
            RepairStatus::Rejected | RepairStatus::RolledBack => false,
            RepairStatus::AutoApplied
            | RepairStatus::PendingReview
            | RepairStatus::Held
            | RepairStatus::Expired => {
                self.undecided += 1;
                return;
            }
        };
        self.proposals += 1;
        for change in decided.changes.iter().filter(|change| change.probability.is_finite()) {
            self.cases.push(Case {
                probability: change.probability.clamp(0.0, 1.0),
                right: approved && (!decided.edited || kept(decided.before, decided.after, change)),
                fate: judged(policies, mode, decided.before, change),
            });
        }
    }

    pub fn report(&self) -> BacktestReport {
        let count = |is: &dyn Fn(&Case) -> bool| self.cases.iter().filter(|case| is(case)).count() as u64;
        let alone = |case: &Case| case.fate == RepairStatus::AutoApplied;
        let changes = self.cases.len() as u64;
        let right = count(&|case| case.right);
        let automatic = count(&alone);
        let automatic_right = count(&|case| alone(case) && case.right);
        let asked = count(&|case| case.fate == RepairStatus::PendingReview);
        BacktestReport {
            proposals: self.proposals,
            undecided: self.undecided,
            changes,
            right,
            automatic,
            automatic_right,
            automatic_wrong: automatic - automatic_right,
            asked,
            held: changes - automatic - asked,
            precision: share(automatic_right, automatic),
            recall: share(automatic_right, right),
            coverage: share(automatic, changes),
            calibration: self.calibration(),
        }
    }

    fn calibration(&self) -> Calibration {
        let total = self.cases.len() as f64;
        let mut ece = 0.0;
        let bins = (0..BINS).map(|bin| {
            let within: Vec<&Case> =
                self.cases.iter().filter(|case| bin_of(case.probability) == bin).collect();
            let changes = within.len() as u64;
            let said = within.iter().map(|case| case.probability).sum::<f64>() / changes as f64;
            let found = share(within.iter().filter(|case| case.right).count() as u64, changes);
            if let Some(found) = found {
                ece += changes as f64 / total * (said - found).abs();
            }
            let edge = |bin: usize| bin as f64 / BINS as f64;
            ReliabilityBin { from: edge(bin), to: edge(bin + 1), changes, said: found.map(|_| said), found }
        });
        let bins = bins.collect();
        let distance = |case: &Case| (case.probability - f64::from(u8::from(case.right))).powi(2);
        let brier = self.cases.iter().map(distance).sum::<f64>() / total;
        let some = !self.cases.is_empty();
        Calibration { ece: some.then_some(ece), brier: some.then_some(brier), bins }
    }
}

fn bin_of(probability: f64) -> usize {
    ((probability * BINS as f64) as usize).min(BINS - 1)
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Whether an edited mapping has the change all the same: every line that read the old column reads
/// the new ones instead, and so does the key.
pub fn kept(before: &MappingContent, after: &MappingContent, change: &RepairChange) -> bool {
    let read_it = |line: &&MappingField| line.sources().any(|source| source == change.old_source);
    let lines = before.fields.iter().filter(read_it).all(|old| {
        let new = after.fields.iter().find(|line| line.target == old.target);
        new.is_some_and(|new| change.new_sources.iter().all(|wanted| new.sources().any(|own| own == wanted)))
    });
    let key = !before.key.contains(&change.old_source)
        || change.new_sources.iter().all(|wanted| after.key.contains(wanted));
    lines && key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aggregates::tenant::RepairPolicy,
        drift::OverlapCheck,
        ids::DriftId,
        mapping::{MappingOrigin, Transform},
    };
    use uuid::Uuid;

    fn change(probability: f64) -> RepairChange {
        RepairChange {
            drift_id: DriftId(Uuid::nil()),
            old_source: "old".into(),
            new_sources: vec!["new".into()],
            adapt: None,
            probability,
            evidence: vec![],
            overlap: OverlapCheck::Agrees { compared: 50, disagreeing: 0 },
            origin: MappingOrigin::Matcher,
        }
    }

    fn content(source: &str) -> MappingContent {
        let line = MappingField {
            source: source.into(),
            also: vec![],
            target: "name".into(),
            transform: Transform::Copy,
            confidence: 1.0,
            origin: MappingOrigin::Matcher,
            evidence: vec![],
        };
        MappingContent { entity: Some("account".into()), key: vec!["id".into()], fields: vec![line] }
    }

    fn test(decisions: &[(RepairStatus, bool, &str, f64)], automatic_from: f64) -> BacktestReport {
        let policies = PolicyInForce::of(RepairPolicy { automatic_from, ask_from: 0.6 });
        let before = content("old");
        let mut backtest = Backtest::default();
        for (status, edited, became, probability) in decisions {
            let (changes, after) = ([change(*probability)], content(became));
            let decided = Decided {
                status: *status,
                edited: *edited,
                changes: &changes,
                before: &before,
                after: &after,
            };
            backtest.add(decided, &policies, AutonomyMode::Auto);
        }
        backtest.report()
    }

    #[test]
    fn people_say_what_was_right() {
        use RepairStatus as Status;
        let decisions = [
            (Status::Approved, false, "new", 0.99),
            // An edit that kept the change, and one that did not.
            (Status::Approved, true, "new", 0.95),
            (Status::Approved, true, "other", 0.95),
            (Status::Rejected, false, "old", 0.7),
            (Status::RolledBack, false, "new", 0.99),
            (Status::Approved, false, "new", 0.5),
            (Status::AutoApplied, false, "new", 1.0),
            (Status::Expired, false, "old", 0.8),
            (Status::PendingReview, false, "old", 0.8),
        ];
        let strict = test(&decisions, 0.99);
        assert_eq!((strict.proposals, strict.undecided, strict.changes, strict.right), (6, 3, 6, 3));
        assert_eq!((strict.automatic, strict.automatic_right, strict.asked, strict.held), (2, 1, 3, 1));
        assert_eq!((strict.precision, strict.recall), (Some(0.5), Some(1.0 / 3.0)));
        let loose = test(&decisions, 0.9);
        assert_eq!((loose.automatic, loose.automatic_right, loose.automatic_wrong), (4, 2, 2));
        assert_eq!(loose.coverage, Some(4.0 / 6.0));
        let bins = &loose.calibration.bins;
        assert_eq!((bins.len(), bins[9].changes, bins[9].found), (BINS, 4, Some(0.5)));
        assert!((bins[9].said.unwrap() - 0.97).abs() < 1e-9);
        let ece = (4.0 * 0.47 + 0.7 + 0.5) / 6.0;
        assert!((loose.calibration.ece.unwrap() - ece).abs() < 1e-9);
        let brier =
            (0.01_f64.powi(2) + 0.05_f64.powi(2) + 0.95_f64.powi(2) + 0.49 + 0.99_f64.powi(2) + 0.25) / 6.0;
        assert!((loose.calibration.brier.unwrap() - brier).abs() < 1e-9);
        assert_eq!(loose.calibration, strict.calibration, "no policy changes what was said");
    }

    #[test]
    fn nothing_decided_says_nothing() {
        let report = test(&[], 0.99);
        assert_eq!((report.precision, report.recall, report.calibration.ece), (None, None, None));
        assert_eq!(report.calibration.bins.len(), BINS);
    }
}
