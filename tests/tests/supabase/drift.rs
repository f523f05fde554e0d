//! Tables that are altered while they are read.

use crate::kit::{connect, project};
use autonomos_connectors::{Connector, ReadEvent};
use autonomos_domain::schema::{StreamSelection, SyncMode};
use autonomos_tests::connectors::{Copy, selection};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

const ROWS: usize = 8_000;

fn many() -> String {
    format!(
        "CREATE TABLE t (id int PRIMARY KEY, name text, staff int, pad text); \
         INSERT INTO t SELECT n, 'name ' || n, n, repeat(md5(n::text), 32) FROM generate_series(1, {ROWS}) n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_goes_between_two_pages_is_noticed_there() {
    for (change, fields) in [
        ("ALTER TABLE t RENAME staff TO people", ["id", "name", "people", "pad"].as_slice()),
        ("ALTER TABLE t DROP staff", ["id", "name", "pad"].as_slice()),
    ] {
        let project = project(&many(), 200);
        let connector = connect(&project.config());
        let full = selection("t", SyncMode::Full);
        let mut events = connector.read(&full, SyncMode::Full, None, CancellationToken::new());
        let (mut rows, mut after, mut shapes) = (0, 0, Vec::new());
        while let Some(event) = events.next().await {
            match event.expect("reads") {
                ReadEvent::Batch { records, .. } => {
                    if rows == 0 {
                        // Nothing is read ahead beyond a few batches, and there are more.
                        project.run(change);
                    }
                    rows += records.num_rows();
                    after += if shapes.is_empty() { 0 } else { records.num_rows() };
                }
                ReadEvent::Reshaped { shape, preview } => {
                    assert!(preview.num_rows() > 0);
                    shapes.push(shape.fields.into_iter().map(|field| field.name).collect::<Vec<_>>());
                }
                _ => {}
            }
        }
        assert_eq!((rows, shapes), (ROWS, vec![fields.iter().map(ToString::to_string).collect::<Vec<_>>()]));
        assert!(after > 0, "rows come in the new shape too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_altered_since_is_told_before_its_rows() {
    let project = project(&many(), 1_000);
    let connector = connect(&project.config());
    let full = selection("t", SyncMode::Full);
    let mut copy = Copy::default();
    assert!(!copy.read(&connector, &full, 2).await.expect("reads"));
    project.run("ALTER TABLE t RENAME staff TO people; ALTER TABLE t ADD note text");
    copy.read_all(&connector, &full).await.expect("reads");
    assert_eq!((copy.snapshots, copy.reshaped, copy.rows.len()), (1, 1, ROWS));

    // A key under another name is another key: the table is read anew.
    let mut copy = Copy::default();
    assert!(!copy.read(&connector, &full, 2).await.expect("reads"));
    project.run("ALTER TABLE t RENAME id TO number");
    copy.read_all(&connector, &full).await.expect("reads");
    assert_eq!((copy.snapshots, copy.rows.len()), (2, ROWS));

    // By what changed, too; without its cursor column the table is read anew.
    let by =
        StreamSelection { cursor_field: Some("number".to_owned()), ..selection("t", SyncMode::Incremental) };
    let mut copy = Copy::default();
    copy.read_all(&connector, &by).await.expect("reads");
    project.run("ALTER TABLE t RENAME people TO staff; INSERT INTO t VALUES (9000, 'new', 1, 'x')");
    copy.read_all(&connector, &by).await.expect("reads");
    assert_eq!((copy.snapshots, copy.reshaped, copy.rows.len()), (1, 1, ROWS + 1));
    assert_eq!(copy.rows["9000"]["staff"], "1");

    project.run("DROP TABLE t");
    let error = copy.read_all(&connector, &by).await.expect_err("refused");
    assert_eq!(error.code(), "AOS-0240");
}
