//! Brings the rows of batches into temporary tables, one per feed of a run, each row with its
//! record's id. A run is a stretch of commits applied together; it ends where two of them would
//! touch the same record, so that every version comes out as if each commit had been applied alone.

use super::{
    commit::BatchBody,
    sql::{Db, Result},
    state::{Feed as FeedState, State},
};
use crate::error::ProjectionError;
use arrow::{array::AsArray, compute::filter, ipc::reader::StreamReader};
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Int8Array, Int32Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow_schema::{DataType, Field, Schema};
use autonomos_domain::{
    aggregates::feed::{BatchHeader, RejectedRecord},
    ids::{FeedId, source_record_id},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
};
use uuid::Uuid;

/// Column by which a source says that a record is gone.
const OPERATION: &str = "_aos_op";
/// Rows of a commit fit in the lower bits of a record's order of appearance.
pub(super) const ROW_BITS: u32 = 20;

/// A batch whose records are known, not staged yet.
pub(super) struct Decoded {
    schema_version: u32,
    number: i64,
    /// Rows that count: of a key that occurs more than once, the last.
    rows: RecordBatch,
    row: Vec<i32>,
    sid: Vec<Uuid>,
    key: Vec<String>,
    deleted: Vec<i8>,
    pub(super) keyed: bool,
    pub(super) columns: Vec<String>,
    /// Of each column, whether none of its values is empty or has white space around it.
    clean: Vec<bool>,
    /// Rows of the batch, replaced ones included.
    pub(super) source_rows: usize,
}

impl Decoded {
    pub(super) fn rows(&self) -> usize {
        self.sid.len()
    }
}

/// A feed's part of a run: its temporary table and what holds for all rows in it.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    pub(super) feed: usize,
    pub(super) schema_version: u32,
    pub(super) columns: Vec<String>,
    /// Of each column, whether none of its values is empty or has white space around it.
    pub(super) clean: Vec<bool>,
    pub(super) keyed: bool,
    pub(super) table: String,
    pub(super) rows: usize,
    /// Sequences of its first and last commit.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Whether a row says that its record is gone.
    pub(super) deletes: bool,
}

/// Commits gathered to be applied together.
#[derive(Default)]
pub(super) struct Run {
    pub(super) feeds: BTreeMap<usize, Staged>,
    /// Batches with the sequence of their commit and their feed, until [`Run::load`].
    batches: Vec<(i64, usize, Decoded)>,
    sids: HashSet<Uuid>,
    /// Sequence of each commit, in order.
    pub(super) commits: Vec<i64>,
    pub(super) rows: usize,
    /// What else its commits say: their times, and rows their connector could not read.
    pub(super) times: Vec<(i64, i64)>,
    pub(super) rejected: Vec<(i64, usize, Vec<RejectedRecord>)>,
    /// Its temporary tables are filled outside of any transaction.
    pub(super) apart: bool,
    /// Feeds that have theirs.
    tables: BTreeSet<usize>,
}

/// Reads the rows of one `RecordsIngested`, if it has any. `offset` is the number of rows before it
/// in its commit.
pub(super) fn decode(
    id: FeedId,
    header: &BatchHeader,
    number: u64,
    body: &BatchBody,
    offset: usize,
) -> Result<Option<Decoded>> {
    let batches = match body {
        BatchBody::None => return Ok(None),
        BatchBody::Rows(rows) => vec![rows.clone()],
        BatchBody::Ipc(bytes) => {
            let reader = StreamReader::try_new(bytes.as_ref(), None).map_err(unreadable)?;
            reader.collect::<std::result::Result<Vec<_>, _>>().map_err(unreadable)?
        }
    };
    let batch = match batches.len() {
        0 | 1 => batches.into_iter().next(),
        _ => {
            let schema = batches[0].schema();
            Some(arrow::compute::concat_batches(&schema, &batches).map_err(unreadable)?)
        }
    };
    let Some(batch) = batch.filter(|batch| batch.num_rows() > 0) else { return Ok(None) };
    if offset + batch.num_rows() > 1 << ROW_BITS {
        return Err(ProjectionError::Payload(format!("a commit has more than {} rows", 1_u32 << ROW_BITS)));
    }
    decode_rows(id, header, number, &batch, offset).map(Some)
}

fn unreadable(error: arrow::error::ArrowError) -> ProjectionError {
    ProjectionError::Payload(format!("the rows of a batch: {error}"))
}

