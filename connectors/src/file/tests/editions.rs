use super::*;

pub(super) fn numbered(rows: usize) -> String {
    (0..rows).fold("id,name,note\n".to_owned(), |text, row| {
        let note = if row % 7 == 0 { format!("\"a, {row}\r\nb\"") } else { "x".to_owned() };
        text + &format!("{row},n{row},{note}\n") + if row % 5_000 == 4_999 { "ragged\n" } else { "" }
    })
}

pub(super) fn dropped_at_every_batch(folder: &impl Files, config: Value, stream: &str) {
    let whole = folder.read(config.clone(), stream).ok();
    assert!(whole.cursors.len() >= 2, "{} batches", whole.cursors.len());
    for (rows_before, cursor) in &whole.cursors {
        let rest = folder.read_from(config.clone(), stream, SyncMode::Incremental, Some(cursor.clone())).ok();
        assert!(rest.resumed);
        assert_eq!(rows_before + rest.rows.len(), whole.rows.len());
        assert_eq!(rest.rows, whole.rows[*rows_before..], "exactly once");
        assert_eq!(rest.completed, whole.completed);
    }
}

#[test]
fn a_read_dropped_at_any_batch_goes_on_exactly_there() {
    let text = numbered(40_000);
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = [b"\xff\xfe".as_slice(), &utf16].concat();
    let folder = Folder::with(&[
        ("plain.csv", text.as_bytes()),
        ("packed.csv.gz", &hostile::packed(text.as_bytes())),
        ("wide.csv", &utf16),
    ]);
    dropped_at_every_batch(&folder, json!({"path": "plain.csv"}), "plain");
    dropped_at_every_batch(&folder, json!({"path": "packed.csv.gz"}), "packed");
    dropped_at_every_batch(&folder, json!({"path": "wide.csv"}), "wide");
}

#[test]
fn json_too() {
    let objects: Vec<String> =
        (0..40_000).map(|row| format!("{{\"id\":{row},\"name\":\"n{row}\"}}")).collect();
    let folder = Folder::with(&[
        ("lines.ndjson", objects.join("\n").as_bytes()),
        ("array.json", format!("[{}]", objects.join(",\n")).as_bytes()),
    ]);
    dropped_at_every_batch(&folder, json!({"path": "lines.ndjson"}), "lines");
    dropped_at_every_batch(&folder, json!({"path": "array.json"}), "array");
}

#[test]
fn files_of_different_columns_are_joined_by_name() {
    let folder = Folder::with(&[
        ("orders-01.csv", b"id,total\n1,10\n2,20\n"),
        ("orders-02.csv", b"total,note,id\n30,late,3\n"),
        ("other.csv", b"x\ny\n"),
    ]);
    let config = json!({"path": "orders-*.csv", "combine": true});
    let streams = folder.discover(config.clone()).unwrap();
    assert_eq!(streams.iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>(), ["orders"]);
    let outcome = folder.read(config.clone(), "orders").ok();
    assert_eq!(outcome.columns, ["id", "total", "note"]);
    assert_eq!(outcome.rows.len(), 3);
    assert_eq!(
        (outcome.cell(2, "id"), outcome.cell(2, "total"), outcome.cell(0, "note")),
        (Some("3"), Some("30"), None)
    );
    dropped_at_every_batch(&folder, config, "orders");
    let apart = folder.discover(json!({"path": "orders-*.csv"})).unwrap();
    assert_eq!(
        apart.iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>(),
        ["orders-01", "orders-02"]
    );
}

#[test]
fn a_folder_is_a_stream_for_each_table() {
    let folder = Folder::with(&[
        ("a.csv", b"id\n1\n"),
        ("b.tsv", b"id\tv\n1\t2\n"),
        ("notes.md", b"# no table"),
        (".hidden.csv", b"id\n1\n"),
        ("broken.csv", b"\x89PNG"),
        ("c.csv", b"id\n1\n"),
        ("c.ndjson", b"{\"id\":1}\n"),
    ]);
    let streams = folder.discover(json!({"path": folder.path().display().to_string()})).unwrap();
    assert_eq!(
        streams.iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>(),
        ["a", "b", "c.csv", "c.ndjson"]
    );
    let outcome = folder.read(json!({"path": "."}), "nope");
    outcome.check_error("AOS-0212", "`nope`");
}

