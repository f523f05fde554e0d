//! From evidence to a probability that means what it says.
//!
//! A logistic with few, fixed, documented weights over what was measured; no constant confidence,
//! and no weight that puts the automatic threshold (0.99) out of reach. Two candidates that are
//! nearly as good share one probability. A tenant's decisions bend the curve afterwards
//! ([`recalibrate`]).

/// What was measured on the records that both editions have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlapFeatures {
    /// Different old values found again, the commonest one not counted on its own: what a
    /// constant or a flag cannot give.
    pub informative: u32,
    /// Old values, of those compared, that are not the commonest one.
    pub minority: u32,
    /// Share of compared values that disagree.
    pub disagreement: f64,
    /// Share of common records where one side alone is empty.
    pub null_mismatch: f64,
    /// Share by which unchanged columns disagree: honest edits between the editions.
    pub background: f64,
}

/// Logit at no evidence; by overlap each different value found again adds to it.
const OVERLAP_BASE: f64 = 1.1;
const OVERLAP_PER_LOG_VALUE: f64 = 1.4;
/// One per cent of unexplained disagreement costs this much.
const DISAGREEMENT_PER_CENT: f64 = -2.0;
const NULLS_PER_CENT: f64 = -0.1;
/// No evidence makes more certain than this (p = 0.9985).
pub(crate) const MOST: f64 = 6.5;

/// Fewer common records than this prove nothing for sure, however well they agree: a column of which
/// three values in ten are others passes nine records one time in twenty-five, twenty hardly ever.
const PROOF: u32 = 20;
/// The most that fewer give (p = 0.985): a person is asked.
const MOST_OF_FEW: f64 = 4.2;

/// The most that a repair is sure of which gives less than the old values: what the new ones have lost
/// (capitals, the time of day, places behind the point) it cannot write.
pub(crate) const MOST_OF_LOST: f64 = 0.05;

/// The logit above which no number of agreeing records of that size leads.
pub(crate) fn most_of(compared: u32) -> f64 {
    if compared < PROOF { MOST_OF_FEW } else { MOST }
}

/// The logit that a column holds what the old one held, from values alone.
pub fn overlap_logit(features: &OverlapFeatures) -> f64 {
    let background = features.background.min(0.03);
    let excess = (features.disagreement - 1.2 * background).max(0.0);
    let nulls = (features.null_mismatch - 1.5 * background - 0.01).max(0.0);
    let mut logit = OVERLAP_BASE + OVERLAP_PER_LOG_VALUE * f64::from(features.informative + 1).ln();
    // Few values but many records: an enumeration that agrees throughout.
    logit += match (features.informative, features.minority) {
        (3.., 100..) => 1.7,
        (4.., 50..) => 1.2,
        _ => 0.0,
    };
    logit.min(MOST)
        + (DISAGREEMENT_PER_CENT * 100.0 * excess).max(-12.0)
        + (NULLS_PER_CENT * 100.0 * nulls).max(-6.0)
}

/// What names, types and distributions say when no record can be compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlindFeatures {
    /// 0 to 1.
    pub name: f64,
    pub opposed: bool,
    /// Same type: 1; one fits in the other: 0.5; neither: 0.
    pub types: f64,
    /// Shared ÷ all different values; none for columns with too few to say.
    pub shared_values: Option<f64>,
    /// Only this column went and only that one came.
    pub only_candidate: bool,
}

/// No blind evidence gives more than this: without overlap a person is asked.
pub const BLIND_MOST: f64 = 0.97;

pub fn blind_logit(features: &BlindFeatures) -> f64 {
    let mut logit = -2.6 + 4.0 * features.name;
    logit += match features.types {
        types if types >= 1.0 => 1.2,
        types if types > 0.0 => 0.0,
        _ => -2.0,
    };
    if let Some(shared) = features.shared_values {
        logit += 4.0 * shared - 0.5;
    }
    if features.opposed {
        logit -= 3.0;
    }
    if features.only_candidate {
        logit += 0.4;
    }
    logit
}

/// The logit to probability.
pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// The probability to logit; the ends are held at 1e-6.
pub fn logit(probability: f64) -> f64 {
    let probability = probability.clamp(1e-6, 1.0 - 1e-6);
    (probability / (1.0 - probability)).ln()
}

/// A candidate's share once its rivals have theirs; "none of them" is a rival with odds 1.
pub fn shared(probability: f64, rivals: impl IntoIterator<Item = f64>) -> f64 {
    let odds = |probability: f64| {
        let probability = probability.clamp(0.0, 1.0 - 1e-9);
        probability / (1.0 - probability)
    };
    let own = odds(probability);
    own / (1.0 + own + rivals.into_iter().map(odds).sum::<f64>())
}

