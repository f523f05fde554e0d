//! What an organisation decided before about the same change of a column's name: evidence for and
//! against it wherever it comes again. A precedent may propose a change, or raise one so far that a
//! person is asked; it never makes one apply alone. A rejection keeps it from doing so.

use crate::{
    aggregates::mapping::DriftImpact,
    drift::{DriftFinding, DriftKind, OverlapCheck, RepairChange, calibrate, normal_name, types_fit},
    error::Error,
    limits,
    mapping::{Evidence, MappingContent, MappingOrigin},
    repair::{backtest::kept, calibration::RAISED_TO},
    schema::Field,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Precedents that count: the newest.
pub const PRECEDENTS: usize = 2_000;
/// Of one decision.
const PER_DECISION: usize = 200;
/// The evidence that a precedent leaves; on a change that the detector found, its score is the probability
/// without it.
pub(super) const SIGNAL: &str = "retrieval";
/// A change that was accepted once and not rejected since is at least so probable: it is asked.
const ACCEPTED: f64 = 0.70;
/// Each further acceptance adds to it.
const ACCEPTED_AGAIN: f64 = 0.05;
/// What was rejected more than once, and never accepted, is at most so probable: nobody is asked again.
const REJECTED: f64 = 0.5;
/// Below it nobody was asked: what raises a change over it found it.
const ASKED: f64 = 0.60;

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Approved,
    /// A person's own, in place of what was proposed.
    Edited,
    /// It applied alone, and stands.
    Applied,
    /// A person mapped the new column in the old one's place.
    Mapped,
    Rejected,
    RolledBack,
}

impl Verdict {
    const fn accepts(self) -> bool {
        !matches!(self, Self::Rejected | Self::RolledBack)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Edited => "made by an edit",
            Self::Applied => "applied alone",
            Self::Mapped => "mapped by a person",
            Self::Rejected => "rejected",
            Self::RolledBack => "rolled back",
        }
    }
}

/// One column's new name, and what was decided about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Precedent {
    /// The repair that was decided about; of a mapping edited without one, the command's id.
    pub decision: Uuid,
    /// Both names in lower case, their words joined by `_`.
    pub old: String,
    pub new: String,
    pub verdict: Verdict,
}

impl Precedent {
    /// None: the names are the same, or the change is of more than the name.
    pub fn of(decision: Uuid, change: &RepairChange, verdict: Verdict) -> Option<Self> {
        match change.new_sources.as_slice() {
            [new] if change.adapt.is_none() => Self::named(decision, &change.old_source, new, verdict),
            _ => None,
        }
    }

    fn named(decision: Uuid, old: &str, new: &str, verdict: Verdict) -> Option<Self> {
        let (old, new) = (normal_name(old), normal_name(new));
        let said = !old.is_empty() && !new.is_empty() && old != new;
        said.then_some(Self { decision, old, new, verdict })
    }

    fn is_of(&self, old: &str, new: &str) -> bool {
        self.old == old && self.new == new
    }
}

/// The precedents of a decision: of what was proposed, and of what an edit made instead.
pub fn decided(
    decision: Uuid,
    changes: &[RepairChange],
    verdict: Verdict,
    edit: Option<(&MappingContent, &MappingContent)>,
) -> Vec<Precedent> {
    let mut found: Vec<Precedent> = Vec::new();
    for change in changes {
        let left_out = edit.is_some_and(|(before, after)| !kept(before, after, change));
        let verdict = if left_out { Verdict::Rejected } else { verdict };
        found.extend(Precedent::of(decision, change, verdict));
    }
    if let Some((before, after)) = edit {
        let own = renamed(decision, before, after, Verdict::Edited);
        found.extend(own.into_iter().map(|(precedent, ..)| precedent).filter(|own| {
            !changes
                .iter()
                .filter_map(|change| Precedent::of(decision, change, verdict))
                .any(|proposed| proposed == Precedent { verdict, ..own.clone() })
        }));
    }
    found.truncate(PER_DECISION);
    found
}

