//! What goes wrong: errors, limits, silence, jobs that end early. Nothing is lost, nothing is read twice,
//! and nothing secret is told.

use crate::kit::{ACCOUNT, accounts, by_jobs, by_pages, config, connector, now};
use autonomos_connectors::{Connector, ConnectorError, NetworkScope, SalesforceConnector};
use autonomos_domain::schema::SyncMode;
use autonomos_tests::{
    connectors::{Copy, keeps_secrets, selection},
    salesforce::{CLIENT_SECRET, Refusal, Salesforce},
};
use futures::StreamExt;
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const ROWS: u32 = 1_500;

async fn reads_all(source: &SalesforceConnector, salesforce: &Salesforce) {
    let mut copy = Copy::default();
    copy.read_all(source, &selection(ACCOUNT, SyncMode::Full)).await.expect("reads");
    assert_eq!(copy.rows, now(salesforce, ACCOUNT));
    assert_eq!(copy.taken, copy.rows.len(), "each once");
}

/// The error that a read ends in.
async fn refused(source: &SalesforceConnector) -> ConnectorError {
    let mut copy = Copy::default();
    let read = copy.read_all(source, &selection(ACCOUNT, SyncMode::Full)).await;
    let error = read.expect_err("an error");
    keeps_secrets([error.to_string().as_str(), &format!("{error:?}")], &[CLIENT_SECRET, "session-"]);
    error
}