/// A correction of raw probabilities, learnt from a tenant's decisions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// Platt scaling: `sigmoid(slope * logit(p) + offset)`.
    pub slope: f64,
    pub offset: f64,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { slope: 1.0, offset: 0.0 }
    }
}

impl Calibration {
    /// The corrected probability.
    pub fn apply(&self, probability: f64) -> f64 {
        sigmoid(self.slope * logit(probability) + self.offset)
    }
}

/// Learns a correction from past (probability, was right) pairs: logistic regression on the logit,
/// held towards "no correction" as strongly as twenty decisions would, so that a few decisions
/// bend little. The same history always gives the same correction.
pub fn recalibrate(history: &[(f64, bool)]) -> Calibration {
    /// Prior decisions' worth.
    const PRIOR: f64 = 20.0;
    let mut found = Calibration::default();
    if history.is_empty() {
        return found;
    }
    // Each step minimises a quadratic that lies above the loss (a weight of 1/4 bounds the
    // curvature), so that it can't overshoot.
    for _ in 0..300 {
        let (mut slope_gradient, mut offset_gradient) =
            (PRIOR * (found.slope - 1.0), PRIOR * 0.25 * found.offset);
        let (mut slope_slope, mut slope_offset, mut offset_offset) = (PRIOR, 0.0, PRIOR * 0.25);
        for (probability, right) in history {
            let x = logit(*probability).clamp(-7.0, 7.0);
            let predicted = sigmoid(found.slope * x + found.offset);
            let error = predicted - f64::from(u8::from(*right));
            let weight = 0.25;
            slope_gradient += error * x;
            offset_gradient += error;
            slope_slope += weight * x * x;
            slope_offset += weight * x;
            offset_offset += weight;
        }
        let determinant = slope_slope * offset_offset - slope_offset * slope_offset;
        if determinant.abs() < 1e-12 {
            break;
        }
        found.slope -= (offset_offset * slope_gradient - slope_offset * offset_gradient) / determinant;
        found.offset -= (slope_slope * offset_gradient - slope_offset * slope_gradient) / determinant;
        found.slope = found.slope.clamp(0.05, 5.0);
        found.offset = found.offset.clamp(-10.0, 10.0);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(informative: u32) -> OverlapFeatures {
        OverlapFeatures {
            informative,
            minority: informative,
            disagreement: 0.0,
            null_mismatch: 0.0,
            background: 0.0,
        }
    }

    #[test]
    fn agreement_on_many_values_reaches_the_automatic_threshold_and_a_flag_does_not() {
        assert!(sigmoid(overlap_logit(&exact(20))) >= 0.995);
        assert!(sigmoid(overlap_logit(&exact(1))) < 0.95);
        assert!(sigmoid(overlap_logit(&OverlapFeatures { disagreement: 0.1, ..exact(400) })) < 0.5);
        assert!(sigmoid(overlap_logit(&OverlapFeatures { disagreement: 0.03, ..exact(400) })) < 0.99);
        assert!(
            sigmoid(overlap_logit(&OverlapFeatures { disagreement: 0.02, background: 0.02, ..exact(400) }))
                >= 0.99
        );
    }

    #[test]
    fn names_alone_ask() {
        let blind = |name, types| {
            sigmoid(blind_logit(&BlindFeatures {
                name,
                opposed: false,
                types,
                shared_values: None,
                only_candidate: false,
            }))
        };
        assert!((0.6..0.9).contains(&blind(0.5, 1.0)), "{}", blind(0.5, 1.0));
        assert!(blind(0.1, 1.0) < 0.5);
        assert!(blind(0.5, 0.0) < 0.5);
    }

    #[test]
    fn rivals_share() {
        assert!(shared(0.995, []) >= 0.99);
        assert!(shared(0.995, [0.995]) < 0.51);
        assert!(shared(0.995, [0.02]) >= 0.99);
    }

    #[test]
    fn decisions_bend_the_curve_towards_what_was_right() {
        let overconfident: Vec<(f64, bool)> = (0..200).map(|index| (0.95, index % 2 == 0)).collect();
        let bent = recalibrate(&overconfident).apply(0.95);
        assert!((0.45..0.7).contains(&bent), "{bent}");
        let honest: Vec<(f64, bool)> = (0..200).map(|index| (0.9, index % 10 != 0)).collect();
        assert!((recalibrate(&honest).apply(0.9) - 0.9).abs() < 0.03);
        assert_eq!(recalibrate(&[]), Calibration::default());
        let few = recalibrate(&[(0.95, false)]);
        assert!((few.apply(0.95) - 0.95).abs() < 0.1);
    }
}
