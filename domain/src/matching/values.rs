//! What a column's values say about a field: whether they could be it, and how they must be read.

use crate::{
    drift::profile::FieldProfile,
    mapping::Transform,
    ontology::{CanonicalType, OntologyField, Semantic},
    schema::Field,
};

/// How well a column's values fit a field.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    /// 0: they cannot be it; 0.5: nothing speaks for or against; 1: their form names it.
    pub(super) score: f64,
    pub(super) transform: Transform,
    pub(super) detail: String,
    /// The values may be read in two ways: a person must say which.
    pub(super) ambiguous: bool,
}

impl Fit {
    fn new(score: f64, transform: Transform, detail: impl Into<String>) -> Self {
        Self { score, transform, detail: detail.into(), ambiguous: false }
    }
}

/// The shares of a column's values by form.
struct Shares<'a> {
    profile: &'a FieldProfile,
}

impl Shares<'_> {
    fn of(&self, names: &[&str]) -> f64 {
        self.profile
            .share(|shape| names.iter().any(|name| shape == *name || shape.starts_with(&format!("{name}:"))))
    }

    fn number(&self) -> f64 {
        self.of(&["integer", "decimal"])
    }

    fn time(&self) -> f64 {
        self.of(&["date", "timestamp"])
    }

    fn quantile(&self, index: usize) -> Option<f64> {
        self.profile.quantiles.get(index).copied()
    }

    /// The most frequent form with this beginning.
    fn main(&self, prefix: &str) -> Option<&str> {
        let forms = self.profile.shapes.iter().filter(|(name, _)| name.starts_with(prefix));
        forms.max_by_key(|(_, count)| **count).map(|(name, _)| name.as_str())
    }
}

/// Judges a column for a field.
pub(super) fn fit(column: &Field, profile: &FieldProfile, field: &OntologyField) -> Fit {
    let shares = Shares { profile };
    if profile.filled() == 0 {
        return Fit::new(0.5, Transform::Copy, "no values");
    }
    match field.canonical_type {
        CanonicalType::Timestamp | CanonicalType::Date => time(column, &shares),
        CanonicalType::Integer | CanonicalType::Decimal => number(column, &shares, field),
        CanonicalType::Boolean => boolean(&shares),
        CanonicalType::Text => text(&shares, field),
    }
}

fn time(column: &Field, shares: &Shares<'_>) -> Fit {
    let share = shares.time();
    if share >= 0.9 {
        let form = shares.main("timestamp:").or_else(|| shares.main("date:")).unwrap_or_default();
        let formats: Vec<&str> =
            form.split_once(':').map_or_else(Vec::new, |(_, list)| list.split('|').collect());
        let chosen = match column.format.as_deref() {
            Some(declared) if formats.contains(&declared) => Some(declared),
            _ if formats.len() == 1 => formats.first().copied(),
            _ => None,
        };
        return match chosen {
            // Plain ISO casts as it stands; with a zone, the form is named so that it is not lost.
            Some("%Y-%m-%d") => Fit::new(0.9, Transform::Copy, "dates"),
            Some(format) => Fit::new(
                0.9,
                Transform::ParseTime { format: format.to_owned() },
                format!("times as `{format}`"),
            ),
            None => Fit {
                ambiguous: true,
                ..Fit::new(
                    0.6,
                    Transform::ParseTime {
                        format: formats.first().copied().unwrap_or("%Y-%m-%d").to_owned(),
                    },
                    format!("dates that read as any of {}", formats.join(", ")),
                )
            },
        };
    }
    if shares.of(&["integer", "epoch_seconds", "epoch_milliseconds"]) >= 0.95
        && let (Some(low), Some(high)) = (shares.quantile(0), shares.quantile(6))
    {
        // 1990 to 2100.
        let seconds = 631_152_000.0..=4_102_444_800.0;
        if seconds.contains(&low) && seconds.contains(&high) {
            return Fit::new(0.8, Transform::ParseEpoch { unit: "seconds".to_owned() }, "seconds since 1970");
        }
        if seconds.contains(&(low / 1e3)) && seconds.contains(&(high / 1e3)) {
            let transform = Transform::ParseEpoch { unit: "milliseconds".to_owned() };
            return Fit::new(0.85, transform, "milliseconds since 1970");
        }
        if (20_000.0..=80_000.0).contains(&low) && (20_000.0..=80_000.0).contains(&high) {
            return Fit::new(0.55, Transform::ParseExcelSerial, "numbers that may be Excel dates");
        }
    }
    Fit::new(0.05, Transform::Copy, "values that are no times")
}

