//! Who has how many live units of one commodity: the count behind `limit_per_user`. A buyer without units has no entry. Never
//! knows a limit, and never takes two buyers for one: accounts of our own have 8 bytes here, those of other issuers 16.

use hashbrown::HashTable;

use super::hash;
use crate::domain::PrincipalKey;

/// A buyer with live units: 4 bytes more than what they are known by.
#[derive(Clone, Copy, Debug)]
struct Buyer<const N: usize> {
    user: [u8; N],
    units: u32,
}

/// Buyers that are known by so many bytes.
#[derive(Debug)]
struct Table<const N: usize>(HashTable<Buyer<N>>);

/// All buyers of one commodity.
#[derive(Debug, Default)]
pub(super) struct Buyers {
    own: Table<8>,
    foreign: Table<16>,
}

impl Buyers {
    /// Room for so many accounts of our own and of other issuers, so that filling it copies nothing.
    pub(super) fn with_capacity(own: usize, foreign: usize) -> Self {
        Self { own: Table(HashTable::with_capacity(own)), foreign: Table(HashTable::with_capacity(foreign)) }
    }

    /// Units in live orders.
    pub(super) fn units(&self, user: PrincipalKey) -> u32 {
        match user.account() {
            Some(account) => self.own.units(account.get().to_le_bytes()),
            None => self.foreign.units(user.get().to_le_bytes()),
        }
    }

    /// Adds units; none if the buyer would have more than can be counted.
    pub(super) fn add(&mut self, user: PrincipalKey, units: u32) -> Option<()> {
        match user.account() {
            Some(account) => self.own.add(account.get().to_le_bytes(), units),
            None => self.foreign.add(user.get().to_le_bytes(), units),
        }
    }

    /// Takes units off; none, and nothing changes, if the buyer has fewer.
    pub(super) fn take(&mut self, user: PrincipalKey, units: u32) -> Option<()> {
        match user.account() {
            Some(account) => self.own.take(account.get().to_le_bytes(), units),
            None => self.foreign.take(user.get().to_le_bytes(), units),
        }
    }

    /// Units of all of them.
    pub(super) fn total(&self) -> u64 {
        self.own.total() + self.foreign.total()
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.own.0.allocation_size() + self.foreign.0.allocation_size()
    }
}

impl<const N: usize> Table<N> {
    fn units(&self, user: [u8; N]) -> u32 {
        self.0.find(hash::of_bytes(&user), |buyer| buyer.user == user).map_or(0, |buyer| buyer.units)
    }

    fn add(&mut self, user: [u8; N], units: u32) -> Option<()> {
        let hash_of = |buyer: &Buyer<N>| hash::of_bytes(&buyer.user);
        let mut entry = self.0.entry(hash::of_bytes(&user), |buyer| buyer.user == user, hash_of).or_insert(Buyer { user, units: 0 });
        let buyer = entry.get_mut();
        buyer.units = buyer.units.checked_add(units)?;
        Some(())
    }

    fn take(&mut self, user: [u8; N], units: u32) -> Option<()> {
        let mut entry = self.0.find_entry(hash::of_bytes(&user), |buyer| buyer.user == user).ok()?;
        let left = entry.get().units.checked_sub(units)?;
        if left == 0 {
            entry.remove();
        } else {
            entry.get_mut().units = left;
        }
        Some(())
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|buyer| u64::from(buyer.units)).sum()
    }
}

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(principal: &str) -> PrincipalKey {
        principal.parse::<crate::domain::Principal>().unwrap().key()
    }

    #[test]
    fn a_buyer_takes_12_bytes_and_one_of_another_issuer_20() {
        assert_eq!((size_of::<Buyer<8>>(), size_of::<Buyer<16>>()), (12, 20));
    }

    #[test]
    fn units_come_and_go_and_a_buyer_without_any_is_not_remembered() {
        let last = user("9223372036854775807");
        let mut buyers = Buyers::default();
        assert_eq!((buyers.units(user("7")), buyers.total(), buyers.memory_bytes()), (0, 0, 0));
        for (buyer, units) in [(user("7"), 2), (user("7"), 3), (last, 1), (user("a:7"), 4), (user("b:7"), 6)] {
            buyers.add(buyer, units).unwrap();
        }
        let units = |buyers: &Buyers| [user("7"), last, user("1"), user("a:7"), user("b:7")].map(|buyer| buyers.units(buyer));
        assert_eq!((units(&buyers), buyers.total()), ([5, 1, 0, 4, 6], 16));
        buyers.take(user("7"), 4).unwrap();
        buyers.take(last, 1).unwrap();
        buyers.take(user("a:7"), 4).unwrap();
        assert_eq!((units(&buyers), buyers.own.0.len(), buyers.foreign.0.len()), ([1, 0, 0, 0, 6], 1, 1));
    }

    #[test]
    fn what_a_buyer_does_not_have_is_not_taken_and_what_nobody_can_count_is_not_added() {
        for buyer in [user("7"), user("a:7")] {
            let mut buyers = Buyers::default();
            assert_eq!(buyers.take(buyer, 1), None);
            buyers.add(buyer, u32::MAX).unwrap();
            assert_eq!((buyers.add(buyer, 1), buyers.units(buyer)), (None, u32::MAX));
            buyers.take(buyer, u32::MAX - 1).unwrap();
            assert_eq!((buyers.take(buyer, 2), buyers.units(buyer)), (None, 1));
        }
    }
}
