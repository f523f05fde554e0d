use super::*;
use arrow::array::{
    BooleanArray, Date32Array, Float64Array, Int64Array, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field as ArrowField, Schema};
use std::io::Write;
use std::sync::Arc;

#[test]
fn tsv_and_ndjson_and_json() {
    let folder = Folder::with(&[
        ("t.tsv", b"id\tname\n1\tx, y\n2\tz\n"),
        (
            "l.ndjson",
            b"{\"id\":1,\"name\":\"x\",\"at\":{\"b\":[1]}}\n\n{\"id\":2,\"extra\":true,\"name\":null}\n",
        ),
        ("a.json", b" [ {\"id\": 950000000.0, \"zip\": \"007\"} , {\"id\": 2} ] "),
        (
            "o.json",
            b"{\"meta\": {\"tags\": [1, \"]\"]}, \"data\": [{\"id\": 1, \"s\": \"}]\"}, {\"id\": 2}]}",
        ),
        ("single.json", b"{\n \"id\": 1,\n \"name\": \"x\"\n}"),
        ("none.json", b"[]"),
    ]);
    let read = |path: &str, stream: &str| folder.read(json!({ "path": path }), stream).ok();
    assert_eq!(read("t.tsv", "t").cell(0, "name"), Some("x, y"));
    let lines = read("l.ndjson", "l");
    assert_eq!(lines.columns, ["id", "name", "at", "extra"]);
    assert_eq!(
        (lines.cell(0, "at"), lines.cell(1, "name"), lines.cell(1, "extra")),
        (Some("{\"b\":[1]}"), None, Some("true"))
    );
    lines.check_field("at", LogicalType::Object, None);
    lines.check_field("extra", LogicalType::Boolean, None);
    let array = read("a.json", "a");
    assert_eq!(
        (array.cell(0, "id"), array.cell(0, "zip"), array.cell(1, "zip")),
        (Some("950000000.0"), Some("007"), None)
    );
    let object = read("o.json", "o");
    assert_eq!((object.rows.len(), object.cell(0, "s")), (2, Some("}]")));
    assert_eq!(read("single.json", "single").rows.len(), 1);
    assert_eq!(read("none.json", "none").rows.len(), 0);
}

#[test]
fn a_member_that_appears_late_becomes_a_column() {
    let lines = (0..30_000).map(|row| match row {
        9_000 => "{\"id\":9000,\"late\":\"yes!\"}".to_owned(),
        _ => format!("{{\"id\":{row}}}"),
    });
    let content = lines.collect::<Vec<_>>().join("\n");
    let outcome =
        Folder::with(&[("t.ndjson", content.as_bytes())]).read(json!({"path": "t.ndjson"}), "t").ok();
    assert_eq!(outcome.rows.len(), 30_000);
    assert_eq!(outcome.rows[9_000], [Some("9000".to_owned()), Some("yes!".to_owned())]);
    assert_eq!(outcome.rows[8_999], [Some("8999".to_owned()), None]);
}

#[test]
fn gz_and_zst_by_their_bytes_not_their_names() {
    let content = b"id,v\n1,a\n2,b\n";
    let folder = Folder::with(&[
        ("a.csv.gz", &hostile::packed(content)),
        ("b.csv.zst", &zstd::encode_all(content.as_slice(), 3).unwrap()),
        ("c.csv", &hostile::packed(content)),
        ("d.ndjson.gz", &hostile::packed(b"{\"id\":1}\n{\"id\":2}\n")),
    ]);
    for (path, stream) in [("a.csv.gz", "a"), ("b.csv.zst", "b"), ("c.csv", "c"), ("d.ndjson.gz", "d")] {
        assert_eq!(folder.read(json!({ "path": path }), stream).ok().rows.len(), 2, "{path}");
    }
}

pub(super) fn parquet_file(rows: i64) -> Vec<u8> {
    let ids = Int64Array::from_iter_values(0..rows);
    let names: StringArray = (0..rows).map(|row| Some(format!("{row:03}"))).collect();
    let amounts: Float64Array =
        (0..rows).map(|row| Some(if row == 1 { f64::NAN } else { row as f64 / 2.0 })).collect();
    let truths: BooleanArray = (0..rows).map(|row| (row != 0).then_some(row % 2 == 0)).collect();
    let days = Date32Array::from_iter_values((0..rows).map(|row| 19_000 + row as i32 % 100));
    let times = TimestampMicrosecondArray::from_iter_values(
        (0..rows).map(|row| 1_700_000_000_000_000 + row * 1_000_000),
    )
    .with_timezone("UTC");
    let inner: Arc<dyn Array> = Arc::new(Int64Array::from_iter_values(0..rows));
    let nested = StructArray::from(vec![(Arc::new(ArrowField::new("x", DataType::Int64, true)), inner)]);
    let columns: Vec<(&str, Arc<dyn Array>)> = vec![
        ("id", Arc::new(ids)),
        ("name", Arc::new(names)),
        ("amount", Arc::new(amounts)),
        ("active", Arc::new(truths)),
        ("day", Arc::new(days)),
        ("at", Arc::new(times)),
        ("nested", Arc::new(nested)),
    ];
    let fields: Vec<ArrowField> =
        columns.iter().map(|(name, array)| ArrowField::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch =
        RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect()).unwrap();
    let mut written = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut written, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    written
}

