//! Record batches in and out of their stored form: an Arrow IPC stream with zstd buffers.

use arrow::{
    array::{Array, RecordBatch, StringArray},
    ipc::{
        CompressionType,
        writer::{IpcWriteOptions, StreamWriter},
    },
};
use autonomos_domain::drift::profile::TextColumn;
use bytes::Bytes;

/// A sealed body stays below this, so that a commit fits a log that takes 900 kB.
pub(super) const MAX_BODY_BYTES: usize = 860 * 1024;

/// Encodes a batch, in as many parts as its size needs; each part with its first row and rows.
pub(super) fn encode(records: &RecordBatch) -> Result<Vec<(RecordBatch, Bytes)>, String> {
    let bytes = encode_one(records)?;
    if bytes.len() <= MAX_BODY_BYTES || records.num_rows() < 2 {
        return Ok(vec![(records.clone(), bytes)]);
    }
    let half = records.num_rows() / 2;
    let mut parts = encode(&records.slice(0, half))?;
    parts.extend(encode(&records.slice(half, records.num_rows() - half))?);
    Ok(parts)
}

fn encode_one(records: &RecordBatch) -> Result<Bytes, String> {
    let options = IpcWriteOptions::default()
        .try_with_compression(Some(CompressionType::ZSTD))
        .map_err(|error| error.to_string())?;
    let mut buffer = Vec::with_capacity(records.get_array_memory_size() / 4);
    let mut writer = StreamWriter::try_new_with_options(&mut buffer, &records.schema(), options)
        .map_err(|error| error.to_string())?;
    writer.write(records).and_then(|()| writer.finish()).map_err(|error| error.to_string())?;
    drop(writer);
    Ok(Bytes::from(buffer))
}

/// A column of a batch, as drift detection reads it.
pub(super) struct Column<'a>(pub(super) &'a StringArray);

impl TextColumn for Column<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, row: usize) -> Option<&str> {
        (!self.0.is_null(row)).then(|| self.0.value(row))
    }
}

/// The columns of a batch by the given names, in that order; a missing one is all null.
pub(super) fn text_columns(records: &RecordBatch, names: &[String]) -> Vec<StringArray> {
    let column = |name: &String| {
        records
            .column_by_name(name)
            .and_then(|column| column.as_any().downcast_ref::<StringArray>().cloned())
            .unwrap_or_else(|| StringArray::new_null(records.num_rows()))
    };
    names.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::ipc::reader::StreamReader;
    use std::{io::Cursor, sync::Arc};

    fn decode(body: &[u8]) -> RecordBatch {
        let mut reader = StreamReader::try_new(Cursor::new(body), None).expect("an IPC stream");
        reader.next().expect("a batch").expect("readable")
    }

    #[test]
    fn what_is_encoded_comes_back_in_order_and_large_batches_are_split() {
        let noisy: Vec<Option<String>> = (0..40_000_u64)
            .map(|row| (row % 7 != 0).then(|| blake3::hash(&row.to_le_bytes()).to_string()))
            .collect();
        let column = StringArray::from(noisy.clone());
        let records = RecordBatch::try_from_iter([("x", Arc::new(column) as _)]).expect("one column");
        let parts = encode(&records).expect("encodes");
        assert!(parts.len() > 1);
        let mut back = Vec::new();
        for (part, bytes) in &parts {
            assert!(bytes.len() <= MAX_BODY_BYTES);
            let decoded = decode(bytes);
            assert_eq!(&decoded, part);
            back.extend(
                text_columns(&decoded, &["x".to_owned()])[0].iter().map(|value| value.map(str::to_owned)),
            );
        }
        assert_eq!(back, noisy);
    }
}
