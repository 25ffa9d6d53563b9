//! Who has how many live units of one commodity: the count behind `limit_per_user`. A buyer without units has no entry. Never
//! knows a limit.

use hashbrown::HashTable;

use super::hash;
use crate::domain::UserId;

/// A buyer with live units: 12 bytes.
#[derive(Clone, Copy, Debug)]
struct Buyer {
    user: [u8; 8],
    units: u32,
}

/// All buyers of one commodity.
#[derive(Debug, Default)]
pub(super) struct Buyers {
    table: HashTable<Buyer>,
}

impl Buyers {
    /// Room for so many, so that filling it copies nothing.
    pub(super) fn with_capacity(buyers: usize) -> Self {
        Self { table: HashTable::with_capacity(buyers) }
    }

    /// Units in live orders.
    pub(super) fn units(&self, user: UserId) -> u32 {
        let user = user.get().to_le_bytes();
        self.table.find(hash_of(user), |buyer| buyer.user == user).map_or(0, |buyer| buyer.units)
    }

    /// Adds units; none if the buyer would have more than can be counted.
    pub(super) fn add(&mut self, user: UserId, units: u32) -> Option<()> {
        let user = user.get().to_le_bytes();
        let mut entry =
            self.table.entry(hash_of(user), |buyer| buyer.user == user, |buyer| hash_of(buyer.user)).or_insert(Buyer { user, units: 0 });
        let buyer = entry.get_mut();
        buyer.units = buyer.units.checked_add(units)?;
        Some(())
    }

    /// Takes units off; none, and nothing changes, if the buyer has fewer.
    pub(super) fn take(&mut self, user: UserId, units: u32) -> Option<()> {
        let user = user.get().to_le_bytes();
        let mut entry = self.table.find_entry(hash_of(user), |buyer| buyer.user == user).ok()?;
        let left = entry.get().units.checked_sub(units)?;
        if left == 0 {
            entry.remove();
        } else {
            entry.get_mut().units = left;
        }
        Some(())
    }

    /// Units of all of them.
    pub(super) fn total(&self) -> u64 {
        self.table.iter().map(|buyer| u64::from(buyer.units)).sum()
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.table.allocation_size()
    }
}

fn hash_of(user: [u8; 8]) -> u64 {
    hash::of_bytes(&user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: i64) -> UserId {
        UserId::new(id).unwrap()
    }

    #[test]
    fn a_buyer_takes_12_bytes() {
        assert_eq!(size_of::<Buyer>(), 12);
    }

    #[test]
    fn units_come_and_go_and_a_buyer_without_any_is_not_remembered() {
        let mut buyers = Buyers::default();
        assert_eq!((buyers.units(user(7)), buyers.total(), buyers.memory_bytes()), (0, 0, 0));
        for (id, units) in [(7, 2), (7, 3), (i64::MAX, 1)] {
            buyers.add(user(id), units).unwrap();
        }
        assert_eq!((buyers.units(user(7)), buyers.units(user(i64::MAX)), buyers.units(user(1)), buyers.total()), (5, 1, 0, 6));
        buyers.take(user(7), 4).unwrap();
        buyers.take(user(i64::MAX), 1).unwrap();
        assert_eq!((buyers.units(user(7)), buyers.table.len()), (1, 1));
    }

    #[test]
    fn what_a_buyer_does_not_have_is_not_taken_and_what_nobody_can_count_is_not_added() {
        let mut buyers = Buyers::default();
        assert_eq!(buyers.take(user(7), 1), None);
        buyers.add(user(7), u32::MAX).unwrap();
        assert_eq!((buyers.add(user(7), 1), buyers.units(user(7))), (None, u32::MAX));
        buyers.take(user(7), u32::MAX - 1).unwrap();
        assert_eq!((buyers.take(user(7), 2), buyers.units(user(7))), (None, 1));
    }
}
