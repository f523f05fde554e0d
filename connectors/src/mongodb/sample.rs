//! Documents from head, tail and middle of a collection: what its fields are, and what they are like.

use super::{
    catalog::Collection,
    error,
    layout::{KEY, Known, Layout, Refused, is_askable},
    rows::{Row, batch},
    session::Session,
    value::Kind,
};
use crate::error::ConnectorError;
use arrow_array::RecordBatch;
use futures::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, RawDocument, RawDocumentBuf, doc, oid::ObjectId},
    options::Hint,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

/// What a sample holds in memory at most.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Places in the middle that are looked at.
const MIDDLE: u32 = 8;
/// Documents of a collection that the server may count through to reach a place.
const COUNTABLE: u64 = 500_000;
/// How long the server may look for documents that still have a field.
const LOOK: Duration = Duration::from_secs(30);
/// Documents of one answer to that.
const LOOK_DOCUMENTS: i64 = 100;
/// Fields that are asked for at a time.
const LOOK_FIELDS: usize = 40;

#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) documents: Vec<RawDocumentBuf>,
    /// Documents of the collection, as it knows itself.
    pub(super) total: Option<u64>,
}

impl Sample {
    /// Whether these are all documents there are.
    pub(super) fn is_whole(&self) -> bool {
        self.total.is_some_and(|total| total <= self.documents.len() as u64)
    }
}

/// Looks at so many documents: always the same ones while a collection stays as it is, unless it is
/// large and its keys do not tell what lies between two of them.
pub(super) async fn take(
    session: &Session,
    collection: &Collection,
    size: u32,
) -> Result<Sample, ConnectorError> {
    let source = session.collection(&collection.name);
    let mut gathered = Gathered::default();
    let most = i64::from(size);
    if !collection.is_ordinary() {
        let cursor = source.find(doc! {}).limit(most).await.map_err(|cause| error::server(&cause))?;
        gathered.take(cursor, MAX_BYTES).await?;
        let total = (gathered.documents.len() < size as usize && !gathered.cut)
            .then_some(gathered.documents.len() as u64);
        return Ok(Sample { documents: gathered.documents, total });
    }
    let total = source.estimated_document_count().await.map_err(|cause| error::server(&cause))?;
    let key = || doc! { "_id": 1 };
    if total <= u64::from(size) {
        let cursor = source.find(doc! {}).sort(key()).limit(most + 1).await;
        gathered.take(cursor.map_err(|cause| error::server(&cause))?, MAX_BYTES).await?;
        let all = gathered.documents.len() as u64;
        let whole = !gathered.cut && all <= u64::from(size);
        return Ok(Sample { documents: gathered.documents, total: Some(if whole { all } else { total }) });
    }
    let part = most / 4;
    let share = MAX_BYTES / 4;
    let head = source.find(doc! {}).sort(key()).limit(part).await;
    gathered.take(head.map_err(|cause| error::server(&cause))?, share).await?;
    let first = gathered.documents.first().cloned();
    let from = gathered.documents.len();
    let tail = source.find(doc! {}).sort(doc! { "_id": -1 }).limit(part).await;
    gathered.take(tail.map_err(|cause| error::server(&cause))?, share).await?;
    let last = gathered.documents.get(from).cloned();
    let rest = most - 2 * part;
    match first.zip(last).and_then(|(first, last)| between(&first, &last)) {
        Some(places) => {
            let each = rest / i64::from(MIDDLE) + 1;
            for place in places {
                let found = source.find(doc! {}).sort(key()).hint(Hint::Keys(key()));
                let found = found.min(doc! { "_id": place }).limit(each).await;
                let found = found.map_err(|cause| error::server(&cause))?;
                gathered.take(found, 2 * share / MIDDLE as usize).await?;
            }
        }
        None if total <= COUNTABLE => {
            let (part, between) = (part as u64, total - 2 * part as u64);
            for step in 0..u64::from(MIDDLE) {
                let place = part + between * step / u64::from(MIDDLE);
                let found = source.find(doc! {}).sort(key()).skip(place);
                let found = found.limit(rest / i64::from(MIDDLE) + 1).await;
                let found = found.map_err(|cause| error::server(&cause))?;
                gathered.take(found, 2 * share / MIDDLE as usize).await?;
            }
        }
        None => {
            let some = source.aggregate([doc! { "$sample": { "size": rest } }]);
            let some = some.with_type::<RawDocumentBuf>().await.map_err(|cause| error::server(&cause))?;
            gathered.take(some, 2 * share).await?;
        }
    }
    Ok(Sample { documents: gathered.documents, total: Some(total) })
}

