//! The read of a stream: on a blocking thread, into a channel of a few batches, so that a slow
//! consumer slows the file down and memory stays flat.

use super::Origin;
use super::config::{FileConfig, TableOptions};
use super::edition::{self, Edition, FileIdentity};
use super::error;
use super::scope::FileStream;
use super::table::Position;
use crate::error::ConnectorError;
use crate::port::ReadEvent;
use autonomos_domain::schema::{StreamSelection, SyncMode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Where a read stands. Opaque to all but this module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileCursor {
    pub(crate) files: Vec<FileIdentity>,
    /// Of the options that shape the rows: with others it is another table.
    pub(crate) options: String,
    /// Index of the file that is read.
    pub(crate) file: usize,
    /// In that file; none: its start.
    pub(crate) position: Option<Position>,
    /// Rows of the snapshot before the position, and rejected ones.
    pub(crate) rows: u64,
    pub(crate) rejected: u64,
    pub(crate) done: bool,
}

fn options_hash(options: &TableOptions) -> String {
    let text = serde_json::to_string(options).unwrap_or_default();
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

/// The files of a stream by its name; for a sheet of a workbook, the sheet too.
pub(crate) fn find(
    streams: Vec<FileStream>,
    name: &str,
) -> Result<(FileStream, Option<String>), ConnectorError> {
    let known: Vec<String> = streams.iter().map(|stream| stream.name.clone()).collect();
    let sheet_of = |stream: &FileStream| {
        name.strip_prefix(stream.name.as_str()).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned)
    };
    if let Some(stream) = streams.iter().find(|stream| stream.name == name) {
        return Ok((stream.clone(), None));
    }
    streams
        .iter()
        .find_map(|stream| {
            Some((FileStream { name: name.to_owned(), files: stream.files.clone() }, Some(sheet_of(stream)?)))
        })
        .ok_or_else(|| error::no_stream(name, &known))
}

pub(crate) struct ReadJob {
    pub(crate) config: FileConfig,
    pub(crate) origin: Origin,
    pub(crate) selection: StreamSelection,
    pub(crate) mode: SyncMode,
    pub(crate) cursor: Option<Value>,
    pub(crate) cancel: CancellationToken,
}

type Sender = mpsc::Sender<Result<ReadEvent, ConnectorError>>;

/// The consumer is gone or has cancelled.
struct Gone;

impl ReadJob {
    pub(crate) fn run(self, reachable: Result<(), ConnectorError>, sender: &Sender) {
        if let Err(cause) = reachable.and_then(|()| self.read(sender)) {
            // Nobody may be left to hear it.
            let _ = sender.blocking_send(Err(cause));
        }
    }

    fn send(&self, sender: &Sender, event: ReadEvent) -> Result<(), Gone> {
        if self.cancel.is_cancelled() {
            return Err(Gone);
        }
        sender.blocking_send(Ok(event)).map_err(|_| Gone)
    }

    fn read(&self, sender: &Sender) -> Result<(), ConnectorError> {
        let (stream, sheet) = find(self.origin.resolve(&self.config)?, &self.selection.name)?;
        let options = &self.config.options;
        let files = edition::identities(&stream)?;
        let options_hash = options_hash(options);
        // A cursor that can't be read is as good as none: the edition is read anew.
        let cursor = self.cursor.clone().and_then(|cursor| serde_json::from_value::<FileCursor>(cursor).ok());
        let cursor = cursor.filter(|cursor| cursor.files == files && cursor.options == options_hash);
        if self.mode != SyncMode::Full && cursor.as_ref().is_some_and(|cursor| cursor.done) {
            let _ = self.send(sender, ReadEvent::Unchanged);
            return Ok(());
        }
        let resume = cursor.filter(|cursor| !cursor.done && (cursor.position.is_some() || cursor.file > 0));
        let edition = Edition::open(
            &stream,
            sheet.as_deref(),
            options,
            self.selection.primary_key.as_deref(),
            &self.cancel,
        )?;
        // Twice the same before the first row: it isn't being written at this moment.
        if edition::identities(&stream)? != files {
            return Err(error::changed(&stream.name));
        }
        let began = ReadEvent::Began {
            shape: edition.shape.clone(),
            snapshot: true,
            resumed: resume.is_some(),
            preview: edition.preview()?,
            total_rows: edition.estimated_rows,
        };
        if self.send(sender, began).is_err() {
            return self.gone();
        }
        let mut cursor = resume.unwrap_or(FileCursor {
            files,
            options: options_hash,
            file: 0,
            position: None,
            rows: 0,
            rejected: 0,
            done: false,
        });
        for at in cursor.file..edition.tables.len() {
            let table = &edition.tables[at];
            let rows_before = cursor.rows - cursor.position.as_ref().map_or(0, |position| position.rows);
            let mut reader = table.read(cursor.position.as_ref(), &self.cancel)?;
            while let Some(mut batch) = reader.next_batch()? {
                check_stamps(&stream, &cursor.files)?;
                cursor.file = at;
                cursor.rows = rows_before + batch.position.rows;
                cursor.rejected += batch.rejected.len() as u64;
                cursor.position = Some(batch.position);
                if edition.tables.len() > 1 {
                    batch
                        .rejected
                        .iter_mut()
                        .for_each(|row| row.place = format!("{} {}", table.name(), row.place));
                }
                let event = ReadEvent::Batch {
                    records: edition.conform(batch.records)?,
                    rejected: batch.rejected,
                    cursor: to_value(&cursor),
                };
                if self.send(sender, event).is_err() {
                    return self.gone();
                }
            }
            cursor.file = at + 1;
            cursor.position = None;
        }
        if edition::identities(&stream)? != cursor.files {
            return Err(error::changed(&stream.name));
        }
        cursor.done = true;
        let _ = self.send(sender, ReadEvent::Completed { cursor: to_value(&cursor) });
        Ok(())
    }

    fn gone(&self) -> Result<(), ConnectorError> {
        if self.cancel.is_cancelled() { Err(ConnectorError::Cancelled) } else { Ok(()) }
    }
}

fn check_stamps(stream: &FileStream, files: &[FileIdentity]) -> Result<(), ConnectorError> {
    for (entry, identity) in stream.files.iter().zip(files) {
        if edition::stamp(entry)? != (identity.size, identity.modified_ns) {
            return Err(error::changed(&entry.name));
        }
    }
    Ok(())
}

fn to_value(cursor: &FileCursor) -> Value {
    serde_json::to_value(cursor).unwrap_or_default()
}
