//! What changed since a place in the server's changes, document by document, each once.
//!
//! The server tells an update by the document as it is by now: applied in order, each record ends as it
//! is. Documents change their shape without a word. So the collection is looked at before its changes
//! are, and again where a change has a field or a type that neither it nor the look had.

use super::{
    catalog::Collection,
    cursor::{Cursor, Exact, Phase, Place, time_of},
    error,
    layout::{KEY, Refused},
    read::{Job, Output, Step},
    rows::{Row, batch},
    session::Session,
    value::Kind,
};
use crate::{error::ConnectorError, port::ReadEvent};
use autonomos_domain::schema::SyncMode;
use mongodb::{
    bson::{RawDocument, RawDocumentBuf, Timestamp, doc},
    change_stream::ChangeStream,
    options::FullDocumentType,
};
use std::time::{Duration, Instant};

/// How long the server waits for a change before it says that there is none.
const AWAIT: Duration = Duration::from_millis(200);
/// How long one that is behind is waited for: a quiet part of a sharded cluster speaks every ten seconds.
const SETTLE: Duration = Duration::from_secs(15);
/// Answers without a change after which a server counts as read to its end whose tokens do not say when
/// they are: one alone may have come before it had looked.
const EMPTY: usize = 3;
/// A place is written down without rows when it is so many seconds newer than the last one.
const BEAT: u32 = 60;
/// How often the collection is looked at anew within one read.
const MAX_LOOKS: usize = 5;
/// How often a stream that ended is opened again, nothing having come.
const MAX_OPENED: usize = 5;

/// What a change makes of the read.
enum Told {
    Applied,
    /// Later than the end that was taken when the read began.
    Later,
    /// The stream ends here; what follows is another collection's.
    Ended,
    Step(Step),
}

/// What is known while changes are applied.
struct Follow<'a, 'b> {
    job: &'a Job,
    session: &'b Session,
    out: Output<'a>,
    looks: usize,
    end: Timestamp,
}