fn decode_rows(
    id: FeedId,
    header: &BatchHeader,
    number: u64,
    batch: &RecordBatch,
    offset: usize,
) -> Result<Decoded> {
    let mut columns = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    let mut operation: Option<StringArray> = None;
    let mut known = HashSet::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let array = match array.data_type() {
            DataType::Utf8 => array.clone(),
            _ => arrow_cast::cast(array, &DataType::Utf8).map_err(unreadable)?,
        };
        if field.name() == OPERATION {
            operation = Some(array.as_string::<i32>().clone());
        } else if known.insert(field.name().clone()) {
            columns.push(field.name().clone());
            arrays.push(array);
        }
    }
    let texts: Vec<&StringArray> = arrays.iter().map(arrow_array::cast::AsArray::as_string::<i32>).collect();
    let clean = texts.iter().map(|text| is_clean(text)).collect();
    let keyed = !header.key.is_empty();
    let count = batch.num_rows();
    let mut keys = Vec::with_capacity(count);
    if keyed {
        let parts: Vec<Option<&StringArray>> = header
            .key
            .iter()
            .map(|name| columns.iter().position(|column| column == name).map(|index| texts[index]))
            .collect();
        for row in 0..count {
            let mut key = String::new();
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    key.push('\u{1f}');
                }
                match part {
                    Some(text) if text.is_valid(row) => key.push_str(text.value(row)),
                    _ => key.push('\0'),
                }
            }
            keys.push(key);
        }
    } else {
        // Columns by name, so that their order does not matter.
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by(|&left, &right| columns[left].cmp(&columns[right]));
        for row in 0..count {
            let mut hasher = blake3::Hasher::new();
            for &index in &order {
                if texts[index].is_valid(row) {
                    let value = texts[index].value(row);
                    hasher.update(&(columns[index].len() as u64).to_le_bytes());
                    hasher.update(columns[index].as_bytes());
                    hasher.update(&(value.len() as u64).to_le_bytes());
                    hasher.update(value.as_bytes());
                }
            }
            keys.push(hasher.finalize().to_hex().to_string());
        }
    }
    let deleted: Vec<i8> = (0..count)
        .map(|row| {
            let said = operation.as_ref().filter(|said| said.is_valid(row)).map(|said| said.value(row));
            i8::from(said == Some("delete"))
        })
        .collect();
    let sid: Vec<Uuid> = keys.iter().map(|key| source_record_id(id, key)).collect();
    let mut decoded = Decoded {
        schema_version: header.schema_version,
        number: number as i64,
        rows: RecordBatch::try_new(
            Arc::new(Schema::new(
                (0..arrays.len())
                    .map(|index| Field::new(format!("c{index}"), DataType::Utf8, true))
                    .collect::<Vec<_>>(),
            )),
            arrays,
        )
        .map_err(unreadable)?,
        row: (0..count).map(|row| (offset + row) as i32).collect(),
        sid,
        key: keys,
        deleted,
        keyed,
        columns,
        clean,
        source_rows: count,
    };
    if keyed {
        keep_last(&mut decoded)?;
    }
    Ok(decoded)
}

/// Whether trimming would leave every value as it is. The same white space as where values are read.
fn is_clean(text: &StringArray) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    text.iter().flatten().all(|value| {
        let bytes = value.as_bytes();
        !edge(bytes.first()) && !edge(bytes.last())
    })
}

/// Of several rows of one key, the last counts.
fn keep_last(decoded: &mut Decoded) -> Result<()> {
    let mut last: HashMap<Uuid, usize> = HashMap::with_capacity(decoded.sid.len());
    for (row, sid) in decoded.sid.iter().enumerate() {
        last.insert(*sid, row);
    }
    if last.len() == decoded.sid.len() {
        return Ok(());
    }
    let keep: Vec<bool> = decoded.sid.iter().enumerate().map(|(row, sid)| last[sid] == row).collect();
    let mask = BooleanArray::from(keep.clone());
    let columns = decoded.rows.columns().iter().map(|column| filter(column, &mask));
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>().map_err(unreadable)?;
    decoded.rows = RecordBatch::try_new(decoded.rows.schema(), columns).map_err(unreadable)?;
    retain(&mut decoded.row, &keep);
    retain(&mut decoded.sid, &keep);
    retain(&mut decoded.key, &keep);
    retain(&mut decoded.deleted, &keep);
    Ok(())
}

fn retain<T>(values: &mut Vec<T>, keep: &[bool]) {
    let mut index = 0;
    values.retain(|_| {
        index += 1;
        keep[index - 1]
    });
}

