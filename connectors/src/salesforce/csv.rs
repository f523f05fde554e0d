//! A job's results as they arrive: CSV cut anywhere.

use csv_core::{ReadRecordResult, Reader};

pub(super) struct Csv {
    reader: Reader,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    filled: usize,
    fields: usize,
}

impl Csv {
    pub(super) fn new() -> Self {
        Self { reader: Reader::new(), bytes: vec![0; 4_096], ends: vec![0; 64], filled: 0, fields: 0 }
    }

    /// The next record in `input`, which is moved past what was read; none when more is needed. An empty
    /// input says that this was all.
    pub(super) fn record(&mut self, input: &mut &[u8]) -> Option<Vec<String>> {
        loop {
            let (result, read, written, ended) =
                self.reader.read_record(input, &mut self.bytes[self.filled..], &mut self.ends[self.fields..]);
            *input = &input[read..];
            self.filled += written;
            self.fields += ended;
            match result {
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return None,
                ReadRecordResult::OutputFull => self.bytes.resize(self.bytes.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => {
                    let mut from = 0;
                    let field = |end: &usize| {
                        let text = String::from_utf8_lossy(&self.bytes[from..*end]).into_owned();
                        from = *end;
                        text
                    };
                    let record = self.ends[..self.fields].iter().map(field).collect();
                    self.filled = 0;
                    self.fields = 0;
                    return Some(record);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_the_same_wherever_the_answer_was_cut() {
        let long = "x".repeat(9_000);
        let text = format!("\"Id\",\"Name\"\n\"1\",\"a \"\"b\"\", \nü\"\r\n\"2\",\"\"\n\"3\",\"{long}\"");
        let expect = [["Id", "Name"], ["1", "a \"b\", \nü"], ["2", ""], ["3", &long]];
        for size in [1, 2, 7, 100, text.len()] {
            let mut csv = Csv::new();
            let mut records = Vec::new();
            for mut chunk in text.as_bytes().chunks(size) {
                while !chunk.is_empty() {
                    records.extend(csv.record(&mut chunk));
                }
            }
            records.extend(csv.record(&mut &[][..]));
            assert_eq!(records, expect, "chunks of {size}");
        }
    }
}
