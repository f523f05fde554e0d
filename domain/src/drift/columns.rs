//! What changed in a column that kept its name.

use super::{
    DriftKind,
    calibrate::{MOST_OF_LOST, most_of, overlap_logit, sigmoid},
    classify::{Context, Draft, DraftRepair, evidence},
    codes::{new_codes, one_renamed, renamed_codes},
    compare::{How, LEAST_OVERLAP, Relation, number_form, number_form_adapt, time_formats, usual_factor},
    names,
    stranger::{estranged, other_size, unlike},
    time,
    value::plain_number,
};
use crate::{
    drift::{OverlapCheck, profile::FieldProfile},
    mapping::{Evidence, Transform},
    schema::{Field, LogicalType},
};

/// No account of a change that has no common records is surer than this.
const BLIND: f64 = 0.95;

/// Do the old and new values of the column contradict each other beyond edits?
pub(crate) fn is_broken(name: &str, relation: &Relation, pairs: &[(Option<&str>, Option<&str>)]) -> bool {
    if !is_suspect(relation) {
        return false;
    }
    let both: Vec<(&str, &str)> = pairs.iter().filter_map(|(old, new)| Some(((*old)?, (*new)?))).collect();
    let numbers: Vec<(f64, f64)> =
        both.iter().filter_map(|(old, new)| Some((as_order(old)?, as_order(new)?))).collect();
    if numbers.len() * 10 >= both.len() * 9 {
        let later = numbers.iter().filter(|(old, new)| new >= old).count();
        let earlier = numbers.iter().filter(|(old, new)| new <= old).count();
        let one_way = later.max(earlier) * 100 >= numbers.len() * 95;
        // Balances and counters move, but with themselves; times of change only go forward.
        return !one_way && rank_correlation(&numbers) < 0.5;
    }
    // What is known to change may, as long as some of it stays.
    estranged(&both) && (!names::volatile(name) || relation.agreement() < 0.1)
}

/// Fewer values agree than honest edits leave; of few records, hardly any.
pub(crate) fn is_suspect(relation: &Relation) -> bool {
    let least = if relation.compared < 12 { 0.25 } else { 0.5 };
    relation.compared as usize >= LEAST_OVERLAP && relation.agreement() < least
}

/// Values that hold the old ones as a part may be another column's, of which these were the short form.
pub(crate) fn is_other_too(relation: &Relation) -> bool {
    relation.compared as usize >= LEAST_OVERLAP && relation.how == How::Part
}

fn as_order(text: &str) -> Option<f64> {
    plain_number(text).or_else(|| time::read(time::ISO_8601, text).map(|micros| micros as f64))
}

/// Spearman's rank correlation.
fn rank_correlation(pairs: &[(f64, f64)]) -> f64 {
    let ranks = |values: Vec<f64>| -> Vec<f64> {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|left, right| values[*left].total_cmp(&values[*right]));
        let mut ranks = vec![0.0; values.len()];
        let mut start = 0;
        while start < order.len() {
            let mut end = start;
            while end + 1 < order.len() && values[order[end + 1]].total_cmp(&values[order[start]]).is_eq() {
                end += 1;
            }
            for index in &order[start..=end] {
                ranks[*index] = (start + end) as f64 / 2.0;
            }
            start = end + 1;
        }
        ranks
    };
    let left = ranks(pairs.iter().map(|pair| pair.0).collect());
    let right = ranks(pairs.iter().map(|pair| pair.1).collect());
    let mean = (pairs.len() as f64 - 1.0) / 2.0;
    let (mut cross, mut left_square, mut right_square) = (0.0, 0.0, 0.0);
    for (left, right) in left.iter().zip(&right) {
        cross += (left - mean) * (right - mean);
        left_square += (left - mean) * (left - mean);
        right_square += (right - mean) * (right - mean);
    }
    if left_square == 0.0 || right_square == 0.0 { 0.0 } else { cross / (left_square * right_square).sqrt() }
}

