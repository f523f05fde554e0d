//! The signals between a column of one table and a column of another, each about 0 to 1.

use super::{
    names::{expanded, tokens},
    words::singular,
};
use crate::{
    drift::profile::{FieldProfile, StreamProfile},
    schema::{LogicalType, StreamShape},
};
use std::collections::{BTreeMap, BTreeSet};

/// What the numbers of [`PairSignals`] are, in their order.
pub const SIGNALS: [&str; 30] = [
    "name_equal",
    "name_letters",
    "name_trigrams",
    "name_words",
    "name_expanded",
    "name_consonants",
    "name_subsequence",
    "name_common",
    "name_ending",
    "type_equal",
    "type_clash",
    "values_shared",
    "values_contained",
    "values_weighted",
    "value_words",
    "value_form",
    "value_letters",
    "value_length",
    "value_length_spread",
    "number_quantiles",
    "number_both",
    "distinct_share",
    "null_share",
    "enumeration_both",
    "empty_either",
    "place",
    "name_best",
    "values_best",
    "embedding_name",
    "embedding",
];

/// Indices into [`SIGNALS`] that the evidence names.
pub(super) mod at {
    pub(in super::super) const NAME_WORDS: usize = 3;
    pub(in super::super) const VALUES_WEIGHTED: usize = 13;
    pub(in super::super) const VALUE_FORM: usize = 15;
    pub(in super::super) const NAME_BEST: usize = 26;
    pub(in super::super) const VALUES_BEST: usize = 27;
    pub(in super::super) const TYPE_EQUAL: usize = 9;
    pub(in super::super) const EMBEDDING_NAME: usize = 28;
    pub(in super::super) const EMBEDDING: usize = 29;
    /// Signals whose distance to the best of the row and of the column is a signal of its own.
    pub(in super::super) const RIVALLED: [usize; 6] = [3, 5, 13, 26, 27, 29];
}

/// The signals of one pair.
pub type PairSignals = [f32; SIGNALS.len()];

type Weights = BTreeMap<String, f64>;

/// A column made ready for comparison.
struct Column<'a> {
    words: Vec<String>,
    joined: String,
    consonants: String,
    expanded: Vec<String>,
    grams: Weights,
    kind: LogicalType,
    profile: &'a FieldProfile,
    /// Its values in lower case, with the weight of how often they occur, and their words.
    values: Weights,
    value_words: Weights,
    forms: Weights,
    letters: [f64; 5],
    place: f64,
}

fn column(words: Vec<String>, kind: LogicalType, profile: &FieldProfile, place: f64) -> Column<'_> {
    let joined = words.concat();
    let vowel = |letter: &char| "aeiouyäöü".contains(*letter);
    let consonants = joined.chars().filter(|letter| !vowel(letter)).collect();
    let mut grams = Weights::new();
    for word in [joined.clone(), words.join(" ")] {
        let padded: Vec<char> = format!("^{word}$").chars().collect();
        for gram in padded.windows(3) {
            grams.insert(gram.iter().collect(), 1.0);
        }
    }
    let (mut values, mut value_words, mut forms) = (Weights::new(), Weights::new(), Weights::new());
    let mut letters = [0.0; 5];
    let quoted = profile.frequent.iter().map(|(value, count)| (value, *count as f64));
    for (value, count) in quoted.chain(profile.samples.iter().map(|value| (value, 1.0))) {
        let plain = value.trim().to_lowercase();
        *values.entry(plain.clone()).or_default() += 1.0 + count.ln();
        for word in plain.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
            *value_words.entry(singular(word).to_owned()).or_default() += 1.0;
        }
        *forms.entry(form(value)).or_default() += 1.0;
        for letter in value.chars() {
            let class = match letter {
                letter if letter.is_ascii_digit() => 0,
                letter if letter.is_uppercase() => 1,
                letter if letter.is_alphabetic() => 2,
                ' ' => 3,
                _ => 4,
            };
            letters[class] += 1.0;
        }
    }
    let total: f64 = letters.iter().sum();
    if total > 0.0 {
        letters = letters.map(|count| count / total);
    }
    for weight in value_words.values_mut() {
        *weight = 1.0 + weight.ln();
    }
    Column {
        expanded: expanded(&words),
        words,
        joined,
        consonants,
        grams,
        kind,
        profile,
        values,
        value_words,
        forms,
        letters,
        place,
    }
}

