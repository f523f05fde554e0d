//! The tables of a tenant's file: names, columns, definitions. Readers build their queries from the
//! helpers here.
//!
//! Common to all: `seq` is the log sequence of a commit; a record's id (`sid`) is a `UUID`; a version
//! holds for `from <= p < to`, a current one has no `to`. All instants are UTC, in microseconds.
//!
//! | table | holds |
//! |---|---|
//! | `meta(key, value)` | projector version, checkpoint, running hash, log id, ontology in force |
//! | `commit_times(seq, "at")` | running maximum of `recorded_at` at each commit applied |
//! | `feeds(feed, feed_id, connection_id, stream, entity, priority, closed_at, snapshot_from)` | feeds, numbered by first appearance; `closed_at`: rows up to that sequence no longer count |
//! | `mappings(feed, mv, seq, content)` | mapping versions, content as JSON |
//! | `bindings(feed, sv, mv, held, hold_rows, suspect_from, seq, event)` | every binding ever, in order |
//! | `raw_columns(feed, ordinal, name, physical)` | the source's column names and their columns in `raw_<feed>` |
//! | `raw_<feed>` | what the source said: one row per record and change, append only; `_op` 0 is a row, 1 says the record is gone |
//! | `seen_<feed>(sid, key)` | while a snapshot is open: its records that did not change |
//! | `rec_<entity>`, `rec_<entity>_h` | source records in canonical form: current versions, and closed ones with `to` |
//! | `uni_<entity>`, `uni_<entity>_h` | unified rows of two or more records; a single record (`solo`) is its own |
//! | `founders(entity, sid, ghost, ghost_first)` | a deleted founder and the living record that carries its id on |
//! | `links(entity, left_sid, right_sid, kind, seq, event)` | what people said: `merge` or `unmerge` |
//! | `quarantine(…)` | cells and rows that wait, with the reason; `to` is null while they do |

use autonomos_domain::ontology::{CanonicalType, Entity, MatchRule};

/// Changing how tables follow from the log changes this, and every tenant's file is built again.
pub const PROJECTOR_VERSION: u32 = 1;

/// An SQL identifier, quoted.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An SQL string literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub fn raw_table(feed: i32) -> String {
    format!("raw_{feed}")
}

pub fn seen_table(feed: i32) -> String {
    format!("seen_{feed}")
}

/// Current versions of an entity's source records, quoted.
pub fn records(entity: &str) -> String {
    ident(&format!("rec_{entity}"))
}

/// Closed versions of an entity's source records, quoted.
pub fn records_history(entity: &str) -> String {
    ident(&format!("rec_{entity}_h"))
}

/// Current unified rows of two or more records, quoted.
pub fn unified(entity: &str) -> String {
    ident(&format!("uni_{entity}"))
}

/// Closed unified rows of two or more records, quoted.
pub fn unified_history(entity: &str) -> String {
    ident(&format!("uni_{entity}_h"))
}

/// Column of a field's value, quoted.
pub fn value_column(field: &str) -> String {
    ident(&format!("f_{field}"))
}

/// Column of when a field last changed, quoted. Null stands for the version's own `t`: read it
/// through [`field_time`].
pub fn time_column(field: &str) -> String {
    ident(&format!("t_{field}"))
}

/// Column of the record a unified row's field was taken from, quoted.
pub fn winner_column(field: &str) -> String {
    ident(&format!("w_{field}"))
}

/// Column of a match rule's normalised key, quoted.
pub fn key_column(rule: &str) -> String {
    ident(&format!("k_{rule}"))
}

/// When `field` of record row `alias` last changed.
pub fn field_time(alias: &str, field: &str) -> String {
    format!("coalesce({alias}.{}, {alias}.t)", time_column(field))
}

/// The column type of a canonical type.
pub const fn sql_type(canonical: CanonicalType) -> &'static str {
    match canonical {
        CanonicalType::Text => "VARCHAR",
        CanonicalType::Integer => "BIGINT",
        CanonicalType::Decimal => "DECIMAL(38,6)",
        CanonicalType::Boolean => "BOOLEAN",
        CanonicalType::Date => "DATE",
        CanonicalType::Timestamp => "TIMESTAMP",
    }
}

/// Columns of `rec_<entity>` before those of fields and rules: name (quoted) and type.
pub const RECORD_COLUMNS: &[(&str, &str)] = &[
    ("sid", "UUID"),
    // The key as the source writes it.
    ("source_id", "VARCHAR"),
    ("feed", "INTEGER"),
    // Where the key first appeared, `seq << 20 | row`: a total order of records.
    ("\"first\"", "BIGINT"),
    // The raw row this version was made from.
    ("seq", "BIGINT"),
    ("\"row\"", "INTEGER"),
    ("sv", "INTEGER"),
    ("mv", "INTEGER"),
    ("\"from\"", "BIGINT"),
    // The unified id: the founder of its cluster.
    ("uid", "UUID"),
    // The cluster has no other record.
    ("solo", "BOOLEAN"),
    // Fields whose cells wait for a repair and show their last good value.
    ("held", "VARCHAR[]"),
    // The version's event time.
    ("t", "TIMESTAMP"),
];