/// All drift of one column; `relation` is what the common records say, if there are enough.
pub(crate) fn column_drift(
    context: &Context<'_>,
    old: &Field,
    new: &Field,
    relation: Option<&Relation>,
) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let (before, after) = (context.old_profile(&old.name), context.new_profile(&new.name));
    empty_values(context, old, new, before, after, &mut drafts);
    let nothing = |field: &Field, profile: Option<&FieldProfile>| {
        field.logical_type == LogicalType::Unknown
            || profile.is_some_and(|profile| profile.rows > 0 && profile.filled() == 0)
    };
    if nothing(old, before) || nothing(new, after) {
        return drafts;
    }
    if let Some(relation) = relation.filter(|relation| relation.how == How::Differs && relation.shifted > 0) {
        let detail = format!(
            "{} of {} times moved by one span: another time zone",
            relation.shifted, relation.compared
        );
        let mut draft = Draft::new(DriftKind::UnitChanged, old, new, 0.9);
        draft.evidence.push(evidence("unit_ratio", 0.9, detail));
        drafts.push(draft);
        return drafts;
    }
    let draft = match relation {
        Some(relation) => proved(context, old, new, relation),
        None => blind(old, new, before, after, context.complete()),
    };
    let draft = draft.or_else(|| declared(old, new, before, after, relation, context.background));
    // Nothing accounts for it, and yet it is not what it was: its cells wait.
    let unknown = relation.is_none_or(|relation| relation.how == How::Differs);
    let draft = draft.or_else(|| match (unknown, before, after) {
        (true, Some(before), Some(after)) => unaccounted(old, new, before, after),
        _ => None,
    });
    let draft = draft.or_else(|| one_renamed(context, old, new, relation));
    let draft = draft.or_else(|| if relation.is_none() { recased(context, old, new) } else { None });
    drafts.extend(draft.or_else(|| new_codes(old, new, before, after)));
    drafts
}

/// Of too few values to compare, each is the old one in other case: nobody edits like that.
fn recased(context: &Context<'_>, old: &Field, new: &Field) -> Option<Draft> {
    let pairs = context.has_overlap().then(|| context.overlap.pairs(&old.name, &new.name))??;
    let both: Vec<(&str, &str)> = pairs.iter().filter_map(|(old, new)| Some(((*old)?, (*new)?))).collect();
    let other_case = |old: &str, new: &str| old != new && old.to_lowercase() == new.to_lowercase();
    (both.len() >= 2 && both.iter().all(|(old, new)| other_case(old, new))).then(|| {
        let mut draft = Draft::new(DriftKind::FormatChanged, old, new, 0.9);
        let detail = format!("all {} values of common records are written in other case", both.len());
        draft.evidence.push(evidence("format", 0.9, detail));
        draft
    })
}

fn unaccounted(old: &Field, new: &Field, before: &FieldProfile, after: &FieldProfile) -> Option<Draft> {
    let (kind, signal, detail) = if let Some(detail) = unlike(before, after) {
        (DriftKind::MeaningChanged, "values", detail)
    } else {
        let number =
            |field: &Field| matches!(field.logical_type, LogicalType::Integer | LogicalType::Decimal);
        if !number(old) || !number(new) {
            return None;
        }
        (DriftKind::UnitChanged, "unit_ratio", other_size(before, after)?)
    };
    let mut draft = Draft::new(kind, old, new, 0.7);
    draft.evidence.push(evidence(signal, 0.7, detail));
    Some(draft)
}

fn empty_values(
    context: &Context<'_>,
    old: &Field,
    new: &Field,
    before: Option<&FieldProfile>,
    after: Option<&FieldProfile>,
    drafts: &mut Vec<Draft>,
) {
    let mut anomaly = false;
    if let (Some(before), Some(after)) = (before, after) {
        let (was, is) = (before.empty_rate(), after.empty_rate());
        let rows = before.rows.min(after.rows);
        // Thirty points and five times the spread that chance gives.
        let spread = (0.25 / rows.max(1) as f64).sqrt();
        if context.complete() && rows >= 30 && is - was > 0.3_f64.max(5.0 * spread) && was < 0.9 {
            anomaly = true;
            let detail =
                format!("{:.0} % of `{}` are empty now, {:.0} % were", is * 100.0, old.name, was * 100.0);
            let mut draft = Draft::new(DriftKind::NullRateAnomaly, old, new, 1.0);
            draft.evidence.push(evidence("null_rate", (is - was).min(1.0), detail));
            drafts.push(draft);
        }
    }
    let never_empty = before.is_none_or(|before| before.rows == 0 || before.empty_rate() == 0.0);
    // Where nullability is read off the values, a rare null may only have been missed before.
    let missed = match (before, after) {
        (Some(before), Some(after)) if before.rows > 0 && after.empty_rate() > 0.0 => {
            before.rows as f64 * (1.0 - after.empty_rate()).max(1e-12).ln() > -10.0
        }
        _ => false,
    };
    if !old.nullable && new.nullable && never_empty && !missed && !anomaly {
        let mut draft = Draft::new(DriftKind::NullabilityChanged, old, new, 1.0);
        draft.evidence.push(evidence(
            "nullability",
            1.0,
            format!("`{}` was never empty and may be now", old.name),
        ));
        drafts.push(draft);
    }
    let declared =
        before.is_none_or(|profile| profile.rows == 0) && after.is_none_or(|profile| profile.rows == 0);
    if old.nullable && !new.nullable && declared {
        let mut draft = Draft::new(DriftKind::NullabilityChanged, old, new, 1.0);
        draft.evidence.push(evidence("nullability", 1.0, format!("`{}` may no longer be empty", old.name)));
        drafts.push(draft);
    }
}

