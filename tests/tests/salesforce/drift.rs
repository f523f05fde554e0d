//! An object that changes while it is read.

use crate::kit::{ACCOUNT, accounts, by_jobs, by_pages, now};
use autonomos_domain::schema::SyncMode;
use autonomos_tests::{
    connectors::{Copy, selection},
    salesforce::{Change, Salesforce},
};
use serde_json::json;

const ROWS: u32 = 2_000;

fn rename() -> Change {
    Change::Rename {
        object: ACCOUNT.to_owned(),
        from: "NumberOfEmployees".to_owned(),
        to: "Staff__c".to_owned(),
    }
}

/// After so many requests whose path holds the text.
fn drifts(salesforce: &Salesforce, path: &str, after: u32) {
    salesforce.org().knobs.drift = vec![(path.to_owned(), after, rename())];
}

fn has(shape: &[String], name: &str) -> bool {
    shape.iter().any(|field| field == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_renamed_in_the_middle_of_a_job_is_noticed() {
    for mode in [SyncMode::Full, SyncMode::Incremental] {
        // The results keep the old name, and the new one is told after them.
        let salesforce = accounts(ROWS).await;
        let expect = now(&salesforce, ACCOUNT);
        salesforce.org().knobs.job_page = Some(500);
        drifts(&salesforce, "/results", 2);
        let mut copy = Copy::default();
        copy.read(&by_jobs(&salesforce), &selection(ACCOUNT, mode), 6).await.expect("reads");
        assert!(has(&copy.shapes[0], "NumberOfEmployees"));
        copy.read_all(&by_jobs(&salesforce), &selection(ACCOUNT, mode)).await.expect("reads");
        assert!(has(copy.shapes.last().expect("a shape"), "Staff__c"), "{mode:?}: {:?}", copy.shapes);
        assert_eq!(copy.rows.len(), expect.len());
        for (id, row) in &copy.rows {
            let staff = row.get("NumberOfEmployees").or_else(|| row.get("Staff__c"));
            assert_eq!(staff, expect[id].get("NumberOfEmployees"));
        }

        // The results have the new name from one page on: so it is told there.
        let salesforce = accounts(ROWS).await;
        salesforce.org().knobs.job_page = Some(500);
        salesforce.org().knobs.late_names = true;
        drifts(&salesforce, "/results", 2);
        let mut copy = Copy::default();
        copy.read_in_pieces(&by_jobs(&salesforce), &selection(ACCOUNT, mode)).await.expect("reads");
        assert!(copy.reshaped > 0);
        assert_eq!((copy.rows.len(), copy.snapshots), (ROWS as usize, 1));
        let named = |name: &str| copy.rows.values().filter(|row| row.contains_key(name)).count();
        assert_eq!(named("NumberOfEmployees") + named("Staff__c"), ROWS as usize);
        assert!(named("Staff__c") >= 1_000, "from the third page on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_renamed_before_its_job_is_run_makes_another_job() {
    let salesforce = accounts(ROWS).await;
    salesforce.org().knobs.polls = 2;
    drifts(&salesforce, "/jobs/query/", 1);
    let mut copy = Copy::default();
    copy.read_all(&by_jobs(&salesforce), &selection(ACCOUNT, SyncMode::Full)).await.expect("reads");
    assert_eq!(copy.snapshots, 2);
    assert_eq!(copy.rows, now(&salesforce, ACCOUNT));

    // Between the describe and the first query.
    let salesforce = accounts(ROWS).await;
    drifts(&salesforce, "/query", 1);
    let mut copy = Copy::default();
    copy.read_all(&by_jobs(&salesforce), &selection(ACCOUNT, SyncMode::Full)).await.expect("reads");
    assert_eq!(copy.rows, now(&salesforce, ACCOUNT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_renamed_between_pages_or_increments_is_noticed() {
    let salesforce = accounts(ROWS).await;
    let source = by_pages(&salesforce);
    let incremental = selection(ACCOUNT, SyncMode::Incremental);
    let mut copy = Copy::default();
    assert!(!copy.read(&source, &incremental, 1).await.expect("reads"));
    salesforce.org().change(rename());
    copy.read_all(&source, &incremental).await.expect("reads");
    assert_eq!(copy.snapshots, 1);
    assert!(copy.reshaped > 0 && has(copy.shapes.last().expect("a shape"), "Staff__c"));
    let named = |copy: &Copy, name: &str| copy.rows.values().filter(|row| row.contains_key(name)).count();
    assert_eq!(named(&copy, "NumberOfEmployees") + named(&copy, "Staff__c"), ROWS as usize);

    // In the middle of an increment that is read page by page.
    let ids = salesforce.org().ids(ACCOUNT);
    for id in &ids {
        salesforce.org().update(ACCOUNT, id, json!({ "Staff__c": 7 }));
    }
    salesforce.org().knobs.page = Some(300);
    let again = Change::Rename {
        object: ACCOUNT.to_owned(),
        from: "Staff__c".to_owned(),
        to: "People__c".to_owned(),
    };
    salesforce.org().knobs.refusals = vec![autonomos_tests::salesforce::Refusal {
        status: 400,
        code: "INVALID_FIELD",
        retry_after: None,
        times: 1,
        path: "queryAll/01g",
    }];
    salesforce.org().knobs.drift = vec![("queryAll/01g".to_owned(), 1, again)];
    copy.read_all(&source, &incremental).await.expect("reads");
    assert!(has(copy.shapes.last().expect("a shape"), "People__c"));
    assert_eq!(copy.rows.len(), ROWS as usize);
    for row in copy.rows.values() {
        let staff = row.get("Staff__c").or_else(|| row.get("People__c"));
        assert_eq!(staff.map(String::as_str), Some("7"));
    }
    copy.read_all(&source, &incremental).await.expect("reads");
    assert_eq!(copy.rows, now(&salesforce, ACCOUNT));
}
