//! Queries: <https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/>.

use super::{
    cursor::Place,
    describe::{Column, DELETED, KEY},
};
use reqwest::Url;

/// What the names of fields may take of an address: address and headers fail beyond 16,384 bytes.
const FIELDS_BYTES: usize = 10_000;
/// A comma and a blank, as an address has them.
const COMMA_BYTES: usize = 4;

/// The order in which records are read, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// By id, after this one.
    Key(Option<String>),
    /// By when they changed.
    Stamp(Place),
}

impl Start {
    pub(super) fn filter(&self) -> Option<String> {
        match self {
            Self::Key(after) => after.as_ref().map(|id| format!("{KEY} > {}", literal(id))),
            Self::Stamp(Place { field, stamp, id }) => match (stamp, id) {
                (None, _) => None,
                (Some(stamp), None) => Some(format!("{field} >= {stamp}")),
                (Some(stamp), Some(id)) => {
                    Some(format!("({field} > {stamp} OR ({field} = {stamp} AND {KEY} > {}))", literal(id)))
                }
            },
        }
    }

    pub(super) fn order(&self, down: bool) -> String {
        let way = if down { " DESC" } else { "" };
        match self {
            Self::Key(_) => format!("{KEY}{way}"),
            Self::Stamp(place) => format!("{}{way}, {KEY}{way}", place.field),
        }
    }

    /// The field that a part of a wide record needs, besides its id.
    fn needs(&self) -> Option<&str> {
        match self {
            Self::Key(_) => None,
            Self::Stamp(place) => Some(&place.field),
        }
    }
}

pub(super) fn select(fields: &[&str], object: &str, filter: Option<&str>) -> String {
    let filter = filter.map_or_else(String::new, |filter| format!(" WHERE {filter}"));
    format!("SELECT {} FROM {object}{filter}", fields.join(", "))
}

/// The columns of each query: those of a record that is too wide for one address are asked for in parts,
/// each with the id by which they are joined.
pub(super) fn parts(columns: &[Column], from: &Start) -> Vec<Vec<usize>> {
    let first: Vec<usize> = (0..columns.len())
        .filter(|place| {
            let name = columns[*place].name.as_str();
            name == KEY || name == DELETED || Some(name) == from.needs()
        })
        .collect();
    let key: Vec<usize> = first.iter().copied().filter(|place| columns[*place].name == KEY).collect();
    let cost = |places: &[usize]| -> usize {
        places.iter().map(|place| columns[*place].name.len() + COMMA_BYTES).sum()
    };
    let mut parts = Vec::new();
    let mut part = first.clone();
    let mut bytes = cost(&part);
    for place in (0..columns.len()).filter(|place| !first.contains(place)) {
        let more = cost(&[place]);
        if bytes + more > FIELDS_BYTES {
            parts.push(std::mem::replace(&mut part, key.clone()));
            bytes = cost(&key);
        }
        bytes += more;
        part.push(place);
    }
    parts.push(part);
    parts
}

/// `query?q=…`, encoded.
pub(super) fn address(soql: &str, all: bool) -> String {
    let mut url = Url::parse("http://q").unwrap_or_else(|_| unreachable!("a literal"));
    url.query_pairs_mut().append_pair("q", soql);
    format!("{}?{}", if all { "queryAll" } else { "query" }, url.query().unwrap_or_default())
}

/// A text, quoted.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::value::Kind;

    fn columns(count: usize) -> Vec<Column> {
        let named = (0..count).map(|number| format!("A_field_with_a_name_of_usual_length_{number}__c"));
        let all = [KEY.to_owned(), "SystemModstamp".to_owned()].into_iter().chain(named);
        all.map(|name| Column { name, kind: Kind::Text, nullable: true }).collect()
    }

    #[test]
    fn a_wide_record_is_asked_for_in_parts_that_have_its_id() {
        let place = Place { field: "SystemModstamp".to_owned(), stamp: None, id: None };
        let from = Start::Stamp(place);
        assert_eq!(parts(&columns(20), &from).len(), 1);
        let columns = columns(800);
        let parts = parts(&columns, &from);
        assert!(parts.len() > 2);
        for part in &parts {
            let names: Vec<&str> = part.iter().map(|place| columns[*place].name.as_str()).collect();
            assert_eq!(names[0], KEY);
            assert!(address(&select(&names, "Wide__c", None), true).len() < 12_000);
        }
        let mut all: Vec<usize> = parts.concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), columns.len());
    }

    #[test]
    fn where_a_read_goes_on_is_a_filter() {
        assert_eq!(Start::Key(Some("00'1".to_owned())).filter().as_deref(), Some("Id > '00\\'1'"));
        let at = |id: Option<&str>| {
            Start::Stamp(Place {
                field: "SystemModstamp".to_owned(),
                stamp: Some("2026-01-01T00:00:00.000Z".to_owned()),
                id: id.map(str::to_owned),
            })
        };
        assert_eq!(at(None).filter().as_deref(), Some("SystemModstamp >= 2026-01-01T00:00:00.000Z"));
        assert_eq!(
            at(Some("001")).filter().as_deref(),
            Some(
                "(SystemModstamp > 2026-01-01T00:00:00.000Z OR (SystemModstamp = 2026-01-01T00:00:00.000Z AND Id > '001'))"
            )
        );
        assert_eq!(at(None).order(true), "SystemModstamp DESC, Id DESC");
    }
}
