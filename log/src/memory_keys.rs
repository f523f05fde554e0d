//! A key ring for tests of whatever sits on the log.

use crate::seal::{KeyRing, SealError};
use autonomos_domain::ids::TenantId;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};

/// A key ring for tests that keeps its keys in memory. It hides nothing from anyone who looks: the
/// key stream is derived from the key's number; but it tells altered, moved and shredded apart.
#[derive(Debug, Default)]
pub struct MemoryKeys {
    state: Mutex<MemoryKeysState>,
}

#[derive(Debug, Default)]
struct MemoryKeysState {
    last: u64,
    payload: HashMap<TenantId, u64>,
    live: HashSet<(TenantId, u64)>,
}

impl MemoryKeysState {
    fn add(&mut self, tenant: TenantId) -> u64 {
        self.last += 1;
        self.live.insert((tenant, self.last));
        self.last
    }
}

impl MemoryKeys {
    fn hasher(tenant: TenantId, key_id: u64, context: &[u8]) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new();
        hasher.update(tenant.0.as_bytes()).update(&key_id.to_le_bytes()).update(context);
        hasher
    }

    fn check(&self, tenant: TenantId, key_id: u64) -> Result<(), SealError> {
        let state = self.state.lock();
        if state.live.contains(&(tenant, key_id)) {
            Ok(())
        } else if key_id <= state.last {
            Err(SealError::Shredded { tenant, key_id })
        } else {
            Err(SealError::Missing { tenant, key_id })
        }
    }

    fn mask(tenant: TenantId, key_id: u64, context: &[u8], bytes: &mut [u8]) {
        let mut stream = vec![0; bytes.len()];
        Self::hasher(tenant, key_id, context).finalize_xof().fill(&mut stream);
        for (byte, mask) in bytes.iter_mut().zip(stream) {
            *byte ^= mask;
        }
    }

    fn tag(tenant: TenantId, key_id: u64, context: &[u8], clear: &[u8]) -> [u8; 16] {
        let hash = Self::hasher(tenant, key_id, context).update(clear).finalize();
        let mut tag = [0; 16];
        tag.copy_from_slice(&hash.as_bytes()[..16]);
        tag
    }
}

impl KeyRing for MemoryKeys {
    fn payload_key(&self, tenant: TenantId) -> Result<u64, SealError> {
        let mut state = self.state.lock();
        if let Some(key_id) = state.payload.get(&tenant) {
            return Ok(*key_id);
        }
        let key_id = state.add(tenant);
        state.payload.insert(tenant, key_id);
        Ok(key_id)
    }

    fn batch_keys(&self, tenant: TenantId, count: usize) -> Result<Vec<u64>, SealError> {
        let mut state = self.state.lock();
        Ok((0..count).map(|_| state.add(tenant)).collect())
    }

    fn seal(&self, tenant: TenantId, key_id: u64, context: &[u8], clear: &[u8]) -> Result<Bytes, SealError> {
        self.check(tenant, key_id)?;
        let mut sealed = clear.to_vec();
        Self::mask(tenant, key_id, context, &mut sealed);
        sealed.extend_from_slice(&Self::tag(tenant, key_id, context, clear));
        Ok(sealed.into())
    }

    fn open(&self, tenant: TenantId, key_id: u64, context: &[u8], sealed: &[u8]) -> Result<Bytes, SealError> {
        if key_id == 0 {
            return Ok(Bytes::copy_from_slice(sealed));
        }
        self.check(tenant, key_id)?;
        let altered = SealError::Altered { tenant, key_id };
        let Some((masked, tag)) = sealed.split_last_chunk::<16>() else {
            return Err(altered);
        };
        let mut clear = masked.to_vec();
        Self::mask(tenant, key_id, context, &mut clear);
        if Self::tag(tenant, key_id, context, &clear) == *tag { Ok(clear.into()) } else { Err(altered) }
    }

    fn destroy(&self, tenant: TenantId, key_id: Option<u64>) -> Result<(), SealError> {
        let mut state = self.state.lock();
        state.live.retain(|(owner, live)| *owner != tenant || key_id.is_some_and(|key_id| key_id != *live));
        if key_id.is_none() {
            state.payload.remove(&tenant);
        }
        Ok(())
    }
}
