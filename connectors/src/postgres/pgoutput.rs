//! Messages of the `pgoutput` plugin, protocol version 1
//! (<https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>).

use super::error;
use crate::error::ConnectorError;

/// One message, as far as it is of use here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// `commit`: where the transaction's commit stands.
    Begin {
        commit: u64,
    },
    /// `end`: just after the commit.
    Commit {
        end: u64,
    },
    Relation(Relation),
    Insert {
        table: u32,
        row: Tuple,
    },
    /// `old`: the key as it was, if it changed, or the whole row under `REPLICA IDENTITY FULL`.
    Update {
        table: u32,
        old: Option<Tuple>,
        row: Tuple,
    },
    Delete {
        table: u32,
        old: Tuple,
    },
    Truncate {
        tables: Vec<u32>,
    },
    /// Types, origins and messages of programs.
    Other,
}

/// A table as it was when the changes that follow were made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) table: u32,
    pub(super) columns: Vec<RelationColumn>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct RelationColumn {
    pub(super) name: String,
    pub(super) oid: u32,
    /// Part of what rows are told apart by.
    pub(super) key: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    /// A large value that the update did not touch: it is not in the log.
    Unchanged,
    Text(String),
}

pub(super) type Tuple = Vec<Cell>;

pub(super) fn decode(bytes: &[u8]) -> Result<Message, ConnectorError> {
    let mut reader = Reader(bytes);
    reader.message().ok_or_else(|| {
        let kind = bytes.first().map_or(' ', |kind| char::from(*kind));
        error::unreadable(format!("a change message `{kind}` of {} bytes cannot be read", bytes.len()))
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn message(&mut self) -> Option<Message> {
        Some(match self.byte()? {
            b'B' => Message::Begin { commit: self.long()? },
            b'C' => {
                self.take(1 + 8)?;
                Message::Commit { end: self.long()? }
            }
            b'R' => Message::Relation(self.relation()?),
            b'I' => {
                let table = self.int()?;
                self.byte().filter(|kind| *kind == b'N')?;
                Message::Insert { table, row: self.tuple()? }
            }
            b'U' => {
                let table = self.int()?;
                let old = match self.byte()? {
                    b'K' | b'O' => {
                        let old = self.tuple()?;
                        self.byte().filter(|kind| *kind == b'N')?;
                        Some(old)
                    }
                    b'N' => None,
                    _ => return None,
                };
                Message::Update { table, old, row: self.tuple()? }
            }
            b'D' => {
                let table = self.int()?;
                self.byte().filter(|kind| matches!(kind, b'K' | b'O'))?;
                Message::Delete { table, old: self.tuple()? }
            }
            b'T' => {
                let count = self.int()?;
                self.byte()?;
                Message::Truncate { tables: (0..count).map(|_| self.int()).collect::<Option<_>>()? }
            }
            _ => Message::Other,
        })
    }

    fn relation(&mut self) -> Option<Relation> {
        let table = self.int()?;
        self.text()?;
        self.text()?;
        self.byte()?;
        let count = self.short()?;
        let columns = (0..count).map(|_| {
            let key = self.byte()? & 1 == 1;
            let name = self.text()?;
            let oid = self.int()?;
            self.int()?;
            Some(RelationColumn { name, oid, key })
        });
        Some(Relation { table, columns: columns.collect::<Option<_>>()? })
    }

    fn tuple(&mut self) -> Option<Tuple> {
        let count = self.short()?;
        let cell = |_| {
            Some(match self.byte()? {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b't' => {
                    let length = self.int()? as usize;
                    Cell::Text(std::str::from_utf8(self.take(length)?).ok()?.to_owned())
                }
                _ => return None,
            })
        };
        (0..count).map(cell).collect()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn int(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A text up to its zero byte.
    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(self.take(end)?).ok()?.to_owned();
        self.byte()?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update() -> Vec<u8> {
        let mut bytes = b"U\x00\x00\x00\x07K\x00\x02t\x00\x00\x00\x011n".to_vec();
        bytes.extend(b"N\x00\x02t\x00\x00\x00\x012u");
        bytes
    }

    #[test]
    fn an_update_of_the_key_has_both_rows() {
        let text = |text: &str| Cell::Text(text.to_owned());
        let expect = Message::Update {
            table: 7,
            old: Some(vec![text("1"), Cell::Null]),
            row: vec![text("2"), Cell::Unchanged],
        };
        assert_eq!(decode(&update()).expect("readable"), expect);
    }

    #[test]
    fn a_message_that_is_cut_is_refused_wherever_it_is_cut() {
        let whole = update();
        for end in 0..whole.len() {
            let error = decode(&whole[..end]).expect_err("cut");
            assert_eq!(error.code(), "AOS-0277", "cut at {end}");
        }
        assert_eq!(decode(b"M\x01\x02").expect("of no use here"), Message::Other);
    }
}
