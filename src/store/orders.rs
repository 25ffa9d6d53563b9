//! Reading orders. Never writes one.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::entity::order::{Column, Entity};
use super::{OrderFilter, Store, StoreError};
use crate::domain::{Epoch, Order, OrderId, PartitionId, Timestamp};
use crate::engine::Recalled;

impl Store {
    /// One order of the projection.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        Entity::find_by_id(id.uuid()).one(self.reader()).await?.map(|row| row.order()).transpose()
    }

    /// An order for an engine that has forgotten it, with its commodity if that is over.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn recalled(&self, id: OrderId) -> Result<Option<Recalled>, StoreError> {
        // The position first: the row is then at least as new.
        let applied = self.applied(id.partition()).await?;
        let Some(row) = Entity::find_by_id(id.uuid()).one(self.reader()).await? else { return Ok(None) };
        let order = row.order()?;
        let commodity =
            self.commodity(order.commodity).await?.filter(|stored| stored.removed_at.is_some() || stored.commodity.closed_at.is_some());
        let commodity = commodity.map(|stored| Box::new(stored.commodity));
        Ok(Some(Recalled { order, key: row.key().map(|(key, _)| key), applied, commodity }))
    }

    /// Orders in falling order of id (newest first), at most `limit`, older than `before`.
    ///
    /// Each page is one walk along an index, whatever its place in the list, unless `status` alone is asked for.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn orders(&self, filter: &OrderFilter, before: Option<OrderId>, limit: u64) -> Result<Vec<Order>, StoreError> {
        let mut query = Entity::find().order_by_desc(Column::Id).limit(limit);
        if let Some(commodity) = filter.commodity {
            query = query.filter(Column::CommodityId.eq(commodity.get()));
        }
        if let Some(user) = filter.user {
            query = query.filter(Column::UserId.eq(user.get()));
        }
        if let Some(status) = filter.status {
            query = query.filter(Column::Status.eq(status.code()));
        }
        if let Some(from) = filter.placed_from {
            query = query.filter(Column::Id.gte(first_id_at(from)));
        }
        let until = filter.placed_until.map(first_id_at);
        if let Some(end) = [until, before.map(OrderId::uuid)].into_iter().flatten().min() {
            query = query.filter(Column::Id.lt(end));
        }
        query.all(self.reader()).await?.iter().map(super::entity::order::Model::order).collect()
    }
}

/// The lowest id an order placed at that time can have: ids sort by time.
fn first_id_at(at: Timestamp) -> Uuid {
    let lowest = PartitionId::new(0).expect("0 is in range");
    OrderId::new(at, lowest, Epoch::default(), 0).uuid()
}
