//! What a writer knows of the aggregates used last.

use autonomos_domain::envelope::AggregateKey;
use std::collections::HashMap;

/// Aggregates per generation; two generations are kept.
const GENERATION: usize = 32 * 1024;

/// A bounded cache by aggregate: when the young generation is full it becomes the old one.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    young: HashMap<AggregateKey, V>,
    old: HashMap<AggregateKey, V>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<V: Copy> Recent<V> {
    pub(crate) fn get(&self, key: &AggregateKey) -> Option<V> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    pub(crate) fn put(&mut self, key: AggregateKey, value: V) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: &AggregateKey) {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}
