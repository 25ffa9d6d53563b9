//! Partitions: their epochs, how far the projection is, and the state an engine starts from. Never decides who owns one.

use futures_util::TryStreamExt;
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, StreamTrait};

use super::entity::{commodity, order, partition};
use super::{Store, StoreError};
use crate::domain::{Epoch, OrderStatus, PartitionId, Sequence};
use crate::engine::{KnownOrder, Snapshot};

/// A partition as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// The partition.
    pub id: PartitionId,
    /// The node that claimed it last; none = nobody did.
    pub owner: Option<String>,
    /// The last epoch that was claimed.
    pub epoch: Epoch,
    /// The epoch and the sequence of the last batch in the tables.
    pub applied: (Epoch, Sequence),
}

/// How far a partition is in claiming and in applying epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// The last that was claimed: no order has a later one.
    pub claimed: Epoch,
    /// The last whose fence is in the tables: what earlier ones decided is in them as a whole.
    pub applied: Epoch,
}

impl Store {
    /// Every partition, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn partition_rows(&self) -> Result<Vec<PartitionRow>, StoreError> {
        let rows = partition::Entity::find().order_by_asc(partition::Column::Id).all(self.reader()).await?;
        rows.into_iter().map(partition::Model::row).collect()
    }

    /// The epoch and the sequence of the last batch of a partition in the tables; (0, 0) before the first fence.
    ///
    /// # Errors
    /// [`StoreError::Database`], and [`StoreError::Corrupt`] if there is no such partition.
    pub async fn applied(&self, partition: PartitionId) -> Result<(Epoch, Sequence), StoreError> {
        Ok(find(self.reader(), partition).await?.applied)
    }

    /// The last epoch of a partition that was claimed, and the last whose fence is in the tables, read together.
    ///
    /// # Errors
    /// [`StoreError::Database`], and [`StoreError::Corrupt`] if there is no such partition.
    pub async fn epochs(&self, partition: PartitionId) -> Result<Epochs, StoreError> {
        let row = find(self.reader(), partition).await?;
        Ok(Epochs { claimed: row.epoch, applied: row.applied.0 })
    }

    /// Begins a new epoch of a partition: the one before and one, with that owner.
    ///
    /// # Errors
    /// [`StoreError::Database`], and [`StoreError::Corrupt`] if there is no such partition or its epochs are used up.
    pub async fn claim_epoch(&self, partition: PartitionId, owner: &str) -> Result<Epoch, StoreError> {
        let transaction = self.begin_write().await?;
        let values = [owner.into(), i32::from(partition.get()).into()];
        transaction.execute_raw(self.statement("UPDATE partitions SET epoch = epoch + 1, owner = ? WHERE id = ?", values)).await?;
        match find(&transaction, partition).await {
            Ok(row) => {
                transaction.commit().await?;
                Ok(row.epoch)
            }
            Err(error) => {
                transaction.rollback().await?;
                Err(error)
            }
        }
    }

    /// What an engine of the partition starts from, read in one snapshot, in no particular order.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn snapshot(&self, partition: PartitionId) -> Result<Snapshot, StoreError> {
        let transaction = self.read_snapshot().await?;
        let commodities = commodity::Entity::find()
            .filter(commodity::Column::PartitionId.eq(i32::from(partition.get())))
            .filter(commodity::Column::RemovedAt.is_null())
            .all(&transaction)
            .await?;
        let commodities = commodities.into_iter().map(commodity::Model::commodity).collect::<Result<_, _>>()?;
        let orders = self.known_orders(&transaction, partition).await?;
        transaction.rollback().await?;
        Ok(Snapshot { commodities, orders })
    }

    /// Row by row, so that a partition of millions of orders is in memory once.
    async fn known_orders(&self, transaction: &DatabaseTransaction, partition: PartitionId) -> Result<Vec<KnownOrder>, StoreError> {
        let known: Vec<String> = OrderStatus::ALL
            .into_iter()
            .filter(|status| status.is_live() || *status == OrderStatus::RefundDue)
            .map(|status| status.code().to_string())
            .collect();
        let sql = format!(
            "SELECT o.* FROM commodities c JOIN orders o ON o.commodity_id = c.id \
             WHERE c.partition_id = ? AND c.removed_at IS NULL AND (o.status IN ({}) OR o.idempotency_key IS NOT NULL)",
            known.join(", ")
        );
        let mut rows = transaction.stream_raw(self.statement(&sql, [i32::from(partition.get()).into()])).await?;
        let mut orders = Vec::new();
        while let Some(row) = rows.try_next().await? {
            orders.push(order::Model::from_query_result(&row, "")?.known()?);
        }
        Ok(orders)
    }
}

async fn find(connection: &impl ConnectionTrait, partition: PartitionId) -> Result<PartitionRow, StoreError> {
    let row = partition::Entity::find_by_id(i32::from(partition.get())).one(connection).await?;
    row.ok_or_else(|| StoreError::Corrupt(format!("there is no partition {partition}")))?.row()
}

impl partition::Model {
    fn row(self) -> Result<PartitionRow, StoreError> {
        let corrupt = |column: &str| StoreError::Corrupt(format!("partitions.{column} of {}", self.id));
        let epoch = |column, value: i64| u32::try_from(value).ok().and_then(|v| Epoch::new(v).ok()).ok_or_else(|| corrupt(column));
        let id = u16::try_from(self.id).ok().and_then(|index| PartitionId::new(index).ok()).ok_or_else(|| corrupt("id"))?;
        let sequence = u64::try_from(self.applied_sequence).map_err(|_| corrupt("applied_sequence"))?;
        let applied = (epoch("applied_epoch", self.applied_epoch)?, Sequence(sequence));
        Ok(PartitionRow { id, epoch: epoch("epoch", self.epoch)?, applied, owner: self.owner })
    }
}