/// `Aa-9`: runs of letters and digits by their kind.
fn form(value: &str) -> String {
    let mut form = String::new();
    for letter in value.trim().chars().take(60) {
        let class = match letter {
            letter if letter.is_numeric() => '9',
            letter if letter.is_uppercase() => 'A',
            letter if letter.is_alphabetic() => 'a',
            letter if letter.is_whitespace() => ' ',
            letter => letter,
        };
        if !form.ends_with(class) {
            form.push(class);
        }
    }
    // Texts of many words are one form.
    if form.matches(' ').count() > 3 { "text".to_owned() } else { form }
}

/// All pairs of two tables, row by row: `[source][target]`.
pub fn pairs(
    source: (&StreamShape, &StreamProfile),
    target: (&StreamShape, &StreamProfile),
    by_name: Option<&[Vec<f64>]>,
    by_text: Option<&[Vec<f64>]>,
) -> Vec<Vec<PairSignals>> {
    let empty = FieldProfile::default();
    let left = columns(source, &empty);
    let right = columns(target, &empty);
    let rarity = Rarity::new(&left, &right);
    left.iter()
        .enumerate()
        .map(|(row, one)| {
            right
                .iter()
                .enumerate()
                .map(|(at, other)| {
                    let meant = |matrix: Option<&[Vec<f64>]>| matrix.map_or(0.0, |matrix| matrix[row][at]);
                    signals(one, other, &rarity, meant(by_name), meant(by_text))
                })
                .collect()
        })
        .collect()
}

fn columns<'a>(
    (shape, profile): (&'a StreamShape, &'a StreamProfile),
    empty: &'a FieldProfile,
) -> Vec<Column<'a>> {
    let last = shape.fields.len().saturating_sub(1).max(1) as f64;
    let mut names: Vec<Vec<String>> = shape.fields.iter().map(|field| tokens(&field.name)).collect();
    drop_prefix(&mut names);
    let numbered = shape.fields.iter().zip(names).enumerate();
    numbered
        .map(|(index, (field, words))| {
            let values = profile.fields.get(&field.name).unwrap_or(empty);
            column(words, field.logical_type, values, index as f64 / last)
        })
        .collect()
}

/// A word that nearly all columns of a table begin with is the table's name and tells none apart.
fn drop_prefix(names: &mut [Vec<String>]) {
    let Some(first) = names.first().and_then(|words| words.first()).cloned() else { return };
    let begins = |words: &&mut Vec<String>| words.len() > 1 && words[0] == first;
    let with = names.iter_mut().filter(begins).count();
    if with >= 3 && with * 5 >= names.len() * 4 {
        for words in names.iter_mut().filter(begins) {
            words.remove(0);
        }
    }
}

/// In how many columns a word, a trigram or a value occurs: what occurs everywhere says nothing.
struct Rarity {
    words: [Weights; 2],
    grams: Weights,
    values: Weights,
    value_words: Weights,
}

impl Rarity {
    fn new(left: &[Column<'_>], right: &[Column<'_>]) -> Self {
        fn count<'a>(lists: impl Iterator<Item = BTreeSet<&'a String>>, columns: usize) -> Weights {
            let mut counts: BTreeMap<&String, f64> = BTreeMap::new();
            for list in lists {
                for word in list {
                    *counts.entry(word).or_default() += 1.0;
                }
            }
            let total = columns as f64;
            counts
                .into_iter()
                .map(|(word, count)| (word.clone(), ((total + 1.0) / (count + 0.5)).ln().max(0.05)))
                .collect()
        }
        let both = || left.iter().chain(right);
        let all = left.len() + right.len();
        Self {
            words: [left, right]
                .map(|side| count(side.iter().map(|column| column.words.iter().collect()), side.len())),
            grams: count(both().map(|column| column.grams.keys().collect()), all),
            values: count(both().map(|column| column.values.keys().collect()), all),
            value_words: count(both().map(|column| column.value_words.keys().collect()), all),
        }
    }
}

