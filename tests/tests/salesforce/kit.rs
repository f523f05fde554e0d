//! An organisation with accounts, and connections to it.

use autonomos_connectors::{NetworkScope, SalesforceConnector};
use autonomos_tests::{
    connectors::Rows,
    salesforce::{CLIENT_ID, CLIENT_SECRET, Org, REFRESH_TOKEN, Salesforce},
};
use serde_json::{Value, json};

pub(crate) const ACCOUNT: &str = "Account";

const FIELDS: [(&str, &str); 9] = [
    ("Name", "string"),
    ("Website", "url"),
    ("AnnualRevenue", "currency"),
    ("NumberOfEmployees", "int"),
    ("BillingCity", "string"),
    ("BillingAddress", "address"),
    ("Score__c", "=double"),
    ("Remarks__c", "textarea"),
    ("Since__c", "date"),
];

/// So many accounts of about a kilobyte each, so that a few thousand make several batches.
pub(crate) async fn accounts(rows: u32) -> Salesforce {
    let salesforce = Salesforce::start().await;
    let mut org = salesforce.org();
    org.object(ACCOUNT, &FIELDS);
    for number in 1..=rows {
        insert(&mut org, number);
    }
    drop(org);
    salesforce
}

pub(crate) fn insert(org: &mut Org, number: u32) -> String {
    let city = ["Leeds", "Oslo", "Lyon", "Porto", "Graz"][number as usize % 5];
    org.insert(
        ACCOUNT,
        json!({
            "Name": format!("Company {number} Ltd"),
            "Website": format!("company{number}.example.com"),
            "AnnualRevenue": f64::from(number) * 1_000.5,
            "NumberOfEmployees": number * 13 % 977 + 1,
            "BillingCity": city,
            "BillingAddress": { "city": city, "country": "UK" },
            "Score__c": f64::from(number % 7),
            "Remarks__c": format!("remark {number} ").repeat(50),
            "Since__c": "2020-02-29",
        }),
    )
}

pub(crate) fn config(salesforce: &Salesforce) -> Value {
    json!({
        "login_url": salesforce.url,
        "auth": { "kind": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET },
        "objects": [ACCOUNT],
    })
}

/// The configuration with some of its members changed.
pub(crate) fn with(mut config: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    config
}

pub(crate) fn connector(salesforce: &Salesforce, changes: &Value) -> SalesforceConnector {
    SalesforceConnector::new(&with(config(salesforce), changes), NetworkScope { private: true })
        .expect("a configuration")
}

/// A connection that reads by jobs, and one that reads page by page.
pub(crate) fn by_jobs(salesforce: &Salesforce) -> SalesforceConnector {
    connector(salesforce, &json!({ "bulk_rows": 0 }))
}

pub(crate) fn by_pages(salesforce: &Salesforce) -> SalesforceConnector {
    connector(salesforce, &json!({ "bulk_rows": 1_000_000 }))
}

pub(crate) fn refresh_auth() -> Value {
    json!({ "kind": "refresh_token", "client_id": CLIENT_ID, "refresh_token": REFRESH_TOKEN })
}

/// The accounts as they are, from the organisation itself.
pub(crate) fn now(salesforce: &Salesforce, object: &str) -> Rows {
    let org = salesforce.org();
    let row = |record: &autonomos_tests::salesforce::Record| {
        let values = record.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?)));
        (record["Id"].as_str().expect("an id").to_owned(), values.collect())
    };
    org.live(object).map(row).collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.replace("+0000", "Z")),
        Value::Number(number) => Some(number.as_f64()?.to_string()),
        other => Some(other.to_string()),
    }
}
