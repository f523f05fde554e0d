use super::*;

const CSV: fn(&str) -> Value = |name| json!({ "path": name });

fn table(content: &[u8]) -> Outcome {
    Folder::with(&[("t.csv", content)]).read(CSV("t.csv"), "t").ok()
}

#[test]
fn a_plain_table() {
    let outcome = table(b"id,name,amount\n1,Acme,10.50\n2,Apex,\n");
    assert_eq!(outcome.columns, ["id", "name", "amount"]);
    assert_eq!(
        outcome.rows,
        [[Some("1"), Some("Acme"), Some("10.50")], [Some("2"), Some("Apex"), None]]
            .map(|row| row.map(|cell| cell.map(str::to_owned)))
    );
    outcome.check_field("id", LogicalType::Integer, None);
    outcome.check_field("amount", LogicalType::Decimal, None);
    assert!(outcome.field("amount").nullable && !outcome.field("id").nullable);
    assert_eq!(outcome.shape.primary_key, ["id"]);
    assert_eq!((outcome.total_rows, outcome.preview), (Some(2), 2));
}

#[test]
fn numbers_that_turn_into_text_late_in_a_file() {
    let mut content = String::from("id,code\n");
    for row in 0..60_000 {
        content += &format!("{row},{}\n", if row == 59_990 { "N/A-7".to_owned() } else { row.to_string() });
    }
    let outcome = table(content.as_bytes());
    outcome.check_field("code", LogicalType::Text, None);
    outcome.check_field("id", LogicalType::Integer, None);
    assert_eq!(outcome.rows.len(), 60_000);
    assert_eq!(outcome.cell(59_990, "code"), Some("N/A-7"));
}

#[test]
fn identifiers_with_leading_zeros_stay_text() {
    let outcome = table(b"zip,phone,n\n01067,+49151123,0\n10115,+49151124,7\n");
    outcome.check_field("zip", LogicalType::Text, None);
    outcome.check_field("phone", LogicalType::Text, None);
    outcome.check_field("n", LogicalType::Integer, None);
    assert_eq!(outcome.cell(0, "zip"), Some("01067"));
}

#[test]
fn first_data_row_is_not_eaten_as_header() {
    let outcome = table(b"1,Alice,30\n2,Bob,25\n3,Eve,41\n");
    assert_eq!(outcome.columns, ["column_1", "column_2", "column_3"]);
    assert_eq!(outcome.rows.len(), 3);
    assert_eq!(outcome.cell(0, "column_2"), Some("Alice"));
}

