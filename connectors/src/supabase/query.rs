//! Requests for rows in PostgREST's language, with every name and value quoted
//! (<https://postgrest.org/en/stable/references/api/tables_views.html>).

use super::{describe::Column, value};

/// Beyond this many bytes of names all columns are asked for: gateways refuse long addresses, some from
/// 8 KiB on, and encoding may make them thrice as long.
const NAMES: usize = 2_000;

/// A name or a value, quoted.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Columns asked for by their names, documents as text; none where that would make the address too long.
pub(super) fn select(columns: &[Column]) -> Option<String> {
    let column = |column: &Column| {
        let cast = if value::is_document(&column.format) { "::text" } else { "" };
        format!("{}{cast}", quoted(&column.name))
    };
    let names: Vec<String> = columns.iter().map(column).collect();
    Some(names.join(",")).filter(|names| names.len() <= NAMES && !names.is_empty())
}

pub(super) fn order(names: &[String], down: bool) -> String {
    let direction = if down { "desc.nullslast" } else { "asc" };
    let names: Vec<String> = names.iter().map(|name| format!("{}.{direction}", quoted(name))).collect();
    names.join(",")
}

/// Rows that come after these values in the order of these names; with `again` those that are equal too.
/// The first condition says no more than the others, but lets an index begin where they do.
pub(super) fn after(names: &[String], values: &[String], again: bool) -> String {
    let is = |place: usize, how: &str| format!("{}.{how}.{}", quoted(&names[place]), quoted(&values[place]));
    let last = names.len() - 1;
    let beyond = |place: usize| if again && place == last { "gte" } else { "gt" };
    if last == 0 {
        return format!("({})", is(0, beyond(0)));
    }
    let mut ways = vec![is(0, "gt")];
    for place in 1..=last {
        let equal = (0..place).map(|before| is(before, "eq"));
        let all: Vec<String> = equal.chain([is(place, beyond(place))]).collect();
        ways.push(format!("and({})", all.join(",")));
    }
    format!("({},or({}))", is(0, "gte"), ways.join(","))
}

/// Rows from a value of a column on; all that have one if there is none.
pub(super) fn from(field: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("({}.gte.{})", quoted(field), quoted(value)),
        None => format!("({}.not.is.null)", quoted(field)),
    }
}

/// Rows that lack a value in one of these columns.
pub(super) fn lacking(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{}.is.null", quoted(name))).collect();
    format!("({})", names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_quoted_whatever_they_hold() {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(after(&list(&["id"]), &list(&["7"]), false), r#"("id".gt."7")"#);
        assert_eq!(after(&list(&["id"]), &list(&["7"]), true), r#"("id".gte."7")"#);
        assert_eq!(
            after(&list(&["a", "b", "c,"]), &list(&["1", "x)", ""]), false),
            r#"("a".gte."1",or("a".gt."1",and("a".eq."1","b".gt."x)"),and("a".eq."1","b".eq."x)","c,".gt."")))"#
        );
        let column = |name: &str, format: &str| Column {
            name: name.to_owned(),
            format: format.to_owned(),
            nullable: true,
        };
        let columns = [column("a b", "text"), column("j", "jsonb")];
        assert_eq!(select(&columns).as_deref(), Some(r#""a b","j"::text"#));
        assert_eq!(select(&vec![column("a_rather_long_name", "text"); 200]), None);
        assert_eq!(from("at", None), r#"("at".not.is.null)"#);
    }
}