#[test]
fn parquet_is_text_in_its_plain_form() {
    let content = parquet_file(20_000);
    let folder = Folder::with(&[("t.parquet", &content), ("z.parquet.gz", &hostile::packed(&content))]);
    let outcome = folder.read(json!({"path": "t.parquet"}), "t").ok();
    assert_eq!((outcome.rows.len(), outcome.total_rows), (20_000, Some(20_000)));
    let cells: Vec<Option<&str>> = ["id", "name", "amount", "active", "day", "nested"]
        .iter()
        .map(|name| outcome.cell(7, name))
        .collect();
    assert_eq!(
        cells,
        [Some("7"), Some("007"), Some("3.5"), Some("false"), Some("2022-01-15"), Some("{\"x\":7}")]
    );
    assert_eq!(outcome.cell(1, "amount"), None);
    assert_eq!(outcome.cell(0, "active"), None);
    outcome.check_field("id", LogicalType::Integer, None);
    outcome.check_field("name", LogicalType::Text, None);
    outcome.check_field("amount", LogicalType::Decimal, None);
    outcome.check_field("active", LogicalType::Boolean, None);
    outcome.check_field("day", LogicalType::Date, None);
    assert_eq!(outcome.field("at").logical_type, LogicalType::Timestamp);
    outcome.check_field("nested", LogicalType::Object, None);
    for (rows_before, cursor) in &outcome.cursors {
        let rest = folder
            .read_from(json!({"path": "t.parquet"}), "t", SyncMode::Incremental, Some(cursor.clone()))
            .ok();
        assert_eq!(rest.rows, outcome.rows[*rows_before..]);
    }
    assert_eq!(folder.read(json!({"path": "z.parquet.gz"}), "z").ok().rows, outcome.rows);
    let cut = Folder::with(&[("t.parquet", &content[..content.len() / 2])]);
    cut.read(json!({"path": "t.parquet"}), "t").check_error("AOS-0214", "Parquet");
}