/// How sure a rewriting of the same column is: there is no other partner to confuse it with, so
/// the number of records counts as well as that of different values.
pub(crate) fn rewriting_probability(relation: &Relation, background: f64) -> f64 {
    let features = relation.features(background);
    let mut logit = overlap_logit(&features) + 0.9;
    logit += match relation.how {
        // Each record of a rarer code is a proof of its own.
        How::Codes | How::CodesCase => {
            (1.4 * (f64::from(relation.minority + 1) / f64::from(relation.informative + 1)).ln()).max(0.0)
                - 0.6
        }
        How::Ratio(true) => -0.5,
        How::Ratio(false) => -4.0,
        How::TimeCut | How::Case => -3.0,
        _ => 0.0,
    };
    let probability = sigmoid(logit.min(most_of(relation.compared)));
    if relation.ambiguous { probability / 2.0 } else { probability }
}

/// What the common records prove.
fn proved(context: &Context<'_>, old: &Field, new: &Field, relation: &Relation) -> Option<Draft> {
    let typed = old.logical_type != new.logical_type;
    let read_as_text = [old, new].iter().any(|field| field.logical_type == LogicalType::Text);
    let (kind, signal, what) = match relation.how {
        How::Same | How::Differs | How::Together => return None,
        How::Number if !typed => return None,
        How::Number => {
            (type_kind(old.logical_type, new.logical_type), "type", "numbers are equal and written otherwise")
        }
        How::Time if typed && !read_as_text => (
            type_kind(old.logical_type, new.logical_type),
            "format",
            "the same dates in another form and type",
        ),
        How::Time => (DriftKind::FormatChanged, "format", "the same dates, written otherwise"),
        How::TimeCut => (DriftKind::TypeNarrowed, "format", "the same days without the time of day"),
        How::Shift => {
            (DriftKind::UnitChanged, "unit_ratio", "all times moved by one span: another time zone")
        }
        How::DecimalForm => (DriftKind::FormatChanged, "format", "the same numbers, written otherwise"),
        How::Ratio(_) => (DriftKind::UnitChanged, "unit_ratio", "one constant ratio between old and new"),
        How::Codes if typed => (DriftKind::TypeChanged, "values", "each new code stands for one old value"),
        How::Codes => (DriftKind::EnumChanged, "values", "each new code stands for one old value"),
        How::CodesCase | How::Case => (DriftKind::FormatChanged, "format", "the same values in other case"),
        How::Zeros if typed => (DriftKind::TypeChanged, "format", "leading zeros were lost or added"),
        How::Zeros => (DriftKind::FormatChanged, "format", "leading zeros were lost or added"),
        How::Part => (DriftKind::FormatChanged, "values", "the old value is a part of the new one"),
        How::Json => (DriftKind::TypeChanged, "values", "the old value is inside the new one"),
    };
    let probability = rewriting_probability(relation, context.background);
    let mut draft = Draft::new(kind, old, new, probability.max(0.5));
    let agreeing = relation.compared - relation.disagreeing;
    let mut lines = vec![evidence(
        "overlap",
        relation.agreement(),
        format!("on {agreeing} of {} common records {what}", relation.compared),
    )];
    if let Some(line) = describe(relation.adapt.as_ref(), signal) {
        lines.push(line);
    }
    if relation.ambiguous {
        lines.push(evidence("format", 0.5, "day and month may be either way round".into()));
    }
    if relation.how.is_lossy() {
        lines.push(evidence(
            "lost",
            0.0,
            "the new values say less: the old ones cannot be written back".into(),
        ));
    }
    draft.evidence.clone_from(&lines);
    let repairable = relation.adapt.is_some() || matches!(relation.how, How::Number | How::Case);
    if repairable {
        draft.repair = Some(DraftRepair {
            new_sources: vec![new.name.clone()],
            adapt: relation.adapt.clone(),
            probability: probability.min(most_written(relation.how)),
            evidence: lines,
            overlap: relation.check(names::volatile(&old.name)),
        });
    }
    Some(draft)
}

