//! Idempotency keys of one commodity: the order a buyer placed under a key, and what that request asked for. A key outlives what
//! the engine knows of its order. Never reads a clock: whoever asks says what time it is.

use hashbrown::HashTable;

use super::hash;
use super::packed::{pack, unpack};
use super::slab::Slab;
use crate::domain::{Epoch, IdempotencyKey, OrderId, PartitionId, PrincipalKey, RequestFingerprint, Timestamp};

/// How long a key is kept after its order has ended, in milliseconds: 24 hours. That of a live order is kept.
pub(super) const KEPT_AFTER_END_MS: i64 = 24 * 60 * 60 * 1_000;

/// `ended_at` of a key whose order is live, or owed money: beyond every time.
const LIVE: u64 = (1 << 48) - 1;

/// A key: 52 bytes.
#[derive(Clone, Copy, Debug)]
struct Keyed {
    key: [u8; 16],
    /// The lower half of the buyer's own key: [`IdempotencyKey`] says why that is enough beside this one.
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
    pub(super) fn find(&self, user: PrincipalKey, key: IdempotencyKey, now: Timestamp) -> Option<u32> {
        self.slot(user, key).filter(|slot| !self.is_over(*slot, now))
    }

    /// The slot of that buyer's key, if it is that order's.
    pub(super) fn of_order(&self, user: PrincipalKey, key: IdempotencyKey, number: u64) -> Option<u32> {
        self.slot(user, key).filter(|slot| self.number(*slot) == number)
    }

    /// Keeps a key; the same buyer's same key is that of the later order from then on.
    pub(super) fn store(&mut self, user: PrincipalKey, key: IdempotencyKey, fingerprint: RequestFingerprint, order: OrderId) -> u32 {
        if let Some(before) = self.slot(user, key) {
            self.remove(before);
        }
        let slot = self.keyed.insert(Keyed {
            key: key.to_bytes(),
            user: user.halves().1.to_le_bytes(),
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
    pub(super) fn slot(&self, user: PrincipalKey, key: IdempotencyKey) -> Option<u32> {
        let (user, key) = (user.halves().1.to_le_bytes(), key.to_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::orders::number_of;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn user(id: i64) -> PrincipalKey {
        crate::domain::UserId::new(id).unwrap().into()
    }

    fn partition() -> PartitionId {
        PartitionId::new(4095).unwrap()
    }

    fn order(number: u64) -> OrderId {
        OrderId::new(Timestamp::MAX, partition(), Epoch::MAX, number)
    }

    const KEY: IdempotencyKey = IdempotencyKey::from_bytes([255; 16]);

    #[test]
    fn a_key_takes_52_bytes() {
        assert_eq!(size_of::<Keyed>(), 52);
    }

    #[test]
    fn the_widest_values_survive_packing() {
        let mut keys = Keys::default();
        let widest = order(OrderId::NUMBER_MAX);
        let slot = keys.store(user(i64::MAX), KEY, RequestFingerprint(i64::MIN), widest);
        assert_eq!((keys.order(slot, partition()), keys.fingerprint(slot)), (widest, RequestFingerprint(i64::MIN)));
        assert_eq!((keys.number(slot), keys.is_live(slot)), (number_of(widest), true));
        keys.set_ended(slot, Some(Timestamp::MAX));
        assert!(!keys.is_live(slot) && !keys.is_over(slot, Timestamp::MAX), "the last of all times is a time");
        keys.set_ended(slot, None);
        assert!(keys.is_live(slot));
    }

    #[test]
    fn a_key_is_over_a_day_after_its_order_ended_and_not_before() {
        let mut keys = Keys::default();
        let slot = keys.store(user(7), KEY, RequestFingerprint(0), order(1));
        assert!(!keys.is_over(slot, Timestamp::MAX));
        keys.set_ended(slot, Some(at(5)));
        let day = 5 + KEPT_AFTER_END_MS;
        assert_eq!((keys.find(user(7), KEY, at(day)), keys.find(user(7), KEY, at(day + 1))), (Some(slot), None));
        assert!(!keys.is_over(slot, at(0)), "a clock that went back");
        assert_eq!((keys.slot(user(7), KEY), keys.slot(user(8), KEY)), (Some(slot), None));
    }

    #[test]
    fn a_key_that_was_stored_again_is_the_later_orders_and_its_slot_too() {
        let mut keys = Keys::default();
        let first = keys.store(user(7), KEY, RequestFingerprint(0), order(1));
        let later = keys.store(user(7), KEY, RequestFingerprint(1), order(2));
        assert_eq!(first, later, "the room is used again");
        assert_eq!((keys.is_of(later, number_of(order(1))), keys.is_of(later, number_of(order(2)))), (false, true));
        assert_eq!(keys.of_order(user(7), KEY, number_of(order(1))), None);
        keys.remove(later);
        keys.remove(later);
        assert_eq!((keys.is_of(later, number_of(order(2))), keys.slot(user(7), KEY), keys.is_of(9, 0)), (false, None, false));
    }
}