/// Documents, each once.
#[derive(Default)]
struct Gathered {
    documents: Vec<RawDocumentBuf>,
    keys: HashSet<Vec<u8>>,
    cut: bool,
}

impl Gathered {
    async fn take(
        &mut self,
        mut cursor: mongodb::Cursor<RawDocumentBuf>,
        most: usize,
    ) -> Result<(), ConnectorError> {
        let mut bytes = 0;
        while let Some(document) = cursor.try_next().await.map_err(|cause| error::server(&cause))? {
            bytes += document.as_bytes().len();
            if bytes > most && !self.documents.is_empty() {
                self.cut = true;
                break;
            }
            let key = document.get("_id").ok().flatten().map(|key| super::cursor::Exact::of(key).bytes());
            if key.is_none_or(|key| self.keys.insert(key)) {
                self.documents.push(document);
            }
        }
        Ok(())
    }
}

/// Keys that lie evenly between two, where keys grow with time or number.
fn between(first: &RawDocument, last: &RawDocument) -> Option<Vec<Bson>> {
    let key =
        |document: &RawDocument| document.get("_id").ok().flatten().and_then(|key| Bson::try_from(key).ok());
    let at = |from: i64, to: i64, step: u32| {
        from + ((i128::from(to) - i128::from(from)) * i128::from(step) / i128::from(MIDDLE + 1)) as i64
    };
    let steps = 1..=MIDDLE;
    Some(match (key(first)?, key(last)?) {
        (Bson::ObjectId(from), Bson::ObjectId(to)) => {
            // Seconds come first in them, then what differs by process, then a counter.
            let number = |id: ObjectId| {
                let bytes = id.bytes();
                i64::from_be_bytes([0, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6]])
            };
            let id = |number: i64| {
                let mut bytes = [0; 12];
                bytes[..7].copy_from_slice(&number.to_be_bytes()[1..]);
                Bson::ObjectId(ObjectId::from_bytes(bytes))
            };
            steps.map(|step| id(at(number(from), number(to), step))).collect()
        }
        (Bson::Int32(from), Bson::Int32(to)) => {
            steps.map(|step| Bson::Int64(at(i64::from(from), i64::from(to), step))).collect()
        }
        (Bson::Int64(from), Bson::Int64(to)) => steps.map(|step| Bson::Int64(at(from, to, step))).collect(),
        _ => return None,
    })
}

/// The layout that documents show by themselves; `known` says how keys are written, and what is a map.
pub(super) fn learnt(known: &Known, documents: &[RawDocumentBuf]) -> Result<Layout, ConnectorError> {
    let start = Known { columns: Vec::new(), ..known.clone() };
    let mut layout = Layout::new(start);
    let mut at = 0;
    while let Some(document) = documents.get(at) {
        match layout.cells(document) {
            Ok(_) | Err(Refused::Broken(_)) => at += 1,
            Err(Refused::Map(path)) => layout.close(path),
            Err(other) => return Err(other.error()),
        }
    }
    Ok(layout)
}