/// All columns of `rec_<entity>`: name (quoted) and type.
pub fn record_columns(entity: &Entity) -> Vec<(String, &'static str)> {
    let mut columns: Vec<_> = RECORD_COLUMNS.iter().map(|&(name, kind)| (name.to_owned(), kind)).collect();
    columns.extend(
        entity.fields.iter().map(|field| (value_column(&field.name), sql_type(field.canonical_type))),
    );
    columns.extend(entity.fields.iter().map(|field| (time_column(&field.name), "TIMESTAMP")));
    columns.extend(entity.match_rules.iter().map(|rule: &MatchRule| (key_column(&rule.name), "VARCHAR")));
    columns
}

/// All columns of `uni_<entity>`: name (quoted) and type.
pub fn unified_columns(entity: &Entity) -> Vec<(String, &'static str)> {
    let mut columns = vec![
        ("uid".to_owned(), "UUID"),
        ("\"from\"".to_owned(), "BIGINT"),
        ("members".to_owned(), "INTEGER"),
    ];
    columns.extend(
        entity.fields.iter().map(|field| (value_column(&field.name), sql_type(field.canonical_type))),
    );
    columns.extend(entity.fields.iter().map(|field| (time_column(&field.name), "TIMESTAMP")));
    columns.extend(entity.fields.iter().map(|field| (winner_column(&field.name), "UUID")));
    columns
}

/// Columns of every `raw_<feed>` before the source's own.
pub const RAW_COLUMNS: &[(&str, &str)] = &[
    ("_seq", "BIGINT"),
    ("_row", "INTEGER"),
    ("_sid", "UUID"),
    ("_key", "VARCHAR"),
    ("_sv", "INTEGER"),
    // Number of the batch in its feed.
    ("_b", "BIGINT"),
    // 0: a row; 1: the record is gone.
    ("_op", "TINYINT"),
    // Of the row's content, to tell a change from a repeat.
    ("_h", "UBIGINT"),
];

/// The tables every file has.
pub const BASE: &str = r#"
CREATE TABLE IF NOT EXISTS meta(key VARCHAR, value VARCHAR);
CREATE TABLE IF NOT EXISTS commit_times(seq BIGINT, "at" TIMESTAMP);
CREATE TABLE IF NOT EXISTS feeds(feed INTEGER, feed_id UUID, connection_id UUID, stream VARCHAR, entity VARCHAR,
  priority INTEGER, closed_at BIGINT, snapshot_from BIGINT);
CREATE TABLE IF NOT EXISTS mappings(feed INTEGER, mv INTEGER, seq BIGINT, content VARCHAR);
CREATE TABLE IF NOT EXISTS bindings(feed INTEGER, sv INTEGER, mv INTEGER, held VARCHAR[], hold_rows BOOLEAN,
  suspect_from BIGINT, seq BIGINT, event INTEGER);
CREATE TABLE IF NOT EXISTS raw_columns(feed INTEGER, ordinal INTEGER, name VARCHAR, physical VARCHAR);
CREATE TABLE IF NOT EXISTS founders(entity VARCHAR, sid UUID, ghost UUID, ghost_first BIGINT);
CREATE TABLE IF NOT EXISTS links(entity VARCHAR, left_sid UUID, right_sid UUID, kind VARCHAR, seq BIGINT, event INTEGER);
CREATE TABLE IF NOT EXISTS quarantine(entity VARCHAR, feed INTEGER, seq BIGINT, "row" INTEGER, sid UUID, target VARCHAR,
  column_name VARCHAR, value VARCHAR, code VARCHAR, reason VARCHAR, mv INTEGER, "from" BIGINT, "to" BIGINT);
"#;

/// Codes of the reasons in quarantine.
pub mod codes {
    /// The value does not fit the field.
    pub const DOES_NOT_FIT: &str = "AOS-0421";
    /// The cell waits for a repair.
    pub const HELD: &str = "AOS-0422";
    /// The row waits: its key drifted.
    pub const ROW_HELD: &str = "AOS-0423";
}

/// A column of a stored table. Text is compressed by FSST at once: trying every method on every row
/// group takes half as much processor time again, and saves a tenth of the file.
pub(super) fn stored(kind: &str) -> String {
    if kind == "VARCHAR" { "VARCHAR USING COMPRESSION fsst".to_owned() } else { kind.to_owned() }
}

fn definition(table: &str, columns: &[(String, &'static str)], more: &str) -> String {
    let columns: Vec<String> =
        columns.iter().map(|(name, kind)| format!("{name} {}", stored(kind))).collect();
    format!("CREATE TABLE IF NOT EXISTS {table}({}{more});\n", columns.join(", "))
}

/// Makes the tables of an entity.
pub fn entity_tables(entity: &Entity) -> String {
    let records_of = record_columns(entity);
    let unified_of = unified_columns(entity);
    definition(&records(&entity.name), &records_of, "")
        + &definition(&records_history(&entity.name), &records_of, ", \"to\" BIGINT")
        + &definition(&unified(&entity.name), &unified_of, "")
        + &definition(&unified_history(&entity.name), &unified_of, ", \"to\" BIGINT")
}

/// Makes the raw table of a feed, without source columns yet.
pub fn feed_tables(feed: i32) -> String {
    let columns: Vec<String> =
        RAW_COLUMNS.iter().map(|(name, kind)| format!("{name} {}", stored(kind))).collect();
    format!("CREATE TABLE IF NOT EXISTS {}({});\n", raw_table(feed), columns.join(", "))
}
