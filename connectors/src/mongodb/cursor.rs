//! Where a read goes on.

use super::layout::Known;
use crate::error::ConnectorError;
use autonomos_domain::schema::SyncMode;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use mongodb::{
    bson::{RawBsonRef, RawDocumentBuf, Timestamp},
    change_stream::event::ResumeToken,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A value of BSON, exactly as it is: its bytes in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Exact(String);

impl Exact {
    pub(super) fn of(value: RawBsonRef<'_>) -> Self {
        let mut document = RawDocumentBuf::new();
        document.append(mongodb::bson::cstr!("v"), value);
        Self(BASE64.encode(document.as_bytes()))
    }

    /// The bytes, to compare.
    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    /// A document whose one field, `v`, is the value.
    pub(super) fn document(&self) -> Result<RawDocumentBuf, ConnectorError> {
        BASE64
            .decode(&self.0)
            .ok()
            .and_then(|bytes| RawDocumentBuf::from_bytes(bytes).ok())
            .ok_or_else(|| super::error::unreadable("the cursor cannot be read"))
    }

    pub(super) fn value(&self) -> Result<mongodb::bson::Bson, ConnectorError> {
        let document = self.document()?;
        let value = document.get("v").ok().flatten();
        let value = value.and_then(|value| mongodb::bson::Bson::try_from(value).ok());
        value.ok_or_else(|| super::error::unreadable("the cursor cannot be read"))
    }

    pub(super) fn token(token: &ResumeToken) -> Option<Self> {
        let bytes = mongodb::bson::serialize_to_vec(&Token { v: token.clone() }).ok()?;
        Some(Self(BASE64.encode(bytes)))
    }

    pub(super) fn as_token(&self) -> Result<ResumeToken, ConnectorError> {
        let document = self.document()?;
        mongodb::bson::deserialize_from_slice::<Token>(document.as_bytes())
            .map(|token| token.v)
            .map_err(|_| super::error::unreadable("the cursor holds no resume token"))
    }
}

#[derive(Serialize, Deserialize)]
struct Token {
    v: ResumeToken,
}

/// A place in the server's changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// From this operation on: seconds, and its number within the second.
    From(u32, u32),
    /// What follows a resume token.
    After(Exact),
}

impl Place {
    pub(super) const fn from(time: Timestamp) -> Self {
        Self::From(time.time, time.increment)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) mode: SyncMode,
    /// The collection's UUID: another one under the same name is another collection.
    pub(super) collection: Option<String>,
    pub(super) known: Known,
    #[serde(flatten)]
    pub(super) phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub(super) enum Phase {
    /// Documents in the order of `_id`, up to and with `after`; then `next`.
    Snapshot {
        after: Option<Exact>,
        next: Next,
    },
    /// Documents whose cursor field is at least `from`: those that are equal come again, for more of
    /// them may have been written since.
    Incremental {
        field: String,
        from: Option<Exact>,
    },
    /// `at`: the server's clock, in seconds, when the place was written down.
    Changes {
        place: Place,
        at: u32,
    },
    Done,
}

/// What follows a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "then", rename_all = "snake_case")]
pub(super) enum Next {
    Done,
    Changes { place: Place, at: u32 },
    Incremental { field: String, from: Option<Exact> },
}

impl Next {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Done => Phase::Done,
            Self::Changes { place, at } => Phase::Changes { place: place.clone(), at: *at },
            Self::Incremental { field, from } => {
                Phase::Incremental { field: field.clone(), from: from.clone() }
            }
        }
    }
}

impl Cursor {
    /// A cursor of this mode; one that cannot be read is as good as none, and the collection is read anew.
    pub(super) fn of(value: Option<Value>, mode: SyncMode) -> Option<Self> {
        let cursor = serde_json::from_value::<Self>(value?).ok()?;
        (cursor.mode == mode).then_some(cursor)
    }

    pub(super) fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// When a resume token is, where it says so: a token of the server begins with a timestamp, as its keys
/// of indexes do (<https://www.mongodb.com/docs/manual/changeStreams/#resume-tokens>).
pub(super) fn time_of(token: &ResumeToken) -> Option<Timestamp> {
    let bytes = mongodb::bson::serialize_to_vec(&Token { v: token.clone() }).ok()?;
    let document = RawDocumentBuf::from_bytes(bytes).ok()?;
    let data = document.get_document("v").ok()?.get_str("_data").ok()?.to_owned();
    let hex = data.strip_prefix("82")?;
    let time = u32::from_str_radix(hex.get(..8)?, 16).ok()?;
    let increment = u32::from_str_radix(hex.get(8..16)?, 16).ok()?;
    // Anything else that begins like this is of another kind of server.
    (time > 1_000_000_000).then_some(Timestamp { time, increment })
}

/// The lowest bound of an index scan that begins at a key, whatever the key's type.
pub(super) fn bound(after: &Exact) -> Result<mongodb::bson::Document, ConnectorError> {
    Ok(mongodb::bson::doc! { "_id": after.value()? })
}

/// Whether a document has this key, byte for byte.
pub(super) fn is_at(document: &mongodb::bson::RawDocument, after: &Exact) -> bool {
    let key = document.get("_id").ok().flatten();
    key.is_some_and(|key| Exact::of(key) == *after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{Bson, doc, rawdoc};

    fn token(data: &str) -> ResumeToken {
        let document = rawdoc! { "v": { "_data": data } };
        mongodb::bson::deserialize_from_slice::<Token>(document.as_bytes()).expect("a token").v
    }

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let exact = |value: Bson| {
            let document = RawDocumentBuf::try_from(&doc! { "v": value }).expect("a document");
            Exact::of(document.get("v").expect("reads").expect("a value"))
        };
        for value in
            [Bson::from(1_i64), Bson::from(1), Bson::from(1.0), Bson::Null, Bson::from(doc! { "a": 1 })]
        {
            assert_eq!(exact(value.clone()).value().expect("a value"), value);
        }
        assert_ne!(exact(Bson::from(1_i64)), exact(Bson::from(1)));
        let token = token("82656667680000000a2b");
        let place = Place::After(Exact::token(&token).expect("a token"));
        for phase in [
            Phase::Snapshot {
                after: Some(exact(Bson::from(1))),
                next: Next::Changes { place: Place::From(7, 1), at: 7 },
            },
            Phase::Incremental { field: "at".to_owned(), from: Some(exact(Bson::from("x"))) },
            Phase::Changes { place, at: 5 },
            Phase::Done,
        ] {
            let cursor = Cursor { mode: SyncMode::Cdc, collection: None, known: Known::default(), phase };
            assert_eq!(Cursor::of(Some(cursor.value()), SyncMode::Cdc), Some(cursor.clone()));
            assert_eq!(Cursor::of(Some(cursor.value()), SyncMode::Full), None);
        }
        let stored = Exact::token(&token).expect("a token");
        assert_eq!(stored.as_token().expect("a token"), token);
    }

    #[test]
    fn a_token_of_the_server_says_when_it_is() {
        let expect = Timestamp { time: 0x6566_6768, increment: 10 };
        assert_eq!(time_of(&token("82656667680000000a2b")), Some(expect));
        assert_eq!(time_of(&token("82000000107300160000")), None);
        assert_eq!(time_of(&token("38000000107300160000")), None);
        assert_eq!(time_of(&token("82")), None);
    }
}
