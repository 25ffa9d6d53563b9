//! Idempotency keys of one commodity: the order a buyer placed under a key, and what that request asked for. A key outlives what
//! the engine knows of its order. Never reads a clock: whoever asks says what time it is.

use hashbrown::HashTable;

use super::hash;
use super::packed::{pack, unpack};
use super::slab::Slab;
use crate::domain::{Epoch, IdempotencyKey, OrderId, PartitionId, RequestFingerprint, Timestamp, UserId};

/// How long a key is kept after its order has ended, in milliseconds: 24 hours. That of a live order is kept.
pub(super) const KEPT_AFTER_END_MS: i64 = 24 * 60 * 60 * 1_000;

/// `ended_at` of a key whose order is live, or owed money: beyond every time.
const LIVE: u64 = (1 << 48) - 1;

/// A key: 52 bytes.
#[derive(Clone, Copy, Debug)]
struct Keyed {
    key: [u8; 16],
    user: [u8; 8],
    fingerprint: [u8; 8],
    number: [u8; 8],
    placed_at: [u8; 6],
    ended_at: [u8; 6],
}

/// All remembered keys of one commodity, each in a slot.
#[derive(Debug, Default)]
pub(super) struct Keys {
    keyed: Slab<Keyed>,
    /// Slots, by buyer and key.
    index: HashTable<u32>,
}

impl Keys {
    /// Room for so many, so that filling it copies nothing.
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self { keyed: Slab::new(), index: HashTable::with_capacity(keys) }
    }

    /// The slot of that buyer's key, unless the order ended so long ago that the key is free again.
    pub(super) fn find(&self, user: UserId, key: IdempotencyKey, now: Timestamp) -> Option<u32> {
        self.slot(user, key).filter(|slot| !self.is_over(*slot, now))
    }

    /// The slot of that buyer's key, if it is that order's.
    pub(super) fn of_order(&self, user: UserId, key: IdempotencyKey, number: u64) -> Option<u32> {
        self.slot(user, key).filter(|slot| self.number(*slot) == number)
    }

    /// Keeps a key; the same buyer's same key is that of the later order from then on.
    pub(super) fn store(&mut self, user: UserId, key: IdempotencyKey, fingerprint: RequestFingerprint, order: OrderId) -> u32 {
        if let Some(before) = self.slot(user, key) {
            self.remove(before);
        }
        let slot = self.keyed.insert(Keyed {
            key: key.to_bytes(),
            user: user.get().to_le_bytes(),
            fingerprint: fingerprint.0.to_le_bytes(),
            number: super::orders::number_of(order).to_le_bytes(),
            placed_at: pack(order.placed_at().millis() as u64),
            ended_at: pack(LIVE),
        });
        let keyed = &self.keyed;
        self.index.insert_unique(hash_of(keyed.get(slot)), slot, |slot| hash_of(keyed.get(*slot)));
        slot
    }

    /// Notes when the order of a key ended; none = it is live again, or money is owed for it.
    pub(super) fn set_ended(&mut self, slot: u32, at: Option<Timestamp>) {
        self.keyed.get_mut(slot).ended_at = pack(at.map_or(LIVE, |at| at.millis() as u64));
    }

    /// Whether the order of a key is live, or its refund is due.
    pub(super) fn is_live(&self, slot: u32) -> bool {
        unpack(self.keyed.get(slot).ended_at) == LIVE
    }

    /// Whether the key is free again at that time.
    pub(super) fn is_over(&self, slot: u32, now: Timestamp) -> bool {
        let ended_at = unpack(self.keyed.get(slot).ended_at);
        ended_at != LIVE && now.millis() - ended_at as i64 > KEPT_AFTER_END_MS
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, slot: u32) {
        let hash = hash_of(self.keyed.get(slot));
        if let Ok(entry) = self.index.find_entry(hash, |found| *found == slot) {
            entry.remove();
            self.keyed.free(slot);
        }
    }

    /// Whether that slot has the key of that order.
    pub(super) fn is_of(&self, slot: u32, number: u64) -> bool {
        let Some(keyed) = self.keyed.try_get(slot) else { return false };
        u64::from_le_bytes(keyed.number) == number && self.index.find(hash_of(keyed), |found| *found == slot).is_some()
    }

    /// The order's number (see [`super::orders::number_of`]).
    pub(super) fn number(&self, slot: u32) -> u64 {
        u64::from_le_bytes(self.keyed.get(slot).number)
    }

    /// The order's id.
    pub(super) fn order(&self, slot: u32, partition: PartitionId) -> OrderId {
        let (number, placed_at) = (self.number(slot), unpack(self.keyed.get(slot).placed_at));
        let epoch = Epoch::new((number >> 36) as u32).expect("packed from an epoch");
        let placed_at = Timestamp::from_millis(placed_at as i64).expect("packed from a timestamp");
        OrderId::new(placed_at, partition, epoch, number & OrderId::NUMBER_MAX)
    }

    /// What the request asked for.
    pub(super) fn fingerprint(&self, slot: u32) -> RequestFingerprint {
        RequestFingerprint(i64::from_le_bytes(self.keyed.get(slot).fingerprint))
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.keyed.memory_bytes() + self.index.allocation_size()
    }

    /// The slot of that buyer's key, free again or not.
    pub(super) fn slot(&self, user: UserId, key: IdempotencyKey) -> Option<u32> {
        let (user, key) = (user.get().to_le_bytes(), key.to_bytes());
        let same = |slot: &u32| {
            let keyed = self.keyed.get(*slot);
            keyed.key == key && keyed.user == user
        };
        self.index.find(hash_of_pair(user, key), same).copied()
    }
}

fn hash_of(keyed: &Keyed) -> u64 {
    hash_of_pair(keyed.user, keyed.key)
}

fn hash_of_pair(user: [u8; 8], key: [u8; 16]) -> u64 {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&key);
    bytes[16..].copy_from_slice(&user);
    hash::of_bytes(&bytes)
}
