//! Who has how many live units of what: the count behind `limit_per_user`. One entry per commodity and user with
//! remembered orders. Never knows a limit.

use hashbrown::HashTable;

use super::hash;
use super::slab::Slab;
use crate::domain::UserId;

/// A user as the buyer of one commodity: 20 bytes.
#[derive(Clone, Copy, Debug)]
struct Buyer {
    user: [u8; 8],
    commodity: u32,
    units: u32,
    orders: u32,
}

impl Buyer {
    fn hash(&self) -> u64 {
        hash_of(self.commodity, self.user)
    }
}

/// All buyers of a partition.
#[derive(Debug)]
pub(super) struct Buyers {
    buyers: Slab<Buyer>,
    index: HashTable<u32>,
}

impl Buyers {
    pub(super) const fn new() -> Self {
        Self { buyers: Slab::new(), index: HashTable::new() }
    }

    /// The slot of a user's entry for the commodity in that slot.
    pub(super) fn find(&self, commodity: u32, user: UserId) -> Option<u32> {
        let user = user.get().to_le_bytes();
        let same = |slot: &u32| {
            let buyer = self.buyers.get(*slot);
            buyer.user == user && buyer.commodity == commodity
        };
        self.index.find(hash_of(commodity, user), same).copied()
    }

    /// Finds the entry or makes one, and counts one more remembered order for it.
    pub(super) fn join(&mut self, commodity: u32, user: UserId) -> u32 {
        if let Some(slot) = self.find(commodity, user) {
            self.buyers.get_mut(slot).orders += 1;
            return slot;
        }
        let buyer = Buyer { user: user.get().to_le_bytes(), commodity, units: 0, orders: 1 };
        let slot = self.buyers.insert(buyer);
        let buyers = &self.buyers;
        self.index.insert_unique(buyer.hash(), slot, |slot| buyers.get(*slot).hash());
        slot
    }

    /// Counts one remembered order less; the entry goes with the last one.
    pub(super) fn leave(&mut self, slot: u32) {
        let buyer = self.buyers.get_mut(slot);
        buyer.orders -= 1;
        if buyer.orders > 0 {
            return;
        }
        assert_eq!(buyer.units, 0, "live orders are never forgotten");
        let hash = buyer.hash();
        if let Ok(entry) = self.index.find_entry(hash, |found| *found == slot) {
            entry.remove();
            self.buyers.free(slot);
        }
    }

    pub(super) fn user(&self, slot: u32) -> UserId {
        UserId::new(i64::from_le_bytes(self.buyers.get(slot).user)).expect("packed from a user id")
    }

    /// The slot of the commodity.
    pub(super) fn commodity(&self, slot: u32) -> u32 {
        self.buyers.get(slot).commodity
    }

    /// Units in live orders.
    pub(super) fn units(&self, slot: u32) -> u32 {
        self.buyers.get(slot).units
    }

    pub(super) fn add_units(&mut self, slot: u32, units: u32) {
        let buyer = self.buyers.get_mut(slot);
        buyer.units = buyer.units.checked_add(units).expect("one buyer has at most all units of a commodity");
    }

    pub(super) fn take_units(&mut self, slot: u32, units: u32) {
        let buyer = self.buyers.get_mut(slot);
        buyer.units = buyer.units.checked_sub(units).expect("units are taken back once per order");
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.buyers.memory_bytes() + self.index.allocation_size()
    }
}

fn hash_of(commodity: u32, user: [u8; 8]) -> u64 {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&user);
    bytes[8..].copy_from_slice(&commodity.to_le_bytes());
    hash::of_bytes(&bytes)
}
