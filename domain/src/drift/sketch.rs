//! Deterministic hashing and sampling: the same values give the same sketch on every machine.

/// A 64-bit hash of bytes, the same on every machine and in every version: `wyhash`-like mixing
/// of eight bytes at a time with fixed seeds. Not for secrets.
pub(crate) fn hash64(bytes: &[u8]) -> u64 {
    const P0: u64 = 0xa076_1d64_78bd_642f;
    const P1: u64 = 0xe703_7ed1_a0b4_28db;
    let mut state = P0 ^ (bytes.len() as u64).wrapping_mul(P1);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes([
            chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7],
        ]);
        state = mix(state ^ word, P1);
    }
    let rest = chunks.remainder();
    let mut last = [0_u8; 8];
    last[..rest.len()].copy_from_slice(rest);
    state = mix(state ^ u64::from_le_bytes(last), P0);
    // A final avalanche: the low bits are used for ordering as well as the high ones.
    state ^= state >> 32;
    state = state.wrapping_mul(0xd6e8_feb8_6659_fd93);
    state ^ (state >> 32)
}

fn mix(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ ((product >> 64) as u64) ^ left.rotate_left(23)
}

/// Orders numbered things at random, but the same everywhere.
pub(crate) fn hash_number(number: u64) -> u64 {
    mix(number ^ 0x9e37_79b9_7f4a_7c15, 0xe703_7ed1_a0b4_28db)
}

/// The smallest hashes of a set: an estimate of how many different values there are, and a sample
/// of them that two sets draw alike.
#[derive(Debug, Clone, Default)]
pub(crate) struct MinHashes {
    hashes: std::collections::BTreeSet<u64>,
    /// Hashes above it are of no use once the set is full.
    limit: Option<u64>,
}

impl MinHashes {
    const CAPACITY: usize = 1024;

    pub(crate) fn push(&mut self, hash: u64) {
        if self.limit.is_some_and(|limit| hash >= limit) {
            return;
        }
        if self.hashes.insert(hash) && self.hashes.len() > Self::CAPACITY {
            self.hashes.pop_last();
            self.limit = self.hashes.last().copied();
        }
    }

    /// Exact up to the capacity, within about three per cent beyond.
    pub(crate) fn distinct(&self) -> u64 {
        match (self.limit, self.hashes.last()) {
            (Some(_), Some(last)) => {
                let share = (*last as f64 + 1.0) / (u64::MAX as f64 + 1.0);
                ((Self::CAPACITY - 1) as f64 / share).round() as u64
            }
            _ => self.hashes.len() as u64,
        }
    }

    pub(crate) fn smallest(&self, count: usize) -> Vec<u64> {
        self.hashes.iter().take(count).copied().collect()
    }
}

/// How alike two sets are (shared ÷ all), from their smallest hashes.
pub(crate) fn resemblance(left: &[u64], right: &[u64]) -> f64 {
    let capacity = left.len().max(right.len());
    let union: std::collections::BTreeSet<u64> = left.iter().chain(right).copied().collect();
    let considered: Vec<u64> = union.into_iter().take(capacity).collect();
    if considered.is_empty() {
        return 0.0;
    }
    let shared = considered
        .iter()
        .filter(|hash| left.binary_search(hash).is_ok() && right.binary_search(hash).is_ok())
        .count();
    shared as f64 / considered.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_same_in_every_build() {
        assert_eq!(hash64(b""), hash64(b""));
        assert_ne!(hash64(b"a"), hash64(b"b"));
        assert_ne!(hash64(b"a\0"), hash64(b"a"));
        assert_ne!(hash64(b"12345678"), hash64(b"12345678\0"));
    }

    #[test]
    fn counts_different_values_within_a_few_per_cent() {
        for count in [1_u64, 500, 1024, 20_000, 200_000] {
            let mut hashes = MinHashes::default();
            for round in 0..2 {
                for number in 0..count {
                    hashes.push(hash64(format!("value {number}").as_bytes()));
                }
                let _ = round;
            }
            let error = (hashes.distinct() as f64 - count as f64).abs() / count as f64;
            assert!(error < 0.08, "{count}: {}", hashes.distinct());
        }
    }

    #[test]
    fn keyed_orderings_are_even() {
        let below = (0..10_000_u64).filter(|number| hash_number(*number) < u64::MAX / 2).count();
        assert!((4_700..5_300).contains(&below), "{below}");
        let below =
            (0..10_000_u64).filter(|number| hash64(number.to_string().as_bytes()) < u64::MAX / 2).count();
        assert!((4_700..5_300).contains(&below), "{below}");
    }
}
