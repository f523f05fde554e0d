//! Do a column's old and new values still belong to the same records, and to the same kind of thing?
//! What cannot be explained must be noticed all the same: its cells are held, nothing is repaired.

use super::{
    compare::{LEAST_OVERLAP, Pair},
    profile::FieldProfile,
    sketch::resemblance,
};

/// Pairs looked at.
const LOOKED_AT: usize = 200;
/// Own pairs must be nearer than strangers by this share of what is left.
const NEARER: f64 = 0.25;
/// Fewer samples say nothing of how a column is written.
const SAMPLES: usize = 8;
/// Characters compared.
const LENGTH: usize = 60;

fn cut(text: &str) -> &str {
    text.char_indices().nth(LENGTH).map_or(text, |(end, _)| &text[..end])
}

fn alike(left: &str, right: &str) -> f64 {
    if left == right { 1.0 } else { strsim::normalized_damerau_levenshtein(cut(left), cut(right)) }
}

/// Are records' old and new values no nearer to each other than to those of other records?
pub(crate) fn estranged(both: &[(&str, &str)]) -> bool {
    let count = both.len().min(LOOKED_AT);
    if count < 2 {
        return false;
    }
    let own: f64 = both[..count].iter().map(|(old, new)| alike(old, new)).sum::<f64>() / count as f64;
    let shifts = [1, count / 3, count / 2, 2 * count / 3];
    let strangers: f64 = shifts
        .iter()
        .map(|shift| {
            (0..count).map(|row| alike(both[row].0, both[(row + shift.max(&1)) % count].1)).sum::<f64>()
                / count as f64
        })
        .sum::<f64>()
        / shifts.len() as f64;
    own < strangers + NEARER * (1.0 - strangers)
}

/// How the values of a column came and went on common records.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turnover {
    came: usize,
    went: usize,
    stayed: usize,
    changed: usize,
}

