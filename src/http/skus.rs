//! The article numbers of what was ordered: from the board, and what is not on it from the tables. Never asks an engine.

use std::collections::{BTreeSet, HashMap};

use super::state::AppState;
use crate::domain::{CommodityId, Sku};
use crate::store::StoreError;

/// Article numbers by commodity, of those that have one.
#[derive(Debug)]
pub(crate) struct Skus(HashMap<CommodityId, Sku>);

impl Skus {
    /// Those of these commodities.
    pub(crate) async fn of(state: &AppState, commodities: impl Iterator<Item = CommodityId>) -> Result<Self, StoreError> {
        let (mut skus, mut elsewhere) = (HashMap::new(), Vec::new());
        for id in commodities.collect::<BTreeSet<_>>() {
            match state.router.board().get(id) {
                Some(listing) => skus.extend(listing.terms.sku.clone().map(|sku| (id, sku))),
                None => elsewhere.push(id),
            }
        }
        if !elsewhere.is_empty() {
            skus.extend(state.store.skus_of(&elsewhere).await?);
        }
        Ok(Self(skus))
    }

    pub(crate) fn get(&self, commodity: CommodityId) -> Option<&Sku> {
        self.0.get(&commodity)
    }
}

/// That of one commodity. An answer about an order is not kept back for it: where it cannot be read, there is none.
pub(crate) async fn sku_of(state: &AppState, commodity: CommodityId) -> Option<Sku> {
    if let Some(listing) = state.router.board().get(commodity) {
        return listing.terms.sku.clone();
    }
    match state.store.skus_of(&[commodity]).await {
        Ok(skus) => skus.into_iter().next().map(|(_, sku)| sku),
        Err(error) => {
            tracing::warn!(%error, "cannot read the sku of commodity {commodity}");
            None
        }
    }
}
