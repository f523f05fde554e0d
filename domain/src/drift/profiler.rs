//! Builders of profiles: row by row for a column, batch by batch for a stream.

use super::{
    profile::{FieldProfile, KeyedSample, StreamProfile},
    sketch::{MinHashes, hash_number, hash64},
    time,
    value::{Class, Clock, DateForm, classify},
};
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

/// One column of a batch, as text. `None` is null.
pub trait TextColumn {
    fn len(&self) -> usize;
    fn get(&self, row: usize) -> Option<&str>;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl TextColumn for [Option<&str>] {
    fn len(&self) -> usize {
        <[Option<&str>]>::len(self)
    }
    fn get(&self, row: usize) -> Option<&str> {
        self[row]
    }
}

impl TextColumn for Vec<Option<String>> {
    fn len(&self) -> usize {
        Vec::len(self)
    }
    fn get(&self, row: usize) -> Option<&str> {
        self[row].as_deref()
    }
}

/// The text of a record's key: values joined with U+001F, null as U+0000.
pub fn key_text<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> String {
    let mut text = String::new();
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            text.push('\u{1f}');
        }
        text.push_str(value.unwrap_or("\0"));
    }
    text
}

/// Hashes already: a map keyed by them need not hash again.
#[derive(Debug, Clone, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash64(bytes);
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// Values longer than this are cut where they are quoted.
const QUOTE: usize = 200;
/// Different values counted exactly before the column is no enumeration.
const COUNTED: usize = 256;
/// Numbers kept for the quantiles.
const NUMBERS: usize = 1024;
/// Longest value kept in a keyed sample.
const KEPT: usize = 4096;

fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Builds the profile of one column.
#[derive(Debug, Clone, Default)]
pub struct FieldProfiler {
    rows: u64,
    nulls: u64,
    classes: Vec<(Class, u64)>,
    values: MinHashes,
    counts: HashMap<u64, (String, u64), BuildHasherDefault<AsItIs>>,
    /// There are more different values than are counted.
    uncounted: bool,
    samples: BTreeMap<u64, String>,
    numbers: BTreeMap<u64, f64>,
    range: Option<(f64, f64)>,
    lengths: Option<(usize, u64, usize)>,
}

impl FieldProfiler {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one value.
    pub fn push(&mut self, value: Option<&str>) {
        let row = self.rows;
        self.rows += 1;
        let Some(text) = value else {
            self.nulls += 1;
            return;
        };
        let class = classify(text);
        self.count_class(class);
        if class == Class::Blank {
            return;
        }
        let length = if text.is_ascii() { text.len() } else { text.chars().count() };
        self.lengths = Some(match self.lengths {
            None => (length, length as u64, length),
            Some((least, sum, most)) => (least.min(length), sum + length as u64, most.max(length)),
        });
        let hash = hash64(text.as_bytes());
        self.values.push(hash);
        self.count_value(hash, text);
        if self.samples.len() < FieldProfile::SAMPLES
            || self.samples.keys().next_back().is_some_and(|last| hash < *last)
        {
            self.samples.entry(hash).or_insert_with(|| cut(text, QUOTE).to_owned());
            if self.samples.len() > FieldProfile::SAMPLES {
                self.samples.pop_last();
            }
        }
        if let Some(number) = as_number(class, text) {
            self.push_number(row, number);
        }
    }

    fn count_class(&mut self, class: Class) {
        if let Some(index) = self.classes.iter().position(|(known, _)| *known == class) {
            self.classes[index].1 += 1;
            if index > 0 && self.classes[index].1 > self.classes[index - 1].1 {
                self.classes.swap(index, index - 1);
            }
        } else {
            self.classes.push((class, 1));
        }
    }

    fn count_value(&mut self, hash: u64, text: &str) {
        if let Some((_, count)) = self.counts.get_mut(&hash) {
            *count += 1;
        } else if self.counts.len() < COUNTED && text.len() <= QUOTE {
            self.counts.insert(hash, (text.to_owned(), 1));
        } else {
            self.uncounted = true;
        }
    }

