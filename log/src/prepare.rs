//! What every adapter does with a commit before it is written.

use crate::{
    codec,
    error::AppendError,
    port::{NewCommit, StoredCommit},
};
use autonomos_domain::envelope::{Hash, Position};

/// Commits from this size on.
const SHARED: usize = 16 * 1024;

/// Checks what a commit says of itself, and gives it its bytes and hash.
pub(crate) fn prepare(
    commit: NewCommit,
    cell: u16,
    limit: usize,
) -> Result<(StoredCommit, Option<Hash>), AppendError> {
    let NewCommit { header, events } = commit;
    let invalid = |reason: &str| Err(AppendError::Invalid(reason.to_owned()));
    if events.is_empty() {
        return invalid("it has no events");
    }
    if header.first_version == 0 {
        return invalid("versions begin at 1");
    }
    let prev_hash = match &header.prev_hash {
        None => None,
        Some(text) => match codec::hash_from_hex(text) {
            Some(hash) => Some(hash),
            None => return invalid("`prev_hash` is not a hash in hex"),
        },
    };
    if prev_hash.is_none() != (header.first_version == 1) {
        return invalid("`prev_hash` belongs to every commit but an aggregate's first");
    }
    let bytes = codec::encode(&header, &events).map_err(|error| AppendError::Invalid(error.to_string()))?;
    if bytes.len() > limit {
        return Err(AppendError::TooLarge { bytes: bytes.len(), limit });
    }
    // What is large is not kept twice: the events become slices of the bytes that are stored.
    let events = if bytes.len() >= SHARED {
        codec::decode_events(&bytes).map_err(|error| AppendError::Invalid(error.to_string()))?
    } else {
        events
    };
    let hash = codec::content_hash(&bytes);
    let stored = StoredCommit {
        position: Position { cell, sequence: 0 },
        header,
        events,
        hash,
        running_hash: [0; 32],
        bytes,
    };
    Ok((stored, prev_hash))
}