/// Fields that are read from another single column than before, with both names as they stand.
pub fn renamed<'a>(
    decision: Uuid,
    before: &'a MappingContent,
    after: &'a MappingContent,
    verdict: Verdict,
) -> Vec<(Precedent, &'a str, &'a str)> {
    let lines = before.fields.iter().filter(|line| line.also.is_empty());
    lines
        .filter_map(|old| {
            let new = after.fields.iter().find(|line| line.target == old.target && line.also.is_empty())?;
            let same_reading = old.transform == new.transform;
            let precedent = Precedent::named(decision, &old.source, &new.source, verdict)?;
            same_reading.then_some((precedent, old.source.as_str(), new.source.as_str()))
        })
        .take(PER_DECISION)
        .collect()
}

/// The precedents that count after a decision: it takes the place of an earlier word on the same one,
/// and the oldest go.
pub fn remember(known: &[Precedent], decision: Uuid, precedents: Vec<Precedent>) -> Vec<Precedent> {
    let mut all: Vec<Precedent> = known.iter().filter(|other| other.decision != decision).cloned().collect();
    all.extend(precedents);
    let excess = all.len().saturating_sub(PRECEDENTS);
    all.drain(..excess);
    all
}

/// Refuses what no decision looks like.
pub fn check(decision: Uuid, precedents: &[Precedent]) -> Result<(), Error> {
    limits::count("precedents of a decision", precedents.len(), PER_DECISION)?;
    for (index, precedent) in precedents.iter().enumerate() {
        limits::source_name(&format!("/precedents/{index}/old"), &precedent.old)?;
        limits::source_name(&format!("/precedents/{index}/new"), &precedent.new)?;
        if precedent.decision != decision {
            return Err(Error::invalid(format!("/precedents/{index}/decision"), "it is of another decision"));
        }
    }
    Ok(())
}

/// What the past says of one change.
struct Standing<'a> {
    accepted: u32,
    rejected: u32,
    latest: &'a Precedent,
}

fn standing<'a>(known: &'a [Precedent], old: &str, new: &str) -> Option<Standing<'a>> {
    let about: Vec<&Precedent> = known.iter().filter(|precedent| precedent.is_of(old, new)).collect();
    let accepted = about.iter().filter(|precedent| precedent.verdict.accepts()).count() as u32;
    let rejected = about.len() as u32 - accepted;
    about.last().map(|latest| Standing { accepted, rejected, latest })
}

impl Standing<'_> {
    fn probability(&self) -> f64 {
        (ACCEPTED + ACCEPTED_AGAIN * f64::from(self.accepted.saturating_sub(1))).min(RAISED_TO)
    }

    fn evidence(&self, before: f64) -> Evidence {
        let Precedent { decision, old, new, verdict } = self.latest;
        let (accepted, rejected) = (self.accepted, self.rejected);
        Evidence {
            signal: SIGNAL.to_owned(),
            score: before,
            detail: format!(
                "`{old}` became `{new}` before: {} in decision {decision}; {accepted} times accepted, {rejected} times rejected",
                verdict.words()
            ),
        }
    }
}

/// Weighs each change by the past, and looks in it for those that nothing else was found for. `overlap`
/// compares an old column with a new one on common records.
pub fn recall(
    known: &[Precedent],
    findings: &[DriftFinding],
    impacts: &mut [DriftImpact],
    overlap: impl Fn(&str, &str) -> OverlapCheck,
) {
    if known.is_empty() {
        return;
    }
    for change in impacts.iter_mut().filter_map(|impact| impact.change.as_mut()) {
        weigh(known, change);
    }
    let taken: BTreeSet<String> = impacts
        .iter()
        .filter_map(|impact| impact.change.as_ref())
        .filter(|change| change.probability >= ASKED)
        .flat_map(|change| change.new_sources.iter().cloned())
        .collect();
    let news: Vec<&Field> = findings
        .iter()
        .filter(|finding| finding.kind == DriftKind::FieldAdded)
        .filter_map(|finding| finding.after.as_ref()?.fields.first())
        .filter(|field| !taken.contains(&field.name))
        .collect();
    for finding in findings.iter().filter(|finding| finding.kind == DriftKind::FieldRemoved) {
        let Some(old) = finding.before.as_ref().and_then(|side| side.fields.first()) else { continue };
        let Some(impact) = impacts.iter_mut().find(|impact| impact.drift_id == finding.id && !impact.key)
        else {
            continue;
        };
        if impact.change.as_ref().is_some_and(|change| change.probability >= ASKED) {
            continue;
        }
        if let Some(found) = retrieved(known, finding, old, &news, &overlap) {
            impact.change = Some(found);
        }
    }
}

