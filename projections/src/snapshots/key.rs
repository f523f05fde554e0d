//! Names of snapshots: `views/<log>/v<version>/<tenant>/<sequence>-<hash>.duckdb.zst`, and of cells'
//! manifests `views/<log>/v<version>/cell-<cell>/<sequence>-<hash>.json.zst`. The hash is that of the
//! stored bytes and of the place they belong to: one that was moved does not verify.

use autonomos_domain::{
    envelope::Hash,
    ids::{LogId, TenantId},
};
use object_store::path::Path;

const CONTEXT: &str = "autonomos 2026 snapshot of unified views";

/// What a snapshot is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A tenant's views.
    Tenant(TenantId),
    /// The checkpoint of a cell: see [`super::Manifest`].
    Cell(u16),
}

impl Subject {
    fn folder(self) -> String {
        match self {
            Self::Tenant(tenant) => tenant.to_string(),
            Self::Cell(cell) => format!("cell-{cell}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("cell-") {
            Some(cell) => cell.parse().ok().map(Self::Cell),
            None => text.parse().ok().map(Self::Tenant),
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Tenant(_) => ".duckdb.zst",
            Self::Cell(_) => ".json.zst",
        }
    }
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) subject: Subject,
    /// The last commit of the subject that is in it.
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
}

/// Whose snapshots they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home {
    pub(super) log: LogId,
    pub(super) version: u32,
}

impl Home {
    pub(super) fn path(self) -> Path {
        Path::from(format!("views/{}/v{}", self.log, self.version))
    }

    pub(super) fn folder(self, subject: Subject) -> Path {
        self.path().join(subject.folder())
    }

    pub(super) fn object(self, key: &Key) -> Path {
        // Padded, so that names sort as positions do.
        let name = format!("{:020}-{}{}", key.sequence, hex::encode(key.hash), key.subject.suffix());
        self.folder(key.subject).join(name)
    }

    /// None: it is no snapshot.
    pub(super) fn parse(self, object: &Path) -> Option<Key> {
        let mut parts = object.prefix_match(&self.path())?;
        let subject = Subject::parse(parts.next()?.as_ref())?;
        let name = parts.next()?;
        let (sequence, hash) = name.as_ref().strip_suffix(subject.suffix())?.split_once('-')?;
        let hash = hex::decode(hash).ok()?.try_into().ok()?;
        let key = Key { subject, sequence: sequence.parse().ok()?, hash };
        parts.next().is_none().then_some(key)
    }

    /// The hash of a snapshot's bytes starts with where it belongs.
    pub(super) fn hasher(self, subject: Subject, sequence: u64) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(format!("{}/{sequence}\n", self.folder(subject)).as_bytes());
        hasher
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn names_are_read_as_they_are_written() {
        let home = Home { log: LogId(Uuid::from_u128(1)), version: 3 };
        for subject in [Subject::Tenant(TenantId(Uuid::from_u128(7))), Subject::Cell(4)] {
            let key = Key { subject, sequence: 42, hash: [9; 32] };
            assert_eq!(home.parse(&home.object(&key)), Some(key.clone()));
            let elsewhere = Home { version: 4, ..home };
            assert_eq!(elsewhere.parse(&home.object(&key)), None);
        }
        for name in ["", "x", "cell-4", "cell-4/1-2.json.zst", "cell-4/00-x/y"] {
            assert_eq!(home.parse(&Path::from(format!("{}/{name}", home.path()))), None, "{name}");
        }
    }
}
