//! What is said to the server, byte for byte: publishing with an expectation, alone or as one atomic
//! batch, reading in batches from any replica, and reading single messages from the leader. Raw
//! headers and JSON, because the client maps only one of the two conflict codes and knows no batches.
//! Sources: NATS ADR-31 (direct get), ADR-50 (atomic batches).

use crate::error::LogError;
use async_nats::{
    HeaderMap, Request, StatusCode, Subject,
    client::RequestErrorKind,
    jetstream::{ErrorCode, stream},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long storing a batch may take. A leader that died takes what it was sent along and says nothing:
/// nobody writes for as long as its answer is waited for. Sending again adds to what a slow disk has to
/// do, and stores nothing twice.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two questions of whether something is lost.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes of one batch that is read, about.
const READ_BYTES: usize = 8 << 20;
/// Messages of one batch that is read.
const READ_MESSAGES: usize = 4096;

const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
const BATCH_ID: &str = "Nats-Batch-Id";
const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
const BATCH_COMMIT: &str = "Nats-Batch-Commit";
/// The types of a commit's events, for people who look at the stream; nothing here reads it.
const EVENT_TYPES: &str = "Aos-Event-Types";

/// A message as the stream has it.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) sequence: u64,
    pub(super) subject: String,
    pub(super) bytes: Bytes,
}

/// A message to be stored.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) subject: String,
    /// The last sequence on the subject; 0: none.
    pub(super) expected: u64,
    pub(super) event_types: String,
    pub(super) bytes: Bytes,
}

/// Why nothing was stored, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An expectation did not hold (10071), or something is in flight on a subject (10164).
    Conflict,
    /// For another reason; nothing was stored.
    Other(String),
    /// No answer came: it may be stored or not.
    Unknown(String),
}

/// The error of an API answer.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

impl ApiError {
    pub(super) fn is(&self, code: ErrorCode) -> bool {
        self.err_code == code.0
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", self.description, self.err_code)
    }
}

impl From<ApiError> for LogError {
    fn from(error: ApiError) -> Self {
        Self::Store(error.to_string())
    }
}

#[derive(Deserialize)]
struct Ack {
    error: Option<ApiError>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    count: u64,
}

#[derive(Deserialize)]
struct Got {
    message: GotMessage,
}

#[derive(Deserialize)]
struct GotMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    data: String,
}

/// The connection, and how requests go over it.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) client: async_nats::Client,
    /// How often a leader is asked again before what it lacks counts as lost. In a cluster a replica
    /// may have stored what its leader, above all a new one, has yet to apply; only what was
    /// acknowledged is sure to be there at once.
    pub(super) patience: u32,
}

impl Wire {
    /// One request to the JetStream API. The leader of what it is about answers.
    pub(super) async fn api<T: DeserializeOwned>(
        &self,
        verb: &str,
        payload: &Value,
    ) -> Result<Result<T, ApiError>, LogError> {
        let request = Request::new().payload(payload.to_string().into()).timeout(Some(ANSWER_TIMEOUT));
        let answer = self
            .client
            .send_request(format!("$JS.API.{verb}"), request)
            .await
            .map_err(|error| LogError::Unreachable(format!("`{verb}`: {error}")))?;
        let unreadable = |error: &dyn std::fmt::Display| {
            LogError::Unreachable(format!("the answer to `{verb}` is not readable: {error}"))
        };
        let answer: Value = serde_json::from_slice(&answer.payload).map_err(|error| unreadable(&error))?;
        if let Some(error) = answer.get("error") {
            let error = ApiError::deserialize(error).map_err(|error| unreadable(&error))?;
            return Ok(Err(error));
        }
        T::deserialize(answer).map(Ok).map_err(|error| unreadable(&error))
    }

    /// A stream as its leader has it.
    pub(super) async fn stream_info(&self, stream: &str) -> Result<stream::Info, LogError> {
        Ok(self.api(&format!("STREAM.INFO.{stream}"), &json!({})).await??)
    }

