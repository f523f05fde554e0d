//! Tables in files. What users of other tools suffered from is avoided by a few rules: look at head,
//! middle and tail before saying what a column is; deliver the raw text, never a cast; reject a bad
//! row alone, with its line and bytes; read an edition as a whole or not at all.

mod body;
pub mod bucket;
mod config;
mod csv;
mod edition;
mod error;
mod excel;
pub mod infer;
mod json;
mod keys;
mod parquet;
mod read;
mod scope;
mod sniff;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use config::{FileConfig, Format, TableOptions, config_schema};
pub use error::{MAX_CELL_BYTES, MAX_COLUMNS, MAX_ROW_BYTES};
pub use scope::{FileScope, MAX_FILES, UploadResolver, UploadedFile};

use crate::error::ConnectorError;
use crate::network::NetworkScope;
use crate::port::{CHANNEL, CheckStep, Connector, ReadEvent, events_of};
use arrow_array::RecordBatch;
use async_trait::async_trait;
use autonomos_domain::schema::{DiscoveredStream, StreamSelection, StreamShape, SyncMode};
use bucket::Bucket;
use edition::Edition;
use futures::StreamExt;
use futures::stream::BoxStream;
use read::ReadJob;
use scope::FileEntry;
use serde_json::Value;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// The connector's id in the catalogue.
pub const CONNECTOR_ID: &str = "file";

/// Files of one tenant's connection.
#[derive(Clone)]
pub struct FileConnector {
    config: FileConfig,
    origin: Origin,
}

/// Where files are looked for.
#[derive(Clone)]
pub(crate) enum Origin {
    /// This machine's folders, and uploads.
    Local(FileScope),
    Bucket(Bucket),
}

impl Origin {
    /// The streams a configuration names at this moment. Blocks.
    pub(crate) fn resolve(&self, config: &FileConfig) -> Result<Vec<scope::FileStream>, ConnectorError> {
        match self {
            Self::Local(scope) => scope::resolve(config, scope),
            Self::Bucket(bucket) => scope::resolve_bucket(config, bucket),
        }
    }

    async fn reachable(&self) -> Result<(), ConnectorError> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Bucket(bucket) => bucket.reachable().await,
        }
    }
}

impl FileConnector {
    /// Checks the configuration's form; what it names is looked for by `check`, `discover` and `read`.
    pub fn new(config: &Value, scope: FileScope) -> Result<Self, ConnectorError> {
        Ok(Self { config: FileConfig::parse(config)?, origin: Origin::Local(scope) })
    }

    /// The same for files in a bucket.
    pub fn in_bucket(config: &Value, network: NetworkScope) -> Result<Self, ConnectorError> {
        let (bucket, config) = Bucket::parse(config, network)?;
        Ok(Self { config, origin: Origin::Bucket(bucket) })
    }

    fn check_steps(&self) -> Vec<CheckStep> {
        let mut steps = Vec::new();
        let streams = match self.origin.resolve(&self.config) {
            Ok(streams) => streams,
            Err(cause) => {
                steps.push(CheckStep::failed("path", &cause));
                return steps;
            }
        };
        let files: Vec<&FileEntry> = streams.iter().flat_map(|stream| &stream.files).collect();
        steps.push(CheckStep::passed("path", format!("{} file(s) found", files.len())));
        let unreadable = files.iter().find_map(|entry| edition::identity(entry).err());
        if let Some(cause) = unreadable {
            steps.push(CheckStep::failed("readable", &cause));
            return steps;
        }
        steps.push(CheckStep::passed("readable", "every file can be read"));
        let cancel = CancellationToken::new();
        let mut last = None;
        for stream in &streams {
            match Edition::open(stream, None, &self.config.options, None, &cancel) {
                Ok(edition) => {
                    let kind = edition.tables.first().map(|table| table.kind.describe()).unwrap_or_default();
                    steps.push(CheckStep::passed("format", format!("`{}`: {kind}", stream.name)));
                    steps.push(match self.missing_key(&edition) {
                        Some(cause) => CheckStep::failed("rows", &cause),
                        None => CheckStep::passed("rows", rows_message(&stream.name, &edition)),
                    });
                    return steps;
                }
                Err(cause) => last = Some(cause),
            }
        }
        steps.extend(last.map(|cause| CheckStep::failed("format", &cause)));
        steps
    }