/// The layout of a collection now: what the sample shows, and what of the known is still there.
pub(super) async fn settled(
    session: &Session,
    collection: &Collection,
    known: &Known,
    sample: &Sample,
) -> Result<Layout, ConnectorError> {
    let before = Layout::new(known.clone());
    if sample.documents.is_empty() {
        // What nothing has is not gone from anything.
        return Ok(before);
    }
    let shown = learnt(known, &sample.documents)?;
    let mut missing = Vec::new();
    let mut still: BTreeMap<String, BTreeSet<Kind>> = BTreeMap::new();
    for column in before.columns().iter().filter(|column| !column.gone) {
        let seen = shown.columns().iter().find(|one| one.name == column.name);
        for kind in &column.kinds {
            if seen.is_some_and(|seen| seen.kinds.contains(kind)) {
                continue;
            }
            if is_askable(&column.name) && !sample.is_whole() {
                missing.push((column.name.clone(), *kind));
            } else if !sample.is_whole() {
                still.entry(column.name.clone()).or_default().insert(*kind);
            }
        }
    }
    for some in missing.chunks(LOOK_FIELDS) {
        look(session, collection, known, some, &mut still).await?;
    }
    Ok(before.settled(&shown, &still))
}

/// Which of these fields some document still has, of these types. Where the server takes too long to
/// tell, they count as there: what is not known to be gone is not reported as gone.
async fn look(
    session: &Session,
    collection: &Collection,
    known: &Known,
    asked: &[(String, Kind)],
    still: &mut BTreeMap<String, BTreeSet<Kind>>,
) -> Result<(), ConnectorError> {
    let mut asked: Vec<&(String, Kind)> = asked.iter().collect();
    while !asked.is_empty() {
        let has = |(path, kind): &&(String, Kind)| {
            doc! { "$eq": [{ "$type": format!("${path}") }, kind.alias()] }
        };
        let any: Vec<Document> = asked.iter().map(has).collect();
        let source = session.collection(&collection.name);
        let found = source.find(doc! { "$expr": { "$or": any } }).limit(LOOK_DOCUMENTS).max_time(LOOK).await;
        let found = match found {
            Ok(cursor) => {
                let mut gathered = Gathered::default();
                gathered.take(cursor, MAX_BYTES).await.map(|()| gathered.documents)
            }
            Err(cause) if error::is_timeout(&cause) => Err(error::server(&cause)),
            Err(cause) => return Err(error::server(&cause)),
        };
        let found = match found {
            Ok(found) => found,
            Err(ConnectorError::Transient { message, .. }) => {
                tracing::warn!(
                    collection = collection.name,
                    "fields that a sample lacks are kept: {message}"
                );
                for (path, kind) in asked {
                    still.entry(path.clone()).or_default().insert(*kind);
                }
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        let shown = learnt(known, &found)?;
        let before = asked.len();
        asked.retain(|(path, kind)| {
            let there = shown.columns().iter().any(|one| one.name == *path && one.kinds.contains(kind));
            if there {
                still.entry(path.clone()).or_default().insert(*kind);
            }
            !there
        });
        if asked.len() == before {
            break;
        }
    }
    Ok(())
}

/// The rows of a sample in a layout, after others; what cannot be read is left out.
pub(super) fn preview(
    layout: &mut Layout,
    sample: &Sample,
    mut rows: Vec<Row>,
) -> Result<RecordBatch, ConnectorError> {
    let key = |row: &Row, layout: &Layout| {
        let cell = row.cells.iter().find(|(place, _)| layout.columns()[*place].name == KEY);
        cell.map(|(_, text)| text.clone())
    };
    let mut seen: HashSet<String> = rows.iter().filter_map(|row| key(row, layout)).collect();
    let mut at = 0;
    while let Some(document) = sample.documents.get(at) {
        match layout.cells(document) {
            Ok(cells) => {
                let row = Row { cells, deleted: false };
                if key(&row, layout).is_none_or(|key| seen.insert(key)) {
                    rows.push(row);
                }
            }
            Err(Refused::Map(path)) => {
                // Places are others now: from the beginning.
                layout.close(path);
                rows.clear();
                seen.clear();
                at = 0;
                continue;
            }
            Err(_) => {}
        }
        at += 1;
    }
    batch(layout, &rows)
}