/// A workbook from the XML of its sheets.
pub(super) fn workbook(sheets: &[(&str, &str, &str)]) -> Vec<u8> {
    let mut parts: Vec<(String, String)> = Vec::new();
    let (mut list, mut relations, mut types) = (String::new(), String::new(), String::new());
    for (at, (name, state, rows)) in sheets.iter().enumerate() {
        let number = at + 1;
        list += &format!("<sheet name=\"{name}\" sheetId=\"{number}\" {state} r:id=\"rId{number}\"/>");
        relations += &format!(
            "<Relationship Id=\"rId{number}\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet\" Target=\"worksheets/sheet{number}.xml\"/>"
        );
        types += &format!(
            "<Override PartName=\"/xl/worksheets/sheet{number}.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml\"/>"
        );
        parts.push((format!("xl/worksheets/sheet{number}.xml"), format!("<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\">{rows}</worksheet>")));
    }
    relations += "<Relationship Id=\"rId99\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles\" Target=\"styles.xml\"/>";
    parts.push(("[Content_Types].xml".to_owned(), format!("<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"><Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/><Override PartName=\"/xl/workbook.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml\"/>{types}</Types>")));
    parts.push(("_rels/.rels".to_owned(), "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>".to_owned()));
    parts.push(("xl/workbook.xml".to_owned(), format!("<workbook xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"><sheets>{list}</sheets></workbook>")));
    parts.push(("xl/_rels/workbook.xml.rels".to_owned(), format!("<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">{relations}</Relationships>")));
    parts.push(("xl/styles.xml".to_owned(), "<styleSheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><cellXfs count=\"3\"><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/><xf numFmtId=\"22\"/></cellXfs></styleSheet>".to_owned()));
    zip(&parts)
}

/// A ZIP archive of deflated members.
fn zip(parts: &[(String, String)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in parts {
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        deflate.write_all(content.as_bytes()).unwrap();
        let packed = deflate.finish().unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(content.as_bytes());
        let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend((packed.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        let offset = archive.len() as u32;
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(name.as_bytes());
        archive.extend(&packed);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (offset, members) = (archive.len() as u32, (parts.len() as u16).to_le_bytes());
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([members, members].concat());
    archive.extend((directory.len() as u32).to_le_bytes());
    archive.extend(offset.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

fn text_cell(place: &str, text: &str) -> String {
    format!("<c r=\"{place}\" t=\"inlineStr\"><is><t>{text}</t></is></c>")
}

fn accounts_sheet() -> String {
    let header = ["A3", "B3", "C3", "D3"]
        .iter()
        .zip(["id", "region", "since", "seen"])
        .map(|(place, name)| text_cell(place, name))
        .collect::<String>();
    let rows = (4..8).map(|row| {
        // A merged region of two rows: its value stands in the first.
        let region = if row % 2 == 0 { text_cell(&format!("B{row}"), "north") } else { String::new() };
        format!("<row r=\"{row}\"><c r=\"A{row}\"><v>{row}</v></c>{region}<c r=\"C{row}\" s=\"1\"><v>{}</v></c><c r=\"D{row}\" s=\"2\"><v>45306.5</v></c></row>", 45_306 + row)
    });
    let title = format!("<row r=\"1\">{}</row>", text_cell("A1", "Accounts 2024"));
    format!(
        "<sheetData>{title}<row r=\"3\">{header}</row>{}</sheetData><mergeCells count=\"1\"><mergeCell ref=\"B4:B5\"/></mergeCells>",
        rows.collect::<String>()
    )
}

#[test]
fn excel_serial_dates_merged_cells_hidden_sheets() {
    let small = format!(
        "<sheetData><row r=\"1\">{}</row><row r=\"2\"><c r=\"A2\"><v>1.5</v></c></row></sheetData>",
        text_cell("A1", "x")
    );
    let content = workbook(&[
        ("Accounts", "", &accounts_sheet()),
        ("Secret", "state=\"hidden\"", &small),
        ("Other", "", &small),
    ]);
    let folder = Folder::with(&[("book.xlsx", &content), ("one.xlsx", &workbook(&[("Data", "", &small)]))]);
    let streams = folder.discover(json!({"path": "book.xlsx"})).unwrap();
    assert_eq!(
        streams.iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>(),
        ["book/Accounts", "book/Other"]
    );
    let outcome = folder.read(json!({"path": "book.xlsx"}), "book/Accounts").ok();
    assert_eq!(outcome.columns, ["id", "region", "since", "seen"]);
    assert_eq!(outcome.rows.len(), 4);
    assert_eq!(
        (outcome.cell(0, "id"), outcome.cell(0, "region"), outcome.cell(1, "region")),
        (Some("4"), Some("north"), None)
    );
    assert_eq!(
        (outcome.cell(0, "since"), outcome.cell(0, "seen")),
        (Some("2024-01-19"), Some("2024-01-15T12:00:00"))
    );
    outcome.check_field("since", LogicalType::Date, None);
    assert_eq!(
        outcome.rejected.iter().map(|row| (row.place.as_str(), row.raw.as_str())).collect::<Vec<_>>(),
        [("row 1", "Accounts 2024")]
    );
    assert_eq!(outcome.shape.primary_key, ["id"]);
    let hidden = folder.read(json!({"path": "book.xlsx", "sheet": "Secret"}), "book").ok();
    assert_eq!(hidden.cell(0, "x"), Some("1.5"));
    folder.read(json!({"path": "book.xlsx", "sheet": "Nope"}), "book").check_error("AOS-0217", "Nope");
    assert_eq!(folder.discover(json!({"path": "one.xlsx"})).unwrap()[0].name, "one");
}

#[test]
fn a_workbook_that_is_a_zip_bomb() {
    let filler = " ".repeat(90 << 20);
    let content = workbook(&[("Data", "", &filler)]);
    let folder = Folder::with(&[("t.xlsx", &content)]);
    folder.read(json!({"path": "t.xlsx"}), "t").check_error("AOS-0210", "unpacks");
}

#[test]
fn a_sheet_with_cells_far_apart_needs_no_memory_for_the_gap() {
    let rows = "<sheetData><row r=\"1\"><c r=\"A1\" t=\"str\"><v>id</v></c><c r=\"XFD1\" t=\"str\"><v>far</v></c></row><row r=\"1048576\"><c r=\"A1048576\"><v>7</v></c></row></sheetData>";
    let folder = Folder::with(&[("t.xlsx", &workbook(&[("Data", "", rows)]))]);
    let outcome = folder.read(json!({"path": "t.xlsx"}), "t").ok();
    assert_eq!((outcome.columns.clone(), outcome.rows.len()), (vec!["id".to_owned(), "far".to_owned()], 1));
}
