//! The commodities of a partition and the one place where their stock changes. Never leaves a stock that does not
//! balance: that is asserted after every change, in release builds too.

use hashbrown::HashTable;

use super::hash;
use crate::domain::{Commodity, CommodityId, OrderStatus, Quantity, Stock, Units};

/// A commodity, and what only the engine counts of it.
#[derive(Debug)]
struct Listing {
    commodity: Commodity,
    refunds_due: u32,
}

/// All commodities of a partition, each in a slot for as long as it is listed.
#[derive(Debug)]
pub(super) struct Commodities {
    listings: Vec<Option<Listing>>,
    free: Vec<u32>,
    by_id: HashTable<u32>,
}

impl Commodities {
    pub(super) const fn new() -> Self {
        Self { listings: Vec::new(), free: Vec::new(), by_id: HashTable::new() }
    }

    /// Adds a commodity whose id is not listed.
    pub(super) fn insert(&mut self, commodity: Commodity) -> u32 {
        assert_balanced(&commodity);
        let hash = hash_of(commodity.id);
        let listing = Some(Listing { commodity, refunds_due: 0 });
        let slot = if let Some(slot) = self.free.pop() {
            self.listings[slot as usize] = listing;
            slot
        } else {
            self.listings.push(listing);
            u32::try_from(self.listings.len() - 1).expect("2^32 commodities take terabytes")
        };
        let listings = &self.listings;
        self.by_id.insert_unique(hash, slot, |slot| listings[*slot as usize].as_ref().map_or(0, |listing| hash_of(listing.commodity.id)));
        slot
    }

    /// Drops a commodity of which no order is remembered.
    pub(super) fn remove(&mut self, slot: u32) {
        let hash = hash_of(self.get(slot).id);
        if let Ok(entry) = self.by_id.find_entry(hash, |found| *found == slot) {
            entry.remove();
            self.listings[slot as usize] = None;
            self.free.push(slot);
        }
    }

    pub(super) fn find(&self, id: CommodityId) -> Option<u32> {
        self.by_id.find(hash_of(id), |slot| self.get(*slot).id == id).copied()
    }

    pub(super) fn get(&self, slot: u32) -> &Commodity {
        &self.listing(slot).commodity
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Commodity> {
        self.listings.iter().flatten().map(|listing| &listing.commodity)
    }

    /// Orders of it whose money has to go back.
    pub(super) fn refunds_due(&self, slot: u32) -> u32 {
        self.listing(slot).refunds_due
    }

    /// Makes an operator's change and counts the version up.
    pub(super) fn amend(&mut self, slot: u32, change: impl FnOnce(&mut Commodity)) -> &Commodity {
        let commodity = &mut self.listing_mut(slot).commodity;
        change(commodity);
        commodity.version = commodity.version.wrapping_add(1);
        assert_balanced(commodity);
        commodity
    }

    /// Takes units off sale for a new order of that status.
    pub(super) fn take(&mut self, slot: u32, status: OrderStatus, quantity: Quantity) {
        let commodity = &mut self.listing_mut(slot).commodity;
        carry(&mut commodity.stock, Shelf::Available, Shelf::of(status), quantity);
        assert_balanced(commodity);
    }

    /// Carries an order's units to where its new status has them, and counts the refunds due.
    pub(super) fn shift(&mut self, slot: u32, from: OrderStatus, to: OrderStatus, quantity: Quantity) {
        let listing = self.listing_mut(slot);
        carry(&mut listing.commodity.stock, Shelf::of(from), Shelf::of(to), quantity);
        listing.refunds_due += u32::from(to == OrderStatus::RefundDue);
        listing.refunds_due -= u32::from(from == OrderStatus::RefundDue);
        assert_balanced(&listing.commodity);
    }

    /// Counts a refund due that was so before this engine began.
    pub(super) fn count_refund_due(&mut self, slot: u32) {
        self.listing_mut(slot).refunds_due += 1;
    }

    /// Bytes allocated, without the texts of the terms.
    pub(super) fn memory_bytes(&self) -> usize {
        self.listings.capacity() * size_of::<Option<Listing>>() + self.free.capacity() * size_of::<u32>() + self.by_id.allocation_size()
    }

    fn listing(&self, slot: u32) -> &Listing {
        self.listings[slot as usize].as_ref().expect("slots are given back when nothing refers to them")
    }

    fn listing_mut(&mut self, slot: u32) -> &mut Listing {
        self.listings[slot as usize].as_mut().expect("slots are given back when nothing refers to them")
    }
}

/// Where an order's units are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shelf {
    /// On sale: the order has ended.
    Available,
    /// Held for it.
    Held,
    /// Sold to it.
    Sold,
}

impl Shelf {
    pub(super) const fn of(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Reserved => Self::Held,
            OrderStatus::Confirmed | OrderStatus::Paid => Self::Sold,
            OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::RefundDue | OrderStatus::Refunded => Self::Available,
        }
    }

    const fn counter(self, stock: &mut Stock) -> &mut Units {
        match self {
            Self::Available => &mut stock.available,
            Self::Held => &mut stock.held,
            Self::Sold => &mut stock.sold,
        }
    }
}

fn carry(stock: &mut Stock, from: Shelf, to: Shelf, quantity: Quantity) {
    if from == to {
        // An ended order that ends otherwise (a refund due, then refunded) has no units to move: they may be sold again.
        return;
    }
    let count = quantity.get();
    let source = from.counter(stock);
    *source = source.minus(count).expect("an order's units are where its status says");
    let target = to.counter(stock);
    *target = target.plus(count).expect("no counter exceeds the total");
}

fn assert_balanced(commodity: &Commodity) {
    assert!(commodity.stock.balances(), "the stock of commodity {} does not balance: {:?}", commodity.id, commodity.stock);
}

const fn hash_of(id: CommodityId) -> u64 {
    hash::of_number(id.get() as u64)
}
