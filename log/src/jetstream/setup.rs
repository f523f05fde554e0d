//! The streams of a log: made at the first start, checked at every one. A stream whose settings
//! could lose commits is refused, with what to change. What a log says of itself (its id, its number
//! of cells) stands in the metadata of its first cell's stream: making a stream of a name is atomic.

use super::{Options, wire::Wire};
use crate::error::LogError;
use async_nats::jetstream::{ErrorCode, stream};
use autonomos_domain::ids::LogId;
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

const FORMAT: &str = "1";
const LOG_ID: &str = "aos-log-id";
const CELLS: &str = "aos-cells";
const FORMAT_KEY: &str = "aos-format";

pub(super) fn cell_stream(name: &str, cell: u16) -> String {
    format!("{name}-cell-{cell}")
}

pub(super) fn receipts_stream(name: &str) -> String {
    format!("{name}-receipts")
}

/// What a stream of this log is set to.
fn config_of(options: &Options, stream: String, subject: String, log_id: LogId) -> stream::Config {
    stream::Config {
        name: stream,
        subjects: vec![subject],
        retention: stream::RetentionPolicy::Limits,
        discard: stream::DiscardPolicy::New,
        storage: stream::StorageType::File,
        num_replicas: options.replicas,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_bytes: -1,
        max_consumers: -1,
        max_message_size: -1,
        allow_direct: true,
        allow_atomic_publish: true,
        deny_delete: true,
        deny_purge: false,
        metadata: HashMap::from([
            (LOG_ID.to_owned(), log_id.to_string()),
            (CELLS.to_owned(), options.cells.to_string()),
            (FORMAT_KEY.to_owned(), FORMAT.to_owned()),
        ]),
        ..stream::Config::default()
    }
}

/// Why a stream can't hold a log, and what to change.
fn check(wanted: &stream::Config, found: &stream::Config) -> Result<(), LogError> {
    let unlimited = |value: i64| if value <= 0 { "unlimited".to_owned() } else { value.to_string() };
    let pairs = [
        ("subjects", wanted.subjects.join(","), found.subjects.join(",")),
        ("retention", format!("{:?}", wanted.retention), format!("{:?}", found.retention)),
        ("storage", format!("{:?}", wanted.storage), format!("{:?}", found.storage)),
        ("num_replicas", wanted.num_replicas.to_string(), found.num_replicas.to_string()),
        ("max_msgs", unlimited(wanted.max_messages), unlimited(found.max_messages)),
        (
            "max_msgs_per_subject",
            unlimited(wanted.max_messages_per_subject),
            unlimited(found.max_messages_per_subject),
        ),
        ("max_age", format!("{:?}", wanted.max_age), format!("{:?}", found.max_age)),
        ("no_ack", wanted.no_ack.to_string(), found.no_ack.to_string()),
        ("sealed", wanted.sealed.to_string(), found.sealed.to_string()),
        ("allow_rollup_hdrs", wanted.allow_rollup.to_string(), found.allow_rollup.to_string()),
        ("allow_direct", wanted.allow_direct.to_string(), found.allow_direct.to_string()),
        ("allow_atomic", wanted.allow_atomic_publish.to_string(), found.allow_atomic_publish.to_string()),
        ("deny_delete", wanted.deny_delete.to_string(), found.deny_delete.to_string()),
        ("deny_purge", wanted.deny_purge.to_string(), found.deny_purge.to_string()),
    ];
    for (setting, wanted_value, found_value) in pairs {
        if wanted_value != found_value {
            return Err(LogError::Misconfigured {
                what: format!("stream `{}`", found.name),
                setting: setting.to_owned(),
                found: found_value,
                wanted: wanted_value,
            });
        }
    }
    // A limit in bytes with old messages discarded would eat the log from its beginning.
    if found.max_bytes > 0 && found.discard == stream::DiscardPolicy::Old {
        return Err(LogError::Misconfigured {
            what: format!("stream `{}`", found.name),
            setting: "discard".to_owned(),
            found: "old".to_owned(),
            wanted: "new".to_owned(),
        });
    }
    Ok(())
}