impl Run {
    /// Whether the batch can join: same layout as the feed's others, no record touched by another
    /// commit. Rows without a key are told apart by counting, so they never clash in a snapshot.
    pub(super) fn accepts(&self, feed: usize, batch: &Decoded, counting: bool) -> bool {
        let same_layout = self.feeds.get(&feed).is_none_or(|staged| {
            staged.schema_version == batch.schema_version
                && staged.columns == batch.columns
                && staged.keyed == batch.keyed
        });
        same_layout && (counting || batch.sid.iter().all(|sid| !self.sids.contains(sid)))
    }

    /// Adds a batch of the commit `seq`.
    pub(super) fn stage(&mut self, feed: &FeedState, seq: i64, index: usize, batch: Decoded) {
        let staged = match self.feeds.entry(index) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let table = format!("s_{}", feed.number);
                entry.insert(Staged {
                    feed: index,
                    schema_version: batch.schema_version,
                    columns: batch.columns.clone(),
                    clean: batch.clean.clone(),
                    keyed: batch.keyed,
                    table,
                    rows: 0,
                    first: seq,
                    last: seq,
                    deletes: false,
                })
            }
        };
        if self.commits.last() != Some(&seq) {
            self.commits.push(seq);
        }
        staged.rows += batch.rows();
        staged.last = seq;
        for (all, clean) in staged.clean.iter_mut().zip(&batch.clean) {
            *all &= clean;
        }
        staged.deletes |= batch.deleted.contains(&1);
        self.rows += batch.rows();
        self.sids.extend(batch.sid.iter().copied());
        self.batches.push((seq, index, batch));
    }

    /// Brings the batches gathered so far into their feeds' temporary tables.
    pub(super) fn load(&mut self, db: Db<'_>, state: &mut State) -> Result<()> {
        for staged in self.feeds.values() {
            if !self.tables.insert(staged.feed) {
                continue;
            }
            state.prepare_columns(db, staged.feed, &staged.columns)?;
            let feed = &state.feeds[staged.feed];
            let mut definition = format!(
                "CREATE OR REPLACE TEMP TABLE {}(_seq BIGINT, _row INTEGER, _sid UUID, _key VARCHAR, _b BIGINT, _op TINYINT",
                staged.table
            );
            for name in &staged.columns {
                let physical = feed.column(name).unwrap_or_default();
                let _ = write!(definition, ", {physical} VARCHAR");
            }
            definition.push(')');
            db.batch(&definition)?;
        }
        for (seq, index, batch) in std::mem::take(&mut self.batches) {
            if let Some(staged) = self.feeds.get(&index) {
                append(db, &staged.table, seq, batch)?;
            }
        }
        Ok(())
    }
}

fn append(db: Db<'_>, table: &str, seq: i64, batch: Decoded) -> Result<()> {
    let count = batch.rows();
    let bytes: Vec<u8> = batch.sid.iter().flat_map(|sid| *sid.as_bytes()).collect();
    let sids = FixedSizeBinaryArray::try_new(16, bytes.into(), None).map_err(unreadable)?;
    let mut fields = vec![
        Field::new("_seq", DataType::Int64, false),
        Field::new("_row", DataType::Int32, false),
        uuid_field("_sid"),
        Field::new("_key", DataType::Utf8, false),
        Field::new("_b", DataType::Int64, false),
        Field::new("_op", DataType::Int8, false),
    ];
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_value(seq, count)),
        Arc::new(Int32Array::from(batch.row)),
        Arc::new(sids),
        Arc::new(StringArray::from_iter_values(batch.key.iter())),
        Arc::new(Int64Array::from_value(batch.number, count)),
        Arc::new(Int8Array::from(batch.deleted)),
    ];
    fields.extend(batch.rows.schema().fields().iter().map(|field| field.as_ref().clone()));
    arrays.extend(batch.rows.columns().iter().cloned());
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(unreadable)?;
    let mut appender = db.connection.appender_to_catalog_and_db(table, "temp", "main")?;
    appender.append_record_batch(rows)?;
    appender.flush()?;
    Ok(())
}

fn uuid_field(name: &str) -> Field {
    let kind = HashMap::from([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())]);
    Field::new(name, DataType::FixedSizeBinary(16), false).with_metadata(kind)
}

/// A version 5 id in SQL, as [`source_record_id`] makes it.
pub(super) fn record_id_sql(feed: FeedId, key: &str) -> String {
    let hash = format!("sha1(unhex('{}') || encode({key}))", feed.0.simple());
    format!(
        "(SELECT CAST(substr(h, 1, 12) || '5' || substr(h, 14, 3) || substr('89ab89ab89ab89ab', \
         strpos('0123456789abcdef', substr(h, 17, 1)), 1) || substr(h, 18, 15) AS UUID) FROM (SELECT {hash} AS h))"
    )
}