    fn push_number(&mut self, row: u64, number: f64) {
        self.range =
            Some(self.range.map_or((number, number), |(least, most)| (least.min(number), most.max(number))));
        let order = hash_number(row);
        if self.numbers.len() < NUMBERS || self.numbers.keys().next_back().is_some_and(|last| order < *last) {
            self.numbers.insert(order, number);
            if self.numbers.len() > NUMBERS {
                self.numbers.pop_last();
            }
        }
    }

    pub fn finish(&self) -> FieldProfile {
        let mut frequent: Vec<(String, u64)> = self.counts.values().cloned().collect();
        frequent.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        let complete = !self.uncounted && frequent.len() <= FieldProfile::FREQUENT;
        if !complete {
            frequent.retain(|(_, count)| *count > 1);
            frequent.truncate(FieldProfile::FREQUENT);
        }
        let filled = self.rows - self.nulls;
        FieldProfile {
            rows: self.rows,
            nulls: self.nulls,
            distinct: self.values.distinct(),
            shapes: self.shapes(),
            quantiles: self.quantiles(),
            length: self.lengths.map_or([0.0; 3], |(least, sum, most)| {
                [least as f64, sum as f64 / filled.max(1) as f64, most as f64]
            }),
            frequent,
            complete,
            samples: self.samples.values().cloned().collect(),
            sketch: self.values.smallest(FieldProfile::SKETCH),
        }
    }

    /// Shapes by name; a form that may be read two ways is read as the column's other values say.
    fn shapes(&self) -> BTreeMap<String, u64> {
        let seen = |wanted: fn(DateForm) -> bool| {
            self.classes.iter().any(|(class, _)| matches!(class, Class::Time(form) if wanted(form.date)))
        };
        let decide =
            |either: DateForm, day: DateForm, month: DateForm, day_seen: bool, month_seen: bool| match (
                day_seen, month_seen,
            ) {
                (true, false) => day,
                (false, true) => month,
                _ => either,
            };
        let slash = decide(
            DateForm::EitherSlash,
            DateForm::DaySlash,
            DateForm::MonthSlash,
            seen(|form| form == DateForm::DaySlash),
            seen(|form| form == DateForm::MonthSlash),
        );
        let dash = decide(
            DateForm::EitherDash,
            DateForm::DayDash,
            DateForm::MonthDash,
            seen(|form| form == DateForm::DayDash),
            seen(|form| form == DateForm::MonthDash),
        );
        let comma = self.classes.iter().any(|(class, _)| *class == Class::DecimalComma);
        let mut shapes = BTreeMap::new();
        for (class, count) in &self.classes {
            let class = match class {
                Class::Time(form) => {
                    let mut form = *form;
                    form.date = match form.date {
                        DateForm::EitherSlash => slash,
                        DateForm::EitherDash => dash,
                        date => date,
                    };
                    Class::Time(form)
                }
                Class::GroupedOrComma if comma => Class::DecimalComma,
                class => *class,
            };
            *shapes.entry(class.name()).or_default() += count;
        }
        shapes
    }

    fn quantiles(&self) -> Vec<f64> {
        let Some((least, most)) = self.range else { return Vec::new() };
        let mut numbers: Vec<f64> = self.numbers.values().copied().collect();
        numbers.sort_by(f64::total_cmp);
        let last = (numbers.len() - 1) as f64;
        let mut quantiles = vec![least];
        quantiles
            .extend([0.05, 0.25, 0.5, 0.75, 0.95].map(|share: f64| numbers[(share * last).round() as usize]));
        quantiles.push(most);
        quantiles
    }
}

fn as_number(class: Class, text: &str) -> Option<f64> {
    let text = text.trim();
    match class {
        Class::Integer | Class::Decimal => text.parse().ok().filter(|number: &f64| number.is_finite()),
        Class::DecimalComma => text.replace('.', "").replace(',', ".").parse().ok(),
        Class::DecimalGrouped => text.replace(',', "").parse().ok(),
        Class::Time(form) => {
            let format = if form.date == DateForm::Iso && form.clock != Clock::None {
                time::ISO_8601
            } else {
                return form
                    .formats()
                    .iter()
                    .find_map(|format| time::read(format, text))
                    .map(|micros| micros as f64 / 1e6);
            };
            time::read(format, text).map(|micros| micros as f64 / 1e6)
        }
        _ => None,
    }
}

