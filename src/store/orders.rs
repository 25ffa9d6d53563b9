//! Reading orders. Never writes one.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::entity::order::{Column, Entity};
use super::{OrderFilter, Store, StoreError};
use crate::domain::{Epoch, Order, OrderId, PartitionId, Timestamp};

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