/// No repair of a change of that kind is more probably exact.
pub(crate) fn most_written(how: How) -> f64 {
    if how.is_lossy() { MOST_OF_LOST } else { 1.0 }
}

/// One line on what an adapting transform does.
pub(crate) fn describe(adapt: Option<&Transform>, signal: &str) -> Option<Evidence> {
    let detail = match adapt? {
        Transform::FormatTime { from, to } => format!("`{from}` is written back as `{to}`"),
        Transform::Scale { factor } => format!("new values times {factor} are the old ones"),
        Transform::MapValues { values, .. } => {
            let list: Vec<String> =
                values.iter().take(8).map(|(new, old)| format!("`{new}` was `{old}`")).collect();
            list.join(", ")
        }
        Transform::ParseDecimalComma => "a decimal comma became a point back".to_owned(),
        Transform::FormatDecimalComma => "a decimal point becomes a comma back".to_owned(),
        Transform::SplitPart { separator, index } => {
            format!("part {} between `{separator}` is the old value", index + 1)
        }
        Transform::JsonPath { path } => format!("the value at `{path}` is the old one"),
        Transform::Join { separator } => format!("joined by `{separator}` they are the old value"),
        Transform::JsonObject { keys } => {
            format!("they are the members {} of the old object", keys.join(", "))
        }
        _ => return None,
    };
    Some(evidence(signal, 1.0, detail))
}

/// The kind of a change of type: does every old value still fit?
pub(crate) fn type_kind(old: LogicalType, new: LogicalType) -> DriftKind {
    use LogicalType::{Boolean, Date, Decimal, Integer, Text, Timestamp};
    match (old, new) {
        // A list's only value is no list: who reads the old form does not get it.
        (Integer, Decimal | Text) | (Decimal | Boolean | Date | Timestamp, Text) | (Date, Timestamp) => {
            DriftKind::TypeWidened
        }
        (Decimal, Integer) | (Text, Integer | Decimal | Boolean | Date | Timestamp) | (Timestamp, Date) => {
            DriftKind::TypeNarrowed
        }
        _ => DriftKind::TypeChanged,
    }
}

/// What the profiles alone show.
fn blind(
    old: &Field,
    new: &Field,
    before: Option<&FieldProfile>,
    after: Option<&FieldProfile>,
    complete: bool,
) -> Option<Draft> {
    let (old_formats, new_formats) = (time_formats(before), time_formats(after));
    if let (Some(to), Some(_)) = (old_formats.first(), new_formats.first()) {
        let shared = new_formats.iter().any(|format| old_formats.contains(format));
        let iso = |format: &String| format.starts_with("%Y-%m-%d") || format == time::ISO_8601;
        let both_iso = old_formats.iter().all(iso) && new_formats.iter().all(iso);
        if shared || (both_iso && old.logical_type == new.logical_type) {
            return None;
        }
        let from = &new_formats[0];
        let unsure = old_formats.len() > 1 && !iso(to) || new_formats.len() > 1 && !iso(from);
        let kind = if old.logical_type == new.logical_type || LogicalType::Text == new.logical_type {
            DriftKind::FormatChanged
        } else {
            type_kind(old.logical_type, new.logical_type)
        };
        let probability = if unsure { 0.5 } else { 0.93 };
        let repair =
            (to != time::ISO_8601).then(|| Transform::FormatTime { from: from.clone(), to: to.clone() });
        return Some(blind_draft(
            kind,
            old,
            new,
            repair,
            probability,
            format!("dates were written `{to}` and are `{from}` now"),
        ));
    }
    if let (Some(to), Some(from)) = (number_form(before), number_form(after))
        && to != from
        && before.is_some_and(|profile| {
            profile.share(|shape| shape == "decimal" || shape.starts_with("decimal_")) > 0.3
        })
        && after.is_some_and(|profile| {
            profile.share(|shape| shape == "decimal" || shape.starts_with("decimal_")) > 0.3
        })
    {
        let detail = format!("numbers were written with `{to}` and are with `{from}` now");
        return Some(blind_draft(
            DriftKind::FormatChanged,
            old,
            new,
            number_form_adapt(from, to),
            0.93,
            detail,
        ));
    }
    let (before, after) = (before?, after?);
    let number = |shape: &str| shape == "integer" || shape == "decimal";
    if complete
        && before.filled() >= 50
        && after.filled() >= 50
        && before.share(number) >= 0.95
        && after.share(number) >= 0.95
        && let (Some(factor), true) =
            (distribution_ratio(&before.quantiles, &after.quantiles), before.distinct >= 10)
    {
        let detail = format!("all quantiles times {factor} are as they were");
        let adapt = Transform::Scale { factor };
        return Some(blind_draft(DriftKind::UnitChanged, old, new, Some(adapt), 0.75, detail));
    }
    renamed_codes(old, new, before, after)
}