/// Makes what is missing, checks what is there, and answers the log's id.
pub(super) async fn streams_ensure(wire: &Wire, options: &Options) -> Result<LogId, LogError> {
    let first =
        stream_ensure(wire, options, cell_stream(&options.name, 0), "ev.0.>".to_owned(), None).await?;
    let damaged = |reason: String| LogError::Damaged { place: format!("stream `{}`", first.name), reason };
    let metadata = |key: &str| first.metadata.get(key).map_or("", String::as_str);
    let log_id: LogId =
        metadata(LOG_ID).parse().map_err(|_| damaged(format!("`{}` is not a log id", metadata(LOG_ID))))?;
    if metadata(FORMAT_KEY) != FORMAT {
        return Err(LogError::Store(format!(
            "the log has format `{}`, this program reads format `{FORMAT}`",
            metadata(FORMAT_KEY)
        )));
    }
    let found: u16 = metadata(CELLS).parse().unwrap_or(0);
    if found != options.cells {
        return Err(LogError::WrongCells { found, asked: options.cells });
    }
    for cell in 1..options.cells {
        let stream = cell_stream(&options.name, cell);
        stream_ensure(wire, options, stream, format!("ev.{cell}.>"), Some(log_id)).await?;
    }
    let stream = receipts_stream(&options.name);
    stream_ensure(wire, options, stream, format!("{}-receipts.*", options.name), Some(log_id)).await?;
    Ok(log_id)
}

/// A stream as it is, made if it is missing. Tries again while the servers agree on a leader.
async fn stream_ensure(
    wire: &Wire,
    options: &Options,
    stream: String,
    subject: String,
    log_id: Option<LogId>,
) -> Result<stream::Config, LogError> {
    let wanted = config_of(options, stream, subject, log_id.unwrap_or_else(LogId::random));
    let deadline = Instant::now() + options.start_timeout;
    loop {
        let error = match stream_try(wire, &wanted).await {
            Ok(found) => {
                check(&wanted, &found)?;
                let id_of = |config: &stream::Config| config.metadata.get(LOG_ID).cloned();
                if log_id.is_some() && id_of(&found) != id_of(&wanted) {
                    return Err(LogError::Damaged {
                        place: format!("stream `{}`", found.name),
                        reason: "it belongs to another log".to_owned(),
                    });
                }
                return Ok(found);
            }
            Err(error @ (LogError::Unreachable(_) | LogError::Store(_))) => error,
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn stream_try(wire: &Wire, wanted: &stream::Config) -> Result<stream::Config, LogError> {
    let config = |info: stream::Info| info.config;
    match wire.api(&format!("STREAM.INFO.{}", wanted.name), &json!({})).await? {
        Ok(info) => return Ok(config(info)),
        Err(error) if error.is(ErrorCode::STREAM_NOT_FOUND) => {}
        Err(error) => return Err(error.into()),
    }
    let payload = serde_json::to_value(wanted).map_err(|error| LogError::Store(error.to_string()))?;
    match wire.api(&format!("STREAM.CREATE.{}", wanted.name), &payload).await? {
        Ok(info) => {
            tracing::info!(stream = wanted.name, "a stream of the log was made");
            Ok(config(info))
        }
        // Another node was faster: what it made counts.
        Err(error) if error.is(ErrorCode::STREAM_NAME_EXIST) => Err(LogError::Unreachable(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Whether a server syncs before it acknowledges: visible in its monitoring page alone.
pub(super) async fn monitoring_check(url: &str) -> Result<(), LogError> {
    let unreachable = |reason: String| LogError::Unreachable(format!("monitoring at `{url}`: {reason}"));
    let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let body = tokio::time::timeout(Duration::from_secs(5), page(authority))
        .await
        .map_err(|_| unreachable("no answer".to_owned()))?
        .map_err(|error| unreachable(error.to_string()))?;
    let page: Value = serde_json::from_slice(&body).map_err(|error| unreachable(error.to_string()))?;
    let jetstream = &page["jetstream"]["config"];
    if jetstream.is_null() {
        return Err(LogError::Misconfigured {
            what: format!("server `{url}`"),
            setting: "jetstream".to_owned(),
            found: "off".to_owned(),
            wanted: "on".to_owned(),
        });
    }
    if jetstream["sync_always"].as_bool() == Some(true) {
        return Ok(());
    }
    let nanoseconds = jetstream["sync_interval"].as_u64().unwrap_or(0);
    Err(LogError::Misconfigured {
        what: format!("server `{url}`"),
        setting: "jetstream.sync_interval".to_owned(),
        found: format!("{:?}", Duration::from_nanos(nanoseconds)),
        wanted: "always".to_owned(),
    })
}

/// The body of `/varz`.
async fn page(authority: &str) -> std::io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(authority).await?;
    // HTTP/1.0: the body ends with the connection and is never in chunks.
    let request = format!("GET /varz HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(4 << 20).read_to_end(&mut answer).await?;
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
    body.map(|at| answer[at..].to_vec()).ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}
