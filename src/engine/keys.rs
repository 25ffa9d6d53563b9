//! Idempotency keys of remembered orders: the order a buyer placed under a key, and what that request asked for. Orders
//! without a key cost nothing here. Never forgets by itself: a key goes with its order.

use hashbrown::HashTable;

use super::hash;
use super::orders::{NONE, Orders};
use super::slab::Slab;
use crate::domain::{IdempotencyKey, RequestFingerprint};

/// What only an order with a key has: 24 bytes.
#[derive(Clone, Copy, Debug)]
struct Keyed {
    key: [u8; 16],
    fingerprint: [u8; 8],
}

/// All remembered keys of a partition.
#[derive(Debug)]
pub(super) struct Keys {
    keyed: Slab<Keyed>,
    /// Slots of orders, by buyer and key.
    index: HashTable<u32>,
}

impl Keys {
    pub(super) const fn new() -> Self {
        Self { keyed: Slab::new(), index: HashTable::new() }
    }

    /// The order that buyer placed under that key.
    pub(super) fn find(&self, buyer: u32, key: IdempotencyKey, orders: &Orders) -> Option<u32> {
        let key = key.to_bytes();
        let same = |slot: &u32| {
            let record = orders.get(*slot);
            record.buyer() == buyer && self.keyed.get(record.keyed()).key == key
        };
        self.index.find(hash_of(buyer, key), same).copied()
    }

    /// Stores a key for an order to come; the result goes into the order's record, then [`Keys::index`] is called.
    pub(super) fn store(&mut self, key: IdempotencyKey, fingerprint: RequestFingerprint) -> u32 {
        self.keyed.insert(Keyed { key: key.to_bytes(), fingerprint: fingerprint.0.to_le_bytes() })
    }

    /// Makes an order with a stored key findable by it.
    pub(super) fn index(&mut self, order: u32, orders: &Orders) {
        let keyed = &self.keyed;
        let hash = |order: u32| {
            let record = orders.get(order);
            hash_of(record.buyer(), keyed.get(record.keyed()).key)
        };
        self.index.insert_unique(hash(order), order, |order| hash(*order));
    }

    /// Forgets the key of an order that is still in its slot. Says whether it had one.
    pub(super) fn remove(&mut self, order: u32, orders: &Orders) -> bool {
        let record = orders.get(order);
        if record.keyed() == NONE {
            return false;
        }
        let hash = hash_of(record.buyer(), self.keyed.get(record.keyed()).key);
        if let Ok(entry) = self.index.find_entry(hash, |found| *found == order) {
            entry.remove();
            self.keyed.free(record.keyed());
        }
        true
    }

    /// What the request of an order with a key asked for.
    pub(super) fn fingerprint(&self, order: u32, orders: &Orders) -> RequestFingerprint {
        RequestFingerprint(i64::from_le_bytes(self.keyed.get(orders.get(order).keyed()).fingerprint))
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.keyed.memory_bytes() + self.index.allocation_size()
    }
}

fn hash_of(buyer: u32, key: [u8; 16]) -> u64 {
    let mut bytes = [0; 20];
    bytes[..16].copy_from_slice(&key);
    bytes[16..].copy_from_slice(&buyer.to_le_bytes());
    hash::of_bytes(&bytes)
}
