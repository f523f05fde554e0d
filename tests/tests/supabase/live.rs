//! The same against a project, if the environment names one; else against the tests' PostgREST.
//! `AOS_TEST_SUPABASE` holds a connection's configuration as JSON, `AOS_TEST_SUPABASE_TABLE` a table with a
//! primary key and few rows that nobody changes meanwhile. Nothing is written to the project.

use crate::kit::{many, project};
use autonomos_connectors::{Connector, NetworkScope, SupabaseConnector};
use autonomos_domain::schema::SyncMode;
use autonomos_tests::{
    connectors::{Copy, ends_when_cancelled, selection},
    postgrest::Postgrest,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_checked_discovered_and_read() {
    let given = std::env::var("AOS_TEST_SUPABASE").ok();
    let given: Option<Value> = given.map(|text| serde_json::from_str(&text).expect("a configuration"));
    let own = given.is_none().then(|| project(&many(), 1_000));
    let config = given.or_else(|| own.as_ref().map(Postgrest::config)).expect("a configuration");
    let table = std::env::var("AOS_TEST_SUPABASE_TABLE").unwrap_or_else(|_| "t".to_owned());
    let network = NetworkScope { private: own.is_some() };
    let connector = SupabaseConnector::new(&config, network, None).expect("a configuration");

    let steps = connector.check().await.expect("checks");
    assert!(steps.iter().all(|step| step.passed), "{steps:?}");
    let streams = connector.discover(CancellationToken::new()).await.expect("discovers");
    let stream = streams.iter().find(|stream| stream.name == table).expect("the table");
    assert!(!stream.shape.primary_key.is_empty());

    let full = selection(&table, SyncMode::Full);
    let (mut whole, mut pieces) = (Copy::default(), Copy::default());
    whole.read_all(&connector, &full).await.expect("reads");
    pieces.read_in_pieces(&connector, &full).await.expect("reads");
    assert_eq!(whole.rows, pieces.rows);
    assert_eq!((whole.taken, pieces.taken), (whole.rows.len(), whole.rows.len()), "each once");
    ends_when_cancelled(&connector, &full).await;
}
