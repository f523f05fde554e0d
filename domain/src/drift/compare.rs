//! Old and new values of the same records, side by side: which way of writing turns the one into
//! the other, and how many agree once it is undone.

use super::{
    adapt::{Decimal, adapt},
    calibrate::OverlapFeatures,
    profile::{FieldProfile, KeyedSample},
    time, value,
};
use crate::{drift::OverlapCheck, mapping::Transform};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that must be common before anything is proved.
pub(crate) const LEAST_OVERLAP: usize = 8;

/// One record's old and new value; null and blank are none.
pub(crate) type Pair<'a> = (Option<&'a str>, Option<&'a str>);

/// One record's values, in the order of the columns.
type Cells<'a> = &'a [Option<String>];

/// The records that both samples hold.
#[derive(Debug)]
pub(crate) struct Overlap<'a> {
    before: &'a KeyedSample,
    after: &'a KeyedSample,
    rows: Vec<(Cells<'a>, Cells<'a>)>,
}

impl<'a> Overlap<'a> {
    pub(crate) fn new(before: &'a KeyedSample, after: &'a KeyedSample) -> Self {
        let rows = if before.key.is_empty() {
            // Rows found by their whole content agree by construction: they prove nothing.
            Vec::new()
        } else {
            before
                .rows
                .iter()
                .filter_map(|(key, old)| after.rows.get(key).map(|new| (old.as_slice(), new.as_slice())))
                .collect()
        };
        Self { before, after, rows }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn old(&self, column: &str) -> Option<Vec<Option<&'a str>>> {
        let index = self.before.columns.iter().position(|name| name == column)?;
        Some(self.rows.iter().map(|(old, _)| filled(old.get(index))).collect())
    }

    pub(crate) fn new_values(&self, column: &str) -> Option<Vec<Option<&'a str>>> {
        let index = self.after.columns.iter().position(|name| name == column)?;
        Some(self.rows.iter().map(|(_, new)| filled(new.get(index))).collect())
    }

    pub(crate) fn pairs(&self, old: &str, new: &str) -> Option<Vec<Pair<'a>>> {
        Some(self.old(old)?.into_iter().zip(self.new_values(new)?).collect())
    }
}

fn filled(value: Option<&Option<String>>) -> Option<&str> {
    value.and_then(Option::as_deref).filter(|text| !text.trim().is_empty())
}

/// What kind of rewriting was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Same,
    /// Equal as numbers, written otherwise: `12` and `12.0`.
    Number,
    Time,
    /// The time of day was dropped.
    TimeCut,
    /// All times moved by the same span.
    Shift,
    DecimalForm,
    /// One constant ratio; `true` if the factor is exact and usual.
    Ratio(bool),
    Codes,
    /// Codes that differ in case alone.
    CodesCase,
    Case,
    /// Leading zeros were lost or added.
    Zeros,
    /// The old value is a part of the new one.
    Part,
    /// The old value is inside a JSON value.
    Json,
    /// Several new columns together.
    Together,
    /// Nothing turns the one into the other.
    Differs,
}

impl How {
    /// The old text is not in the new one any more: no repair writes it back exactly.
    pub(crate) fn is_lossy(self) -> bool {
        matches!(self, Self::Case | Self::TimeCut | Self::Ratio(false))
    }
}

/// The best account of how one column follows from another.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub how: How,
    pub adapt: Option<Transform>,
    /// Records with a value on both sides.
    pub compared: u32,
    pub disagreeing: u32,
    /// Records of which one side alone is empty, of all common ones with a value.
    pub null_mismatch: f64,
    pub informative: u32,
    pub minority: u32,
    /// A second account is just as good (day and month may be swapped).
    pub ambiguous: bool,
    /// The values that disagree do so by a rule (one ratio, a separator within): no honest edits, but
    /// another column that is mostly alike, such as an amount in another currency.
    pub ruled: bool,
    /// Records whose time moved by the commonest span other than none, while hardly any stayed.
    pub shifted: u32,
}

impl Relation {
    pub(crate) fn agreement(&self) -> f64 {
        if self.compared == 0 { 0.0 } else { 1.0 - self.disagreement() }
    }

    pub(crate) fn disagreement(&self) -> f64 {
        f64::from(self.disagreeing) / f64::from(self.compared.max(1))
    }

    pub(crate) fn features(&self, background: f64) -> OverlapFeatures {
        OverlapFeatures {
            informative: self.informative,
            minority: self.minority,
            disagreement: self.disagreement(),
            null_mismatch: self.null_mismatch,
            background,
        }
    }