    fn missing_key(&self, edition: &Edition) -> Option<ConnectorError> {
        let declared = self.config.options.primary_key.as_ref()?;
        let missing = declared.iter().find(|name| !edition.columns.contains(name))?;
        Some(error::key_missing(&self.config.path, missing))
    }

    fn discover_streams(&self, cancel: &CancellationToken) -> Result<Vec<DiscoveredStream>, ConnectorError> {
        let streams = self.origin.resolve(&self.config)?;
        let mut found = Vec::new();
        let mut first_failure = None;
        for (stream, sheet) in edition::expand_sheets(streams, &self.config.options, cancel) {
            if cancel.is_cancelled() {
                return Err(ConnectorError::Cancelled);
            }
            match Edition::open(&stream, sheet.as_deref(), &self.config.options, None, cancel) {
                Ok(edition) => found.push(DiscoveredStream {
                    name: stream.name,
                    shape: edition.shape,
                    cursor_fields: edition.cursor_fields,
                    sync_modes: vec![SyncMode::Full, SyncMode::Incremental],
                    estimated_rows: edition.estimated_rows,
                    sampled: None,
                }),
                Err(cause) => {
                    tracing::warn!(stream = %stream.name, code = cause.code(), "file left out of discovery: {cause}");
                    first_failure.get_or_insert(cause);
                }
            }
        }
        match first_failure {
            Some(cause) if found.is_empty() => Err(cause),
            _ => Ok(found),
        }
    }
}

fn rows_message(stream: &str, edition: &Edition) -> String {
    let rows = edition.estimated_rows.map_or_else(|| "rows".to_owned(), |rows| format!("about {rows} rows"));
    format!("`{stream}`: {} columns, {rows}", edition.columns.len())
}

/// Runs file work away from the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ConnectorError> + Send + 'static,
) -> Result<T, ConnectorError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(cause) => Err(error::broken("the file", "data", cause)),
    }
}

#[async_trait]
impl Connector for FileConnector {
    async fn check(&self) -> Result<Vec<CheckStep>, ConnectorError> {
        let connector = self.clone();
        if let Err(cause) = self.origin.reachable().await {
            return Ok(vec![CheckStep::failed("address", &cause)]);
        }
        blocking(move || Ok(connector.check_steps())).await
    }

    async fn discover(&self, cancel: CancellationToken) -> Result<Vec<DiscoveredStream>, ConnectorError> {
        self.origin.reachable().await?;
        let connector = self.clone();
        blocking(move || connector.discover_streams(&cancel)).await
    }

    fn read(
        &self,
        stream: &StreamSelection,
        mode: SyncMode,
        cursor: Option<Value>,
        cancel: CancellationToken,
    ) -> BoxStream<'static, Result<ReadEvent, ConnectorError>> {
        let job = ReadJob {
            config: self.config.clone(),
            origin: self.origin.clone(),
            selection: stream.clone(),
            mode,
            cursor,
            cancel: cancel.clone(),
        };
        let begin = async move {
            let (sender, receiver) = tokio::sync::mpsc::channel(CHANNEL);
            let reachable = job.origin.reachable().await;
            let worker = tokio::task::spawn_blocking(move || job.run(reachable, &sender));
            events_of(receiver, worker, cancel, |cause| error::broken("the file", "data", cause))
        };
        futures::stream::once(begin).flatten().boxed()
    }
}

/// A whole table at once, for the command line: its shape, and its rows up to a limit.
pub fn read_table(
    path: &Path,
    options: &TableOptions,
    limit: Option<usize>,
) -> Result<(StreamShape, Vec<RecordBatch>), ConnectorError> {
    options.validate()?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !path.is_file() {
        return Err(error::nothing_found(&path.display().to_string()));
    }
    let entry = FileEntry { body: body::Body::File(path.to_owned()), name: name.clone() };
    let stream = scope::FileStream { name: scope::stream_name(&name), files: vec![entry] };
    let cancel = CancellationToken::new();
    let edition = Edition::open(&stream, None, options, None, &cancel)?;
    let mut left = limit.unwrap_or(usize::MAX);
    let mut batches = Vec::new();
    for table in &edition.tables {
        let mut reader = table.read(None, &cancel)?;
        while left > 0 {
            let Some(batch) = reader.next_batch()? else { break };
            let records = edition.conform(batch.records)?;
            let taken = records.num_rows().min(left);
            left -= taken;
            batches.push(records.slice(0, taken));
        }
    }
    Ok((edition.shape, batches))
}
