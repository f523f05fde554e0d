//! The whole way over HTTP: connect, snapshot by a job, a rename in the middle of a job, increments,
//! deletes, and the server killed during the job and during the increment.

use crate::kit::{ACCOUNT, accounts, config, insert, with};
use autonomos_tests::{
    follow::{Follower, Records},
    salesforce::{CLIENT_SECRET, Change, Salesforce},
};
use serde_json::json;

const ROWS: u32 = 6_000;
const FIELDS: [&str; 3] = ["name", "employee_count", "billing_city"];

/// The organisation's records; `staff` is the field that was renamed.
fn source(salesforce: &Salesforce, staff: &str) -> Records {
    let org = salesforce.org();
    let record = |record: &autonomos_tests::salesforce::Record| {
        let fields = [
            ("name", record["Name"].clone()),
            ("employee_count", record[staff].clone()),
            ("billing_city", record["BillingCity"].clone()),
        ];
        (record["Id"].as_str().expect("an id").to_owned(), fields.into())
    };
    org.live(ACCOUNT).map(record).collect()
}

/// Changes, deletes and adds accounts: enough for several batches.
fn work(salesforce: &Salesforce, staff: &str, round: u32) {
    let mut org = salesforce.org();
    for (number, id) in org.ids(ACCOUNT).iter().enumerate() {
        match number % 50 {
            7 => org.delete(ACCOUNT, id),
            10 | 20 | 30 => org.update(ACCOUNT, id, json!({ staff: number as u64 % 800 + u64::from(round) })),
            // Saved again as it was: it comes again, and is the same.
            place if place % 2 == 0 => org.update(ACCOUNT, id, json!({})),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_follows_an_organisation_through_renames_deletes_and_kills() {
    let salesforce = accounts(ROWS).await;
    salesforce.org().knobs.job_page = Some(1_000);
    salesforce.org().knobs.polls = 1;
    let config = with(config(&salesforce), &json!({ "bulk_rows": 4_000, "overlap_minutes": 1 }));
    let mut follower = Follower::connect("salesforce", &config, &FIELDS).await;
    assert_eq!(follower.made["config"]["auth"]["client_secret"], "***");
    assert_eq!(follower.discovered["streams"][0]["primary_key"], json!(["Id"]));
    let stamp = Some("SystemModstamp");
    follower.choose(ACCOUNT, "incremental", stamp).await;

    // Killed in the middle of the job's results: the first batch may be the one that holds its id alone.
    follower.sync_killed(2).await;
    let jobs = salesforce.org().calls.iter().filter(|path| path.ends_with("/jobs/query")).count();
    assert!(jobs >= 1);
    follower.shows(&source(&salesforce, "NumberOfEmployees")).await;

    // Killed in the middle of an increment.
    work(&salesforce, "NumberOfEmployees", 1);
    for number in 1..=30 {
        insert(&mut salesforce.org(), ROWS + number);
    }
    follower.sync_killed(2).await;
    follower.shows(&source(&salesforce, "NumberOfEmployees")).await;

    // Renamed while the results of a job are fetched: the pages that follow have the new name.
    follower.choose(ACCOUNT, "full", None).await;
    follower.sync().await;
    follower.shows(&source(&salesforce, "NumberOfEmployees")).await;
    salesforce.org().knobs.late_names = true;
    let rename = Change::Rename {
        object: ACCOUNT.to_owned(),
        from: "NumberOfEmployees".to_owned(),
        to: "Staff_Total__c".to_owned(),
    };
    salesforce.org().knobs.drift = vec![("/results".to_owned(), 2, rename)];
    follower.sync().await;
    assert!(salesforce.org().knobs.drift.is_empty(), "it was renamed");
    follower.accept_renamed("NumberOfEmployees").await;
    follower.shows(&source(&salesforce, "Staff_Total__c")).await;

    // And what changes from there on, deletes included.
    follower.choose(ACCOUNT, "incremental", stamp).await;
    work(&salesforce, "Staff_Total__c", 2);
    follower.sync().await;
    follower.shows(&source(&salesforce, "Staff_Total__c")).await;

    follower.end(&[CLIENT_SECRET, "!session-"]).await;
}
