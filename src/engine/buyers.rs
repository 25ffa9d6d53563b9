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
