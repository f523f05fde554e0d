//! The tests' Salesforce, by the Bulk API.

use super::{Measured, Source, files::read_csv, rate};
use crate::salesforce::{CLIENT_ID, CLIENT_SECRET, Salesforce};
use reqwest::{Client, header::AUTHORIZATION};
use serde_json::{Value, json};
use std::time::Instant;

const OBJECT: &str = "Account";
const FIELDS: [(&str, &str); 9] = [
    ("Name", "string"),
    ("Website", "url"),
    ("Industry", "picklist"),
    ("AnnualRevenue", "currency"),
    ("NumberOfEmployees", "int"),
    ("Phone", "phone"),
    ("BillingCity", "string"),
    ("Since__c", "date"),
    ("Remarks__c", "textarea"),
];
const INDUSTRIES: [&str; 4] = ["Energy", "Finance", "Retail", "Media"];
const CITIES: [&str; 5] = ["Leeds", "Oslo", "Lyon", "Porto", "Graz"];
/// Records of a page of results.
const PAGE: usize = 50_000;

async fn filled(rows: u64) -> Salesforce {
    let salesforce = Salesforce::start().await;
    let mut org = salesforce.org();
    org.object(OBJECT, &FIELDS);
    org.knobs.quota = Some(1_000_000);
    for row in 0..rows {
        org.insert(
            OBJECT,
            json!({
                "Name": format!("Company {row} Ltd"), "Website": format!("company{row}.example.com"),
                "Industry": INDUSTRIES[row as usize % 4],
                "AnnualRevenue": row * 7_919 % 900_000_000 + 10_000, "NumberOfEmployees": row * 13 % 50_000 + 1,
                "Phone": format!("+1 555 {row:07}"), "Since__c": "2020-02-29",
                "BillingCity": CITIES[row as usize % 5],
                "Remarks__c": "as it is",
            }),
        );
    }
    drop(org);
    salesforce
}

/// Signs in, makes a job, waits for it, and reads its results page by page.
async fn read(salesforce: &Salesforce) -> u64 {
    autonomos_objects::provider_install();
    let client = Client::new();
    let url = &salesforce.url;
    let form = format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}");
    let signed = client.post(format!("{url}/services/oauth2/token")).body(form).send().await;
    let signed: Value = signed.expect("answers").json().await.expect("JSON");
    let bearer = format!("Bearer {}", signed["access_token"].as_str().expect("a token"));
    let names: Vec<&str> = ["Id", "IsDeleted", "CreatedDate", "LastModifiedDate", "SystemModstamp"]
        .into_iter()
        .chain(FIELDS.iter().map(|(name, _)| *name))
        .collect();
    let query = format!("SELECT {} FROM {OBJECT}", names.join(", "));
    let jobs = format!("{url}/services/data/v62.0/jobs/query");
    let job = client.post(&jobs).header(AUTHORIZATION, &bearer);
    let job = job.json(&json!({ "operation": "query", "query": query })).send().await.expect("answers");
    let job: Value = job.json().await.expect("JSON");
    let job = format!("{jobs}/{}", job["id"].as_str().expect("an id"));
    loop {
        let look = client.get(&job).header(AUTHORIZATION, &bearer).send().await.expect("answers");
        if look.json::<Value>().await.expect("JSON")["state"] == "JobComplete" {
            break;
        }
    }
    let (mut read, mut locator) = (0, String::new());
    loop {
        let path = format!("{job}/results?maxRecords={PAGE}{locator}");
        let page = client.get(path).header(AUTHORIZATION, &bearer).send().await.expect("answers");
        let next = page.headers()["sforce-locator"].to_str().expect("text").to_owned();
        let text = page.bytes().await.expect("reads");
        read += read_csv(&text[..], names.len());
        if next == "null" {
            return read;
        }
        locator = format!("&locator={next}");
    }
}

pub(super) async fn measure(rows: u64) -> Measured {
    let salesforce = filled(rows).await;
    let started = Instant::now();
    let read = read(&salesforce).await;
    let bare = vec![("reqwest and arrow's CSV reader, against the simulator", rate(started, read, rows))];
    let source = Source {
        connector: "salesforce",
        config: json!({
            "login_url": salesforce.url, "bulk_rows": 0, "objects": [OBJECT],
            "auth": { "kind": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET },
        }),
        stream: OBJECT,
        mode: "full",
        settings: Vec::new(),
    };
    source.measure(rows, bare).await
}