fn signals(
    left: &Column<'_>,
    right: &Column<'_>,
    rarity: &Rarity,
    by_name: f64,
    by_text: f64,
) -> PairSignals {
    let letters = strsim::jaro_winkler(&left.joined, &right.joined);
    let trigrams = cosine(&left.grams, &right.grams, &rarity.grams);
    let words = soft_words(left, right, rarity);
    let expanded_words = shared(&left.expanded, &right.expanded);
    let consonants = if left.consonants.is_empty() || right.consonants.is_empty() {
        0.0
    } else {
        strsim::jaro_winkler(&left.consonants, &right.consonants)
    };
    let (subsequence, common) = subsequences(&left.joined, &right.joined);
    let ending = match (left.words.last(), right.words.last()) {
        (Some(one), Some(other)) => word_likeness(one, other),
        _ => 0.0,
    };
    let group = |kind: LogicalType| match kind {
        LogicalType::Integer | LogicalType::Decimal => 1,
        LogicalType::Date | LogicalType::Timestamp => 2,
        LogicalType::Boolean => 3,
        LogicalType::Object | LogicalType::Array => 4,
        LogicalType::Text | LogicalType::Binary => 5,
        LogicalType::Unknown => 0,
    };
    let (one, other) = (group(left.kind), group(right.kind));
    let clash = one != other && one != 0 && other != 0;
    let (jaccard, contained) = sketches(&left.profile.sketch, &right.profile.sketch);
    let weighted = cosine(&left.values, &right.values, &rarity.values);
    let value_words = cosine(&left.value_words, &right.value_words, &rarity.value_words);
    let forms = plain_cosine(&left.forms, &right.forms);
    let drift: f64 = left.letters.iter().zip(&right.letters).map(|(one, other)| (one - other).abs()).sum();
    let empty = left.profile.filled() == 0 || right.profile.filled() == 0;
    let known = |value: f64| if empty { 0.0 } else { value };
    let ratio = |one: f64, other: f64| (-((one + 1.0) / (other + 1.0)).ln().abs()).exp();
    let length = ratio(left.profile.length[1], right.profile.length[1]);
    let spread = 0.5
        * (ratio(left.profile.length[0], right.profile.length[0])
            + ratio(left.profile.length[2], right.profile.length[2]));
    let numbers = !left.profile.quantiles.is_empty() && !right.profile.quantiles.is_empty();
    let quantile =
        if numbers { quantile_likeness(&left.profile.quantiles, &right.profile.quantiles) } else { 0.0 };
    let distinct = |profile: &FieldProfile| profile.distinct as f64 / profile.filled().max(1) as f64;
    let close = |one: f64, other: f64| 1.0 - (one - other).abs();
    let equal = left.joined == right.joined || left.expanded == right.expanded;
    let name_best =
        trigrams.max(words).max(expanded_words).max(if consonants > 0.9 { consonants - 0.1 } else { 0.0 });
    let values_best = known(weighted.max(contained).max(value_words));
    let flag = |yes: bool| f64::from(u8::from(yes));
    [
        flag(equal),
        letters,
        trigrams,
        words,
        expanded_words,
        consonants,
        subsequence,
        common,
        ending,
        flag(left.kind == right.kind && one != 0),
        flag(clash),
        known(jaccard),
        known(contained),
        known(weighted),
        known(value_words),
        known(forms),
        known(1.0 - 0.5 * drift),
        known(length),
        known(spread),
        quantile,
        flag(numbers),
        known(close(distinct(left.profile), distinct(right.profile))),
        close(left.profile.empty_rate(), right.profile.empty_rate()),
        flag(left.profile.complete && right.profile.complete && !empty),
        flag(empty),
        close(left.place, right.place),
        name_best,
        values_best,
        by_name,
        by_text,
    ]
    .map(|signal: f64| signal as f32)
}

/// How alike two words are: the same, one meaning, an abbreviation, or a misspelling.
fn word_likeness(left: &str, right: &str) -> f64 {
    if left == right || singular(left) == singular(right) {
        return 1.0;
    }
    let (one, other) = (expanded(&[left.to_owned()]), expanded(&[right.to_owned()]));
    if one == other {
        return 0.95;
    }
    let (short, long) = if left.len() <= right.len() { (left, right) } else { (right, left) };
    let consonants =
        |word: &str| -> String { word.chars().filter(|letter| !"aeiouy".contains(*letter)).collect() };
    if short.len() >= 2 && consonants(short) == consonants(long) {
        return 0.85;
    }
    if short.len() >= 3 && long.starts_with(short) {
        return 0.8;
    }
    let letters = strsim::jaro_winkler(left, right);
    if letters > 0.9 { letters - 0.1 } else { 0.0 }
}

