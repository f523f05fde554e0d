//! Identifiers. Every id is a UUID, opaque outside, and never contains a log position, so that a
//! log can be imported elsewhere without rewriting a single reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// Namespace of every derived (version 5) id of this product.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_2b0e_7a3c_5c58_9b5e_a0c3_1f77_40d1);

macro_rules! uuid_id {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new random id, ordered by time of creation.
            pub fn random() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id that follows from `parts`: the same parts give the same id on every node.
            pub fn derive(parts: &[&str]) -> Self {
                Self(derive(stringify!($name), parts))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )+};
}

uuid_id!(
    /// A customer organisation; the boundary nothing crosses.
    TenantId,
    UserId,
    ApiKeyId,
    SessionId,
    ConnectionId,
    /// One stream of one connection; derived from both.
    FeedId,
    SyncId,
    TaskId,
    DriftId,
    RepairId,
    UploadId,
    SnapshotId,
    ScheduleId,
    /// Names one command; a retry carries the same one.
    CommandId,
    /// Names one log; an import or a restore starts a new one.
    LogId,
);

fn derive(kind: &str, parts: &[&str]) -> Uuid {
    let mut text = String::from(kind);
    for part in parts {
        // The length keeps ("ab","c") and ("a","bc") apart.
        text.push_str(&format!("\u{1f}{}:{part}", part.len()));
    }
    Uuid::new_v5(&NAMESPACE, text.as_bytes())
}

impl TenantId {
    /// The installation's own tenant: it holds what no organisation owns, such as e-mail reservations.
    pub const SYSTEM: Self = Self(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));
}

impl FeedId {
    /// The feed of `stream` of a connection.
    pub fn of(connection: ConnectionId, stream: &str) -> Self {
        Self::derive(&[&connection.to_string(), stream])
    }
}

/// The id of one source record, and of the unified row it founds: UUIDv5 of (feed, key text).
pub fn source_record_id(feed: FeedId, key: &str) -> Uuid {
    Uuid::new_v5(&feed.0, key.as_bytes())
}
