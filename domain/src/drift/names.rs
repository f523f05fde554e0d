//! How alike two column names are, and whether they name opposite things.

use std::collections::BTreeSet;

/// The words of a name, in lower case: split at case, digits and punctuation.
pub(crate) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let letters: Vec<char> = name.chars().collect();
    let mut word = String::new();
    for (index, letter) in letters.iter().enumerate() {
        if !letter.is_alphanumeric() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        let before = index.checked_sub(1).and_then(|before| letters.get(before));
        let starts = match before {
            Some(before) if letter.is_uppercase() => {
                before.is_lowercase()
                    || before.is_numeric()
                    || (before.is_uppercase()
                        && letters.get(index + 1).is_some_and(|next| next.is_lowercase()))
            }
            Some(before) => before.is_numeric() != letter.is_numeric(),
            None => false,
        };
        if starts && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        word.extend(letter.to_lowercase());
    }
    if !word.is_empty() {
        words.push(word);
    }
    // Suffixes that systems add by themselves: Salesforce's `__c` and the like.
    if words.len() > 1 && words.last().is_some_and(|last| last == "c") {
        words.pop();
    }
    words
}

/// A name as it is compared with others of the past: its words in lower case, joined by `_`.
pub fn normal_name(name: &str) -> String {
    words(name).join("_")
}

/// 0 to 1; 1 for names that differ in case and punctuation alone.
pub(crate) fn similarity(left: &str, right: &str) -> f64 {
    let (left_words, right_words) = (words(left), words(right));
    let (joined_left, joined_right) = (left_words.concat(), right_words.concat());
    if joined_left == joined_right {
        return 1.0;
    }
    let letters = strsim::jaro_winkler(&joined_left, &joined_right);
    // Jaro-Winkler gives unrelated words about a half.
    let letters = ((letters - 0.5) / 0.5).max(0.0);
    let covered = |from: &[String], to: &[String]| -> f64 {
        let all: usize = from.iter().map(String::len).sum();
        let hit: f64 = from
            .iter()
            .map(|word| {
                to.iter().map(|other| word_similarity(word, other)).fold(0.0, f64::max) * word.len() as f64
            })
            .sum();
        if all == 0 { 0.0 } else { hit / all as f64 }
    };
    let (forth, back) = (covered(&left_words, &right_words), covered(&right_words, &left_words));
    let by_words = if forth + back == 0.0 { 0.0 } else { 2.0 * forth * back / (forth + back) };
    let contained = forth.max(back);
    (0.5 * letters + 0.5 * by_words)
        .max(0.85 * by_words)
        .max(if contained >= 0.99 { 0.6 } else { 0.0 })
        .min(0.99)
}

fn word_similarity(left: &str, right: &str) -> f64 {
    if left == right {
        return 1.0;
    }
    if singular(left) == singular(right) {
        return 0.95;
    }
    let (short, long) = if left.len() <= right.len() { (left, right) } else { (right, left) };
    if short.len() >= 2 && long.starts_with(short) {
        return 0.85;
    }
    if short.len() >= 2 && abbreviates(short, long) {
        return 0.75;
    }
    let letters = strsim::jaro_winkler(left, right);
    if letters > 0.88 { letters - 0.1 } else { 0.0 }
}

fn singular(word: &str) -> &str {
    word.strip_suffix('s').filter(|stem| stem.len() > 2).unwrap_or(word)
}

/// `amt` abbreviates `amount`: same first letter, the others in order.
fn abbreviates(short: &str, long: &str) -> bool {
    if short.as_bytes()[0] != long.as_bytes()[0] || short.len() * 3 < long.len() {
        return false;
    }
    let mut letters = long.chars();
    short.chars().all(|letter| letters.any(|other| other == letter))
}

/// Words of which a name says one or the other; the two never name the same thing.
const OPPOSED: [&[&str]; 18] = [
    &["billing", "shipping", "delivery", "mailing"],
    &["created", "updated", "modified", "deleted", "closed", "opened"],
    &["start", "end", "stop"],
    &["begin", "end"],
    &["first", "last", "middle"],
    &["min", "max", "avg"],
    &["minimum", "maximum", "average"],
    &["from", "to"],
    &["debit", "credit"],
    &["buy", "sell"],
    &["net", "gross", "tax"],
    &["parent", "child"],
    &["home", "work", "mobile", "fax", "office"],
    &["in", "out"],
    &["old", "new"],
    &["source", "target"],
    &["lat", "lon", "lng"],
    &["year", "month", "day"],
];

/// Do the names differ in a word that turns the meaning round (`billing_city`, `shipping_city`)?
pub fn opposed(left: &str, right: &str) -> bool {
    let left: BTreeSet<String> = words(left).into_iter().collect();
    let right: BTreeSet<String> = words(right).into_iter().collect();
    OPPOSED.iter().any(|group| {
        let of = |side: &BTreeSet<String>| -> Vec<&str> {
            group.iter().copied().filter(|word| side.contains(*word)).collect()
        };
        let (in_left, in_right) = (of(&left), of(&right));
        !in_left.is_empty() && !in_right.is_empty() && !in_left.iter().any(|word| in_right.contains(word))
    })
}

/// Does the name say that the values change from day to day?
pub(crate) fn volatile(name: &str) -> bool {
    words(name).iter().any(|word| {
        [
            "updated",
            "modified",
            "modstamp",
            "last",
            "latest",
            "lastmodified",
            "activity",
            "phone",
            "balance",
            "seen",
            "sync",
        ]
        .contains(&word.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_names_score_above_unlike_ones() {
        for (left, right, least, most) in [
            ("AnnualRevenue", "annual_revenue", 1.0, 1.0),
            ("Amount__c", "amount", 1.0, 1.0),
            ("annual_revenue", "ann_rev", 0.6, 0.99),
            ("amount", "amt", 0.5, 0.99),
            ("phone", "phone_number", 0.6, 0.99),
            ("city", "employees", 0.0, 0.3),
            ("name", "revenue", 0.0, 0.4),
        ] {
            let score = similarity(left, right);
            assert!((least..=most).contains(&score), "{left} {right}: {score}");
        }
    }

    #[test]
    fn opposed_names_are_told() {
        assert!(opposed("billing_city", "ShippingCity"));
        assert!(opposed("created_at", "updated_at"));
        assert!(!opposed("created_at", "created_on"));
        assert!(!opposed("billing_city", "city"));
    }
}
