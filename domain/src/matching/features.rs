//! The signals between a column of one table and a column of another, each about 0 to 1.

use super::{
    names::{expanded, tokens},
    vectors::{Vector, Weights, vectors},
    words::singular,
};
use crate::{
    drift::profile::{FieldProfile, StreamProfile},
    schema::{LogicalType, StreamShape},
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

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
pub fn form(value: &str) -> String {
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
    let compared = Compared::new(&left, &right);
    let each = |row: usize, at: usize| {
        let meant = |matrix: Option<&[Vec<f64>]>| matrix.map_or(0.0, |matrix| matrix[row][at]);
        signals(&compared, (row, at), meant(by_name), meant(by_text))
    };
    (0..left.len()).map(|row| (0..right.len()).map(|at| each(row, at)).collect()).collect()
}

/// Two tables, and what is worked out once for all pairs of their columns.
struct Compared<'a> {
    left: &'a [Column<'a>],
    right: &'a [Column<'a>],
    words: [Words; 2],
    likeness: Likeness,
    grams: [Vec<Vector>; 2],
    values: [Vec<Vector>; 2],
    value_words: [Vec<Vector>; 2],
    forms: [Vec<Vector>; 2],
}

impl<'a> Compared<'a> {
    fn new(left: &'a [Column<'a>], right: &'a [Column<'a>]) -> Self {
        let rarity = Rarity::new(left, right);
        let sides = [left, right];
        let words = [Words::new(left, &rarity.words[0]), Words::new(right, &rarity.words[1])];
        Self {
            left,
            right,
            likeness: Likeness::new(&words),
            words,
            grams: vectors(sides, |column| &column.grams, &rarity.grams),
            values: vectors(sides, |column| &column.values, &rarity.values),
            value_words: vectors(sides, |column| &column.value_words, &rarity.value_words),
            forms: vectors(sides, |column| &column.forms, &Weights::new()),
        }
    }
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

fn signals(tables: &Compared<'_>, (row, at): (usize, usize), by_name: f64, by_text: f64) -> PairSignals {
    let (left, right) = (&tables.left[row], &tables.right[at]);
    let cosine = |sides: &[Vec<Vector>; 2]| sides[0][row].cosine(&sides[1][at]);
    let letters = strsim::jaro_winkler(&left.joined, &right.joined);
    let trigrams = cosine(&tables.grams);
    let words = soft_words(tables, row, at);
    let expanded_words = shared(&left.expanded, &right.expanded);
    let consonants = if left.consonants.is_empty() || right.consonants.is_empty() {
        0.0
    } else {
        strsim::jaro_winkler(&left.consonants, &right.consonants)
    };
    let (subsequence, common) = subsequences(&left.joined, &right.joined);
    let ending = match (tables.words[0].of[row].last(), tables.words[1].of[at].last()) {
        (Some(&one), Some(&other)) => tables.likeness.forth(one, other),
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
    let weighted = cosine(&tables.values);
    let value_words = cosine(&tables.value_words);
    let forms = cosine(&tables.forms);
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

/// A word of a name, and what is compared of it.
struct Word {
    text: String,
    singular: String,
    expanded: Vec<String>,
    consonants: String,
}

impl Word {
    fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            singular: singular(text).to_owned(),
            expanded: expanded(&[text.to_owned()]),
            consonants: text.chars().filter(|letter| !"aeiouy".contains(*letter)).collect(),
        }
    }

    /// How alike two words are: the same, one meaning, an abbreviation, or a misspelling.
    fn likeness(&self, other: &Self) -> f64 {
        if self.text == other.text || self.singular == other.singular {
            return 1.0;
        }
        if self.expanded == other.expanded {
            return 0.95;
        }
        let (short, long) = if self.text.len() <= other.text.len() { (self, other) } else { (other, self) };
        if short.text.len() >= 2 && short.consonants == long.consonants {
            return 0.85;
        }
        if short.text.len() >= 3 && long.text.starts_with(&short.text) {
            return 0.8;
        }
        let letters = strsim::jaro_winkler(&self.text, &other.text);
        if letters > 0.9 { letters - 0.1 } else { 0.0 }
    }
}

/// The words of a table's names, each once.
struct Words {
    all: Vec<Word>,
    /// How rare each is.
    weights: Vec<f64>,
    /// The words of each column's name.
    of: Vec<Vec<usize>>,
}

impl Words {
    fn new(columns: &[Column<'_>], rarity: &Weights) -> Self {
        let mut known: HashMap<&str, usize> = HashMap::new();
        let (mut all, mut weights) = (Vec::new(), Vec::new());
        let mut number = |word: &'_ str| -> usize {
            all.push(Word::new(word));
            weights.push(rarity.get(word).copied().unwrap_or(1.0));
            all.len() - 1
        };
        let of = columns
            .iter()
            .map(|column| {
                let words = column.words.iter();
                words.map(|word| *known.entry(word.as_str()).or_insert_with(|| number(word))).collect()
            })
            .collect();
        Self { all, weights, of }
    }
}

/// How alike the words of two tables are, asked from either side.
struct Likeness {
    forth: Vec<f64>,
    back: Vec<f64>,
    width: usize,
}

impl Likeness {
    fn new([left, right]: &[Words; 2]) -> Self {
        let pairs = || left.all.iter().flat_map(|one| right.all.iter().map(move |other| (one, other)));
        Self {
            forth: pairs().map(|(one, other)| one.likeness(other)).collect(),
            back: pairs().map(|(one, other)| other.likeness(one)).collect(),
            width: right.all.len(),
        }
    }

    fn forth(&self, left: usize, right: usize) -> f64 {
        self.forth[left * self.width + right]
    }

    fn back(&self, left: usize, right: usize) -> f64 {
        self.back[left * self.width + right]
    }
}

/// Soft overlap of words, each by how rare it is in its own table.
fn soft_words(tables: &Compared<'_>, row: usize, at: usize) -> f64 {
    let [left, right] = &tables.words;
    let (ones, others) = (&left.of[row], &right.of[at]);
    let one_way = |words: &[usize], weights: &[f64], best: &dyn Fn(usize) -> f64| -> (f64, f64) {
        words
            .iter()
            .fold((0.0, 0.0), |(hit, total), &word| (hit + weights[word] * best(word), total + weights[word]))
    };
    let likeness = &tables.likeness;
    let forth = |one: usize| others.iter().map(|&other| likeness.forth(one, other)).fold(0.0, f64::max);
    let back = |other: usize| ones.iter().map(|&one| likeness.back(one, other)).fold(0.0, f64::max);
    let (hit, total) = one_way(ones, &left.weights, &forth);
    let (found, all) = one_way(others, &right.weights, &back);
    if total + all == 0.0 { 0.0 } else { (hit + found) / (total + all) }
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
