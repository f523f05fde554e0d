//! An organisation with accounts, and connections to it.

use autonomos_connectors::{Connector, NetworkScope, SalesforceConnector};
use autonomos_domain::schema::{StreamSelection, SyncMode};
use autonomos_tests::{
    connectors::{self, Fixture, Meter, Record, Rows},
    proxy::Proxy,
    salesforce::{CLIENT_ID, CLIENT_SECRET, Org, REFRESH_TOKEN, Salesforce},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

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

/// What the checks of every connector read, by jobs or page by page.
struct Checked {
    salesforce: Salesforce,
    /// The connection's options.
    options: Value,
    /// The ids of the records by their numbers.
    ids: Mutex<HashMap<u32, String>>,
}

async fn checked(options: Value) -> Checked {
    let salesforce = accounts(0).await;
    {
        let mut org = salesforce.org();
        org.knobs.page = Some(333);
        org.knobs.job_page = Some(700);
        org.knobs.quota = Some(1_000_000);
    }
    Checked { salesforce, options, ids: Mutex::default() }
}

impl Checked {
    /// A connection to another address, with some options changed.
    fn at(&self, url: &str, changes: &Value) -> Arc<dyn Connector> {
        let config = with(with(config(&self.salesforce), &self.options), changes);
        let config = with(config, &json!({ "login_url": url }));
        Arc::new(SalesforceConnector::new(&config, NetworkScope { private: true }).expect("a configuration"))
    }

    fn update(&self, number: u32, values: Value) {
        self.salesforce.org().update(ACCOUNT, &self.ids.lock()[&number], values);
    }
}

impl Fixture for Checked {
    fn connector(&self) -> Arc<dyn Connector> {
        self.at(&self.salesforce.url, &json!({}))
    }

    async fn metered(&self) -> (Arc<dyn Connector>, Meter) {
        let port = self.salesforce.url.rsplit(':').next().and_then(|port| port.parse().ok());
        let proxy = Proxy::of(port.expect("a port")).await;
        // Who signs in from now on is told that the data are there too.
        let url = format!("http://127.0.0.1:{}", proxy.port);
        self.salesforce.org().url.clone_from(&url);
        let connector = self.at(&url, &json!({}));
        assert!(connector.check().await.expect("checks").iter().all(|step| step.passed));
        (connector, Box::new(move || proxy.answered()))
    }

    fn selection(&self, mode: SyncMode) -> StreamSelection {
        connectors::selection(ACCOUNT, mode)
    }

    fn modes(&self) -> Vec<SyncMode> {
        vec![SyncMode::Full, SyncMode::Incremental]
    }

    fn columns(&self) -> [&'static str; 2] {
        ["NumberOfEmployees", "Name"]
    }

    /// A query of the simulator looks at every record.
    fn several(&self) -> u32 {
        2_000
    }

    async fn insert(&self, records: &[Record]) {
        let mut org = self.salesforce.org();
        for Record { number, name, pad } in records {
            let values = json!({ "NumberOfEmployees": number, "Name": name, "Remarks__c": "r".repeat(*pad) });
            self.ids.lock().insert(*number, org.insert(ACCOUNT, values));
        }
    }

    async fn rename(&self, numbers: &[u32], name: &str) {
        for number in numbers {
            self.update(*number, json!({ "Name": name }));
        }
    }

    async fn delete(&self, numbers: &[u32]) {
        for number in numbers {
            self.salesforce.org().delete(ACCOUNT, &self.ids.lock()[number]);
        }
    }

    async fn renumber(&self, from: u32, to: u32) -> bool {
        self.update(from, json!({ "NumberOfEmployees": to }));
        let mut ids = self.ids.lock();
        let id = ids.remove(&from).expect("its id");
        ids.insert(to, id);
        true
    }

    fn refused(&self) -> Vec<Arc<dyn Connector>> {
        let auth = json!({ "kind": "refresh_token", "client_id": CLIENT_ID, "refresh_token": "hunter2" });
        let url = &self.salesforce.url;
        // No port is asked below the first.
        vec![self.at(url, &json!({ "auth": auth })), self.at("http://127.0.0.1:1", &json!({}))]
    }

    fn secrets(&self) -> Vec<String> {
        [CLIENT_SECRET, "hunter2", "!session-"].map(str::to_owned).into()
    }
}

mod jobs {
    autonomos_tests::connector_tests!(super::checked(serde_json::json!({ "bulk_rows": 0 })));
}

mod pages {
    autonomos_tests::connector_tests!(super::checked(serde_json::json!({ "bulk_rows": 1_000_000 })));
}
