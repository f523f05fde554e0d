//! Bulk API 2.0 queries:
//! <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/queries.htm>.

use super::{
    csv::Csv,
    error,
    session::{self, Asked, Session},
};
use crate::error::ConnectorError;
use futures::{StreamExt, stream::BoxStream};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Records of one page of results: what is fetched again when a read goes on in the middle of one.
const PAGE_ROWS: usize = 50_000;
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LONGEST_LOOK: Duration = Duration::from_secs(20);
/// What a locator is where no page follows.
pub(super) const END: &str = "null";

#[derive(Deserialize)]
struct Job {
    id: String,
    #[serde(default)]
    state: String,
    #[serde(rename = "errorMessage", default)]
    message: Option<String>,
}

/// How a job ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Complete,
    /// Somebody stopped it, or Salesforce no longer has it.
    Gone(String),
    Failed(String),
}

/// Makes a job; its id.
pub(super) async fn create(session: &Session, soql: &str, all: bool) -> Asked<String> {
    let body = json!({
        "operation": if all { "queryAll" } else { "query" },
        "query": soql,
        "contentType": "CSV",
        "columnDelimiter": "COMMA",
        "lineEnding": "LF",
    });
    let job: Job = session.post(&session.path("jobs/query"), &body).await?;
    Ok(job.id)
}

/// Whether an object is one that jobs cannot read.
pub(super) fn unsupported(refused: &error::Refused) -> bool {
    matches!(
        refused.code.as_str(),
        "API_ERROR" | "FUNCTIONALITY_NOT_ENABLED" | "FEATURENOTENABLED" | "INVALIDENTITY" | "INVALIDJOB"
    )
}

/// Waits until a job has ended.
pub(super) async fn ended(session: &Session, id: &str) -> Result<Ended, ConnectorError> {
    let path = session.path(&format!("jobs/query/{id}"));
    let mut look = FIRST_LOOK;
    loop {
        let job: Job = match session.get(&path).await {
            Ok(job) => job,
            Err(refused) => match refused.error {
                ConnectorError::Schema { message, .. } => return Ok(Ended::Gone(message)),
                other => return Err(other),
            },
        };
        match job.state.as_str() {
            "JobComplete" => return Ok(Ended::Complete),
            "Aborted" => return Ok(Ended::Gone("somebody stopped it".to_owned())),
            "Failed" => return Ok(Ended::Failed(job.message.unwrap_or_default())),
            _ => {}
        }
        tokio::time::sleep(look).await;
        look = look.mul_f64(1.5).min(LONGEST_LOOK);
    }
}

/// One page of a job's results, as it arrives.
pub(super) struct Results {
    /// Of the next page; [`END`] if there is none.
    pub(super) locator: String,
    /// Records of this page, as the server says.
    records: Option<u64>,
    pub(super) header: Vec<String>,
    seen: u64,
    csv: Csv,
    chunk: bytes::Bytes,
    at: usize,
    body: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    over: bool,
    /// What came so far may end here.
    whole: bool,
    host: String,
}

impl Results {
    pub(super) async fn open(session: &Session, job: &str, locator: Option<&str>) -> Asked<Self> {
        let mut url = Url::parse("http://q").unwrap_or_else(|_| unreachable!("a literal"));
        url.query_pairs_mut().append_pair("maxRecords", &PAGE_ROWS.to_string());
        if let Some(locator) = locator {
            url.query_pairs_mut().append_pair("locator", locator);
        }
        let query = url.query().unwrap_or_default().to_owned();
        let path = session.path(&format!("jobs/query/{job}/results?{query}"));
        let response = session.send(Method::GET, &path, None, "text/csv").await?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let locator = header("sforce-locator").unwrap_or(END).to_owned();
        let records = header("sforce-numberofrecords").and_then(|count| count.parse().ok());
        let host = response.url().host_str().unwrap_or_default().to_owned();
        let mut results = Self {
            locator,
            records,
            header: Vec::new(),
            seen: 0,
            csv: Csv::new(),
            chunk: bytes::Bytes::new(),
            at: 0,
            body: response.bytes_stream().boxed(),
            over: false,
            whole: true,
            host,
        };
        if let Some(header) = results.record().await? {
            results.header = header;
        }
        Ok(results)
    }

    /// The next record, in the order of the header; none when the page is at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<String>>, ConnectorError> {
        match self.record().await? {
            // What ends in the middle of a record was cut off: values are quoted, and lines end.
            Some(record) if self.over && (record.len() != self.header.len() || !self.whole) => {
                Err(self.cut())
            }
            Some(record) if record.len() != self.header.len() => Err(error::unreadable(format!(
                "a record of a job's results has {} values where {} are named",
                record.len(),
                self.header.len()
            ))),
            Some(record) => {
                self.seen += 1;
                Ok(Some(record))
            }
            None if self.records.is_some_and(|records| records > self.seen) => Err(self.cut()),
            None => Ok(None),
        }
    }

    fn cut(&self) -> ConnectorError {
        error::transient(format!("the results from `{}` were cut off", self.host))
    }

    async fn record(&mut self) -> Result<Option<Vec<String>>, ConnectorError> {
        loop {
            let mut rest = &self.chunk[self.at..];
            if !rest.is_empty() || self.over {
                let record = self.csv.record(&mut rest);
                self.at = self.chunk.len() - rest.len();
                if record.is_some() || self.over {
                    return Ok(record);
                }
                continue;
            }
            match self.body.next().await {
                Some(Ok(chunk)) => {
                    self.whole = chunk.last().map_or(self.whole, |last| matches!(last, b'\n' | b'"'));
                    self.chunk = chunk;
                    self.at = 0;
                }
                Some(Err(cause)) => return Err(session::broken(&self.host, &cause)),
                None => {
                    self.chunk = bytes::Bytes::new();
                    self.at = 0;
                    self.over = true;
                }
            }
        }
    }
}