/// A change that another part of the platform found, seen in the light of the past.
pub fn weigh(known: &[Precedent], change: &mut RepairChange) {
    let (Some(own), [_]) =
        (Precedent::of(Uuid::nil(), change, Verdict::Approved), change.new_sources.as_slice())
    else {
        return;
    };
    let Some(standing) = standing(known, &own.old, &own.new) else { return };
    let before = change.probability;
    let agrees = matches!(change.overlap, OverlapCheck::Agrees { .. });
    let objects = matches!(change.overlap, OverlapCheck::Objects { .. });
    change.probability = if !standing.latest.verdict.accepts() {
        let tired = standing.rejected > 1 && standing.accepted == 0 && !agrees;
        before.min(if tired { REJECTED } else { RAISED_TO })
    } else if objects {
        before
    } else {
        before.max(standing.probability())
    };
    if before < ASKED && change.probability >= ASKED && change.origin == MappingOrigin::Matcher {
        change.origin = MappingOrigin::Retrieval;
    }
    change.evidence.push(standing.evidence(before));
}

fn retrieved(
    known: &[Precedent],
    finding: &DriftFinding,
    old: &Field,
    news: &[&Field],
    overlap: &impl Fn(&str, &str) -> OverlapCheck,
) -> Option<RepairChange> {
    let was = normal_name(&old.name);
    let fitting: Vec<(&Field, Standing<'_>)> = news
        .iter()
        .filter(|new| types_fit(old, new) > 0.0)
        .filter_map(|new| Some((*new, standing(known, &was, &normal_name(&new.name))?)))
        .filter(|(_, standing)| standing.latest.verdict.accepts())
        .collect();
    let rivals = fitting.len();
    let (new, standing) = fitting.into_iter().max_by(|(one, left), (other, right)| {
        left.accepted.cmp(&right.accepted).then_with(|| other.name.cmp(&one.name))
    })?;
    let overlap = overlap(&old.name, &new.name);
    if matches!(overlap, OverlapCheck::Objects { .. }) {
        return None;
    }
    let alone = standing.probability();
    // Where the past names several, each has its share.
    let probability = if rivals > 1 { calibrate::shared(alone, [alone]) } else { alone };
    Some(RepairChange {
        drift_id: finding.id,
        old_source: old.name.clone(),
        new_sources: vec![new.name.clone()],
        adapt: None,
        probability,
        evidence: vec![standing.evidence(alone)],
        overlap,
        origin: MappingOrigin::Retrieval,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drift::{DriftSide, Severity},
        ids::DriftId,
        schema::LogicalType,
    };

    fn precedent(number: u128, old: &str, new: &str, verdict: Verdict) -> Precedent {
        Precedent::named(Uuid::from_u128(number), old, new, verdict).expect("two names")
    }

    fn finding(kind: DriftKind, name: &str) -> DriftFinding {
        let field =
            Field { name: name.into(), logical_type: LogicalType::Text, nullable: true, format: None };
        let side = Some(DriftSide { fields: vec![field], ..DriftSide::default() });
        let removed = kind == DriftKind::FieldRemoved;
        DriftFinding {
            id: DriftId::derive(&[name]),
            kind,
            field: Some(name.into()),
            before: side.clone().filter(|_| removed),
            after: side.filter(|_| !removed),
            severity: Severity::Warning,
            confidence: 1.0,
            evidence: vec![],
            repair: None,
        }
    }

    /// What becomes of `Sales` that is gone while others came: its new column, how probable, from where.
    fn check(
        known: &[Precedent],
        matcher: Option<(&str, f64, OverlapCheck)>,
        came: &[&str],
        overlap: OverlapCheck,
        expect: Option<(&str, f64, MappingOrigin)>,
    ) {
        let mut findings = vec![finding(DriftKind::FieldRemoved, "Sales")];
        findings.extend(came.iter().map(|name| finding(DriftKind::FieldAdded, name)));
        let drift_id = findings[0].id;
        let change = matcher.map(|(new, probability, overlap)| RepairChange {
            drift_id,
            old_source: "Sales".into(),
            new_sources: vec![new.into()],
            adapt: None,
            probability,
            evidence: vec![],
            overlap,
            origin: MappingOrigin::Matcher,
        });
        let mut impacts = [DriftImpact { drift_id, columns: vec!["Sales".into()], change, key: false }];
        recall(known, &findings, &mut impacts, |_, _| overlap);
        let found = impacts[0].change.as_ref().map(|change| {
            (change.new_sources[0].as_str(), (change.probability * 1e6).round() / 1e6, change.origin)
        });
        assert_eq!(found, expect, "{known:?} {matcher:?}");
    }

    #[test]
    fn the_past_proposes_raises_and_forbids() {
        use MappingOrigin::{Matcher, Retrieval};
        const UNKNOWN: OverlapCheck = OverlapCheck::Unknown { compared: 0 };
        const AGREES: OverlapCheck = OverlapCheck::Agrees { compared: 100, disagreeing: 0 };
        const OBJECTS: OverlapCheck = OverlapCheck::Objects { compared: 100, disagreeing: 90 };
        let approved = precedent(1, "sales", "Umsatz", Verdict::Approved);
        let again = precedent(2, "SALES", "umsatz", Verdict::Mapped);
        let rejected = precedent(3, "sales", "umsatz", Verdict::Rejected);
        let twice = precedent(4, "sales", "umsatz", Verdict::RolledBack);
        let once = std::slice::from_ref(&approved);
        check(&[], None, &["umsatz"], UNKNOWN, None);
        check(once, None, &["umsatz", "other"], UNKNOWN, Some(("umsatz", 0.7, Retrieval)));
        check(once, None, &["other"], UNKNOWN, None);
        // What the records contradict is not proposed again.
        check(once, None, &["umsatz"], OBJECTS, None);
        let both = [approved.clone(), again];
        check(&both, None, &["UMSATZ"], UNKNOWN, Some(("UMSATZ", 0.75, Retrieval)));
        check(&both, Some(("umsatz", 0.3, UNKNOWN)), &["umsatz"], UNKNOWN, Some(("umsatz", 0.75, Retrieval)));
        check(&both, Some(("umsatz", 0.8, UNKNOWN)), &["umsatz"], UNKNOWN, Some(("umsatz", 0.8, Matcher)));
        // Sure by itself, it stays so; the past never makes it so.
        check(&both, Some(("umsatz", 0.995, AGREES)), &[], AGREES, Some(("umsatz", 0.995, Matcher)));
        let many: Vec<Precedent> =
            (0..20).map(|number| precedent(number, "sales", "umsatz", Verdict::Approved)).collect();
        check(&many, None, &["umsatz"], AGREES, Some(("umsatz", 0.849, Retrieval)));
        check(&many, Some(("umsatz", 0.3, OBJECTS)), &[], OBJECTS, Some(("umsatz", 0.3, Matcher)));
        // Rejected elsewhere, it never applies alone; the latest word counts.
        let no = [approved.clone(), rejected.clone()];
        check(&no, Some(("umsatz", 0.995, AGREES)), &[], AGREES, Some(("umsatz", 0.849, Matcher)));
        check(&no, None, &["umsatz"], UNKNOWN, None);
        let never = [rejected, twice];
        check(&never, Some(("umsatz", 0.9, UNKNOWN)), &[], UNKNOWN, Some(("umsatz", 0.5, Matcher)));
        // Two answers of the past are one too many to ask about.
        let other = [approved, precedent(9, "sales", "turnover", Verdict::Applied)];
        check(&other, None, &["umsatz", "turnover"], UNKNOWN, Some(("turnover", 0.411_765, Retrieval)));
    }

    #[test]
    fn the_latest_word_on_a_decision_counts_and_the_oldest_go() {
        let mut known = Vec::new();
        for number in 0..PRECEDENTS as u128 + 3 {
            let one = precedent(number, "a", "b", Verdict::Approved);
            known = remember(&known, one.decision, vec![one]);
        }
        assert_eq!((known.len(), known[0].decision), (PRECEDENTS, Uuid::from_u128(3)));
        let word = precedent(7, "a", "b", Verdict::RolledBack);
        known = remember(&known, word.decision, vec![word.clone()]);
        assert_eq!((known.len(), known.last()), (PRECEDENTS, Some(&word)));
        assert!(check_of(Uuid::nil(), &known[..1]).is_err());
    }

    use super::check as check_of;
}