    /// One message from the stream's leader: never older than what was acknowledged.
    async fn leader_message(&self, stream: &str, query: Value) -> Result<Option<Message>, LogError> {
        let answer: Result<Got, ApiError> = self.api(&format!("STREAM.MSG.GET.{stream}"), &query).await?;
        let got = match answer {
            Ok(got) => got.message,
            Err(error) if error.is(ErrorCode::NO_MESSAGE_FOUND) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bytes = STANDARD.decode(&got.data).map_err(|error| LogError::Damaged {
            place: format!("sequence {}", got.seq),
            reason: error.to_string(),
        })?;
        Ok(Some(Message { sequence: got.seq, subject: got.subject, bytes: bytes.into() }))
    }

    pub(super) async fn leader_at(&self, stream: &str, sequence: u64) -> Result<Option<Message>, LogError> {
        self.leader_message(stream, json!({ "seq": sequence })).await
    }

    /// Like [`Wire::leader_at`] of a message somebody has seen: `None` means that it is lost.
    pub(super) async fn leader_at_surely(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<Message>, LogError> {
        for _ in 0..self.patience {
            let found = self.leader_at(stream, sequence).await?;
            if found.is_some() {
                return Ok(found);
            }
            tokio::time::sleep(PATIENCE).await;
        }
        self.leader_at(stream, sequence).await
    }

    /// Where a stream ends that somebody has seen reach `seen`: less means that its end is lost.
    pub(super) async fn last_sequence(&self, stream: &str, seen: u64) -> Result<u64, LogError> {
        for _ in 0..self.patience {
            let last = self.stream_info(stream).await?.state.last_sequence;
            if last >= seen {
                return Ok(last);
            }
            tokio::time::sleep(PATIENCE).await;
        }
        Ok(self.stream_info(stream).await?.state.last_sequence)
    }

    pub(super) async fn leader_last(&self, stream: &str, subject: &str) -> Result<Option<Message>, LogError> {
        self.leader_message(stream, json!({ "last_by_subj": subject })).await
    }

    /// The first message of a subject at or after a sequence.
    pub(super) async fn leader_next(
        &self,
        stream: &str,
        subject: &str,
        from: u64,
    ) -> Result<Option<Message>, LogError> {
        self.leader_message(stream, json!({ "seq": from, "next_by_subj": subject })).await
    }

    /// Single messages from any replica, asked for at once; which of them it has, in their order.
    pub(super) async fn messages_at(
        &self,
        stream: &str,
        sequences: &[u64],
    ) -> Result<Vec<Message>, LogError> {
        let asked = sequences.iter().map(|sequence| async move {
            let lost = |reason: String| {
                LogError::Unreachable(format!("sequence `{sequence}` of `{stream}`: {reason}"))
            };
            let query = json!({ "seq": sequence }).to_string();
            let request = Request::new().payload(query.into()).timeout(Some(ANSWER_TIMEOUT));
            let answer = self
                .client
                .send_request(format!("$JS.API.DIRECT.GET.{stream}"), request)
                .await
                .map_err(|error| lost(error.to_string()))?;
            match answer.status.map(|status| status.as_u16()) {
                Some(404) => return Ok(None),
                Some(status) if status != StatusCode::OK.as_u16() => {
                    return Err(lost(format!("{status} {}", answer.description.unwrap_or_default())));
                }
                _ => {}
            }
            let found = message_of(answer.headers.as_ref(), answer.payload)
                .filter(|message| message.sequence == *sequence)
                .ok_or_else(|| lost("a message without its place".to_owned()))?;
            Ok(Some(found))
        });
        let found = futures::future::try_join_all(asked).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Messages of a subject (or pattern) from a sequence on, oldest first, from any replica: the
    /// newest may be missing, and there may be fewer than asked for. Empty: there is nothing more.
    pub(super) async fn batch_read(
        &self,
        stream: &str,
        pattern: &str,
        from: u64,
        count: usize,
    ) -> Result<Vec<Message>, LogError> {
        let lost = |reason: String| LogError::Unreachable(format!("a batch of `{stream}`: {reason}"));
        let inbox = self.client.new_inbox();
        let mut answers =
            self.client.subscribe(inbox.clone()).await.map_err(|error| lost(error.to_string()))?;
        let query = json!({
            "seq": from,
            "next_by_subj": pattern,
            "batch": count.clamp(1, READ_MESSAGES),
            "max_bytes": READ_BYTES,
        });
        self.client
            .publish_with_reply(format!("$JS.API.DIRECT.GET.{stream}"), inbox, query.to_string().into())
            .await
            .map_err(|error| lost(error.to_string()))?;
        let mut messages: Vec<Message> = Vec::new();
        loop {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, answers.next())
                .await
                .map_err(|_| lost("no answer".to_owned()))?
                .ok_or_else(|| lost("the connection closed".to_owned()))?;
            match answer.status.map(|status| status.as_u16()) {
                // End of the batch; nothing found.
                Some(204 | 404) => return Ok(messages),
                Some(status) if status != StatusCode::OK.as_u16() => {
                    return Err(lost(format!("{status} {}", answer.description.unwrap_or_default())));
                }
                _ => {}
            }
            let Some(message) = message_of(answer.headers.as_ref(), answer.payload) else {
                return Err(lost("a message without its place".to_owned()));
            };
            if messages.last().is_some_and(|last| last.sequence >= message.sequence) {
                return Err(lost("messages out of order".to_owned()));
            }
            messages.push(message);
        }
    }

    /// Stores a message without an expectation, more than once if an answer is lost.
    pub(super) async fn publish_plain(
        &self,
        stream: &str,
        subject: &str,
        bytes: Bytes,
    ) -> Result<(), LogError> {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED_STREAM, stream);
        let request = Request::new().headers(headers).payload(bytes).timeout(Some(ANSWER_TIMEOUT));
        let unreachable = |reason: String| LogError::Unreachable(format!("`{subject}`: {reason}"));
        let answer = self
            .client
            .send_request(Subject::from(subject), request)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let ack: Ack =
            serde_json::from_slice(&answer.payload).map_err(|error| unreachable(error.to_string()))?;
        ack.error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Stores messages, all or none, and answers the sequence of the first; the others follow it.
    pub(super) async fn publish(&self, stream: &str, messages: &[Outgoing]) -> Result<u64, Refusal> {
        let Some((last, before)) = messages.split_last() else {
            return Err(Refusal::Other("there is nothing to publish".to_owned()));
        };
        // Of the batches that are on their way at the same moment, no two share it. The server reads the
        // headers of each message many times over: they are short, and say once what holds for all.
        let batch_id = format!("{:x}", Uuid::new_v4().as_u64_pair().0);
        for (index, message) in before.iter().enumerate() {
            let mut headers = headers_of((index == 0).then_some(stream), message);
            headers.insert(BATCH_ID, batch_id.as_str());
            headers.insert(BATCH_SEQUENCE, (index + 1).to_string());
            // Nothing of a batch is stored before its last message: without an answer it is safe to say so.
            self.client
                .publish_with_headers(Subject::from(message.subject.as_str()), headers, message.bytes.clone())
                .await
                .map_err(|error| Refusal::Unknown(error.to_string()))?;
        }
        let mut headers = headers_of(before.is_empty().then_some(stream), last);
        if !before.is_empty() {
            headers.insert(BATCH_ID, batch_id.as_str());
            headers.insert(BATCH_SEQUENCE, messages.len().to_string());
            headers.insert(BATCH_COMMIT, "1");
        }
        let request =
            Request::new().headers(headers).payload(last.bytes.clone()).timeout(Some(STORE_TIMEOUT));
        let answer = self.client.send_request(Subject::from(last.subject.as_str()), request).await;
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::MaxPayloadExceeded => Refusal::Other(error.to_string()),
            _ => Refusal::Unknown(error.to_string()),
        })?;
        let ack: Ack = serde_json::from_slice(&answer.payload)
            .map_err(|error| Refusal::Unknown(format!("the answer is not readable: {error}")))?;
        match ack.error {
            None if ack.seq == 0 => Err(Refusal::Unknown("the answer names no sequence".to_owned())),
            None if !before.is_empty() && ack.count != messages.len() as u64 => Err(Refusal::Unknown(
                format!("{} messages were sent and {} acknowledged", messages.len(), ack.count),
            )),
            None => Ok(ack.seq + 1 - messages.len() as u64),
            Some(error) => Err(refusal_of(&error)),
        }
    }
}

