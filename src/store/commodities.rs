//! Reading commodities, and the sequence of their ids. Never changes terms or stock.

use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};

use super::entity::commodity::{Column, Entity, Model};
use super::pool::Transaction;
use super::statements::{LIST_MAX, pad, padded, places};
use super::walk::hint;
use super::{Store, StoreError};
use crate::domain::{Commodity, CommodityId, PartitionId, Sku, Timestamp};

/// A commodity as the projection has it, with what only the tables know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCommodity {
    /// The commodity as of the last batch in the tables.
    pub commodity: Commodity,
    /// Where it belongs.
    pub partition: PartitionId,
    /// When it was taken off the list; none = it is listed.
    pub removed_at: Option<Timestamp>,
}

impl Store {
    /// A commodity id nobody got before. Ids that were given and not used leave gaps.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn next_commodity_id(&self) -> Result<CommodityId, StoreError> {
        self.next_commodity_ids(1).await
    }

    /// The first of so many commodity ids in a row that nobody got before.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn next_commodity_ids(&self, count: u32) -> Result<CommodityId, StoreError> {
        let transaction = self.begin_write().await?;
        let first = self.draw_commodity_ids(&transaction, count).await?;
        transaction.commit().await?;
        Ok(first)
    }

    /// The same, in a transaction that takes them with it.
    pub(super) async fn draw_commodity_ids(&self, transaction: &Transaction, count: u32) -> Result<CommodityId, StoreError> {
        let sql = "UPDATE meta SET last_commodity_id = last_commodity_id + ? WHERE id = 1";
        transaction.execute_raw(self.statement(sql, [i64::from(count).into()])).await?;
        let row = transaction.query_one_raw(self.statement("SELECT last_commodity_id FROM meta WHERE id = 1", [])).await?;
        let last = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?;
        last.filter(|last| *last <= CommodityId::GIVEN_MAX)
            .and_then(|last| CommodityId::new(last - i64::from(count) + 1).ok())
            .ok_or_else(|| StoreError::Corrupt("meta.last_commodity_id".into()))
    }

    /// When a commodity of a partition was closed last.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn last_closed_at(&self, partition: PartitionId) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT MAX(closed_at) FROM commodities WHERE partition_id = ?";
        let row = self.reader().query_one_raw(self.statement(sql, [i32::from(partition.get()).into()])).await?;
        let millis: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
        millis
            .map(Timestamp::from_millis)
            .transpose()
            .map_err(|_| StoreError::Corrupt(format!("commodities.closed_at of partition {partition}")))
    }

    /// One commodity, removed ones too.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn commodity(&self, id: CommodityId) -> Result<Option<StoredCommodity>, StoreError> {
        Entity::find_by_id(id.get()).one(self.reader()).await?.map(Model::stored).transpose()
    }

    /// A closed commodity; none for any other.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn closed_commodity(&self, id: CommodityId) -> Result<Option<Commodity>, StoreError> {
        let closed = self.commodity(id).await?.filter(|stored| stored.removed_at.is_none() && stored.commodity.closed_at.is_some());
        Ok(closed.map(|stored| stored.commodity))
    }

    /// Closed commodities by rising id, at most `limit`, after `after`.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn closed_commodities(&self, after: Option<CommodityId>, limit: u64) -> Result<Vec<Commodity>, StoreError> {
        // One is an index over a column that says so, the other has the closed ones alone.
        let closed = if self.backend() == DbBackend::MySql { "is_closed = TRUE" } else { "closed_at IS NOT NULL" };
        let hint = hint(self.backend(), "ix_commodities_is_closed");
        let sql = format!("SELECT * FROM commodities {hint}WHERE {closed} AND id > ? ORDER BY id LIMIT ?");
        let query = self.statement(&sql, [after.map_or(0, CommodityId::get).into(), limit.into()]);
        let rows = Entity::find().from_raw_sql(query).all(self.reader()).await?;
        rows.into_iter().map(Model::commodity).collect()
    }

    /// Closed commodities with that article number, by rising id, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn closed_with_sku(&self, sku: &Sku, limit: u64) -> Result<Vec<Commodity>, StoreError> {
        let rows = self.with_sku(sku).limit(limit).all(self.reader()).await?;
        rows.into_iter().map(Model::commodity).collect()
    }

    fn with_sku(&self, sku: &Sku) -> Select<Entity> {
        let closed = Entity::find().filter(Column::Sku.eq(sku.as_str())).filter(Column::ClosedAt.is_not_null());
        closed.filter(Column::RemovedAt.is_null()).order_by_asc(Column::Id)
    }

    /// The article numbers of these commodities, of those that have one, removed ones too.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn skus_of(&self, commodities: &[CommodityId]) -> Result<Vec<(CommodityId, Sku)>, StoreError> {
        let mut skus = Vec::new();
        for chunk in commodities.chunks(LIST_MAX) {
            let sql = format!("SELECT id, sku FROM commodities WHERE id IN ({}) AND sku IS NOT NULL", places(padded(chunk.len())));
            let ids = pad(chunk.iter().map(|id| id.get().into()).collect());
            for row in self.reader().query_all_raw(self.statement(&sql, ids)).await? {
                let (id, sku): (i64, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
                let corrupt = || StoreError::Corrupt(format!("commodities.sku of {id}"));
                skus.push((CommodityId::new(id).map_err(|_| corrupt())?, sku.parse().map_err(|_| corrupt())?));
            }
        }
        Ok(skus)
    }

    /// Commodities by rising id, at most `limit`, after `after`; those taken off the list only with `removed_too`.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn commodities(&self, after: Option<CommodityId>, limit: u64, removed_too: bool) -> Result<Vec<StoredCommodity>, StoreError> {
        let mut query = Entity::find().filter(Column::Id.gt(after.map_or(0, CommodityId::get)));
        if !removed_too {
            query = query.filter(Column::RemovedAt.is_null());
        }
        let rows = query.order_by_asc(Column::Id).limit(limit).all(self.reader()).await?;
        rows.into_iter().map(Model::stored).collect()
    }
}

impl Model {
    fn stored(self) -> Result<StoredCommodity, StoreError> {
        let corrupt = |column: &str| StoreError::Corrupt(format!("commodities.{column} of {}", self.id));
        let partition = u16::try_from(self.partition_id).ok().and_then(|index| PartitionId::new(index).ok());
        let partition = partition.ok_or_else(|| corrupt("partition_id"))?;
        let removed_at = self.removed_at.map(Timestamp::from_millis).transpose().map_err(|_| corrupt("removed_at"))?;
        Ok(StoredCommodity { commodity: self.commodity()?, partition, removed_at })
    }
}
