//! Sealing: payloads and bodies are stored encrypted; the keys live outside the log. This module is
//! the port; the key store is in `commands`.

use autonomos_domain::ids::TenantId;
use bytes::Bytes;

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key was destroyed: what it sealed is erased for good.
    #[error("key {key_id} of tenant `{tenant}` was destroyed")]
    Shredded { tenant: TenantId, key_id: u64 },
    #[error("key {key_id} of tenant `{tenant}` is not in the key store")]
    Missing { tenant: TenantId, key_id: u64 },
    #[error("what key {key_id} of tenant `{tenant}` sealed cannot be opened: it was altered")]
    Altered { tenant: TenantId, key_id: u64 },
    #[error("the key store failed: {0}")]
    Store(String),
    /// The database that all nodes share does not answer: worth another try.
    #[error("the key store can't be reached: {0}")]
    Unreachable(String),
}

impl SealError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Shredded { .. } => "AOS-0120",
            Self::Missing { .. } => "AOS-0121",
            Self::Altered { .. } => "AOS-0122",
            Self::Store(_) => "AOS-0123",
            Self::Unreachable(_) => "AOS-0127",
        }
    }
}

/// Opens and seals with a tenant's keys. Blocking, quick once a key is cached.
pub trait KeyRing: Send + Sync + 'static {
    /// The tenant's current payload key; made on first use.
    fn payload_key(&self, tenant: TenantId) -> Result<u64, SealError>;

    /// New keys for batch bodies, wrapped by the tenant's key, durable on return.
    fn batch_keys(&self, tenant: TenantId, count: usize) -> Result<Vec<u64>, SealError>;

    /// XChaCha20-Poly1305 with a random nonce in front; `context` is authenticated, not stored.
    fn seal(&self, tenant: TenantId, key_id: u64, context: &[u8], clear: &[u8]) -> Result<Bytes, SealError>;

    /// The clear bytes. Key 0: the bytes as they are.
    fn open(&self, tenant: TenantId, key_id: u64, context: &[u8], sealed: &[u8]) -> Result<Bytes, SealError>;

    /// Destroys one key, or with `None` all keys of the tenant.
    fn destroy(&self, tenant: TenantId, key_id: Option<u64>) -> Result<(), SealError>;
}

/// What is authenticated with an event's payload or body: it cannot be moved to another aggregate
/// or version. Part 0 is the payload, 1 the body.
pub fn seal_context(aggregate_id: uuid::Uuid, version: u64, part: u8) -> [u8; 25] {
    let mut context = [0_u8; 25];
    context[..16].copy_from_slice(aggregate_id.as_bytes());
    context[16..24].copy_from_slice(&version.to_be_bytes());
    context[24] = part;
    context
}