fn number(column: &Field, shares: &Shares<'_>, field: &OntologyField) -> Fit {
    let comma = shares.of(&["decimal_comma"]);
    let plain = shares.number();
    if plain + comma < 0.9 {
        return Fit::new(0.05, Transform::Copy, "values that are no numbers");
    }
    if shares.of(&["epoch_milliseconds"]) > 0.5 {
        return Fit::new(0.1, Transform::Copy, "values that look like times");
    }
    let read = if comma > 0.0 || column.format.as_deref() == Some("decimal_comma") {
        Transform::ParseDecimalComma
    } else {
        Transform::Copy
    };
    if field.semantic != Semantic::Fraction {
        return Fit::new(0.75, read, "numbers");
    }
    match (shares.quantile(0), shares.quantile(6)) {
        (Some(low), Some(high)) if low >= 0.0 && high <= 1.0 => Fit::new(0.9, read, "fractions"),
        (Some(low), Some(high)) if low >= 0.0 && high <= 100.0 => {
            let scale = Transform::Scale { factor: "0.01".to_owned() };
            let transform = match read {
                Transform::Copy => scale,
                read => Transform::Chain { steps: vec![read, scale] },
            };
            Fit::new(0.85, transform, "percentages")
        }
        _ => Fit::new(0.1, read, "numbers that are no fractions"),
    }
}

fn boolean(shares: &Shares<'_>) -> Fit {
    if shares.of(&["boolean"]) >= 0.99 {
        return Fit::new(0.9, Transform::Copy, "true and false");
    }
    let words: Vec<String> = shares.profile.frequent.iter().map(|(value, _)| value.to_lowercase()).collect();
    let known =
        |word: &String| ["yes", "no", "y", "n", "1", "0", "true", "false", "t", "f"].contains(&word.as_str());
    if shares.profile.complete && words.len() <= 2 && words.iter().all(known) {
        let own = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
        let transform = Transform::ParseBoolean {
            truthy: own(&["yes", "y", "1", "true", "t"]),
            falsy: own(&["no", "n", "0", "false", "f"]),
        };
        return Fit::new(0.7, transform, "two words for true and false");
    }
    Fit::new(0.05, Transform::Copy, "values that are not true or false")
}

fn text(shares: &Shares<'_>, field: &OntologyField) -> Fit {
    let (email, url, phone) = (shares.of(&["email"]), shares.of(&["url"]), shares.of(&["phone"]));
    let mostly_number = shares.number() >= 0.9;
    let mostly_time = shares.time() >= 0.9;
    let host = |value: &String| {
        let plain = value.trim();
        plain.contains('.') && !plain.contains(['@', ' ']) && plain.chars().any(char::is_alphabetic)
    };
    let samples = &shares.profile.samples;
    let hosts = samples.iter().filter(|value| host(value)).count() as f64 / samples.len().max(1) as f64;
    match field.semantic {
        Semantic::Email => {
            Fit::new(if email >= 0.8 { 1.0 } else { 0.05 }, Transform::Copy, "e-mail addresses")
        }
        Semantic::Url if email > 0.2 => Fit::new(0.05, Transform::Copy, "e-mail addresses"),
        Semantic::Url => {
            Fit::new(if url.max(hosts) >= 0.8 { 0.95 } else { 0.2 }, Transform::Copy, "web addresses")
        }
        Semantic::Domain if email > 0.2 => Fit::new(0.05, Transform::Copy, "e-mail addresses"),
        Semantic::Domain if url >= 0.5 || samples.iter().any(|value| value.contains("://")) => {
            Fit::new(0.7, Transform::ExtractDomain, "web addresses")
        }
        Semantic::Domain => {
            Fit::new(if hosts >= 0.8 { 0.95 } else { 0.2 }, Transform::ExtractDomain, "host names")
        }
        Semantic::Phone => {
            let digits = |value: &String| {
                let count = value.chars().filter(char::is_ascii_digit).count();
                (7..=15).contains(&count) && !value.chars().any(char::is_alphabetic)
            };
            let alike =
                samples.iter().filter(|value| digits(value)).count() as f64 / samples.len().max(1) as f64;
            Fit::new(if phone.max(alike) >= 0.7 { 0.9 } else { 0.15 }, Transform::Copy, "telephone numbers")
        }
        Semantic::OrganizationName | Semantic::PersonName if mostly_number || mostly_time || email > 0.2 => {
            Fit::new(0.05, Transform::Copy, "values that are no names")
        }
        Semantic::Category | Semantic::Country | Semantic::Currency
            if mostly_time || email > 0.2 || url > 0.2 =>
        {
            Fit::new(0.05, Transform::Copy, "values that name no kind")
        }
        Semantic::Reference => {
            let spaced = samples.iter().filter(|value| value.trim().contains(' ')).count();
            let names = spaced as f64 / samples.len().max(1) as f64;
            if names > 0.4 || email > 0.2 || url > 0.2 || mostly_time {
                return Fit::new(0.2, Transform::Copy, "values that are no ids");
            }
            Fit::new(0.6, Transform::Copy, "values that may be ids")
        }
        Semantic::Currency => {
            let code =
                |value: &String| value.len() == 3 && value.chars().all(|letter| letter.is_ascii_uppercase());
            let codes =
                samples.iter().filter(|value| code(value)).count() as f64 / samples.len().max(1) as f64;
            Fit::new(if codes >= 0.9 { 0.95 } else { 0.2 }, Transform::Copy, "currency codes")
        }
        _ if mostly_time => Fit::new(0.15, Transform::Copy, "times"),
        _ if shares.of(&["boolean"]) >= 0.99 => Fit::new(0.2, Transform::Copy, "true and false"),
        _ => Fit::new(0.5, Transform::Copy, "text"),
    }
}
