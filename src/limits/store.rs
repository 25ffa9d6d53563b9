//! Where the buckets of one limit are kept. Never holds more keys than it was told to.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use governor::nanos::Nanos;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::state::{InMemoryState, NotKeyed, StateStore};

/// What happens to a key that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// It is not limited.
    LetThrough,
    /// It shares one bucket with all others that found no room.
    ShareOneBucket,
}

/// Buckets by key. The library's own map has no bound, and its length is a walk over every shard.
pub(super) struct BoundedStore {
    buckets: DashMap<u64, InMemoryState>,
    shared: InMemoryState,
    keys: AtomicUsize,
    keys_max: usize,
    when_full: WhenFull,
}

impl BoundedStore {
    pub(super) fn new(keys_max: usize, when_full: WhenFull) -> Self {
        Self { buckets: DashMap::new(), shared: InMemoryState::default(), keys: AtomicUsize::new(0), keys_max, when_full }
    }

    /// Takes room for one key, if there is any left.
    fn reserve(&self) -> bool {
        self.keys.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |keys| (keys < self.keys_max).then_some(keys + 1)).is_ok()
    }
}

impl StateStore for BoundedStore {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(bucket) = self.buckets.get(key) {
            return bucket.measure_and_replace(&NotKeyed::NonKey, decide);
        }
        match self.buckets.entry(*key) {
            Entry::Occupied(entry) => entry.get().measure_and_replace(&NotKeyed::NonKey, decide),
            Entry::Vacant(entry) if self.reserve() => entry.insert(InMemoryState::default()).measure_and_replace(&NotKeyed::NonKey, decide),
            Entry::Vacant(_) => match self.when_full {
                WhenFull::LetThrough => decide(None).map(|(passed, _)| passed),
                WhenFull::ShareOneBucket => self.shared.measure_and_replace(&NotKeyed::NonKey, decide),
            },
        }
    }
}

impl ShrinkableKeyedStateStore<u64> for BoundedStore {
    fn retain_recent(&self, drop_below: Nanos) {
        let mut dropped = 0;
        self.buckets.retain(|_, bucket| {
            let keep = refilled_at(bucket).is_some_and(|at| at > drop_below);
            dropped += usize::from(!keep);
            keep
        });
        self.keys.fetch_sub(dropped, Ordering::Relaxed);
    }

    fn shrink_to_fit(&self) {
        self.buckets.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// When a bucket is full again. Refusing the change is the library's only way to read a bucket.
fn refilled_at(bucket: &InMemoryState) -> Option<Nanos> {
    bucket.measure_and_replace(&NotKeyed::NonKey, Err::<((), Nanos), _>).err().flatten()
}