#[test]
fn header_can_be_declared() {
    let folder = Folder::with(&[("t.csv", b"a,b\nc,d\n")]);
    let outcome = folder.read(json!({"path": "t.csv", "header": false}), "t").ok();
    assert_eq!(outcome.rows.len(), 2);
    let outcome = folder.read(json!({"path": "t.csv", "header": true}), "t").ok();
    assert_eq!((outcome.rows.len(), outcome.columns), (1, vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn ragged_rows_are_rejected_with_line_and_bytes_and_upset_nothing() {
    let outcome = table(b"a,b,c\n1,2,3\n4;5;6;7\n8,9\n\n10,11,12\n13,14,15,16\n17,18,19,\n");
    assert_eq!(outcome.rows.len(), 3);
    let rejected: Vec<(&str, &str, &str)> =
        outcome.rejected.iter().map(|row| (row.place.as_str(), row.code, row.raw.as_str())).collect();
    assert_eq!(
        rejected,
        [
            ("line 3", "AOS-0221", "4;5;6;7"),
            ("line 4", "AOS-0221", "8,9"),
            ("line 7", "AOS-0221", "13,14,15,16")
        ]
    );
    assert_eq!(outcome.cell(2, "a"), Some("17"));
}

#[test]
fn quotes_and_escapes_far_down() {
    let mut content = String::from("id;note\n");
    for row in 0..30_000 {
        let note = match row {
            25_000 => "\"said \"\"yes\"\"; then left\"",
            25_001 => "5\" pipe",
            25_002 => "\"two\r\nlines\"",
            _ => "plain",
        };
        content += &format!("{row};{note}\r\n");
    }
    let outcome = table(content.as_bytes());
    assert_eq!(outcome.rows.len(), 30_000);
    assert_eq!(outcome.cell(25_000, "note"), Some("said \"yes\"; then left"));
    assert_eq!(outcome.cell(25_001, "note"), Some("5\" pipe"));
    assert_eq!(outcome.cell(25_002, "note"), Some("two\r\nlines"));
    assert!(outcome.rejected.is_empty());
}

#[test]
fn backslash_escapes_are_seen() {
    let outcome = table(b"id,note\n1,\"a \\\"b\\\", c\"\n2,\"d\"\n");
    assert_eq!(outcome.cell(0, "note"), Some("a \"b\", c"));
    assert_eq!(outcome.rows.len(), 2);
}

#[test]
fn single_quotes_are_seen() {
    let outcome = table(b"id,note\n1,'a, b'\n2,'c, d'\n");
    assert_eq!(outcome.cell(0, "note"), Some("a, b"));
}

#[test]
fn a_stray_quote_costs_its_own_line_alone() {
    let outcome = table(b"a,b\n1,x\n\"2,y\n3,z\n4,\"w\"\n5,v\n");
    assert_eq!(outcome.rows.len(), 4, "{:?}", outcome.rejected);
    assert_eq!(
        (outcome.rejected[0].place.as_str(), outcome.rejected[0].code, outcome.rejected[0].raw.as_str()),
        ("line 3", "AOS-0224", "\"2,y")
    );
    let outcome = table(b"a,b\n1,x\n2,\"y\n3,z\n");
    assert_eq!((outcome.rows.len(), outcome.rejected.len()), (2, 1));
}

#[test]
fn encodings() {
    let text = "name,city\nMüller,Köln\nŻółć,Łódź\n";
    let utf16 = |big: bool, mark: bool| -> Vec<u8> {
        let units = mark.then_some(0xfeff_u16).into_iter().chain(text.encode_utf16());
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let with_mark = ["\u{feff}".as_bytes(), text.as_bytes()].concat();
    for content in [
        text.as_bytes().to_vec(),
        with_mark,
        utf16(false, true),
        utf16(true, true),
        utf16(false, false),
        utf16(true, false),
    ] {
        let outcome = table(&content);
        assert_eq!(outcome.columns, ["name", "city"]);
        assert_eq!(outcome.cell(1, "city"), Some("Łódź"));
    }
    let outcome = table(b"name,city\nM\xfcller,K\xf6ln\n");
    assert_eq!(outcome.cell(0, "city"), Some("Köln"));
    let folder = Folder::with(&[("t.csv", b"name,city\n\xcf\xf0\xe8\xe2\xe5\xf2,x\n")]);
    let outcome = folder.read(json!({"path": "t.csv", "encoding": "windows-1251"}), "t").ok();
    assert_eq!(outcome.cell(0, "name"), Some("Привет"));
}

#[test]
fn invalid_utf8_rejects_its_row_not_the_file() {
    let outcome = table(b"a,b\n1,x\n2,\xff\xfe\n3,\xc3\xa9\n");
    assert_eq!(outcome.rows.len(), 2);
    assert_eq!((outcome.rejected[0].place.as_str(), outcome.rejected[0].code), ("line 3", "AOS-0222"));
    assert_eq!(outcome.cell(1, "b"), Some("é"));
}

#[test]
fn crlf_inside_quotes_and_line_numbers() {
    let outcome = table(b"a,b\r\n1,\"x\r\ny\"\r\n2\r\n");
    assert_eq!(outcome.cell(0, "b"), Some("x\r\ny"));
    assert_eq!(outcome.rejected[0].place, "line 4");
}

#[test]
fn old_line_ends() {
    let outcome = table(b"a,b\r1,x\r2,y\r");
    assert_eq!((outcome.rows.len(), outcome.cell(1, "b")), (2, Some("y")));
}

#[test]
fn duplicate_and_empty_headers() {
    let outcome = table(b"name,name,,name_2\n1,2,3,4\n");
    assert_eq!(outcome.columns, ["name", "name_3", "column_3", "name_2"]);
    let outcome = table(b"name,name\na,1\n");
    assert_eq!(outcome.columns, ["name", "name_2"]);
}

#[test]
fn decimal_comma() {
    let outcome = table(b"id;amount\n1;1,50\n2;1.234,56\n");
    outcome.check_field("amount", LogicalType::Decimal, Some("decimal_comma"));
    assert_eq!(outcome.cell(1, "amount"), Some("1.234,56"));
}

#[test]
fn day_and_month_ambiguous() {
    let outcome =
        table(b"id,a,b,c\n1,01/02/2024,13/01/2024,01/13/2024\n2,03/04/2024,01/02/2024,01/02/2024\n");
    outcome.check_field("a", LogicalType::Text, Some("ambiguous_date"));
    outcome.check_field("b", LogicalType::Date, Some("%d/%m/%Y"));
    outcome.check_field("c", LogicalType::Date, Some("%m/%d/%Y"));
}

#[test]
fn empty_against_na_against_null() {
    let content = b"id,v\n1,\n2,\"\"\n3,NA\n4,NULL\n5,\"NULL\"\n6,\\N\n7,null\n";
    let outcome = table(content);
    let values: Vec<Option<&str>> = (0..7).map(|row| outcome.cell(row, "v")).collect();
    assert_eq!(values, [None, Some(""), Some("NA"), None, Some("NULL"), None, None]);
    let folder = Folder::with(&[("t.csv", content)]);
    let outcome = folder.read(json!({"path": "t.csv", "null_values": ["NA"]}), "t").ok();
    assert_eq!(
        (outcome.cell(0, "v"), outcome.cell(2, "v"), outcome.cell(3, "v")),
        (Some(""), None, Some("NULL"))
    );
}

#[test]
fn spaces_are_kept() {
    let outcome = table(b"id,v\n1, x \n2,y\n");
    assert_eq!(outcome.cell(0, "v"), Some(" x "));
}

#[test]
fn header_alone_is_a_table_without_rows() {
    let outcome = table(b"id,name\n");
    assert_eq!((outcome.rows.len(), outcome.columns.len()), (0, 2));
    assert_eq!(outcome.field("id").logical_type, LogicalType::Unknown);
}

#[test]
fn update_times_are_cursor_fields() {
    let folder = Folder::with(&[("t.csv", b"id,updated_at,closed\n1,2024-01-05T10:00:00Z,2024-01-01\n")]);
    let streams = folder.discover(CSV("t.csv")).unwrap();
    assert_eq!(streams[0].cursor_fields, ["updated_at"]);
}

mod property {
    use super::*;
    use proptest::prelude::*;

    fn cell() -> impl Strategy<Value = Option<String>> {
        prop_oneof![
            2 => Just(None),
            6 => "[a-z0-9 ]{1,8}".prop_map(Some),
            3 => "[\"\n\r,;\t|'é漢🙂a\\\\]{0,10}".prop_map(Some),
            1 => Just(Some("NULL".to_owned())),
        ]
    }

    fn quoted(text: &str) -> String {
        format!("\"{}\"", text.replace('"', "\"\""))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        /// What a correct writer writes is read back to the letter.
        #[test]
        fn written_tables_are_read_back_equal(
            rows in prop::collection::vec(prop::collection::vec(cell(), 3), 0..60),
            delimiter in prop::sample::select(vec![',', ';', '\t', '|']),
            newline in prop::sample::select(vec!["\n", "\r\n"]),
        ) {
            let mut content = ["first", "second", "third"].join(&delimiter.to_string()) + newline;
            for row in &rows {
                let cells: Vec<String> = row.iter().map(|cell| match cell {
                    None => String::new(),
                    Some(text) => quoted(text),
                }).collect();
                content += &(cells.join(&delimiter.to_string()) + newline);
            }
            let folder = Folder::with(&[("t.csv", content.as_bytes())]);
            let config = json!({"path": "t.csv", "delimiter": delimiter.to_string(), "quote": "\"", "header": true, "encoding": "utf-8"});
            let mut config = config;
            // A text full of backslashes before quotes looks escaped: that is declared then.
            if content.contains("\\\"") {
                config["escape"] = json!("\u{1}");
            }
            let outcome = folder.read(config, "t").ok();
            prop_assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
            prop_assert_eq!(outcome.rows, rows);
        }
    }
}