impl Job {
    /// `fresh`: the snapshot before was read just now.
    pub(super) async fn changes(
        &self,
        session: &Session,
        cursor: Cursor,
        fresh: bool,
    ) -> Result<Step, ConnectorError> {
        let Phase::Changes { place: began, at } = cursor.phase.clone() else { return Ok(Step::End) };
        // One that is gone is told by its changes.
        let collection = self.there(session).await?;
        let end = session.settled(&self.selection.name).await?;
        let out = self.resume(session, collection.as_ref(), cursor, fresh).await?;
        let mut follow = Follow { job: self, session, out, looks: 0, end };
        let since = Instant::now();
        let mut opened = 0;
        'streams: loop {
            opened += 1;
            let mut stream = match self.watch(session, follow.place()).await {
                Ok(stream) => stream,
                Err(cause) if error::is_history_lost(&cause) => return self.lost(fresh),
                Err(cause) => return Err(error::server(&cause)),
            };
            let mut empty = 0;
            loop {
                let event = match stream.next_if_any().await {
                    Ok(event) => event,
                    Err(cause) if error::is_history_lost(&cause) => return self.lost(fresh),
                    Err(cause) => return Err(error::server(&cause)),
                };
                let token = stream.resume_token();
                let Some(event) = event else {
                    if let Some(token) = &token {
                        follow.reached(token);
                    }
                    empty += 1;
                    if !stream.is_alive() && opened <= MAX_OPENED {
                        continue 'streams;
                    }
                    let time = token.as_ref().and_then(time_of);
                    let behind = time.map_or(empty < EMPTY, |time| time < end);
                    if behind && since.elapsed() < SETTLE && stream.is_alive() {
                        continue;
                    }
                    break 'streams;
                };
                empty = 0;
                match follow.take(&event).await? {
                    Told::Applied => {
                        if let Some(token) = &token {
                            follow.reached(token);
                        }
                    }
                    Told::Later => break 'streams,
                    Told::Ended => {
                        if let Some(token) = &token {
                            follow.reached(token);
                        }
                        continue 'streams;
                    }
                    Told::Step(step) => return Ok(step),
                }
            }
        }
        follow.finish(&began, at).await?;
        if self.there(session).await?.is_none() {
            return Err(error::schema(format!("the collection `{}` was dropped", self.selection.name)));
        }
        Ok(Step::End)
    }

    /// A place as a resume token: one that the server has lost it refuses, where it may take a mere time
    /// for the earliest it has.
    pub(super) async fn held(&self, session: &Session, place: Place) -> Result<Place, ConnectorError> {
        let stream = self.watch(session, place.clone()).await.map_err(|cause| error::server(&cause))?;
        Ok(stream.resume_token().as_ref().and_then(Exact::token).map_or(place, Place::After))
    }

    async fn there(&self, session: &Session) -> Result<Option<Collection>, ConnectorError> {
        match self.collection(session).await {
            Ok(collection) => Ok(Some(collection)),
            Err(ConnectorError::Schema { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn watch(
        &self,
        session: &Session,
        place: Place,
    ) -> Result<ChangeStream<RawDocumentBuf>, mongodb::error::Error> {
        // Without what an update changed: beside a large document it would be too large for one answer.
        let told = doc! { "$project": {
            "operationType": 1, "fullDocument": 1, "documentKey": 1, "ns": 1, "to": 1, "clusterTime": 1,
        } };
        let source = session.collection(&self.selection.name);
        let watch = source.watch().pipeline([told]).max_await_time(AWAIT);
        let watch = watch.full_document(FullDocumentType::UpdateLookup);
        let watch = match place {
            Place::From(time, increment) => watch.start_at_operation_time(Timestamp { time, increment }),
            Place::After(token) => {
                let token = token.as_token().map_err(mongodb::error::Error::custom)?;
                watch.start_after(token)
            }
        };
        Ok(watch.await?.with_type())
    }
}

impl Follow<'_, '_> {
    fn place(&self) -> Place {
        match &self.out.cursor.phase {
            Phase::Changes { place, .. } => place.clone(),
            _ => Place::from(self.end),
        }
    }

    /// Everything up to this token is in.
    fn reached(&mut self, token: &mongodb::change_stream::event::ResumeToken) {
        if let Some(token) = Exact::token(token) {
            self.out.cursor.phase = Phase::Changes { place: Place::After(token), at: self.end.time };
        }
    }

    async fn take(&mut self, event: &RawDocument) -> Result<Told, ConnectorError> {
        let text = |name: &str| event.get_str(name).unwrap_or_default();
        if event.get_timestamp("clusterTime").is_ok_and(|time| time > self.end) {
            return Ok(Told::Later);
        }
        match text("operationType") {
            "insert" | "replace" | "update" => match event.get_document("fullDocument") {
                Ok(document) => self.upsert(document).await?,
                // Gone meanwhile: it closes here rather than a little later.
                Err(_) => self.delete(event).await?,
            },
            "delete" => self.delete(event).await?,
            "drop" => {
                self.out.flush().await?;
                // The place is the drop's own.
                let token = event.get("_id").ok().flatten();
                if let Some(token) = token {
                    let place = Place::After(Exact::of(token));
                    self.out.cursor.phase = Phase::Changes { place, at: self.end.time };
                }
                let cursor = self.out.cursor().value();
                self.job.send(ReadEvent::Cleared { cursor }).await?;
            }
            "rename" => {
                self.out.flush().await?;
                if self.job.there(self.session).await?.is_some() {
                    let reason = "another collection has its name now".to_owned();
                    return Ok(Told::Step(Step::Anew(reason)));
                }
                let to = event.get_document("to").ok().and_then(|to| to.get_str("coll").ok());
                return Err(error::schema(format!(
                    "the collection `{}` is called `{}` now: choose that stream instead",
                    self.job.selection.name,
                    to.unwrap_or("something else")
                )));
            }
            "invalidate" => {
                self.out.flush().await?;
                return Ok(Told::Ended);
            }
            _ => {}
        }
        Ok(Told::Applied)
    }

    async fn upsert(&mut self, document: &RawDocument) -> Result<(), ConnectorError> {
        let Some(mut row) = self.out.cells(document).await? else { return Ok(()) };
        if self.out.has_news() {
            self.out.flush_as_told().await?;
            if self.looks < MAX_LOOKS
                && let Some(collection) = self.job.there(self.session).await?
            {
                self.looks += 1;
                self.out.look(self.session, &collection).await?;
                // Places may be others now.
                match self.out.cells(document).await? {
                    Some(again) => row = again,
                    None => return Ok(()),
                }
            }
            self.out.announce().await?;
        }
        self.out.push(row).await
    }

    async fn delete(&mut self, event: &RawDocument) -> Result<(), ConnectorError> {
        let key = event.get_document("documentKey").ok().and_then(|key| key.get(KEY).ok().flatten());
        let Some(key) = key else {
            return Err(error::unreadable("a change does not tell its document's key"));
        };
        let layout = &mut self.out.layout;
        let cell = layout.key(key).and_then(|text| {
            let place = layout.learn(KEY, Kind::of(key).unwrap_or(Kind::String))?;
            Ok((place, text))
        });
        let cell = cell.map_err(Refused::error)?;
        self.out.push(Row { cells: vec![cell], deleted: true }).await
    }

    /// All is read: the last place is written down, if it is worth a commit.
    async fn finish(mut self, began: &Place, at: u32) -> Result<(), ConnectorError> {
        debug_assert_eq!(self.job.mode, SyncMode::Cdc);
        self.out.flush().await?;
        let place = self.place();
        if place != *began && self.end.time.saturating_sub(at) >= BEAT {
            let records = batch(&self.out.layout, &[])?;
            let cursor = self.out.cursor().value();
            self.job.send(ReadEvent::Batch { records, rejected: Vec::new(), cursor }).await?;
        }
        self.job.send(ReadEvent::Completed { cursor: self.out.cursor().value() }).await
    }
}