/// Builds a [`StreamProfile`] batch by batch.
#[derive(Debug, Clone)]
pub struct StreamProfiler {
    columns: Vec<String>,
    /// Indices of the key's columns.
    key: Vec<usize>,
    fields: Vec<FieldProfiler>,
    sample: BTreeMap<u64, Vec<Option<String>>>,
    repeated: u64,
    rows: u64,
    capacity: usize,
}

impl StreamProfiler {
    /// Rows of a stream that are profiled one by one.
    pub const FULL: u64 = 20_000;
    /// Beyond, one row in so many is.
    pub const STEP: u64 = 16;

    /// `key` names the columns whose values tell records apart. Empty, or not all present: rows
    /// are kept by their whole content, which a key can still be found in later.
    pub fn new(columns: Vec<String>, key: &[String]) -> Self {
        let indices: Option<Vec<usize>> =
            key.iter().map(|name| columns.iter().position(|column| column == name)).collect();
        Self {
            fields: vec![FieldProfiler::new(); columns.len()],
            key: indices.unwrap_or_default(),
            sample: BTreeMap::new(),
            repeated: 0,
            rows: 0,
            capacity: KeyedSample::capacity(columns.len()),
            columns,
        }
    }

    /// Adds a batch; `columns` in the order given to [`StreamProfiler::new`]. Beyond the first
    /// [`Self::FULL`] rows of the stream only every [`Self::STEP`]-th row is profiled; keys are
    /// looked at in all of them.
    pub fn push_batch<C: TextColumn + ?Sized>(&mut self, columns: &[&C]) {
        let rows = columns.first().map_or(0, |column| column.len());
        for (profiler, column) in self.fields.iter_mut().zip(columns) {
            for row in 0..rows {
                let number = self.rows + row as u64;
                if number < Self::FULL || number.is_multiple_of(Self::STEP) {
                    profiler.push(column.get(row));
                }
            }
        }
        for row in 0..rows {
            self.keep(columns, row);
        }
        self.rows += rows as u64;
    }

    fn keep<C: TextColumn + ?Sized>(&mut self, columns: &[&C], row: usize) {
        let hash = match self.key.as_slice() {
            [] => {
                // Without a key a row is only kept while the sample fills or by its content.
                if self.rows + row as u64 >= Self::FULL {
                    return;
                }
                hash64(key_text(columns.iter().map(|column| column.get(row))).as_bytes())
            }
            [only] => match columns[*only].get(row) {
                Some(text) => hash64(text.as_bytes()),
                None => return,
            },
            several => hash64(key_text(several.iter().map(|index| columns[*index].get(row))).as_bytes()),
        };
        if self.sample.len() >= self.capacity
            && self.sample.keys().next_back().is_some_and(|last| hash > *last)
        {
            return;
        }
        let values =
            columns.iter().map(|column| column.get(row).map(|text| cut(text, KEPT).to_owned())).collect();
        if self.sample.insert(hash, values).is_some() {
            self.repeated += 1;
        } else if self.sample.len() > self.capacity {
            self.sample.pop_last();
        }
    }

    /// Rows seen so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn finish(&self) -> StreamProfile {
        StreamProfile {
            rows: self.rows,
            fields: self
                .columns
                .iter()
                .zip(&self.fields)
                .map(|(name, profiler)| (name.clone(), profiler.finish()))
                .collect(),
            sample: KeyedSample {
                columns: self.columns.clone(),
                key: self.key.iter().map(|index| self.columns[*index].clone()).collect(),
                rows: self.sample.clone(),
                repeated: self.repeated,
            },
        }
    }
}

