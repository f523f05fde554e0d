//! The results of a bulk job, from wherever a read was cut off.

use super::{
    bulk::{self, Ended, Results},
    cursor::{Cursor, Phase},
    describe::{Column, alike},
    error,
    read::{Job, Step},
    rows::Rows,
    session::Tries,
    value::Kind,
};
use crate::error::ConnectorError;

impl Job {
    pub(super) async fn job(&self, cursor: Cursor, told: bool) -> Result<Step, ConnectorError> {
        let Phase::Job { job, locator, from, then, .. } = cursor.phase.clone() else { return Ok(Step::End) };
        if !told {
            self.resume(&cursor, from.is_none()).await?;
        }
        // Where it is begun again if the job is of no use.
        let anew = from.clone().map(|place| cursor.at(Phase::Since { place, begun: None }));
        if locator.as_deref() != Some(bulk::END) {
            match bulk::ended(&self.session, &job).await? {
                Ended::Complete => {}
                Ended::Gone(reason) => {
                    return Ok(Step::Again(anew, format!("the job `{job}` is gone: {reason}")));
                }
                Ended::Failed(reason) => return self.failed(&cursor, anew, &reason).await,
            }
        }
        let mut cursor = cursor;
        match self.results(&mut cursor, &job).await {
            Ok(()) => {}
            // Salesforce keeps results for a week.
            Err(ConnectorError::Schema { message, .. }) => return Ok(Step::Again(anew, message)),
            Err(other) => return Err(other),
        }
        if from.is_none() {
            return self.follow(cursor, &then).await;
        }
        let next = cursor.at(then.phase());
        self.mark(&next).await?;
        self.send(crate::port::ReadEvent::Completed { cursor: next.value() }).await?;
        Ok(Step::End)
    }

    /// A field that went while the job was run is no reason to give up.
    async fn failed(
        &self,
        cursor: &Cursor,
        anew: Option<Cursor>,
        reason: &str,
    ) -> Result<Step, ConnectorError> {
        if !alike(&self.object().await?.columns, &cursor.columns) {
            return Ok(Step::Again(anew, format!("the object changed under its job: {reason}")));
        }
        let reason: String = reason.chars().take(400).collect();
        Err(error::job(format!("the bulk job of `{}` failed: {reason}", self.selection.name)))
    }

    async fn results(&self, cursor: &mut Cursor, job: &str) -> Result<(), ConnectorError> {
        let mut rows = Rows::new(&cursor.columns)?;
        let mut tries = Tries::default();
        loop {
            let Phase::Job { locator, skip, from, then, .. } = cursor.phase.clone() else { return Ok(()) };
            if locator.as_deref() == Some(bulk::END) {
                return self.flush(&mut rows, cursor).await;
            }
            let mut page = Results::open(&self.session, job, locator.as_deref()).await?;
            if !page.header.is_empty() && !named(&page.header, &cursor.columns) {
                self.flush(&mut rows, cursor).await?;
                let columns = self.columns_of(&page.header).await?;
                self.reshape(&columns).await?;
                cursor.columns = columns;
                rows = Rows::new(&cursor.columns)?;
            }
            let places: Vec<usize> =
                cursor.columns.iter().filter_map(|column| position(&page.header, &column.name)).collect();
            let mut seen = 0;
            let read = loop {
                let mut record = match page.next().await {
                    Ok(Some(record)) => record,
                    Ok(None) => break Ok(()),
                    Err(cause) => break Err(cause),
                };
                seen += 1;
                if seen <= skip {
                    continue;
                }
                let row = places.iter().map(|place| Some(std::mem::take(&mut record[*place]))).collect();
                if !rows.fits(&row) {
                    self.flush(&mut rows, cursor).await?;
                }
                take(&mut cursor.phase, seen);
                rows.push(row);
            };
            match read {
                Ok(()) => {
                    tries = Tries::default();
                    cursor.phase =
                        Phase::Job { job: job.to_owned(), locator: Some(page.locator), skip: 0, from, then };
                }
                // What was read of the page is in; it is fetched again for the rest.
                Err(cause) => tries.again(cause).await?,
            }
        }
    }

    /// The columns that a header names, in its order, as the object describes them by now.
    async fn columns_of(&self, header: &[String]) -> Result<Vec<Column>, ConnectorError> {
        let object = self.object().await?;
        let column = |name: &String| {
            let known = object.columns.iter().find(|column| column.name == *name);
            known.cloned().unwrap_or_else(|| Column { name: name.clone(), kind: Kind::Text, nullable: true })
        };
        Ok(header.iter().map(column).collect())
    }
}

/// So many records of the page are in.
const fn take(phase: &mut Phase, records: u64) {
    if let Phase::Job { skip, .. } = phase {
        *skip = records;
    }
}

fn position(header: &[String], name: &str) -> Option<usize> {
    header.iter().position(|one| one == name)
}

/// Whether a header names these columns, in whatever order.
fn named(header: &[String], columns: &[Column]) -> bool {
    header.len() == columns.len() && columns.iter().all(|column| position(header, &column.name).is_some())
}