fn refusal(status: u16, code: &'static str, path: &'static str, times: u32) -> Refusal {
    Refusal { status, code, retry_after: None, times, path }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_tried_again_and_what_does_not_is_told() {
    let salesforce = accounts(ROWS).await;
    salesforce.org().knobs.page = Some(500);
    salesforce.org().knobs.error_every = Some(3);
    reads_all(&by_jobs(&salesforce), &salesforce).await;
    reads_all(&by_pages(&salesforce), &salesforce).await;
    salesforce.org().knobs.error_every = None;

    // The server lets go of a query: it is asked again, from there on where its rows were sent already. A
    // preview's pages are shorter than those of 800.
    for page in [500, 800] {
        salesforce.org().knobs.page = Some(page);
        salesforce.org().knobs.refusals = vec![refusal(400, "INVALID_QUERY_LOCATOR", "query/01g", 1)];
        reads_all(&by_pages(&salesforce), &salesforce).await;
        assert_eq!(salesforce.org().knobs.refusals[0].times, 0, "it was met");
    }

    // For ever: a few tries, then the error.
    salesforce.org().knobs.refusals = vec![refusal(503, "SERVER_UNAVAILABLE", "describe", u32::MAX)];
    let before = salesforce.org().calls.len();
    let error = refused(&by_jobs(&salesforce)).await;
    assert_eq!((error.code(), error.retryable()), ("AOS-0288", true));
    assert!(salesforce.org().calls.len() - before <= 6, "tries are bounded");

    for (status, code, expect, retryable) in [
        (429, "", "AOS-0285", true),
        (403, "REQUEST_LIMIT_EXCEEDED", "AOS-0285", true),
        (403, "INSUFFICIENT_ACCESS", "AOS-0284", false),
        (403, "API_DISABLED_FOR_ORG", "AOS-0284", false),
        (404, "NOT_FOUND", "AOS-0287", false),
        (400, "MALFORMED_QUERY", "AOS-0289", false),
    ] {
        let mut refusal = refusal(status, code, "describe", u32::MAX);
        refusal.retry_after = Some(17);
        salesforce.org().knobs.refusals = vec![refusal];
        let before = salesforce.org().calls.len();
        let error = refused(&by_jobs(&salesforce)).await;
        assert_eq!((error.code(), error.retryable()), (expect, retryable), "{code}");
        if let ConnectorError::RateLimited { retry_after, .. } = error {
            assert_eq!(retry_after, Duration::from_secs(17));
        }
        assert_eq!(salesforce.org().calls.len() - before, 1, "`{code}` is not asked again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_stops_at_its_share_of_the_quota_and_says_how_it_stands() {
    let salesforce = accounts(ROWS).await;
    salesforce.org().knobs.quota = Some(1_000);
    salesforce.org().used = 100;
    let source = connector(&salesforce, &json!({ "bulk_rows": 0, "api_share": 0.5 }));
    let steps = source.check().await.expect("checks");
    assert!(steps[2].passed && steps[2].message.contains("of 1000 requests"), "{steps:?}");
    assert!(steps[2].message.contains("50 %"), "{steps:?}");

    salesforce.org().used = 600;
    let source = connector(&salesforce, &json!({ "bulk_rows": 0, "api_share": 0.5 }));
    let before = salesforce.org().calls.len();
    let error = refused(&source).await;
    assert_eq!((error.code(), error.retryable()), ("AOS-0286", true));
    assert!(error.to_string().contains("601 of the organisation's 1000"), "{error}");
    assert_eq!(salesforce.org().calls.len() - before, 1, "the first answer tells, and nothing more is asked");
    let steps = source.check().await.expect("checks");
    let last = steps.last().expect("a step");
    assert!(!last.passed && last.message.starts_with("AOS-0286"), "{steps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_and_cancels() {
    let salesforce = accounts(ROWS).await;
    salesforce.org().knobs.hang = Some("/results".to_owned());
    let source = by_jobs(&salesforce);
    let cancel = CancellationToken::new();
    let full = selection(ACCOUNT, SyncMode::Full);
    let mut events = source.read(&full, SyncMode::Full, None, cancel.clone());
    // `Began`, and where the job's id is written down.
    assert!(events.next().await.expect("an event").is_ok());
    assert!(events.next().await.expect("an event").is_ok());
    cancel.cancel();
    assert!(matches!(events.next().await, Some(Err(ConnectorError::Cancelled))));

    salesforce.org().knobs.hang = Some("/describe".to_owned());
    let silence = Duration::from_millis(200);
    let impatient =
        SalesforceConnector::patient(&config(&salesforce), NetworkScope { private: true }, silence);
    let error = refused(&impatient.expect("a configuration")).await;
    assert_eq!((error.code(), error.retryable()), ("AOS-0288", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ends_early_is_made_anew_or_told() {
    let salesforce = accounts(ROWS).await;
    salesforce.org().knobs.job_page = Some(400);
    salesforce.org().knobs.cut_results = 2;
    reads_all(&by_jobs(&salesforce), &salesforce).await;

    for forgotten in [false, true] {
        let source = by_jobs(&salesforce);
        let full = selection(ACCOUNT, SyncMode::Full);
        let mut copy = Copy::default();
        assert!(!copy.read(&source, &full, 2).await.expect("reads"));
        salesforce.org().jobs_end(forgotten);
        copy.read_all(&source, &full).await.expect("reads");
        assert_eq!(copy.rows, now(&salesforce, ACCOUNT));
        assert_eq!(copy.snapshots, 2, "begun anew");
    }

    salesforce.org().knobs.fail_jobs = Some("InvalidBatch : something else".to_owned());
    let error = refused(&by_jobs(&salesforce)).await;
    assert_eq!(error.code(), "AOS-0233");
    assert!(error.to_string().contains("something else"), "{error}");
    salesforce.org().knobs.fail_jobs = None;

    // Not every object can be read by jobs.
    salesforce.org().objects.get_mut(ACCOUNT).expect("accounts").bulk = false;
    reads_all(&by_jobs(&salesforce), &salesforce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_long_is_rejected_alone() {
    let salesforce = accounts(3).await;
    let long = "x".repeat(700_000);
    salesforce.org().insert(ACCOUNT, json!({ "Name": "long", "Remarks__c": long }));
    for source in [by_jobs(&salesforce), by_pages(&salesforce)] {
        let mut copy = Copy::default();
        copy.read_all(&source, &selection(ACCOUNT, SyncMode::Full)).await.expect("reads");
        assert_eq!((copy.rows.len(), copy.rejected), (3, 1));
    }
}
