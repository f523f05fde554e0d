//! What is read, and that it is all that is there, each once.

use crate::kit::{ACCOUNT, accounts, by_jobs, by_pages, config, connector, now, refresh_auth, with};
use autonomos_connectors::{Connector, NetworkScope, SalesforceConnector};
use autonomos_domain::schema::{LogicalType, SyncMode};
use autonomos_tests::{
    connectors::{Copy, keeps_secrets, selection},
    salesforce::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, Salesforce, USER},
};
use serde_json::{Value, json};
use std::process::Command;
use tokio_util::sync::CancellationToken;

const ROWS: u32 = 3_000;

/// An RSA key of one's own, private and public, in PEM.
fn key() -> (String, String) {
    let program = "from cryptography.hazmat.primitives.asymmetric import rsa\n\
        from cryptography.hazmat.primitives import serialization as s\n\
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)\n\
        print(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode())\n\
        print(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode())";
    let output = Command::new("python3")
        .args(["-c", program])
        .env("PYTHONPATH", crate::shapes::installed())
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let at = text.find("-----BEGIN PUBLIC").expect("a public key");
    (text[..at].trim().to_owned(), text[at..].trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_sign_in_works_and_a_session_that_ends_is_renewed() {
    let salesforce = accounts(20).await;
    let (private, public) = key();
    salesforce.org().public_key = Some(public);
    let one_line: String = private.lines().collect();
    let ways = [
        (refresh_auth(), "refresh_token"),
        (
            json!({ "kind": "jwt_bearer", "client_id": CLIENT_ID, "username": USER, "private_key": private }),
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ),
        (
            json!({ "kind": "jwt_bearer", "client_id": CLIENT_ID, "username": USER, "private_key": one_line }),
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ),
        (
            json!({ "kind": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET }),
            "client_credentials",
        ),
    ];
    for (auth, grant) in ways {
        salesforce.org().grants.clear();
        salesforce.org().knobs.session_requests = None;
        let source = connector(&salesforce, &json!({ "auth": auth }));
        let steps = source.check().await.expect("checks");
        assert!(steps.iter().all(|step| step.passed), "{steps:?}");
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["sign_in", "api_version", "quota", "read"]);
        assert_eq!(salesforce.org().grants, [grant], "one token for all of it");

        // Sessions of three requests: each is followed by another, and nothing is lost.
        let source = connector(&salesforce, &json!({ "auth": auth }));
        salesforce.org().knobs.session_requests = Some(3);
        let mut copy = Copy::default();
        copy.read_all(&source, &selection(ACCOUNT, SyncMode::Full)).await.expect("reads");
        assert_eq!(copy.rows, now(&salesforce, ACCOUNT), "{grant}");
        assert!(salesforce.org().grants.len() > 2);
    }

    // A refusal says how to mend it, and nothing secret.
    let wrong = [
        json!({ "kind": "refresh_token", "client_id": CLIENT_ID, "refresh_token": "hunter2" }),
        json!({ "kind": "client_credentials", "client_id": CLIENT_ID, "client_secret": "hunter2" }),
        json!({ "kind": "jwt_bearer", "client_id": "hunter2", "username": USER, "private_key": private }),
    ];
    let line = private.lines().nth(1).expect("a line of the key").to_owned();
    for auth in wrong {
        let source = connector(&salesforce, &json!({ "auth": auth }));
        let steps = source.check().await.expect("checks");
        assert_eq!(steps.len(), 1);
        assert!(!steps[0].passed && steps[0].message.contains(": "), "{steps:?}");
        let error = source.discover(CancellationToken::new()).await.expect_err("refused");
        assert_eq!((error.code(), error.retryable()), ("AOS-0283", false));
        let said = [steps[0].message.clone(), error.to_string(), format!("{error:?}")];
        keeps_secrets(said.iter().map(String::as_str), &["hunter2", &line]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_tells_fields_types_and_how_an_object_can_be_read() {
    let salesforce = accounts(1).await;
    salesforce.org().object("Invoice__c", &[("Total__c", "currency"), ("Paid__c", "boolean")]);
    let source = connector(&salesforce, &json!({ "objects": null }));
    let streams = source.discover(CancellationToken::new()).await.expect("discovers");
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, [ACCOUNT, "Invoice__c"]);
    let account = &streams[0];
    assert_eq!(account.shape.primary_key, ["Id"]);
    assert_eq!(account.sync_modes, [SyncMode::Full, SyncMode::Incremental]);
    assert_eq!(account.cursor_fields, ["SystemModstamp"]);
    assert_eq!(source.default_mode(account), SyncMode::Incremental);
    let kind = |name: &str| account.shape.field(name).map(|field| field.logical_type);
    assert_eq!(kind("AnnualRevenue"), Some(LogicalType::Decimal));
    assert_eq!(kind("NumberOfEmployees"), Some(LogicalType::Integer));
    assert_eq!(kind("SystemModstamp"), Some(LogicalType::Timestamp));
    assert_eq!(kind("Since__c"), Some(LogicalType::Date));
    assert_eq!(kind("BillingCity"), Some(LogicalType::Text));
    assert_eq!(kind("BillingAddress"), None, "its parts are there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_discovery_described_is_not_asked_again_at_once() {
    let salesforce = accounts(20).await;
    let source = by_pages(&salesforce);
    let described = || salesforce.org().calls.iter().filter(|path| path.ends_with("/describe")).count();
    source.discover(CancellationToken::new()).await.expect("discovers");
    let full = selection(ACCOUNT, SyncMode::Full);
    Copy::default().read_all(&source, &full).await.expect("reads");
    assert_eq!(described(), 1);
    // It counts once: the next read looks for itself.
    Copy::default().read_all(&source, &full).await.expect("reads");
    assert_eq!(described(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sign_in_serves_all_who_wait_for_it() {
    let salesforce = accounts(20).await;
    let source = by_pages(&salesforce);
    let full = selection(ACCOUNT, SyncMode::Full);
    let reads = (0..5).map(|_| async { Copy::default().read_all(&source, &full).await.expect("reads") });
    futures::future::join_all(reads).await;
    assert_eq!(salesforce.org().grants.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_cut_off_goes_on_with_its_job() {
    let salesforce = accounts(ROWS).await;
    salesforce.org().knobs.job_page = Some(700);
    let source = by_jobs(&salesforce);
    let mut whole = Copy::default();
    whole.read_all(&source, &selection(ACCOUNT, SyncMode::Full)).await.expect("reads");
    assert_eq!(whole.rows, now(&salesforce, ACCOUNT), "every field");
    for mode in [SyncMode::Full, SyncMode::Incremental] {
        let mut cut = Copy::default();
        let cuts = cut.read_in_pieces(&source, &selection(ACCOUNT, mode)).await.expect("reads");
        assert!(cuts >= 2, "{cuts} cuts");
        assert_eq!(cut.rows, whole.rows);
    }
    let jobs = salesforce.org().calls.iter().filter(|path| path.ends_with("/jobs/query")).count();
    // One for each whole read and for what follows it; one more where a read was cut off before it was told
    // which job it had made.
    assert!((4..=5).contains(&jobs), "{jobs} jobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_late_is_seen_and_what_is_old_is_not_read_again() {
    let salesforce = accounts(50).await;
    let ids = salesforce.org().ids(ACCOUNT);
    let ago = |minutes: i64| {
        let time = chrono::Utc::now() - chrono::TimeDelta::minutes(minutes);
        json!({ "SystemModstamp": time.format("%Y-%m-%dT%H:%M:%S.000+0000").to_string() })
    };
    for id in &ids {
        salesforce.org().compute(ACCOUNT, id, ago(600));
    }
    let source = by_pages(&salesforce);
    let incremental = selection(ACCOUNT, SyncMode::Incremental);
    let mut copy = Copy::default();
    copy.read_all(&source, &incremental).await.expect("reads");
    let taken = copy.taken;
    copy.read_all(&source, &incremental).await.expect("reads");
    assert_eq!(copy.taken, taken, "nothing is new");

    // A change is seen, and then one that was stamped before it, but ended after it.
    salesforce.org().update(ACCOUNT, &ids[0], json!({ "BillingCity": "early" }));
    copy.read_all(&source, &incremental).await.expect("reads");
    salesforce.org().compute(ACCOUNT, &ids[1], json!({ "BillingCity": "late" }));
    salesforce.org().compute(ACCOUNT, &ids[1], ago(5));
    copy.read_all(&source, &incremental).await.expect("reads");
    assert_eq!(copy.rows, now(&salesforce, ACCOUNT));
    assert!(copy.taken <= taken + 4, "the young ones alone come again");

    // A formula changes without a trace: after a week all is read again.
    salesforce.org().compute(ACCOUNT, &ids[2], json!({ "Score__c": 99.5 }));
    copy.read_all(&source, &incremental).await.expect("reads");
    assert_eq!(copy.snapshots, 1);
    copy.cursor.as_mut().expect("a cursor")["taken"] = json!("2020-01-01T00:00:00Z");
    copy.read_all(&source, &incremental).await.expect("reads");
    assert_eq!(copy.snapshots, 2);
    assert_eq!(copy.rows[&ids[2]]["Score__c"], "99.5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_wide_for_one_query_is_read_in_parts() {
    let salesforce = Salesforce::start().await;
    let names: Vec<String> =
        (0..620).map(|number| format!("A_field_with_a_name_of_usual_length_{number}__c")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "string")).collect();
    salesforce.org().object("Wide__c", &fields);
    for number in 0..150 {
        let mut values = json!({});
        for (place, name) in names.iter().enumerate().filter(|(place, _)| place % 3 == number % 3) {
            values[name] = json!(format!("{number}/{place}"));
        }
        salesforce.org().insert("Wide__c", values);
    }
    salesforce.org().knobs.page = Some(40);
    for changes in [json!({ "objects": ["Wide__c"] }), json!({ "objects": ["Wide__c"], "bulk_rows": 0 })] {
        let source = connector(&salesforce, &changes);
        let incremental = selection("Wide__c", SyncMode::Incremental);
        let mut copy = Copy::default();
        copy.read_in_pieces(&source, &incremental).await.expect("reads");
        assert_eq!(copy.rows, now(&salesforce, "Wide__c"));
        let id = salesforce.org().ids("Wide__c")[0].clone();
        salesforce.org().update("Wide__c", &id, json!({ names[600].as_str(): "changed" }));
        let id = salesforce.org().ids("Wide__c")[1].clone();
        salesforce.org().delete("Wide__c", &id);
        copy.read_in_pieces(&source, &incremental).await.expect("reads");
        assert_eq!(copy.rows, now(&salesforce, "Wide__c"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_read_the_same_from_a_page_and_from_a_job() {
    let salesforce = accounts(0).await;
    let id = salesforce.org().insert(
        ACCOUNT,
        json!({ "Name": "NA", "BillingCity": "", "Website": "say \"hi\", you\nthere", "AnnualRevenue": 9.5e8,
            "NumberOfEmployees": 39_000, "Remarks__c": "ümlaut", "Since__c": null }),
    );
    for source in [by_jobs(&salesforce), by_pages(&salesforce)] {
        let mut copy = Copy::default();
        copy.read_all(&source, &selection(ACCOUNT, SyncMode::Full)).await.expect("reads");
        let row = &copy.rows[&id];
        assert_eq!(id.len(), 18);
        assert_eq!(row["Name"], "NA");
        assert_eq!(row["Website"], "say \"hi\", you\nthere");
        assert_eq!(row["AnnualRevenue"], "950000000");
        assert_eq!(row["NumberOfEmployees"], "39000");
        assert_eq!(row["IsDeleted"], "false");
        assert!(row["CreatedDate"].ends_with('Z'));
        assert!(!row.contains_key("BillingCity") && !row.contains_key("Since__c"), "empty is null");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_is_asked_that_the_operator_does_not_allow() {
    let salesforce = accounts(1).await;
    let refused = |config: Value, private: bool| async move {
        let source = SalesforceConnector::new(&config, NetworkScope { private }).expect("a configuration");
        let steps = source.check().await.expect("checks");
        assert!(steps[0].message.starts_with("AOS-0261"), "{steps:?}");
        keeps_secrets(steps.iter().map(|step| step.message.as_str()), &[CLIENT_SECRET, REFRESH_TOKEN]);
    };
    // Without encryption, on this machine, and wherever an answer says that the data are.
    refused(config(&salesforce), false).await;
    refused(with(config(&salesforce), &json!({ "login_url": "https://127.0.0.1" })), false).await;
    salesforce.org().url = "http://169.254.169.254".to_owned();
    refused(config(&salesforce), true).await;
}
