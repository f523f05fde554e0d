//! Bulk API 2.0 queries.

use super::{
    org::{Org, moment},
    soql::Query,
};
use chrono::Utc;
use serde_json::{Value, json};
use std::fmt::Write as _;

pub(super) struct BulkJob {
    id: String,
    operation: String,
    query: Query,
    state: &'static str,
    message: Option<String>,
    looks: u32,
    created: String,
    /// Once complete: what it was asked for, and the lines of its results.
    header: Vec<String>,
    lines: Vec<String>,
    /// Renames that had happened when it was completed.
    renames: usize,
}

/// A page of results: its text, the next locator, and how many records it has.
pub(super) type Page = (String, String, usize);

impl BulkJob {
    fn told(&self) -> Value {
        let mut told = json!({
            "id": self.id, "operation": self.operation, "object": self.query.object,
            "createdById": "005000000000001AAA", "createdDate": self.created, "systemModstamp": self.created,
            "state": self.state, "concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": 62.0,
            "jobType": "V2Query", "lineEnding": "LF", "columnDelimiter": "COMMA",
            "numberRecordsProcessed": self.lines.len(), "retries": 0, "totalProcessingTime": 100
        });
        if let Some(message) = &self.message {
            told["errorMessage"] = json!(message);
        }
        told
    }
}

impl Org {
    pub(super) fn job_create(&mut self, body: &Value) -> Result<Value, (&'static str, String)> {
        let text = body["query"].as_str().unwrap_or_default();
        let query = Query::parse(text, self)?;
        let table = &self.objects[&query.object];
        if !table.bulk {
            return Err((
                "API_ERROR",
                format!("Entity '{}' is not supported by the Bulk API.", query.object),
            ));
        }
        query.check_bulk(table)?;
        let id = format!("750000{:09}AAA", self.serial());
        let job = BulkJob {
            id: id.clone(),
            operation: body["operation"].as_str().unwrap_or("query").to_owned(),
            query,
            state: "UploadComplete",
            message: None,
            looks: 0,
            created: moment(Utc::now().timestamp_millis()),
            header: Vec::new(),
            lines: Vec::new(),
            renames: 0,
        };
        let told = job.told();
        self.jobs.insert(id, job);
        Ok(told)
    }

    /// What is told of a job; it gets further whenever somebody looks.
    pub(super) fn job_look(&mut self, id: &str) -> Option<Value> {
        let mut job = self.jobs.remove(id)?;
        job.looks += 1;
        if ["UploadComplete", "InProgress"].contains(&job.state) {
            job.state = "InProgress";
            if job.looks > self.knobs.polls {
                self.job_run(&mut job);
            }
        }
        let told = job.told();
        self.jobs.insert(id.to_owned(), job);
        Some(told)
    }

    fn job_run(&self, job: &mut BulkJob) {
        let failed = match (&self.knobs.fail_jobs, job.query.check(self)) {
            (Some(message), _) => Some(message.clone()),
            (None, Err((code, message))) => {
                Some(format!("InvalidBatch : Failed to process query: {code}: {message}"))
            }
            (None, Ok(())) => None,
        };
        if failed.is_some() {
            job.state = "Failed";
            job.message = failed;
            return;
        }
        let found = job.query.run(&self.objects[&job.query.object], job.operation == "queryAll");
        job.header.clone_from(&job.query.fields);
        let line = |record: &super::Record| {
            let cells: Vec<String> = job.query.fields.iter().map(|field| cell(&record[field])).collect();
            cells.join(",")
        };
        job.lines = found.into_iter().map(line).collect();
        job.renames = self.renames.len();
        job.state = "JobComplete";
    }

    /// A page of results; none where there is no such job, an error where it is not complete.
    pub(super) fn job_page(&mut self, id: &str, locator: Option<&str>, most: usize) -> Option<Page> {
        let most = self.knobs.job_page.unwrap_or(most).min(most).max(1);
        let job = self.jobs.get(id).filter(|job| job.state == "JobComplete")?;
        let from = match locator {
            None => 0,
            // A locator is opaque, and not a number.
            Some(locator) => locator.strip_prefix("MTAw")?.parse().ok()?,
        };
        let to = job.lines.len().min(from + most);
        let later = self.renames.iter().skip(if self.knobs.late_names { job.renames } else { usize::MAX });
        let mut header = job.header.clone();
        for (object, old, new) in later {
            for name in header.iter_mut().filter(|name| *name == old && *object == job.query.object) {
                name.clone_from(new);
            }
        }
        let names: Vec<String> = header.iter().map(|name| format!("\"{name}\"")).collect();
        let mut text = names.join(",");
        text.push('\n');
        for line in &job.lines[from.min(to)..to] {
            let _ = writeln!(text, "{line}");
        }
        let next = if to < job.lines.len() { format!("MTAw{to}") } else { "null".to_owned() };
        Some((text, next, to - from.min(to)))
    }

    /// Somebody stops every job, or Salesforce forgets them.
    pub fn jobs_end(&mut self, forgotten: bool) {
        if forgotten {
            self.jobs.clear();
        }
        for job in self.jobs.values_mut() {
            job.state = "Aborted";
        }
    }
}

/// A value in CSV: quoted, and nothing where nothing is.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) if text.ends_with("+0000") => text.replace("+0000", "Z"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!("\"{}\"", text.replace('"', "\"\""))
}