pub(crate) fn blind_draft(
    kind: DriftKind,
    old: &Field,
    new: &Field,
    adapt: Option<Transform>,
    probability: f64,
    detail: String,
) -> Draft {
    let mut draft = Draft::new(kind, old, new, probability);
    let lines = vec![
        evidence("values", probability, detail),
        evidence("overlap", 0.0, "too few common records to compare".to_owned()),
    ];
    draft.evidence.clone_from(&lines);
    draft.repair = adapt.map(|adapt| DraftRepair {
        new_sources: vec![new.name.clone()],
        adapt: Some(adapt),
        probability: probability.min(BLIND),
        evidence: lines,
        overlap: OverlapCheck::Unknown { compared: 0 },
    });
    draft
}

/// The factor from new to old, if the inner quantiles all differ by the same power of ten.
fn distribution_ratio(before: &[f64], after: &[f64]) -> Option<String> {
    // The lowest quantiles of few values are mostly chance.
    let ([_, _, b2, b3, b4, b5, _], [_, _, a2, a3, a4, a5, _]) = (before, after) else { return None };
    let pairs = [(b2, a2), (b3, a3), (b4, a4), (b5, a5)];
    if pairs.iter().any(|(old, new)| **old == 0.0 || **new == 0.0) || b2.total_cmp(b5).is_eq() {
        return None;
    }
    let middle = b3 / a3;
    let power = middle.abs().log10().round();
    if !(1.0..=6.0).contains(&power.abs()) {
        return None;
    }
    let wanted = 10_f64.powf(power);
    let near = pairs.iter().all(|(old, new)| ((*old / *new) / wanted).log10().abs() < 0.2);
    near.then(|| usual_factor(wanted).map(|(factor, _)| factor)).flatten()
}

/// A change of type or format that the schema says and no value contradicts.
fn declared(
    old: &Field,
    new: &Field,
    before: Option<&FieldProfile>,
    after: Option<&FieldProfile>,
    relation: Option<&Relation>,
    background: f64,
) -> Option<Draft> {
    let kind = if old.logical_type != new.logical_type {
        type_kind(old.logical_type, new.logical_type)
    } else if old.format != new.format {
        DriftKind::FormatChanged
    } else {
        return None;
    };
    if by_chance(old, new, before, after) {
        return None;
    }
    let mut draft = Draft::new(kind, old, new, 1.0);
    let of = |field: &Field| match &field.format {
        Some(format) => format!("{} `{format}`", field.logical_type.as_str()),
        None => field.logical_type.as_str().to_owned(),
    };
    let mut lines = vec![evidence("type", 1.0, format!("`{}` was {} and is {}", old.name, of(old), of(new)))];
    let agreeing = relation.filter(|relation| matches!(relation.how, How::Same | How::Number));
    if let Some(relation) = agreeing {
        let same = relation.compared - relation.disagreeing;
        lines.push(evidence(
            "overlap",
            relation.agreement(),
            format!("on {same} of {} common records the values are the same", relation.compared),
        ));
        draft.repair = Some(DraftRepair {
            new_sources: vec![new.name.clone()],
            adapt: relation.adapt.clone(),
            probability: rewriting_probability(relation, background),
            evidence: lines.clone(),
            overlap: relation.check(names::volatile(&old.name)),
        });
    } else if kind == DriftKind::TypeWidened && relation.is_none() {
        draft.repair = Some(DraftRepair {
            new_sources: vec![new.name.clone()],
            adapt: None,
            probability: 0.85,
            evidence: lines.clone(),
            overlap: OverlapCheck::Unknown { compared: 0 },
        });
    }
    draft.evidence = lines;
    Some(draft)
}