impl Turnover {
    pub(crate) fn of(pairs: &[Pair<'_>]) -> Self {
        let mut all = Self::default();
        for pair in pairs {
            match pair {
                (None, Some(_)) => all.came += 1,
                (Some(_), None) => all.went += 1,
                (Some(old), Some(new)) if old == new => all.stayed += 1,
                (Some(_), Some(_)) => all.changed += 1,
                (None, None) => {}
            }
        }
        all
    }

    /// By turns, on other records than before; or all at once. Edits empty a cell or fill one; they do
    /// not do both to half of a column, nor empty all of it.
    pub(crate) fn is_move(self) -> bool {
        let by_turns = self.came >= 4 && self.went >= 4 && self.came + self.went > 3 * self.stayed;
        let emptied = self.went >= LEAST_OVERLAP && self.came + self.stayed + self.changed == 0;
        by_turns || emptied
    }

    /// Too few to be compared in earnest, and not one is what it was.
    pub(crate) fn none_stayed(self) -> bool {
        self.stayed == 0 && (4..LEAST_OVERLAP).contains(&self.changed)
    }

    /// Some cells were emptied and the others are as they were: a column that is filled less, not one
    /// that was given to something else.
    pub(crate) fn thinned(self) -> bool {
        self.went > 0 && self.stayed >= 3 && (self.came + self.changed) * 4 <= self.stayed
    }

    /// Enough of it for the values to be looked for elsewhere.
    pub(crate) fn is_suspect(self) -> bool {
        let turned = self.came + self.went;
        turned >= LEAST_OVERLAP && turned > self.stayed
    }
}

/// Share of the smaller set of values that the other one has, too.
fn contained(left: &FieldProfile, right: &FieldProfile) -> f64 {
    let alike = resemblance(&left.sketch, &right.sketch);
    let (left, right) = (left.distinct as f64, right.distinct as f64);
    if left < 1.0 || right < 1.0 {
        return 0.0;
    }
    (alike * (left + right) / (1.0 + alike) / left.min(right)).min(1.0)
}

/// Do two columns hold the same records' values? Only where most records have a value of their own: of
/// few values, strangers share many.
pub(crate) fn same_records(before: &FieldProfile, after: &FieldProfile) -> bool {
    let own = |share: f64| before.distinct >= 20 && before.distinct as f64 >= share * before.filled() as f64;
    (own(0.9) && contained(before, after) >= 0.5)
        || (own(0.6) && resemblance(&before.sketch, &after.sketch) >= 0.65)
}

/// What the profiles alone say against a column's being what it was.
pub(crate) fn unlike(before: &FieldProfile, after: &FieldProfile) -> Option<String> {
    unknown_values(before, after).or_else(|| other_writing(before, after))
}

/// A column whose values came again and again, and nearly none of them comes now.
fn unknown_values(before: &FieldProfile, after: &FieldProfile) -> Option<String> {
    let (was, is) = (before.filled(), after.filled());
    if !before.complete || was < 30 || is < 12 || was < 4 * before.distinct.max(1) {
        return None;
    }
    let known: u64 = after
        .frequent
        .iter()
        .filter(|(value, _)| before.frequent.iter().any(|(old, _)| old == value))
        .map(|(_, count)| count)
        .sum();
    (known * 5 < is).then(|| format!("{known} of {is} values were known before"))
}

/// Digits where there were letters, or capitals where there were small ones; or the other way round.
fn other_writing(before: &FieldProfile, after: &FieldProfile) -> Option<String> {
    let digits: fn(char) -> Option<bool> = |letter| letter.is_alphanumeric().then(|| letter.is_ascii_digit());
    let capitals: fn(char) -> Option<bool> =
        |letter| (letter.is_uppercase() || letter.is_lowercase()).then(|| letter.is_uppercase());
    [("digits", digits), ("capitals", capitals)].into_iter().find_map(|(what, test)| {
        let (was, is) = (share_of(before, test)?, share_of(after, test)?);
        ((was - is).abs() > 0.5)
            .then(|| format!("{:.0} % of what is written are {what}, {:.0} % were", is * 100.0, was * 100.0))
    })
}

/// The mean share of the characters for which the test holds, of those that it is about.
fn share_of(profile: &FieldProfile, test: fn(char) -> Option<bool>) -> Option<f64> {
    let values = profile.samples.iter().map(String::as_str);
    let shares: Vec<f64> = values
        .filter_map(|text| {
            let told: Vec<bool> = text.chars().filter_map(test).collect();
            let held = told.iter().filter(|held| **held).count();
            (!told.is_empty()).then(|| held as f64 / told.len() as f64)
        })
        .collect();
    (shares.len() >= SAMPLES).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}

/// Numbers of another size: the middle halves apart, and the medians by a factor of eight or more.
pub(crate) fn other_size(before: &FieldProfile, after: &FieldProfile) -> Option<String> {
    let ([_, _, old_low, old_middle, old_high, _, _], [_, _, low, middle, high, _, _]) =
        (before.quantiles.as_slice(), after.quantiles.as_slice())
    else {
        return None;
    };
    if before.filled() < 20 || after.filled() < 12 || *old_middle <= 0.0 || *middle <= 0.0 {
        return None;
    }
    let apart = low > old_high || high < old_low;
    let factor = (middle / old_middle).max(old_middle / middle);
    (apart && factor >= 8.0).then(|| format!("the median is {middle}, it was {old_middle}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_from_edits() {
        let names = ["call with Ada", "mail with Grace", "meet with Alan", "call with Ken", "mail with Tim"];
        let shuffled: Vec<(&str, &str)> =
            (0..40).map(|row| (names[row % 5], names[(row * 7 + 2) % 5])).collect();
        assert!(estranged(&shuffled));
        let texts: Vec<(String, String)> = (0..40)
            .map(|row: u32| {
                let words =
                    format!("{:x} {:x}", row.wrapping_mul(0x9e37_79b9), row.wrapping_mul(0x85eb_ca6b));
                (words.clone(), words + ", edited")
            })
            .collect();
        let edited: Vec<(&str, &str)> = texts.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
        assert!(!estranged(&edited));
    }

    #[test]
    fn values_that_come_and_go_by_turns_moved() {
        let turns: Vec<Pair<'_>> =
            (0..20).map(|row| if row % 2 == 0 { (Some("a"), None) } else { (None, Some("b")) }).collect();
        assert!(Turnover::of(&turns).is_move());
        let emptied: Vec<Pair<'_>> = (0..20).map(|_| (Some("a"), None)).collect();
        assert!(Turnover::of(&emptied).is_move());
        let thinned: Vec<Pair<'_>> = (0..20).map(|row| (Some("a"), (row % 3 == 0).then_some("a"))).collect();
        assert!(!Turnover::of(&thinned).is_move());
    }
}
