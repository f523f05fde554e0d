//! Reading far behind the end: an ordered consumer, to which the server sends without being asked for
//! each page, instead of batched reads. What it brings is held against the index like any other read;
//! the index says what belongs between, and what is archived or not sent is fetched as ever. It only
//! makes reading faster: when it ends early, its reader goes on page by page.

use super::{Cell, Shared, index, reader::pattern};
use crate::{
    error::LogError,
    port::{Filter, Page},
};
use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, pull},
};
use autonomos_domain::envelope::AggregateType;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Messages, and their bytes, that become one page at most.
const PAGE_MESSAGES: usize = 1024;
const PAGE_BYTES: usize = 4 << 20;
/// Pages that wait for their reader.
const PAGES: usize = 2;
/// How long a page gathers: a small one costs almost as much as a large one.
const GATHER: Duration = Duration::from_millis(2);
/// How long the next message may take: then the reader asks for it itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// Messages that came together.
#[derive(Default)]
struct Group {
    bytes: HashMap<u64, Bytes>,
    size: usize,
    last: u64,
    /// Nothing follows it that the filter asks for.
    is_end: bool,
}

/// Pages of everything after `after` up to `to`. It may end before that.
pub(super) fn pages(
    shared: Arc<Shared>,
    cell: Arc<Cell>,
    after: u64,
    to: u64,
    filter: Filter,
) -> BoxStream<'static, Result<Page, LogError>> {
    let (sender, receiver) = mpsc::channel(PAGES);
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = replay(&shared, &cell, after, to, &filter, &sender).await {
            // Nobody reads any more, or the reader is told.
            let _ = sender.send(Err(error)).await;
        }
    }));
    Box::pin(futures::stream::unfold((receiver, task), |(mut receiver, task)| async move {
        let page = receiver.recv().await?;
        Some((page, (receiver, task)))
    }))
}

async fn replay(
    shared: &Arc<Shared>,
    cell: &Arc<Cell>,
    after: u64,
    to: u64,
    filter: &Filter,
    pages: &mpsc::Sender<Result<Page, LogError>>,
) -> Result<(), LogError> {
    let mut messages = consumer(shared, cell, after, filter).await?;
    // One page gathers while the one before is taken apart.
    let (sender, mut groups) = mpsc::channel(1);
    let _gathering = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(group) = next_group(&mut messages).await.transpose() {
            let is_last = group.as_ref().map_or(true, |group: &Group| group.is_end);
            if sender.send(group).await.is_err() || is_last {
                return;
            }
        }
    }));
    let mut at = after;
    while at < to {
        let Some(group) = groups.recv().await else { return Ok(()) };
        let mut group = group?;
        let reach = if group.is_end { to } else { group.last.min(to) };
        while at < reach {
            let (from, asked) = (at, filter.clone());
            let entries = cell
                .index
                .read(move |connection| index::between(connection, from, reach, &asked, PAGE_MESSAGES))
                .await?;
            let scanned_to = match entries.last() {
                Some(last) if entries.len() >= PAGE_MESSAGES => last.sequence,
                _ => reach,
            };
            let subjects = |kind| pattern(cell.number, filter, kind);
            let commits = shared.fetch(cell, entries, &mut group.bytes, subjects).await?;
            if pages.send(Ok(Page { commits, scanned_to })).await.is_err() {
                return Ok(());
            }
            at = scanned_to;
        }
    }
    Ok(())
}

async fn consumer(
    shared: &Shared,
    cell: &Cell,
    after: u64,
    filter: &Filter,
) -> Result<pull::Ordered, LogError> {
    let failed = |error: &dyn std::fmt::Display| LogError::Unreachable(error.to_string());
    let kinds: &[AggregateType] = &filter.aggregate_types;
    let context = jetstream::new(shared.wire.client.clone());
    let stream = context.get_stream_no_info(&cell.stream).await.map_err(|error| failed(&error))?;
    let config = pull::OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
        filter_subjects: kinds.iter().map(|kind| pattern(cell.number, filter, *kind)).collect(),
        ..pull::OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| failed(&error))?;
    consumer.messages().await.map_err(|error| failed(&error))
}

/// The messages that come together; none: nothing comes.
async fn next_group(messages: &mut pull::Ordered) -> Result<Option<Group>, LogError> {
    let Ok(mut next) = tokio::time::timeout(PATIENCE, messages.next()).await else { return Ok(None) };
    let mut group = Group::default();
    let until = tokio::time::Instant::now() + GATHER;
    while let Some(message) = next {
        let message = message.map_err(|error| LogError::Unreachable(error.to_string()))?;
        let info = message.info().map_err(|error| LogError::Unreachable(error.to_string()))?;
        group.last = info.stream_sequence;
        group.is_end = info.pending == 0;
        group.size += message.payload.len();
        group.bytes.insert(info.stream_sequence, message.payload.clone());
        if group.is_end || group.bytes.len() >= PAGE_MESSAGES || group.size >= PAGE_BYTES {
            break;
        }
        next = tokio::time::timeout_at(until, messages.next()).await.ok().flatten();
    }
    Ok((group.last > 0).then_some(group))
}