/// Types are read off the values by some connectors: is the difference what another draw of the
/// same values could give?
fn by_chance(old: &Field, new: &Field, before: Option<&FieldProfile>, after: Option<&FieldProfile>) -> bool {
    use LogicalType::{Date, Decimal, Integer, Text, Timestamp};
    let (Some(before), Some(after)) = (before, after) else { return false };
    let rows = after.filled() as f64;
    // A file whose dates or numbers could be read two ways is typed as text, until a value decides.
    let undecided = |field: &Field| {
        matches!(
            field.format.as_deref(),
            Some("ambiguous_date" | "mixed_dates" | "ambiguous_number" | "thousands_comma")
        )
    };
    if undecided(old) || undecided(new) {
        let (left, right) = (time_formats(Some(before)), time_formats(Some(after)));
        let (was, is) = (number_form(Some(before)), number_form(Some(after)));
        return left.iter().any(|format| right.contains(format)) || (was.is_some() && was == is);
    }
    match (old.logical_type, new.logical_type) {
        // Amounts that happen to be whole this time.
        (Decimal, Integer) => {
            let fractions = before.share(|shape| shape == "decimal");
            rows * (1.0 - fractions).max(1e-12).ln() > -14.0
        }
        (Integer, Decimal) => {
            // All numbers are still whole, or there was too little to know.
            (before.filled() as f64) * (1.0 - after.share(|shape| shape == "decimal")).max(1e-12).ln() > -14.0
                && before.filled() < 30
        }
        // Codes of one width, none of which happened to begin with a zero.
        (Integer, Text) => {
            let misfits = after.share(|shape| shape != "integer");
            let ends = [before.length[0], before.length[2], after.length[0], after.length[2]];
            let one_width = ends.iter().all(|length| length.total_cmp(&ends[0]).is_eq());
            let least = if one_width { -14.0 } else { -7.0 };
            before.filled() as f64 * (1.0 - misfits).max(1e-12).ln() > least
        }
        // Texts among numbers or dates, rare enough to be missed by one of the two.
        (Text, Integer | Decimal | Date | Timestamp) => {
            let texts = before.share(|shape| !of_type(new.logical_type, shape));
            rows < 20.0 || rows * (1.0 - texts).max(1e-12).ln() > -14.0
        }
        (Decimal, Text) => {
            let texts = after.share(|shape| !of_type(old.logical_type, shape));
            (before.filled() as f64) * (1.0 - texts).max(1e-12).ln() > -7.0
        }
        (Date | Timestamp, Date | Timestamp) => rows < 20.0,
        _ if old.logical_type == new.logical_type => {
            // Two ways to read the same dates: only a contradiction is news.
            let (left, right) = (time_formats(Some(before)), time_formats(Some(after)));
            left.iter().any(|format| right.contains(format))
        }
        _ => false,
    }
}

/// Is a value of that shape one of that type?
pub(crate) fn of_type(logical_type: LogicalType, shape: &str) -> bool {
    match logical_type {
        LogicalType::Integer => shape == "integer",
        LogicalType::Decimal => shape == "integer" || shape.starts_with("decimal"),
        LogicalType::Date => shape.starts_with("date:"),
        LogicalType::Timestamp => shape.starts_with("date:") || shape.starts_with("timestamp:"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_correlate() {
        let up: Vec<(f64, f64)> =
            (0..50).map(|number| (f64::from(number), f64::from(number) * 2.0 + 1.0)).collect();
        assert!(rank_correlation(&up) > 0.999);
        let down: Vec<(f64, f64)> = up.iter().map(|(left, right)| (*left, -right)).collect();
        assert!(rank_correlation(&down) < -0.999);
    }

    #[test]
    fn a_ratio_of_distributions_is_a_power_of_ten_or_none() {
        let before = [1.0, 5.0, 20.0, 50.0, 80.0, 200.0, 1000.0];
        let cents: Vec<f64> = before.iter().map(|number| number * 100.0).collect();
        assert_eq!(distribution_ratio(&before, &cents).as_deref(), Some("0.01"));
        let grown: Vec<f64> = before.iter().map(|number| number * 1.3).collect();
        assert_eq!(distribution_ratio(&before, &grown), None);
    }
}
