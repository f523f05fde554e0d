//! Hot aggregates: a bounded, sharded cache, so that the usual command costs one append and no read.
//!
//! Each aggregate has a slot with two locks. `queue` is an async lock that one command at a time
//! holds from deciding to the end of its append: commands of one aggregate in this process queue up
//! instead of conflicting in circles, those of different aggregates never meet. How many may wait is
//! bounded by the caller. `hot` guards the entry itself, for nanoseconds and never across an await,
//! so that reading a state does not wait for another reader.

use autonomos_domain::{
    envelope::{AggregateKey, Hash, Position},
    ids::CommandId,
};
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::{Mutex, RwLock};
use std::{
    any::Any,
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

const SHARDS: usize = 64;
/// How long a command id is recognised.
pub(crate) const REMEMBERED: TimeDelta = TimeDelta::hours(24);
/// Commands of one aggregate kept with all that a replay answers; older ones of the day by their id alone.
const RECENT_IN_FULL: usize = 512;

/// A command that was carried out.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) position: Position,
    pub(crate) version: u64,
    pub(crate) request_hash: Option<String>,
}

/// What is known of a command id.
pub(crate) enum Remembered {
    Done(Done),
    /// Carried out earlier today, too long ago to be kept in full: the log knows.
    InLog,
    Unknown,
}

/// The command ids of an aggregate's last 24 hours at least. The last ones are kept whatever their
/// age: a node whose clock is days ahead must not make the others forget what was just carried out.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    done: HashMap<CommandId, Done>,
    order: VecDeque<CommandId>,
    /// Ids only, in two generations of a day each.
    older: HashSet<CommandId>,
    oldest: HashSet<CommandId>,
    turned_at: Option<DateTime<Utc>>,
}

impl Recent {
    pub(crate) fn find(&self, command_id: CommandId) -> Remembered {
        if let Some(done) = self.done.get(&command_id) {
            return Remembered::Done(done.clone());
        }
        if self.older.contains(&command_id) || self.oldest.contains(&command_id) {
            return Remembered::InLog;
        }
        Remembered::Unknown
    }

    pub(crate) fn remember(&mut self, command_id: CommandId, done: Done, at: DateTime<Utc>) {
        self.done.insert(command_id, done);
        self.order.push_back(command_id);
        while self.order.len() > RECENT_IN_FULL
            && let Some(first) = self.order.pop_front()
        {
            self.done.remove(&first);
            self.retire(first, at);
        }
    }

    fn retire(&mut self, command_id: CommandId, at: DateTime<Utc>) {
        let turned_at = *self.turned_at.get_or_insert(at);
        if at - turned_at > REMEMBERED {
            self.oldest = std::mem::take(&mut self.older);
            self.turned_at = Some(at);
        }
        self.older.insert(command_id);
    }
}

/// An aggregate as of its last known commit.
pub(crate) struct Hot {
    pub(crate) state: Arc<dyn Any + Send + Sync>,
    pub(crate) version: u64,
    pub(crate) last_hash: Option<Hash>,
    pub(crate) recent: Recent,
    /// Bytes of the payloads it was made of: what its state may weigh.
    pub(crate) weight: usize,
}

#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) queue: Arc<tokio::sync::Mutex<()>>,
    pub(crate) waiting: AtomicUsize,
    pub(crate) hot: RwLock<Option<Hot>>,
    /// The last version seen in the log: an entry below it is out of date.
    latest: AtomicU64,
    touched: AtomicBool,
    weight: AtomicUsize,
}

impl Slot {
    /// The next who asks reads the log.
    pub(crate) fn forget(&self) {
        *self.hot.write() = None;
    }

    /// Whether another node has appended since this entry was kept.
    pub(crate) fn is_outdated(&self, hot: &Hot) -> bool {
        hot.version < self.latest.load(Ordering::Acquire)
    }
}

#[derive(Default)]
struct Shard {
    slots: HashMap<AggregateKey, Arc<Slot>>,
    /// Order of arrival; a slot touched since gets a second chance.
    clock: VecDeque<AggregateKey>,
    weight: usize,
}

pub(crate) struct Cache {
    shards: Vec<Mutex<Shard>>,
    entries_per_shard: usize,
    bytes_per_shard: usize,
}