/// Soft overlap of words, each by how rare it is in its own table.
fn soft_words(left: &Column<'_>, right: &Column<'_>, rarity: &Rarity) -> f64 {
    let one_way = |from: &Column<'_>, to: &Column<'_>, rare: &Weights| -> (f64, f64) {
        let mut total = 0.0;
        let mut hit = 0.0;
        for word in &from.words {
            let weight = rare.get(word).copied().unwrap_or(1.0);
            total += weight;
            hit += weight * to.words.iter().map(|other| word_likeness(word, other)).fold(0.0, f64::max);
        }
        (hit, total)
    };
    let (hit, total) = one_way(left, right, &rarity.words[0]);
    let (back, all) = one_way(right, left, &rarity.words[1]);
    if total + all == 0.0 { 0.0 } else { (hit + back) / (total + all) }
}

fn shared(left: &[String], right: &[String]) -> f64 {
    let (one, other): (BTreeSet<&String>, BTreeSet<&String>) =
        (left.iter().collect(), right.iter().collect());
    let common = one.intersection(&other).count() as f64;
    if common == 0.0 { 0.0 } else { 2.0 * common / (one.len() + other.len()) as f64 }
}

/// The longest common subsequence, by the shorter and by both names.
fn subsequences(left: &str, right: &str) -> (f64, f64) {
    let (one, other): (Vec<char>, Vec<char>) =
        (left.chars().take(64).collect(), right.chars().take(64).collect());
    if one.is_empty() || other.is_empty() {
        return (0.0, 0.0);
    }
    let mut row = vec![0_usize; other.len() + 1];
    for letter in &one {
        let mut diagonal = 0;
        for (index, candidate) in other.iter().enumerate() {
            let above = row[index + 1];
            row[index + 1] = if letter == candidate { diagonal + 1 } else { above.max(row[index]) };
            diagonal = above;
        }
    }
    let length = row[other.len()] as f64;
    (length / one.len().min(other.len()) as f64, 2.0 * length / (one.len() + other.len()) as f64)
}

/// Cosine of two weighted sets, each word by its rarity.
fn cosine(left: &Weights, right: &Weights, rarity: &Weights) -> f64 {
    let rare = |word: &String| rarity.get(word).copied().unwrap_or(1.0);
    let length =
        |side: &Weights| side.iter().map(|(word, weight)| (weight * rare(word)).powi(2)).sum::<f64>().sqrt();
    let (short, long) = if left.len() <= right.len() { (left, right) } else { (right, left) };
    let dot: f64 = short
        .iter()
        .filter_map(|(word, weight)| long.get(word).map(|other| weight * other * rare(word).powi(2)))
        .sum();
    if dot == 0.0 { 0.0 } else { dot / (length(left) * length(right)) }
}

fn plain_cosine(left: &Weights, right: &Weights) -> f64 {
    cosine(left, right, &Weights::new())
}

/// Shared ÷ all, and shared ÷ the smaller, of two samples of smallest hashes.
fn sketches(left: &[u64], right: &[u64]) -> (f64, f64) {
    const FULL: usize = FieldProfile::SKETCH;
    if left.is_empty() || right.is_empty() {
        return (0.0, 0.0);
    }
    // A full sketch says nothing about hashes above its last.
    let limit = [left, right]
        .iter()
        .filter(|side| side.len() >= FULL)
        .filter_map(|side| side.last().copied())
        .min()
        .unwrap_or(u64::MAX);
    let within = |side: &[u64]| side.iter().filter(|hash| **hash <= limit).count();
    let (one, other) = (within(left), within(right));
    let common =
        left.iter().filter(|hash| **hash <= limit && right.binary_search(hash).is_ok()).count() as f64;
    let all = (one + other) as f64 - common;
    (common / all.max(1.0), common / one.min(other).max(1) as f64)
}

/// How far quantiles lie apart, against the spread of both.
fn quantile_likeness(left: &[f64], right: &[f64]) -> f64 {
    let inner = 1..left.len().min(right.len()).saturating_sub(1);
    let ends = |side: &[f64]| (side[0], side[side.len() - 1]);
    let ((low, high), (least, most)) = (ends(left), ends(right));
    let spread = (high.max(most) - low.min(least)).max(1e-9);
    let count = inner.len().max(1) as f64;
    let apart: f64 = inner.map(|index| ((left[index] - right[index]) / spread).abs()).sum::<f64>() / count;
    (1.0 - 2.0 * apart).max(0.0)
}
