//! The tests' Salesforce itself: answers as they were recorded, and an independent client that knows
//! nothing of the connector.

use crate::kit::{ACCOUNT, accounts};
use autonomos_tests::salesforce::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, Salesforce};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where `scripts/setup.sh` puts the client's packages.
pub(crate) fn installed() -> PathBuf {
    let folder = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let home = || folder("HOME").expect("`HOME` is set").join(".cache/autonomos");
    let tools = folder("AOS_CACHE_DIR").unwrap_or_else(home).join("tools");
    let installed = tools.join("simple-salesforce-1.12.10");
    assert!(installed.exists(), "`{}` is missing: run scripts/setup.sh", installed.display());
    installed
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_client_reads_it() {
    let salesforce = accounts(25).await;
    {
        let mut org = salesforce.org();
        let ids = org.ids(ACCOUNT);
        org.delete(ACCOUNT, &ids[0]);
        org.knobs.page = Some(10);
        org.knobs.polls = 1;
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/salesforce/client.py");
    let mut command = Command::new("python3");
    command
        .arg(program)
        .args([&salesforce.url, CLIENT_ID, CLIENT_SECRET])
        .env("PYTHONPATH", installed())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("ends").expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(told["objects"], json!([ACCOUNT]));
    assert_eq!(told["fields"]["AnnualRevenue"], "currency");
    assert_eq!(told["limit"], 15_000);
    assert_eq!(told["pages"].as_array().map(Vec::len), Some(24), "three pages, without the deleted one");
    assert_eq!((&told["with_deleted"], &told["count"]), (&json!(25), &json!(24)));
    assert_eq!(told["usage"][1], 15_000);
    assert_eq!((&told["deleted"], &told["updated"]), (&json!(1), &json!(24)));
    let bulk = told["bulk"].as_array().expect("pages");
    assert_eq!(bulk.len(), 6, "pages of four");
    assert!(bulk[0].as_str().is_some_and(|page| page.contains("Company ")));
    assert_eq!(told["bulk_with_deleted"], 25);
    assert_eq!((&told["refused"], &told["missing"]), (&json!("INVALID_FIELD"), &json!("NOT_FOUND")));
}

/// A recorded answer, where the development data are beside the project.
fn recorded(name: &str) -> Option<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/salesforce");
    let text = std::fs::read_to_string(folder.join(name)).ok()?;
    Some(serde_json::from_str(&text).expect("JSON"))
}

/// Every member that was recorded is there, and is of the same kind; of lists, the first element counts.
fn holds(recorded: &Value, answer: &Value, at: &str) {
    match (recorded, answer) {
        (Value::Object(recorded), Value::Object(answer)) => {
            for (name, value) in recorded {
                let at = format!("{at}/{name}");
                holds(value, answer.get(name).unwrap_or_else(|| panic!("`{at}` is missing")), &at);
            }
        }
        (Value::Array(recorded), Value::Array(answer)) => {
            match (recorded.first(), answer.first()) {
                // Of a record, its fields are the object's own.
                (Some(recorded), Some(answer)) if at.ends_with("/records") => {
                    holds(&recorded["attributes"], &answer["attributes"], at);
                }
                (Some(recorded), Some(answer)) => holds(recorded, answer, at),
                _ => {}
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (recorded, answer) => {
            let kind = std::mem::discriminant::<Value>;
            assert_eq!(kind(recorded), kind(answer), "`{at}`: {recorded} and {answer}");
        }
    }
}

async fn asked(salesforce: &Salesforce, token: &str, path: &str) -> Value {
    let http = reqwest::Client::new();
    let request = http.get(format!("{}{path}", salesforce.url)).bearer_auth(token);
    request.send().await.expect("answers").json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn its_answers_have_the_shape_of_recorded_ones() {
    autonomos_objects::provider_install();
    let salesforce = accounts(5).await;
    let ids = salesforce.org().ids(ACCOUNT);
    salesforce.org().delete(ACCOUNT, &ids[0]);
    salesforce.org().knobs.page = Some(2);
    let sign_in = |token: &str| {
        let form = format!("grant_type=refresh_token&client_id={CLIENT_ID}&refresh_token={token}");
        let request = reqwest::Client::new().post(format!("{}/services/oauth2/token", salesforce.url));
        async move { request.body(form).send().await.expect("answers").json::<Value>().await.expect("JSON") }
    };
    let answered = sign_in(REFRESH_TOKEN).await;
    let token = answered["access_token"].as_str().expect("a token").to_owned();
    let data = "/services/data/v62.0";
    let day = "start=2020-01-01T00:00:00%2B00:00&end=2100-01-01T00:00:00%2B00:00";
    let query = |soql: &str| format!("{data}/query?q={}", soql.replace(' ', "+"));
    let first = asked(&salesforce, &token, &query("SELECT Id FROM Account")).await;
    let next = first["nextRecordsUrl"].as_str().expect("a next page").to_owned();
    let pairs = [
        ("refresh_success_response.json", answered),
        ("refresh_error_response.json", sign_in("wrong").await),
        ("services_data_success_response.json", asked(&salesforce, &token, "/services/data").await),
        ("expired_session_response.json", asked(&salesforce, "old", &format!("{data}/sobjects")).await),
        (
            "sobject/describe_sobjects_success_response.json",
            asked(&salesforce, &token, &format!("{data}/sobjects")).await,
        ),
        ("sobject/query_paginated_first_page_response.json", first),
        ("sobject/query_paginated_last_page_response.json", asked(&salesforce, &token, &next).await),
        (
            "sobject/query_empty_response.json",
            asked(&salesforce, &token, &query("SELECT Id FROM Account WHERE Name = 'nobody'")).await,
        ),
        (
            "sobject/query_error_response.json",
            asked(&salesforce, &token, &query("SELECT Nothing FROM Account")).await,
        ),
        (
            "sobject/sobject_describe_error_response.json",
            asked(&salesforce, &token, &format!("{data}/sobjects/Nothing/describe")).await,
        ),
        (
            "sobject/get_deleted_success_response.json",
            asked(&salesforce, &token, &format!("{data}/sobjects/Account/deleted?{day}")).await,
        ),
        (
            "sobject/get_updated_success_response.json",
            asked(&salesforce, &token, &format!("{data}/sobjects/Account/updated?{day}")).await,
        ),
    ];
    for (name, answer) in &pairs {
        assert!(!answer.is_null(), "{name}");
        if let Some(recorded) = recorded(name) {
            holds(&recorded, answer, name);
        }
    }
    // What a connection meets most, without the folder too.
    assert_eq!(pairs[3].1[0]["errorCode"], "INVALID_SESSION_ID");
    assert_eq!(pairs[8].1[0]["errorCode"], "INVALID_FIELD");
    let described = asked(&salesforce, &token, &format!("{data}/sobjects/Account/describe")).await;
    if let Some(recorded) = recorded("sobject/sobject_describe_success_response.json") {
        for member in ["fields", "name", "queryable", "deprecatedAndHidden"] {
            holds(&recorded[member], &described[member], member);
        }
    }
}
