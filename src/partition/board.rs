//! What every HTTP worker may read without asking an engine: a hint, never a decision (R4).

use std::sync::Arc;

use dashmap::DashMap;

use crate::domain::{Commodity, CommodityId, CommodityState, Timestamp};

/// One commodity as the board shows it.
pub type Listing = Arc<Commodity>;

/// The commodities of the partitions this process knows of.
#[derive(Debug, Default)]
pub struct Board {
    listings: DashMap<CommodityId, Listing>,
}

impl Board {
    /// The commodity as last shown; none if it is not listed as far as this process knows.
    #[must_use]
    pub fn get(&self, id: CommodityId) -> Option<Listing> {
        self.listings.get(&id).map(|entry| Arc::clone(entry.value()))
    }

    /// What state the commodity is in now, without copying it.
    #[must_use]
    pub fn state(&self, id: CommodityId, now: Timestamp) -> Option<CommodityState> {
        self.listings.get(&id).map(|entry| entry.state(now))
    }

    /// All commodities, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Listing> {
        let mut all: Vec<Listing> = self.listings.iter().map(|entry| Arc::clone(entry.value())).collect();
        all.sort_unstable_by_key(|listing| listing.id);
        all
    }

    /// Shows a commodity as it stands now.
    pub fn show(&self, commodity: Commodity) {
        self.listings.insert(commodity.id, Arc::new(commodity));
    }

    /// Takes a commodity off.
    pub fn hide(&self, id: CommodityId) {
        self.listings.remove(&id);
    }
}