/// A message that was asked for directly: its headers say where it stands.
fn message_of(headers: Option<&HeaderMap>, bytes: Bytes) -> Option<Message> {
    let header = |name: &str| Some(headers?.get(name)?.as_str());
    let sequence = header("Nats-Sequence")?.parse().ok()?;
    Some(Message { sequence, subject: header("Nats-Subject")?.to_owned(), bytes })
}

fn refusal_of(error: &ApiError) -> Refusal {
    const CONFLICTS: [ErrorCode; 2] =
        [ErrorCode::STREAM_WRONG_LAST_SEQUENCE, ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT];
    // The batch was cut by a reconnect, or there are too many of them: to be sent again.
    const PASSING: [ErrorCode; 4] = [
        ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH,
        ErrorCode::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT,
        ErrorCode::CLUSTER_NOT_AVAILABLE,
        ErrorCode::CLUSTER_NOT_LEADER,
    ];
    if CONFLICTS.iter().any(|code| error.is(*code)) {
        Refusal::Conflict
    } else if PASSING.iter().any(|code| error.is(*code)) {
        Refusal::Unknown(error.to_string())
    } else {
        Refusal::Other(error.to_string())
    }
}

fn headers_of(stream: Option<&str>, message: &Outgoing) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(stream) = stream {
        headers.insert(EXPECTED_STREAM, stream);
    }
    headers.insert(EXPECTED_LAST, message.expected.to_string());
    headers.insert(EVENT_TYPES, message.event_types.as_str());
    headers
}
