//! How alike two names are.

pub use super::words::expanded;

use super::words::cut;
use std::collections::BTreeSet;

/// Tokens that systems put before every name and that say nothing.
const PREFIXES: &[&str] = &["hs", "sf", "hubspot", "salesforce", "crm", "fld", "col", "cust"];

/// Splits `camelCase`, `snake_case`, `kebab-case` and `name2` into lower-case tokens.
pub fn tokens(name: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut current = String::new();
    let letters: Vec<char> = name.chars().collect();
    for (index, &letter) in letters.iter().enumerate() {
        let previous = index.checked_sub(1).map(|before| letters[before]);
        let next = letters.get(index + 1);
        let starts = match previous {
            None => false,
            Some(previous) => {
                (letter.is_uppercase() && previous.is_lowercase())
                    || (letter.is_uppercase()
                        && previous.is_uppercase()
                        && next.is_some_and(|next| next.is_lowercase()))
                    || (letter.is_ascii_digit() != previous.is_ascii_digit())
            }
        };
        if !letter.is_alphanumeric() || starts {
            push(&mut tokens, &mut current);
        }
        if letter.is_alphanumeric() {
            current.extend(letter.to_lowercase());
        }
    }
    push(&mut tokens, &mut current);
    // A column of the platform's own fields keeps at least one token.
    while tokens.len() > 1 && PREFIXES.contains(&tokens[0].as_str()) {
        tokens.remove(0);
    }
    // `industry__c`: custom fields end in a `c` of their own.
    if tokens.len() > 1 && tokens.last().is_some_and(|last| last == "c") {
        tokens.pop();
    }
    tokens.into_iter().flat_map(|token| cut(&token).unwrap_or_else(|| vec![token])).collect()
}

fn push(tokens: &mut Vec<String>, current: &mut String) {
    if !current.is_empty() {
        tokens.push(std::mem::take(current));
    }
}

/// How alike two names are, 0 to 1; 1 when they are the same letters.
pub fn similarity(left: &str, right: &str) -> f64 {
    let (left, right) = (tokens(left), tokens(right));
    token_similarity(&left, &right)
}

pub(super) fn token_similarity(left: &[String], right: &[String]) -> f64 {
    if left.is_empty() || right.is_empty() {
        return 0.0;
    }
    let (joined_left, joined_right) = (left.concat(), right.concat());
    if joined_left == joined_right {
        return 1.0;
    }
    let winkler = strsim::jaro_winkler(&joined_left, &joined_right);
    let grams = cosine(&trigrams(&joined_left), &trigrams(&joined_right));
    let set = overlap(left, right);
    let meaning = expanded(left) == expanded(right);
    let short = abbreviation(&joined_left, &joined_right).max(abbreviation(&joined_right, &joined_left));
    // Jaro-Winkler is generous with unrelated words; it counts above its usual noise alone.
    let winkler = ((winkler - 0.6) / 0.4).max(0.0);
    (0.40 * set + 0.30 * grams + 0.30 * winkler)
        .max(0.85 * short)
        .max(if meaning { 0.96 } else { 0.0 })
        .min(0.97)
}

/// Share of tokens that both have, by the longer list; a token counts as itself or as its stem.
fn overlap(left: &[String], right: &[String]) -> f64 {
    let stem = |token: &String| token.strip_suffix('s').unwrap_or(token).to_owned();
    let left: BTreeSet<String> = left.iter().map(stem).collect();
    let right: BTreeSet<String> = right.iter().map(stem).collect();
    let common = left.intersection(&right).count() as f64;
    common / left.len().max(right.len()) as f64
}

fn trigrams(text: &str) -> BTreeSet<String> {
    let padded: Vec<char> = format!("  {text} ").chars().collect();
    padded.windows(3).map(|window| window.iter().collect()).collect()
}

fn cosine(left: &BTreeSet<String>, right: &BTreeSet<String>) -> f64 {
    let common = left.intersection(right).count() as f64;
    common / ((left.len() * right.len()) as f64).sqrt().max(1.0)
}

/// `amt` for `amount`, `qty` for `quantity`: a subsequence that begins alike and is not a lone letter.
fn abbreviation(short: &str, long: &str) -> f64 {
    if short.len() < 3 || short.len() >= long.len() || long.len() > short.len() * 4 {
        return 0.0;
    }
    if short.as_bytes()[0] != long.as_bytes()[0] {
        return 0.0;
    }
    let mut rest = long.chars();
    let all = short.chars().all(|letter| rest.any(|other| other == letter));
    if !all {
        return 0.0;
    }
    if long.starts_with(short) { 0.9 } else { 0.75 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_into_tokens() {
        for (name, expected) in [
            ("NumberOfEmployees", vec!["number", "of", "employees"]),
            ("hs_lastmodifieddate", vec!["last", "modified", "date"]),
            ("address1_line1", vec!["address", "1", "line", "1"]),
            ("HTTPStatus", vec!["http", "status"]),
            ("Annual Revenue (USD)", vec!["annual", "revenue", "usd"]),
            ("Region__c", vec!["region"]),
            ("numberofemployees", vec!["number", "of", "employees"]),
            ("parentcustomerid", vec!["parent", "customer", "id"]),
            ("telephone1", vec!["telephone", "1"]),
            ("online", vec!["online"]),
        ] {
            assert_eq!(tokens(name), expected, "{name}");
        }
    }

    #[test]
    fn likeness_is_ordered_as_a_person_would() {
        assert!((similarity("employee_count", "EmployeeCount") - 1.0).abs() < 1e-9);
        assert!(similarity("employees", "employee_count") > similarity("employees", "phone"));
        assert!(similarity("qty", "quantity") > 0.6);
        assert!(similarity("billing_city", "shipping_city") < 0.9);
        assert!(similarity("name", "email") < 0.5);
    }
}