/// Finds the column of an arriving batch that holds the keys of a known sample, whatever it is
/// called now: the one that is unique and in which enough of the known keys turn up.
/// For keys of one column only.
pub fn find_key<C: TextColumn + ?Sized>(
    known: &KeyedSample,
    names: &[String],
    columns: &[&C],
) -> Option<String> {
    if known.key.len() != 1 || known.rows.is_empty() {
        return None;
    }
    let mut best: Option<(usize, &String)> = None;
    let mut second = 0;
    for (name, column) in names.iter().zip(columns) {
        let mut seen = std::collections::HashSet::new();
        let mut hits = 0;
        let mut unique = true;
        for row in 0..column.len() {
            let Some(text) = column.get(row) else { continue };
            let hash = hash64(text.as_bytes());
            if !seen.insert(hash) {
                unique = false;
                break;
            }
            hits += usize::from(known.rows.contains_key(&hash));
        }
        if !unique {
            continue;
        }
        if best.is_none_or(|(most, _)| hits > most) {
            second = best.map_or(0, |(most, _)| most);
            best = Some((hits, name));
        } else {
            second = second.max(hits);
        }
    }
    let enough = 8.min(known.rows.len() * 2 / 3).max(3);
    best.filter(|(hits, _)| *hits >= enough && *hits > 2 * second).map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: impl Iterator<Item = String>) -> Vec<Option<String>> {
        values.map(Some).collect()
    }

    #[test]
    fn profiles_say_what_a_column_holds() {
        let mut profiler = FieldProfiler::new();
        for number in 0..1000 {
            profiler.push(Some(&format!("{:02}/{:02}/2024", number % 28 + 1, number % 12 + 1)));
        }
        profiler.push(None);
        let profile = profiler.finish();
        assert_eq!(profile.shapes.keys().collect::<Vec<_>>(), ["date:%d/%m/%Y"]);
        assert_eq!((profile.rows, profile.nulls, profile.filled()), (1001, 1, 1000));
        assert_eq!(profile.field("d").format.as_deref(), Some("%d/%m/%Y"));
        assert_eq!(profile.quantiles.len(), 7);
    }

    #[test]
    fn enumerations_are_complete_and_others_are_not() {
        let mut few = FieldProfiler::new();
        let mut many = FieldProfiler::new();
        for number in 0..600 {
            few.push(Some(["open", "closed", "lost"][number % 3]));
            many.push(Some(&format!("name {number}")));
        }
        let (few, many) = (few.finish(), many.finish());
        assert!(few.complete && !many.complete);
        assert_eq!(few.frequent.len(), 3);
        assert_eq!((few.distinct, many.distinct), (3, 600));
    }

    #[test]
    fn two_editions_keep_the_same_records() {
        let profile = |rows: std::ops::Range<u32>| {
            let mut profiler = StreamProfiler::new(vec!["id".into(), "name".into()], &["id".into()]);
            let ids = column(rows.clone().map(|id| id.to_string()));
            let names = column(rows.map(|id| format!("name {id}")));
            profiler.push_batch(&[&ids, &names]);
            profiler.finish()
        };
        let (before, after) = (profile(0..5000), profile(200..5500));
        let common = before.sample.rows.keys().filter(|key| after.sample.rows.contains_key(key)).count();
        assert_eq!(before.sample.rows.len(), KeyedSample::CAPACITY);
        assert!(common > 400, "{common}");
    }

    #[test]
    fn a_renamed_key_is_found_by_its_values() {
        let mut profiler = StreamProfiler::new(vec!["id".into()], &["id".into()]);
        let ids = column((0..4000).map(|id| format!("A{id}")));
        profiler.push_batch(&[&ids]);
        let known = profiler.finish().sample;
        let others = column((0..4000).map(|id| format!("B{id}")));
        let names = ["other".to_owned(), "account_id".to_owned()];
        assert_eq!(find_key(&known, &names, &[&others, &ids]).as_deref(), Some("account_id"));
        assert_eq!(find_key(&known, &names, &[&others, &others]), None);
    }

    #[test]
    fn batches_add_up_to_the_whole() {
        let all: Vec<String> = (0..900).map(|number| (number % 40).to_string()).collect();
        let whole = {
            let mut profiler = FieldProfiler::new();
            for value in &all {
                profiler.push(Some(value));
            }
            profiler.finish()
        };
        let mut merged = FieldProfile::default();
        for part in all.chunks(300) {
            let mut profiler = FieldProfiler::new();
            for value in part {
                profiler.push(Some(value));
            }
            merged.merge(&profiler.finish());
        }
        assert_eq!(merged.frequent, whole.frequent);
        assert_eq!(
            (merged.rows, merged.distinct, &merged.shapes),
            (whole.rows, whole.distinct, &whole.shapes)
        );
        assert_eq!(merged.sketch, whole.sketch);
    }
}
