//! Reading orders. Never writes one.

use sea_orm::{ConnectionTrait, EntityTrait};
use uuid::Uuid;

use super::entity::order::Entity;
use super::walk::{Ids, Sieve, Walk};
use super::{OrderFilter, Store, StoreError, runs};
use crate::domain::{Epoch, Order, OrderId, PartitionId, Timestamp};

/// How many rows the first step of a race takes, how many times as many the next, and how many a step takes at most.
const STEP_FIRST: u64 = 256;
const STEP_GROWTH: u64 = 4;
const STEP_MAX: u64 = 4_096;

impl Store {
    /// One order of the projection.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        Entity::find_by_id(id.uuid()).one(self.reader()).await?.map(|row| row.order()).transpose()
    }

    /// Orders in falling order of id (newest first), at most `limit`, older than `before`.
    ///
    /// A page reads what is on it, wherever it is in the list. Where a buyer is asked for together with a commodity or a
    /// status, it reads at most twice as many rows as the shorter of both lists has.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn orders(&self, filter: &OrderFilter, before: Option<OrderId>, limit: u64) -> Result<Vec<Order>, StoreError> {
        let until = [filter.placed_until.map(first_id_at), before.map(OrderId::uuid)].into_iter().flatten().min();
        let ids = Ids { from: filter.placed_from.map_or(Uuid::nil(), first_id_at), until: until.unwrap_or(Uuid::max()) };
        if ids.from >= ids.until || limit == 0 {
            return Ok(Vec::new());
        }
        let of_anybody = match (filter.commodity, filter.status) {
            (None, None) => Walk::All,
            (None, Some(status)) => Walk::Status(status),
            (Some(commodity), None) => Walk::Commodity(commodity),
            (Some(commodity), Some(status)) => Walk::CommodityStatus(commodity, status),
        };
        let (reader, whole) = (self.reader(), Sieve::default());
        let Some(user) = filter.user else { return of_anybody.page(reader, ids, whole, limit).await };
        let of_buyer = Walk::User(user, self.newest_run().await?);
        if of_anybody == Walk::All {
            return of_buyer.page(reader, ids, whole, limit).await;
        }
        let of_buyer = (of_buyer, Sieve { commodity: filter.commodity, status: filter.status, ..whole });
        let of_anybody = (of_anybody, Sieve { user: Some(user), ..whole });
        self.race([of_buyer, of_anybody], ids, limit).await
    }

    /// No index is of both. So both lists are walked in turns, each alone, and sifted: whichever has a page together first, or has
    /// ended, has won.
    async fn race(&self, walks: [(Walk, Sieve); 2], ids: Ids, limit: u64) -> Result<Vec<Order>, StoreError> {
        let mut racers = walks.map(|(walk, sieve)| (walk, sieve, ids, Vec::new()));
        let mut step = STEP_FIRST;
        loop {
            for (walk, sieve, left, found) in &mut racers {
                let edge = walk.edge(self.reader(), *left, step).await?;
                let here = Ids { from: edge.unwrap_or(ids.from), until: left.until };
                found.extend(walk.page(self.reader(), here, *sieve, limit - found.len() as u64).await?);
                if found.len() as u64 == limit || edge.is_none() {
                    return Ok(std::mem::take(found));
                }
                left.until = here.from;
            }
            step = (STEP_GROWTH * step).min(STEP_MAX);
        }
    }

    /// The run that orders are written under now. Whatever was committed before is of this or of an older one.
    async fn newest_run(&self) -> Result<i32, StoreError> {
        let row = self.reader().query_one_raw(self.statement("SELECT order_run FROM meta WHERE id = 1", [])).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("meta has no row".into()))?;
        Ok(runs::run_after(row.try_get_by_index(0)?))
    }
}

/// The lowest id an order placed at that time can have: ids sort by time.
fn first_id_at(at: Timestamp) -> Uuid {
    let lowest = PartitionId::new(0).expect("0 is in range");
    OrderId::new(at, lowest, Epoch::default(), 0).uuid()
}
