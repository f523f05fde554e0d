//! Guesses of a stream's key and of its columns that tell what changed.

use super::table::Row;
use autonomos_domain::schema::{Field, LogicalType};
use std::collections::HashSet;

/// Lower case without anything but letters and digits: `Account Id`, `account_id`, `AccountID` are one.
fn folded(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|character| character.to_ascii_lowercase()).collect()
}

fn singular(stream: &str) -> String {
    let last = stream.rsplit('/').next().unwrap_or(stream);
    let folded = folded(last);
    if let Some(stem) = folded.strip_suffix("ies") {
        return format!("{stem}y");
    }
    folded.strip_suffix('s').unwrap_or(&folded).to_owned()
}

/// Names of keys in general, the surest first.
const SURE: [&str; 12] = [
    "id",
    "uuid",
    "guid",
    "recordid",
    "vid",
    "hsobjectid",
    "externalid",
    "rowid",
    "pk",
    "key",
    "uid",
    "objectid",
];

/// How sure a name is a key; less is surer.
fn rank(name: &str, position: usize, entity: &str) -> Option<usize> {
    let folded = folded(name.trim_start_matches("dbo."));
    if let Some(at) = SURE.iter().position(|sure| *sure == folded) {
        return Some(at);
    }
    if ["id", "key", "number", "no", "code", "guid", "uuid"]
        .iter()
        .any(|ending| folded.strip_suffix(ending) == Some(entity))
    {
        return Some(20);
    }
    // `accountid` in `account_export`: the stream's name begins or ends with what the id is of.
    let owner = folded.strip_suffix("id").filter(|owner| owner.len() > 2);
    if owner.is_some_and(|owner| entity.starts_with(owner) || entity.ends_with(owner)) {
        return Some(25);
    }
    let lower = name.to_ascii_lowercase();
    let names_id = name.ends_with("Id")
        || name.ends_with("ID")
        || lower.ends_with("_id")
        || lower.ends_with(" id")
        || folded.ends_with("guid")
        || folded.ends_with("uuid");
    if names_id {
        // Of several references the first column is the record's own; one with the entity's name before all.
        return Some(if !entity.is_empty() && folded.contains(entity) { 30 } else { 40 + position });
    }
    if position == 0 && owner.is_some() {
        return Some(4_000);
    }
    ["key", "_key", "_no", "_number", "_code"]
        .iter()
        .any(|ending| position == 0 && lower.ends_with(ending))
        .then_some(5_000)
}

/// The first column by rank whose sampled values are all there and all different.
pub(crate) fn primary_key(stream: &str, fields: &[Field], sample: &[Row]) -> Vec<String> {
    let entity = singular(stream);
    let mut candidates: Vec<(usize, usize)> = fields
        .iter()
        .enumerate()
        .filter(|(_, field)| {
            matches!(field.logical_type, LogicalType::Integer | LogicalType::Text | LogicalType::Unknown)
        })
        .filter_map(|(at, field)| Some((rank(&field.name, at, &entity)?, at)))
        .collect();
    candidates.sort_unstable();
    let unique = |at: usize| {
        let mut seen = HashSet::with_capacity(sample.len());
        sample.iter().all(|row| {
            row.get(at)
                .and_then(Option::as_deref)
                .is_some_and(|value| !value.is_empty() && seen.insert(value))
        })
    };
    candidates
        .iter()
        .find(|(_, at)| unique(*at))
        .map(|(_, at)| vec![fields[*at].name.clone()])
        .unwrap_or_default()
}

/// Times of change.
pub(crate) fn cursor_fields(fields: &[Field]) -> Vec<String> {
    let changes = ["updated", "modified", "modstamp", "changed", "lastedit", "lastupdate"];
    fields
        .iter()
        .filter(|field| matches!(field.logical_type, LogicalType::Date | LogicalType::Timestamp))
        .filter(|field| changes.iter().any(|word| folded(&field.name).contains(word)))
        .map(|field| field.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::infer::Inferrer;

    #[test]
    fn an_id_of_what_the_stream_is_named_after_is_its_key() {
        let rows: &[&[&str]] = &[&["5c", "x1"], &["6d", "x2"], &["7e", "x2"]];
        assert_eq!(guess("account_export", &["accountid", "name"], rows), ["accountid"]);
        assert_eq!(guess("dump", &["dealid", "name"], rows), ["dealid"]);
    }

    fn guess(stream: &str, columns: &[&str], rows: &[&[&str]]) -> Vec<String> {
        let sample: Vec<Row> = rows
            .iter()
            .map(|row| row.iter().map(|cell| (!cell.is_empty()).then(|| (*cell).to_owned())).collect())
            .collect();
        let fields: Vec<Field> = columns
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let mut inferrer = Inferrer::default();
                sample
                    .iter()
                    .filter_map(|row: &Row| row[at].as_deref())
                    .for_each(|value| inferrer.push(value));
                inferrer.finish(name)
            })
            .collect();
        primary_key(stream, &fields, &sample)
    }

    #[test]
    fn key_is_guessed_from_name_and_values() {
        assert_eq!(guess("accounts", &["name", "Id"], &[&["a", "1"], &["a", "2"]]), ["Id"]);
        assert_eq!(
            guess("contacts", &["account_id", "contact_id"], &[&["1", "7"], &["2", "8"]]),
            ["contact_id"]
        );
        assert_eq!(
            guess("orders", &["customer_id", "sku"], &[&["1", "x"], &["1", "y"]]),
            Vec::<String>::new()
        );
        assert_eq!(
            guess("hubspot_companies", &["Record ID", "Name"], &[&["1", "x"], &["2", "y"]]),
            ["Record ID"]
        );
        assert_eq!(
            guess("accounts", &["accountid", "ownerid"], &[&["a1", "o"], &["a2", "o"]]),
            ["accountid"]
        );
        assert_eq!(guess("x", &["id"], &[&["1"], &[""]]), Vec::<String>::new());
    }
}
