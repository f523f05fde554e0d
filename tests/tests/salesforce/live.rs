//! The same against an organisation at Salesforce, if the environment names one; else against the tests'.
//! `AOS_TEST_SALESFORCE` holds a connection's configuration as JSON, `AOS_TEST_SALESFORCE_OBJECT` an object
//! with few records (default `Account`). Nothing is written to the organisation.

use crate::kit::{ACCOUNT, accounts, config, with};
use autonomos_connectors::{Connector, NetworkScope, SalesforceConnector};
use autonomos_domain::schema::SyncMode;
use autonomos_tests::connectors::{Copy, ends_when_cancelled, selection};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_is_checked_discovered_and_read_alike_by_pages_and_by_jobs() {
    let simulator = accounts(1_200).await;
    let real = std::env::var("AOS_TEST_SALESFORCE").ok();
    let real: Option<Value> = real.map(|text| serde_json::from_str(&text).expect("a configuration"));
    let object = std::env::var("AOS_TEST_SALESFORCE_OBJECT").unwrap_or_else(|_| ACCOUNT.to_owned());
    let network = NetworkScope { private: real.is_none() };
    let base = with(real.unwrap_or_else(|| config(&simulator)), &json!({ "objects": [object] }));
    let connect = |changes: Value| {
        SalesforceConnector::new(&with(base.clone(), &changes), network).expect("a configuration")
    };
    let (pages, jobs) = (connect(json!({ "bulk_rows": 10_000_000 })), connect(json!({ "bulk_rows": 0 })));

    let steps = pages.check().await.expect("checks");
    assert!(steps.iter().all(|step| step.passed), "{steps:?}");
    let streams = pages.discover(CancellationToken::new()).await.expect("discovers");
    assert_eq!(streams.len(), 1);
    assert_eq!((streams[0].name.as_str(), streams[0].shape.primary_key.len()), (object.as_str(), 1));

    let full = selection(&object, SyncMode::Full);
    let mut by_pages = Copy::default();
    by_pages.read_in_pieces(&pages, &full).await.expect("reads");
    let mut by_jobs = Copy::default();
    by_jobs.read_in_pieces(&jobs, &full).await.expect("reads");
    assert_eq!(by_pages.rows, by_jobs.rows, "one value is one text");
    assert_eq!((by_pages.taken, by_jobs.taken), (by_pages.rows.len(), by_jobs.rows.len()), "each once");

    let mut copy = Copy::default();
    let incremental = selection(&object, SyncMode::Incremental);
    copy.read_in_pieces(&jobs, &incremental).await.expect("reads");
    copy.read_in_pieces(&pages, &incremental).await.expect("reads");
    assert_eq!(copy.rows, by_pages.rows);
    ends_when_cancelled(&jobs, &full).await;
}