    /// The check of the design: agreement within honest edits, and enough of it.
    pub(crate) fn check(&self, volatile: bool) -> OverlapCheck {
        let (compared, disagreeing) = (self.compared, self.disagreeing);
        let tolerated = match self.how {
            How::Ratio(_) | How::Codes | How::CodesCase | How::Part | How::Json | How::Together => 0.05,
            _ if volatile => 0.3,
            _ => 0.1,
        };
        if (compared as usize) < LEAST_OVERLAP {
            OverlapCheck::Unknown { compared }
        } else if self.how != How::Differs && self.disagreement() <= tolerated {
            OverlapCheck::Agrees { compared, disagreeing }
        } else {
            OverlapCheck::Objects { compared, disagreeing }
        }
    }
}

fn same(old: &str, new: &str) -> bool {
    old == new || old.trim() == new.trim()
}

fn same_number(old: &str, new: &str) -> bool {
    match (value::plain_number(old), value::plain_number(new)) {
        (Some(_), Some(_)) => {
            matches!((Decimal::read(old), Decimal::read(new)), (Some(old), Some(new)) if old.equals(new))
        }
        _ => false,
    }
}

/// Counts how far `agree` holds.
pub(crate) fn measure(
    pairs: &[Pair<'_>],
    how: How,
    adapt: Option<Transform>,
    agree: impl Fn(&str, &str) -> bool,
) -> Relation {
    let (mut compared, mut disagreeing, mut mismatch, mut present) = (0, 0, 0_u32, 0_u32);
    let mut agreeing: BTreeMap<&str, u32> = BTreeMap::new();
    for (old, new) in pairs {
        if old.is_some() || new.is_some() {
            present += 1;
        }
        match (old, new) {
            (Some(old), Some(new)) => {
                compared += 1;
                if agree(old, new) {
                    *agreeing.entry(old).or_default() += 1;
                } else {
                    disagreeing += 1;
                }
            }
            (None, None) => {}
            _ => mismatch += 1,
        }
    }
    let total: u32 = agreeing.values().sum();
    let minority = total - agreeing.values().copied().max().unwrap_or_default();
    let distinct = agreeing.len() as u32;
    Relation {
        how,
        adapt,
        compared,
        disagreeing,
        null_mismatch: f64::from(mismatch) / f64::from(present.max(1)),
        // A constant says nothing; a nearly constant column only what its exceptions say.
        informative: if distinct <= 1 { 0 } else { distinct.min(minority + 1) },
        minority,
        ambiguous: false,
        ruled: false,
        shifted: 0,
    }
}

/// Do the disagreeing values follow a rule of their own?
fn ruled(pairs: &[Pair<'_>]) -> bool {
    let ratios: Vec<f64> = pairs
        .iter()
        .filter_map(|(old, new)| Some((value::plain_number((*old)?)?, value::plain_number((*new)?)?)))
        // Small numbers share ratios by chance.
        .filter(|(old, new)| old.total_cmp(new).is_ne() && old.abs() >= 100.0 && *new != 0.0)
        .map(|(old, new)| new / old)
        .collect();
    let near = |ratio: f64| ratios.iter().filter(|other| (*other / ratio - 1.0).abs() < 1e-4).count();
    ratios.iter().any(|ratio| near(*ratio) >= 2)
}

/// Measures an adapting transform on pairs.
pub(crate) fn measure_adapt(pairs: &[Pair<'_>], how: How, transform: Transform) -> Relation {
    measure(pairs, how, Some(transform.clone()), |old, new| match adapt(&transform, &[Some(new)]) {
        Ok(Some(text)) => same(old, &text) || same_number(old, &text),
        _ => false,
    })
}

/// Finds the best relation from the new values back to the old ones.
pub(crate) fn relate(pairs: &[Pair<'_>], old: Option<&FieldProfile>, new: Option<&FieldProfile>) -> Relation {
    let plain = measure(pairs, How::Same, None, same);
    if plain.compared == 0 {
        return Relation { how: How::Differs, ..plain };
    }
    if plain.agreement() >= 0.95 {
        return Relation { ruled: plain.disagreeing > 0 && ruled(pairs), ..plain };
    }
    let mut candidates = vec![plain];
    candidates.push(numbers(pairs));
    let both: Vec<(&str, &str)> = pairs.iter().filter_map(|(old, new)| Some(((*old)?, (*new)?))).collect();
    times(pairs, &both, old, new, &mut candidates);
    decimal_forms(pairs, old, new, &mut candidates);
    candidates.extend(ratio(pairs, &both));
    candidates.extend(codes(pairs, &both));
    parts(pairs, &both, &mut candidates);
    candidates.push(measure(pairs, How::Case, None, |old, new| {
        old.trim().to_lowercase() == new.trim().to_lowercase()
    }));
    candidates.push(measure(pairs, How::Zeros, None, |old, new| {
        let bare = |text: &str| text.trim().trim_start_matches('0').to_owned();
        let digits = |text: &str| text.trim().bytes().all(|byte| byte.is_ascii_digit());
        digits(old) && digits(new) && bare(old) == bare(new)
    }));
    // The first of equals wins: simpler accounts come first.
    let mut best = 0;
    for (index, candidate) in candidates.iter().enumerate() {
        if candidate.agreement() > candidates[best].agreement() + 0.02 {
            best = index;
        }
    }
    // A few cells edited into other case are edits.
    if matches!(candidates[best].how, How::Case | How::CodesCase) && candidates[0].agreement() >= 0.9 {
        best = 0;
    }
    let ambiguous = candidates[best].how == How::Time
        && candidates.iter().enumerate().any(|(index, other)| {
            index != best
                && other.how == How::Time
                && other.adapt != candidates[best].adapt
                && other.agreement() >= candidates[best].agreement()
                && differ(pairs, candidates[best].adapt.as_ref(), other.adapt.as_ref(), new)
        });
    let mut found = candidates.swap_remove(best);
    found.ambiguous = ambiguous;
    found.shifted = shifted(&both, old, new);
    found.ruled |= found.how == How::Same && ruled(pairs);
    if found.agreement() < 0.5 {
        found.how = How::Differs;
        found.adapt = None;
    }
    found
}

/// Would the two give different text for any new value, of the pairs or of the frequent ones?
fn differ(
    pairs: &[Pair<'_>],
    left: Option<&Transform>,
    right: Option<&Transform>,
    new: Option<&FieldProfile>,
) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return true };
    let mut values = pairs.iter().filter_map(|(_, new)| *new).collect::<Vec<_>>();
    if let Some(new) = new {
        values.extend(new.frequent.iter().map(|(value, _)| value.as_str()));
        values.extend(new.samples.iter().map(String::as_str));
    }
    values.iter().any(|value| adapt(left, &[Some(value)]) != adapt(right, &[Some(value)]))
}

fn numbers(pairs: &[Pair<'_>]) -> Relation {
    let whole = |side: fn(&Pair<'_>) -> bool| pairs.iter().any(side);
    let old_points = whole(|(old, _)| old.is_some_and(|text| text.contains('.')));
    let new_points = whole(|(_, new)| new.is_some_and(|text| text.contains('.')));
    // `12.0` goes back to `12`; more than that cannot be known to have been written.
    let adapt = (!old_points && new_points).then(|| Transform::Scale { factor: "1".into() });
    measure(pairs, How::Number, adapt, |old, new| same(old, new) || same_number(old, new))
}

/// Formats of a column's dates and times, commonest first.
pub(crate) fn time_formats(profile: Option<&FieldProfile>) -> Vec<String> {
    let Some(profile) = profile else { return Vec::new() };
    let mut shapes: Vec<(&str, u64)> = profile
        .shapes
        .iter()
        .filter_map(|(name, count)| {
            name.strip_prefix("date:")
                .or_else(|| name.strip_prefix("timestamp:"))
                .map(|format| (format, *count))
        })
        .collect();
    let total: u64 = shapes.iter().map(|(_, count)| count).sum();
    if (total as f64) < 0.5 * profile.filled() as f64 {
        return Vec::new();
    }
    shapes.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    let iso: u64 =
        shapes.iter().filter(|(format, _)| format.starts_with("%Y-%m-%d")).map(|(_, count)| count).sum();
    let mut formats = Vec::new();
    if iso == total && shapes.len() > 1 {
        formats.push(time::ISO_8601.to_owned());
    }
    formats.extend(shapes.iter().flat_map(|(format, _)| format.split('|')).map(str::to_owned));
    formats
}

/// Formats that numbers may be dates in, if their range is that of dates near our time.
fn number_formats(profile: Option<&FieldProfile>) -> Vec<String> {
    let Some([_, low, .., high, _]) = profile.map(|profile| profile.quantiles.as_slice()) else {
        return Vec::new();
    };
    if profile.is_some_and(|profile| profile.share(|shape| shape == "integer" || shape == "decimal") < 0.9) {
        return Vec::new();
    }
    [
        (time::EPOCH_SECONDS, 0.0..4.2e9),
        (time::EPOCH_MILLISECONDS, 1e10..4.2e12),
        (time::EXCEL_SERIAL, 10_000.0..80_000.0),
    ]
    .into_iter()
    .filter(|(_, range)| range.contains(low) && range.contains(high))
    .map(|(format, _)| format.to_owned())
    .collect()
}

fn times(
    pairs: &[Pair<'_>],
    both: &[(&str, &str)],
    old: Option<&FieldProfile>,
    new: Option<&FieldProfile>,
    found: &mut Vec<Relation>,
) {
    let (mut old_formats, mut new_formats) = (time_formats(old), time_formats(new));
    if old_formats.is_empty() && new_formats.is_empty() {
        return;
    }
    if old_formats.is_empty() {
        old_formats = number_formats(old);
    }
    if new_formats.is_empty() {
        new_formats = number_formats(new);
    }
    old_formats.truncate(4);
    new_formats.truncate(4);
    for from in &new_formats {
        for to in old_formats.iter().filter(|to| *to != from && *to != time::ISO_8601) {
            let transform = Transform::FormatTime { from: from.clone(), to: to.clone() };
            let reader = if to.starts_with("%Y-%m-%d") { time::ISO_8601 } else { to.as_str() };
            let exact = measure(pairs, How::Time, Some(transform.clone()), |old, new| {
                match adapt(&transform, &[Some(new)]) {
                    Ok(Some(text)) => {
                        same(old, &text)
                            || matches!((time::read(reader, old), time::read(reader, &text)), (Some(old), Some(new)) if old == new)
                    }
                    _ => false,
                }
            });
            if exact.agreement() < 0.5 && time::has_clock(to) && !time::has_clock(from) {
                let cut = measure(pairs, How::TimeCut, Some(transform), |old, new| {
                    const DAY: i64 = 86_400_000_000;
                    matches!((time::read(reader, old), time::read(from, new)), (Some(old), Some(new)) if old.div_euclid(DAY) == new.div_euclid(DAY))
                });
                found.push(cut);
            }
            found.push(exact);
        }
    }
    shift(pairs, both, &old_formats, &new_formats, found);
}

/// Records whose times moved by one span, though the others were written anew: a column of times of
/// change goes on and moves to another zone at once.
fn shifted(both: &[(&str, &str)], old: Option<&FieldProfile>, new: Option<&FieldProfile>) -> u32 {
    let (old, new) = (time_formats(old), time_formats(new));
    let (Some(old), Some(new)) = (old.first(), new.first()) else { return 0 };
    let mut spans: BTreeMap<i64, u32> = BTreeMap::new();
    for (before, after) in both {
        if let (Some(before), Some(after)) = (time::read(old, before), time::read(new, after)) {
            *spans.entry(after - before).or_default() += 1;
        }
    }
    let stayed = spans.get(&0).copied().unwrap_or_default();
    let usual = spans.iter().filter(|(span, _)| **span % QUARTER == 0 && span.abs() <= DAY_AND_ZONE);
    let most = usual.filter(|(span, _)| **span != 0).map(|(_, count)| *count).max().unwrap_or_default();
    if most as usize >= LEAST_OVERLAP && most as usize * 6 >= both.len() && stayed * 4 < most {
        most
    } else {
        0
    }
}

/// A quarter of an hour: zones differ by whole ones. In microseconds, as all spans here.
const QUARTER: i64 = 900_000_000;
/// No two zones are further apart.
const DAY_AND_ZONE: i64 = 26 * 4 * QUARTER;

/// One constant span between all old and new times: another time zone.
fn shift(
    pairs: &[Pair<'_>],
    both: &[(&str, &str)],
    old: &[String],
    new: &[String],
    found: &mut Vec<Relation>,
) {
    let (Some(old), Some(new)) = (old.first(), new.first()) else { return };
    let span = |(before, after): &(&str, &str)| Some(time::read(new, after)? - time::read(old, before)?);
    let mut spans: Vec<i64> = both.iter().filter_map(span).collect();
    if spans.len() < LEAST_OVERLAP {
        return;
    }
    spans.sort_unstable();
    let usual = spans[spans.len() / 2];
    let quarter = 900_000_000;
    if usual == 0 || usual % quarter != 0 || usual.abs() > 86_400_000_000 {
        return;
    }
    found.push(measure(pairs, How::Shift, None, |before, after| span(&(before, after)) == Some(usual)));
}

/// How a column writes its numbers, if it holds numbers.
pub(crate) fn number_form(profile: Option<&FieldProfile>) -> Option<&'static str> {
    let profile = profile?;
    let number = |shape: &str| matches!(shape, "integer" | "decimal" | "decimal_comma" | "decimal_grouped");
    if profile.share(number) < 0.9 {
        return None;
    }
    let share = |name: &str| profile.share(|shape| shape == name);
    let forms = [("decimal_comma", share("decimal_comma")), ("decimal_grouped", share("decimal_grouped"))];
    let special =
        forms.into_iter().max_by(|left, right| left.1.total_cmp(&right.1)).filter(|(_, share)| *share > 0.05);
    Some(special.map_or("point", |(name, _)| name))
}

/// The transform that writes numbers of the form `from` as `to`, if there is one.
pub(crate) fn number_form_adapt(from: &str, to: &str) -> Option<Transform> {
    match (from, to) {
        ("decimal_comma", "point") => Some(Transform::ParseDecimalComma),
        ("point", "decimal_comma") => Some(Transform::FormatDecimalComma),
        _ => None,
    }
}

fn decimal_forms(
    pairs: &[Pair<'_>],
    old: Option<&FieldProfile>,
    new: Option<&FieldProfile>,
    found: &mut Vec<Relation>,
) {
    let (Some(to), Some(from)) = (number_form(old), number_form(new)) else { return };
    if to == from {
        return;
    }
    let plain = |form: &str, text: &str| match form {
        "decimal_comma" => Decimal::read(&text.trim().replace('.', "").replace(',', ".")),
        "decimal_grouped" => Decimal::read(&text.trim().replace(',', "")),
        _ => Decimal::read(text),
    };
    found.push(measure(pairs, How::DecimalForm, number_form_adapt(from, to), |before, after| {
        matches!((plain(to, before), plain(from, after)), (Some(before), Some(after)) if before.equals(after))
    }));
}

/// The factor from new to old as a decimal, and whether it is exact and one that units differ by.
pub(crate) fn usual_factor(ratio: f64) -> Option<(String, bool)> {
    if !ratio.is_finite() || ratio <= 0.0 {
        return None;
    }
    for power in -9_i32..=9 {
        if (ratio / 10_f64.powi(power) - 1.0).abs() < 1e-3 && power != 0 {
            let zeros = "0".repeat(power.unsigned_abs() as usize - usize::from(power < 0));
            return Some((if power > 0 { format!("1{zeros}") } else { format!("0.{zeros}1") }, true));
        }
    }
    for usual in [12.0, 24.0, 52.0, 60.0, 7.0, 3600.0, 1440.0, 86_400.0, 1024.0, 1_048_576.0, 1_073_741_824.0]
    {
        if (ratio / usual - 1.0).abs() < 1e-4 {
            return Some((format!("{usual}"), true));
        }
    }
    Some((Decimal::read(&format!("{ratio:.9}"))?.write(), false))
}

fn ratio(pairs: &[Pair<'_>], both: &[(&str, &str)]) -> Option<Relation> {
    let numbers: Vec<(f64, f64)> = both
        .iter()
        .filter_map(|(old, new)| Some((value::plain_number(old)?, value::plain_number(new)?)))
        .filter(|(old, new)| *old != 0.0 && *new != 0.0)
        .collect();
    if numbers.len() < LEAST_OVERLAP || numbers.len() * 10 < both.len() * 5 {
        return None;
    }
    // Rounded values blur the ratio of small ones: the larger half says it best.
    let mut by_size = numbers.clone();
    by_size.sort_by(|left, right| right.0.abs().total_cmp(&left.0.abs()));
    by_size.truncate((by_size.len() / 2).max(LEAST_OVERLAP));
    let mut ratios: Vec<f64> = by_size.iter().map(|(old, new)| old / new).collect();
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    if (median - 1.0).abs() < 0.005 {
        return None;
    }
    let different: BTreeSet<u64> = numbers.iter().map(|(old, _)| old.to_bits()).collect();
    if different.len() < 3 {
        return None;
    }
    let (factor, usual) = usual_factor(median)?;
    let exact_factor = Decimal::read(&factor)?;
    let transform = Transform::Scale { factor: factor.clone() };
    let scaled = |new: &str| Decimal::read(new).and_then(|new| new.times(exact_factor));
    let exact = measure(
        pairs,
        How::Ratio(usual),
        Some(transform.clone()),
        |old, new| matches!((Decimal::read(old), scaled(new)), (Some(old), Some(new)) if old.equals(new)),
    );
    if exact.agreement() >= 0.9 {
        return Some(exact);
    }
    // Rounded on the way: within half a unit of the last place of either side.
    let step: f64 = factor.parse().ok()?;
    let loose = measure(pairs, How::Ratio(false), Some(transform), |old, new| {
        let (Some(old_number), Some(new_number)) = (Decimal::read(old), Decimal::read(new)) else {
            return false;
        };
        let (Ok(before), Ok(after)) = (old.trim().parse::<f64>(), new.trim().parse::<f64>()) else {
            return false;
        };
        let old_place = 0.5 * 10_f64.powi(-(old_number.scale() as i32));
        let new_place = 0.5 * 10_f64.powi(-(new_number.scale() as i32)) * step.abs();
        let tolerance = old_place.max(new_place).min(before.abs() * 0.02).max(before.abs() * 1e-9);
        (before - after * step).abs() <= tolerance * 1.001
    });
    (loose.agreement() >= 0.9).then_some(loose)
}

/// Few values on both sides, each new one standing for one old one.
fn codes(pairs: &[Pair<'_>], both: &[(&str, &str)]) -> Option<Relation> {
    const MOST: usize = 60;
    if both.len() < LEAST_OVERLAP {
        return None;
    }
    let mut table: BTreeMap<&str, BTreeMap<&str, u32>> = BTreeMap::new();
    let mut olds: BTreeMap<&str, u32> = BTreeMap::new();
    for (old, new) in both {
        *table.entry(new).or_default().entry(old).or_default() += 1;
        *olds.entry(old).or_default() += 1;
        if table.len() > MOST || olds.len() > MOST {
            return None;
        }
    }
    if olds.len() < 2
        || table.len() < 2
        || table.len() > 2 * olds.len() + 2
        || both.len() < 3 * olds.len().max(table.len())
    {
        return None;
    }
    let mut values = BTreeMap::new();
    for (new, from) in &table {
        let (old, most) = from.iter().max_by_key(|(old, count)| (**count, std::cmp::Reverse(**old)))?;
        let total: u32 = from.values().sum();
        if total >= 2 && f64::from(*most) >= 0.9 * f64::from(total) {
            values.insert((*new).to_owned(), (*old).to_owned());
        }
    }
    let explained: BTreeSet<&String> = values.values().collect();
    if explained.len() < 2 || values.iter().all(|(new, old)| new == old) {
        return None;
    }
    let case = values.iter().all(|(new, old)| new.to_lowercase() == old.to_lowercase());
    let how = if case { How::CodesCase } else { How::Codes };
    let relation = measure_adapt(pairs, how, Transform::MapValues { values, keep_others: false });
    // Always saying the commonest old value must do clearly worse.
    let commonest = olds.values().copied().max().unwrap_or_default();
    let guess = f64::from(relation.compared - commonest) / f64::from(relation.compared.max(1));
    (relation.agreement() >= 0.9 && relation.minority >= 3 && relation.disagreement() <= 0.34 * guess)
        .then_some(relation)
}

pub(crate) const SEPARATORS: [&str; 9] = [", ", " ", "-", ":", "/", "|", "_", ",", ";"];

/// The old value is one part of the new one, or the only element of an array.
fn parts(pairs: &[Pair<'_>], both: &[(&str, &str)], found: &mut Vec<Relation>) {
    let contained =
        both.iter().take(64).filter(|(old, new)| new.len() > old.len() && new.contains(old)).count();
    if contained * 10 < both.len().min(64) * 7 {
        return;
    }
    if both.iter().filter(|(_, new)| new.starts_with('[')).count() * 10 >= both.len() * 9 {
        found.push(measure_adapt(pairs, How::Json, Transform::JsonPath { path: "$[0]".into() }));
        return;
    }
    for separator in SEPARATORS {
        if both.iter().filter(|(_, new)| new.contains(separator)).count() * 10 < both.len() * 7 {
            continue;
        }
        for index in 0..3 {
            let transform = Transform::SplitPart { separator: separator.to_owned(), index };
            let mut relation = measure_adapt(pairs, How::Part, transform);
            // Old values with the separator in them come back cut: no edits, and there will be more.
            let cut = both.iter().filter(|(old, new)| old.contains(separator) && new.contains(old)).count();
            relation.ruled = cut >= 2;
            if relation.agreement() >= 0.7 {
                found.push(relation);
            }
        }
    }
}