impl Cache {
    pub(crate) fn new(entries: usize, bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            entries_per_shard: entries.div_ceil(SHARDS).max(1),
            bytes_per_shard: bytes.div_ceil(SHARDS),
        }
    }

    fn shard(&self, key: &AggregateKey) -> &Mutex<Shard> {
        // Aggregate ids are UUIDs: their bytes spread well as they are.
        let id = key.aggregate_id.as_bytes();
        &self.shards[usize::from(id[15] ^ id[3]) % SHARDS]
    }

    /// The aggregate's slot, made if there is none.
    pub(crate) fn slot(&self, key: &AggregateKey) -> Arc<Slot> {
        let mut shard = self.shard(key).lock();
        if let Some(slot) = shard.slots.get(key) {
            slot.touched.store(true, Ordering::Relaxed);
            return Arc::clone(slot);
        }
        self.evict(&mut shard);
        let slot = Arc::<Slot>::default();
        shard.slots.insert(*key, Arc::clone(&slot));
        shard.clock.push_back(*key);
        slot
    }

    /// Takes note of what the log has of an aggregate; of one that is not here, nothing needs to be known.
    pub(crate) fn seen(&self, key: &AggregateKey, version: u64) {
        if let Some(slot) = self.shard(key).lock().slots.get(key) {
            slot.latest.fetch_max(version, Ordering::AcqRel);
        }
    }

    /// Tells the cache what an aggregate weighs now.
    pub(crate) fn weigh(&self, key: &AggregateKey, slot: &Slot, weight: usize) {
        let mut shard = self.shard(key).lock();
        let before = slot.weight.swap(weight, Ordering::Relaxed);
        shard.weight = shard.weight.saturating_sub(before) + weight;
        if shard.weight > self.bytes_per_shard {
            self.evict(&mut shard);
        }
    }

    /// Drops slots until there is room; those in use stay, those used lately get another turn.
    fn evict(&self, shard: &mut Shard) {
        let mut turns = shard.clock.len() * 2;
        while turns > 0
            && (shard.slots.len() >= self.entries_per_shard || shard.weight > self.bytes_per_shard)
        {
            turns -= 1;
            let Some(key) = shard.clock.pop_front() else { return };
            let Some(slot) = shard.slots.get(&key) else { continue };
            if Arc::strong_count(slot) > 1 || slot.touched.swap(false, Ordering::Relaxed) {
                shard.clock.push_back(key);
                continue;
            }
            shard.weight = shard.weight.saturating_sub(slot.weight.load(Ordering::Relaxed));
            shard.slots.remove(&key);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().slots.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autonomos_domain::{envelope::AggregateType, ids::TenantId};
    use uuid::Uuid;

    fn key() -> AggregateKey {
        AggregateKey {
            tenant: TenantId::random(),
            aggregate_type: AggregateType::Task,
            aggregate_id: Uuid::new_v4(),
        }
    }

    fn done(version: u64) -> Done {
        Done { position: Position { cell: 0, sequence: version }, version, request_hash: None }
    }

    #[test]
    fn the_cache_stays_bounded_and_keeps_what_is_in_use() {
        let cache = Cache::new(SHARDS * 2, usize::MAX);
        let used = key();
        let slot = cache.slot(&used);
        for _ in 0..SHARDS * 20 {
            cache.slot(&key());
        }
        assert!(cache.len() <= SHARDS * 2 + SHARDS);
        assert!(Arc::ptr_eq(&slot, &cache.slot(&used)));
    }

    #[test]
    fn a_heavy_aggregate_pushes_others_out() {
        let cache = Cache::new(1 << 20, SHARDS * 100);
        for _ in 0..SHARDS * 8 {
            let key = key();
            let slot = cache.slot(&key);
            cache.weigh(&key, &slot, 90);
        }
        assert!(cache.len() <= SHARDS * 2);
    }

    #[test]
    fn command_ids_of_a_day_are_recognised_and_older_ones_forgotten() {
        let mut recent = Recent::default();
        let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let ids: Vec<_> = (0..RECENT_IN_FULL as u64 + 10).map(|_| CommandId::random()).collect();
        for (index, id) in ids.iter().enumerate() {
            recent.remember(*id, done(index as u64 + 1), start);
        }
        assert!(matches!(recent.find(ids[0]), Remembered::InLog));
        assert!(matches!(recent.find(*ids.last().unwrap()), Remembered::Done(_)));
        assert!(matches!(recent.find(CommandId::random()), Remembered::Unknown));

        // Whatever the time, the last ones are known; two days later the ones before them are not.
        for days in 1..=3 {
            let later = start + TimeDelta::hours(25 * days);
            recent.remember(CommandId::random(), done(1_000), later);
            assert!(matches!(recent.find(*ids.last().unwrap()), Remembered::Done(_)));
            assert_eq!(matches!(recent.find(ids[0]), Remembered::Unknown), days > 1);
            assert_eq!(recent.order.len(), RECENT_IN_FULL);
        }
    }
}
