use super::*;
use autonomos_domain::mapping::MappingOrigin;
use duckdb::Connection;
use std::collections::BTreeMap;

fn field(canonical_type: CanonicalType, semantic: Semantic) -> OntologyField {
    OntologyField {
        name: "x".to_owned(),
        canonical_type,
        semantic,
        description: String::new(),
        synonyms: vec![],
        unit: None,
        references: None,
        protected: false,
    }
}

/// What `input` becomes; `!` when it does not fit, `-` when it is null.
fn run(kind: CanonicalType, semantic: Semantic, transform: &Transform, inputs: &[Option<&str>]) -> String {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("SET TimeZone = 'UTC'").unwrap();
    let line = MappingField {
        source: "0".to_owned(),
        also: (1..inputs.len()).map(|index| index.to_string()).collect(),
        target: "x".to_owned(),
        transform: transform.clone(),
        confidence: 1.0,
        origin: MappingOrigin::Human,
        evidence: vec![],
    };
    let column = |name: &str| {
        let index: usize = name.parse().unwrap();
        let sql = inputs[index].map_or("CAST(NULL AS VARCHAR)".to_owned(), literal);
        Some(Source { sql, clean: false })
    };
    let mut program = Program::new("r");
    let compiled = compile(&mut program, &field(kind, semantic), &[&line], &column);
    let sql = format!(
        "SELECT CASE WHEN ({value}) IS NULL THEN CASE WHEN ({probe}) IS NULL THEN '-' ELSE '!' END \
         ELSE CAST(({value}) AS VARCHAR) END FROM {} r",
        program.over("(SELECT 1 AS one)"),
        value = compiled.value,
        probe = compiled.probe
    );
    let answer: String =
        connection.query_row(&sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{error}: {sql}"));
    assert!(compiled.fallible || answer != "!", "{sql}");
    answer
}

fn check(kind: CanonicalType, transform: Transform, cases: &[(&str, &str)]) {
    for (input, expected) in cases {
        assert_eq!(
            run(kind, Semantic::Plain, &transform, &[Some(input)]),
            *expected,
            "{transform:?} of `{input}`"
        );
    }
}

#[test]
fn copies_read_what_can_mean_one_thing_only() {
    check(CanonicalType::Text, Transform::Copy, &[("  a b\t", "a b"), ("   ", "-"), ("O'Neil", "O'Neil")]);
    check(
        CanonicalType::Integer,
        Transform::Copy,
        &[
            ("12", "12"),
            (" 12.0 ", "12"),
            ("12.7", "!"),
            ("1,234", "!"),
            ("1,234,567", "1234567"),
            ("x", "!"),
            ("", "-"),
            ("99999999999999999999", "!"),
            ("-3", "-3"),
            ("1e3", "1000"),
        ],
    );
    check(
        CanonicalType::Decimal,
        Transform::Copy,
        &[
            ("1.5", "1.500000"),
            ("$1,234.50", "1234.500000"),
            ("-$3", "-3.000000"),
            ("1,5", "!"),
            ("45%", "!"),
            ("NaN", "!"),
        ],
    );
    check(
        CanonicalType::Timestamp,
        Transform::Copy,
        &[
            ("2024-01-05", "2024-01-05 00:00:00"),
            ("2024-01-05T10:00:00Z", "2024-01-05 10:00:00"),
            ("2024-01-05T10:00:00+02:00", "2024-01-05 08:00:00"),
            ("2024-01-05 10:00:00.25", "2024-01-05 10:00:00.25"),
            ("24-01-05", "!"),
            ("infinity", "!"),
            ("05/01/2024", "!"),
            ("epoch", "!"),
        ],
    );
    check(
        CanonicalType::Date,
        Transform::Copy,
        &[("2024-01-05", "2024-01-05"), ("2024-01-05T23:00:00-05:00", "2024-01-06"), ("2024-13-05", "!")],
    );
    check(CanonicalType::Boolean, Transform::Copy, &[("Yes", "true"), ("0", "false"), ("maybe", "!")]);
    assert_eq!(
        run(CanonicalType::Decimal, Semantic::Fraction, &Transform::Copy, &[Some("45 %")]),
        "0.450000"
    );
}

#[test]
fn times_are_read_by_their_format() {
    let parse = |format: &str| Transform::ParseTime { format: format.to_owned() };
    check(
        CanonicalType::Date,
        parse("%d/%m/%Y"),
        &[("05/03/2024", "2024-03-05"), ("5/3/2024", "2024-03-05"), ("05/13/2024", "!")],
    );
    check(
        CanonicalType::Timestamp,
        parse("%Y-%m-%dT%H:%M:%S%z"),
        &[
            ("2024-01-05T10:00:00+02:00", "2024-01-05 08:00:00"),
            ("2024-01-05T10:00:00Z", "2024-01-05 10:00:00"),
        ],
    );
    check(CanonicalType::Timestamp, parse("%Q"), &[("2024-01-05", "!")]);
    check(
        CanonicalType::Timestamp,
        Transform::ParseEpoch { unit: "seconds".to_owned() },
        &[("1700000000", "2023-11-14 22:13:20"), ("x", "!"), ("999999999999999999", "!")],
    );
    check(
        CanonicalType::Timestamp,
        Transform::ParseEpoch { unit: "milliseconds".to_owned() },
        &[("1700000000500", "2023-11-14 22:13:20.5")],
    );
    check(
        CanonicalType::Timestamp,
        Transform::ParseExcelSerial,
        &[("45296.5", "2024-01-05 12:00:00"), ("45296", "2024-01-05 00:00:00"), ("x", "!")],
    );
    let chain = Transform::Chain {
        steps: vec![
            Transform::FormatTime { from: "epoch_seconds".to_owned(), to: "%d.%m.%Y".to_owned() },
            parse("%d.%m.%Y"),
        ],
    };
    check(CanonicalType::Date, chain, &[("1700000000", "2023-11-14"), ("x", "!"), ("", "-")]);
}

#[test]
fn numbers_are_scaled_exactly() {
    let scale = |factor: &str| Transform::Scale { factor: factor.to_owned() };
    check(
        CanonicalType::Decimal,
        scale("0.01"),
        &[("123456", "1234.560000"), ("0.1", "0.001000"), ("x", "!")],
    );
    check(CanonicalType::Decimal, scale("1000"), &[("1.5", "1500.000000")]);
    check(CanonicalType::Decimal, scale("nope"), &[("1", "!")]);
    check(
        CanonicalType::Decimal,
        Transform::ParseDecimalComma,
        &[
            ("1.234,50", "1234.500000"),
            ("1234,5", "1234.500000"),
            ("12", "12.000000"),
            ("1.5", "!"),
            ("1,2,3", "!"),
        ],
    );
    let cents_in_comma = Transform::Chain {
        steps: vec![scale("0.01"), Transform::FormatDecimalComma, Transform::ParseDecimalComma],
    };
    check(CanonicalType::Decimal, cents_in_comma, &[("123450", "1234.500000"), ("100", "1.000000")]);
}

#[test]
fn text_is_taken_apart_and_put_together() {
    check(
        CanonicalType::Text,
        Transform::ExtractDomain,
        &[
            ("https://www.Acme.co.uk/x?y=1", "acme.co.uk"),
            ("Bob@Acme.com", "acme.com"),
            ("acme", "!"),
            ("http://a.b:80", "a.b"),
        ],
    );
    check(
        CanonicalType::Text,
        Transform::SplitPart { separator: ", ".to_owned(), index: 1 },
        &[("Doe, Jane", "Jane"), ("Jane", "-")],
    );
    let values = BTreeMap::from([("O".to_owned(), "open".to_owned())]);
    check(
        CanonicalType::Text,
        Transform::MapValues { values: values.clone(), keep_others: false },
        &[("O", "open"), ("C", "!")],
    );
    check(
        CanonicalType::Text,
        Transform::MapValues { values, keep_others: true },
        &[("O", "open"), ("C", "C")],
    );
    let truth = Transform::ParseBoolean { truthy: vec!["Ja".to_owned()], falsy: vec![] };
    check(CanonicalType::Boolean, truth, &[("ja", "true"), ("nein", "!")]);
    check(
        CanonicalType::Text,
        Transform::JsonPath { path: "$.a.b".to_owned() },
        &[("{\"a\":{\"b\":\"1.50\"}}", "1.50"), ("{\"a\":1}", "-"), ("no json", "!")],
    );
    let join = Transform::Join { separator: " ".to_owned() };
    assert_eq!(
        run(CanonicalType::Text, Semantic::Plain, &join, &[Some("Jane"), None, Some("Doe")]),
        "Jane Doe"
    );
    assert_eq!(run(CanonicalType::Text, Semantic::Plain, &join, &[None, Some(" ")]), "-");
    let object = Transform::Chain {
        steps: vec![
            Transform::JsonObject { keys: vec!["city".to_owned(), "zip".to_owned()] },
            Transform::JsonPath { path: "$.city".to_owned() },
        ],
    };
    assert_eq!(run(CanonicalType::Text, Semantic::Plain, &object, &[Some("Ulm \"x\""), None]), "Ulm \"x\"");
}
