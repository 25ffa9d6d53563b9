//! The commodities of a partition and the one place where their stock changes. Never leaves a stock that does not
//! balance: that is asserted after every change, in release builds too.

use hashbrown::HashTable;

use super::buyers::Buyers;
use super::hash;
use super::keys::Keys;
use crate::domain::{Commodity, CommodityId, OrderStatus, Quantity, Stock, StockColumn};

/// A commodity, and what only the engine knows of it.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commodity: Commodity,
    /// Taken off the list.
    pub(super) removed: bool,
    /// Who has live units; of one that is over, nobody is remembered.
    pub(super) buyers: Buyers,
    /// Keys of its orders; of one that the tables have as over, none.
    pub(super) keys: Keys,
    /// Whether the tables have it that it is over.
    is_history: bool,
    /// Orders whose money has to go back, and orders with payments that somebody has to see to.
    owed: u32,
    /// Orders of it that the engine knows.
    orders: u32,
}

impl Listing {
    /// Closed or removed: it is kept only for what is owed, or not in the tables yet, of it and its orders.
    pub(super) const fn is_over(&self) -> bool {
        self.removed || self.commodity.closed_at.is_some()
    }

    /// Listed; or closed, and the tables may not have that yet.
    pub(super) const fn is_shown(&self) -> bool {
        !self.removed && !self.is_history
    }
}

/// All commodities of a partition, each in a slot for as long as it is on the list or one of its orders is known.
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

    /// Adds a commodity whose id is not there.
    pub(super) fn insert(&mut self, commodity: Commodity, removed: bool) -> u32 {
        assert_balanced(&commodity);
        let hash = hash_of(commodity.id);
        let (buyers, keys, is_history) = (Buyers::default(), Keys::default(), removed || commodity.closed_at.is_some());
        let listing = Some(Listing { commodity, removed, buyers, keys, is_history, owed: 0, orders: 0 });
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

    /// Forgets who bought. Until the tables have it that the commodity is over, its keys lead to its orders from here.
    pub(super) fn finish(&mut self, slot: u32) {
        self.listing_mut(slot).buyers = Buyers::default();
    }

    /// The tables have it that the commodity is over, and every order of it: forgets its keys, and the commodity as soon as no order of
    /// it is known.
    pub(super) fn make_history(&mut self, slot: u32) {
        let listing = self.listing_mut(slot);
        (listing.keys, listing.is_history) = (Keys::default(), true);
        self.drop_if_done(slot);
    }

    /// Counts one more order that the engine knows.
    pub(super) fn count_order(&mut self, slot: u32) {
        self.listing_mut(slot).orders += 1;
    }

    /// Counts one less.
    pub(super) fn forget_order(&mut self, slot: u32) {
        self.listing_mut(slot).orders -= 1;
        self.drop_if_done(slot);
    }

    fn drop_if_done(&mut self, slot: u32) {
        let listing = self.listing(slot);
        if !listing.is_history || listing.orders > 0 {
            return;
        }
        let hash = hash_of(listing.commodity.id);
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

    /// What is on the list, each with its slot.
    pub(super) fn listed(&self) -> impl Iterator<Item = (u32, &Commodity)> {
        let listings = (0..).zip(&self.listings).filter_map(|(slot, listing)| Some((slot, listing.as_ref()?)));
        listings.filter(|(_, listing)| !listing.is_over()).map(|(slot, listing)| (slot, &listing.commodity))
    }

    /// Whether there is something in that slot.
    pub(super) fn is_there(&self, slot: u32) -> bool {
        self.listings.get(slot as usize).is_some_and(Option::is_some)
    }

    /// Whether a refund of it is due, or a payment is open.
    pub(super) fn is_owed(&self, slot: u32) -> bool {
        self.listing(slot).owed > 0
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
        carry(&mut commodity.stock, StockColumn::Available, StockColumn::of(status), quantity);
        assert_balanced(commodity);
    }

    /// Carries an order's units to where its new status has them, and counts what is owed.
    pub(super) fn shift(&mut self, slot: u32, from: OrderStatus, to: OrderStatus, quantity: Quantity) {
        let listing = self.listing_mut(slot);
        carry(&mut listing.commodity.stock, StockColumn::of(from), StockColumn::of(to), quantity);
        listing.owed += u32::from(to == OrderStatus::RefundDue);
        listing.owed -= u32::from(from == OrderStatus::RefundDue);
        assert_balanced(&listing.commodity);
    }

    /// Counts an order that owes, or owes no more, whatever its status.
    pub(super) fn count_owed(&mut self, slot: u32, (before, after): (bool, bool)) {
        let listing = self.listing_mut(slot);
        listing.owed += u32::from(after);
        listing.owed -= u32::from(before);
    }

    /// Bytes allocated, without the texts of the terms.
    pub(super) fn memory_bytes(&self) -> usize {
        let of_orders: usize =
            self.listings.iter().flatten().map(|listing| listing.buyers.memory_bytes() + listing.keys.memory_bytes()).sum();
        let slots = self.listings.capacity() * size_of::<Option<Listing>>() + self.free.capacity() * size_of::<u32>();
        of_orders + slots + self.by_id.allocation_size()
    }

    pub(super) fn listing(&self, slot: u32) -> &Listing {
        self.listings[slot as usize].as_ref().expect("slots are given back when nothing refers to them")
    }

    pub(super) fn listing_mut(&mut self, slot: u32) -> &mut Listing {
        self.listings[slot as usize].as_mut().expect("slots are given back when nothing refers to them")
    }
}

fn carry(stock: &mut Stock, from: StockColumn, to: StockColumn, quantity: Quantity) {
    if from == to {
        // An ended order that ends otherwise (a refund due, then refunded) has no units to move: they may be sold again.
        return;
    }
    let count = quantity.get();
    let source = stock.column_mut(from);
    *source = source.minus(count).expect("an order's units are where its status says");
    let target = stock.column_mut(to);
    *target = target.plus(count).expect("no counter exceeds the total");
}

fn assert_balanced(commodity: &Commodity) {
    assert!(commodity.stock.balances(), "the stock of commodity {} does not balance: {:?}", commodity.id, commodity.stock);
}

const fn hash_of(id: CommodityId) -> u64 {
    hash::of_number(id.get() as u64)
}
