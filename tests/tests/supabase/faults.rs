//! What is refused for a moment is asked for again, and what is refused for longer is told with the time.

use crate::kit::{ROWS, connect, many, project};
use autonomos_domain::schema::SyncMode;
use autonomos_tests::{
    connectors::{Copy, selection},
    postgrest::{Gateway, SECRET_KEY},
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_outlasts_what_is_refused_for_a_moment() {
    let project = project(&many(), 1_000);
    let gateway = Gateway::before(&project).await;
    let connector = connect(&project.config_with(&gateway.url, SECRET_KEY));
    let full = selection("t", SyncMode::Full);
    gateway.refuse(&[(502, None), (429, Some(0)), (503, Some(0)), (504, None)]);
    let mut copy = Copy::default();
    copy.read_all(&connector, &full).await.expect("reads");
    assert_eq!((copy.rows.len(), copy.taken, gateway.left()), (ROWS, ROWS, 0));
    assert!(gateway.asked().iter().all(|address| !address.contains("offset")), "pages go by the key");

    // Told to wait for long, the read ends and says so.
    gateway.refuse(&[(429, Some(3_600))]);
    let error = Copy::default().read_all(&connector, &full).await.expect_err("refused");
    assert_eq!((error.code(), error.wait()), ("AOS-0239", Some(Duration::from_hours(1))));
    gateway.refuse(&[(502, None); 5]);
    let error = Copy::default().read_all(&connector, &full).await.expect_err("refused");
    assert_eq!((error.code(), error.retryable()), ("AOS-0241", true));
    // What nobody should ask again is asked once.
    gateway.refuse(&[(403, None), (403, None)]);
    let error = Copy::default().read_all(&connector, &full).await.expect_err("refused");
    assert_eq!((error.code(), gateway.left()), ("AOS-0238", 1));
}