#[test]
fn an_edition_is_read_once_and_a_new_one_anew() {
    editions_are_told_apart(&Folder::with(&[]));
}

pub(super) fn editions_are_told_apart(folder: &impl Files) {
    folder.write("t.csv", b"id,v\n1,a\n");
    let config = json!({"path": "t.csv"});
    let first = folder.read(config.clone(), "t").ok();
    let again = folder.read_from(config.clone(), "t", SyncMode::Incremental, first.completed.clone());
    assert!(again.unchanged && again.rows.is_empty() && again.error.is_none());
    let full = folder.read_from(config.clone(), "t", SyncMode::Full, first.completed.clone()).ok();
    assert_eq!(full.rows.len(), 1);
    folder.write("t.csv", b"id,v\n1,a\n2,b\n");
    let second = folder.read_from(config.clone(), "t", SyncMode::Incremental, first.completed).ok();
    assert_eq!((second.rows.len(), second.resumed), (2, false));
    let other_options = folder
        .read_from(json!({"path": "t.csv", "header": false}), "t", SyncMode::Incremental, second.completed)
        .ok();
    assert_eq!(other_options.rows.len(), 3);
}

#[test]
fn a_cursor_of_another_edition_starts_anew() {
    let folder = Folder::with(&[("t.csv", numbered(20_000).as_bytes())]);
    let config = json!({"path": "t.csv"});
    let whole = folder.read(config.clone(), "t").ok();
    folder.write("t.csv", numbered(20_001).as_bytes());
    let anew = folder.read_from(config, "t", SyncMode::Incremental, Some(whole.cursors[0].1.clone())).ok();
    assert_eq!((anew.rows.len(), anew.resumed), (20_001, false));
}

#[test]
fn an_edition_that_changes_while_it_is_read_is_not_completed() {
    a_changed_edition_is_not_completed(&Folder::with(&[]));
}

pub(super) fn a_changed_edition_is_not_completed(folder: &impl Files) {
    folder.write("t.csv", numbered(300_000).as_bytes());
    let connector = folder.connect(json!({"path": "t.csv"})).unwrap();
    let (completed, error) = run(async {
        let mut events = connector.read(&selection("t"), SyncMode::Full, None, CancellationToken::new());
        let (mut completed, mut error, mut cut) = (false, None, false);
        while let Some(event) = events.next().await {
            match event {
                Ok(ReadEvent::Batch { .. }) if !cut => {
                    folder.write("t.csv", numbered(100).as_bytes());
                    cut = true;
                }
                Ok(ReadEvent::Completed { .. }) => completed = true,
                Err(cause) => error = Some(cause),
                Ok(_) => {}
            }
        }
        (completed, error)
    });
    assert!(!completed);
    let error = error.unwrap();
    assert!(error.code() == "AOS-0211" && error.retryable(), "{error}");
}

#[test]
fn batches_stay_within_their_limits() {
    let mut content = String::from("id,text\n");
    for row in 0..3_000 {
        content += &format!("{row},{}\n", "x".repeat(5_000));
    }
    let folder = Folder::with(&[("t.csv", content.as_bytes()), ("many.csv", numbered(40_000).as_bytes())]);
    for (path, stream) in [("t.csv", "t"), ("many.csv", "many")] {
        let connector = folder.connect(json!({ "path": path })).unwrap();
        run(async {
            let mut events =
                connector.read(&selection(stream), SyncMode::Full, None, CancellationToken::new());
            while let Some(event) = events.next().await {
                if let ReadEvent::Batch { records, .. } = event.unwrap() {
                    assert!(records.num_rows() <= crate::port::MAX_BATCH_ROWS);
                    assert!(records.get_array_memory_size() < crate::port::MAX_BATCH_BYTES * 3);
                }
            }
        });
    }
}

#[test]
fn read_table_gives_shape_and_rows_up_to_a_limit() {
    let folder = Folder::with(&[("t.csv", numbered(20_000).as_bytes())]);
    let options = crate::file::TableOptions::default();
    let (shape, batches) =
        crate::file::read_table(&folder.path().join("t.csv"), &options, Some(17_000)).unwrap();
    assert_eq!((shape.fields.len(), batches.iter().map(RecordBatch::num_rows).sum::<usize>()), (3, 17_000));
    let missing = crate::file::read_table(&folder.path().join("no.csv"), &options, None);
    assert_eq!(missing.unwrap_err().code(), "AOS-0204");
}
