//! Partitions: their epochs, how far the projection is, and which checkpoint they have. Never decides who owns one.

use sea_orm::{ConnectionTrait, EntityTrait, QueryOrder};

use super::entity::partition;
use super::meta::read_log_version;
use super::{Store, StoreError};
use crate::domain::{Epoch, PartitionId, Sequence};
use crate::event::LogVersion;

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
    /// What a claim can begin with.
    pub checkpoint: CheckpointRow,
}

/// Where the checkpoint of a partition is, and what it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointRow {
    /// Which parts are its; 0 = there is none.
    pub generation: i64,
    /// The last batch that is in it, and its epoch.
    pub position: (Epoch, Sequence),
    /// How many parts it has.
    pub parts: u32,
    /// Their bytes.
    pub bytes: u64,
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

    /// The newest form that may be in the log: below the newest of this release, older ones take part.
    ///
    /// # Errors
    /// [`StoreError::Database`], and [`StoreError::Schema`] if a newer release has raised it beyond this one.
    pub async fn log_version(&self) -> Result<LogVersion, StoreError> {
        read_log_version(self.reader()).await
    }

    /// Lets the log be written in the newest form that this release knows: no process of an older one runs any more. Whether it was not
    /// so before.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn raise_log_version(&self) -> Result<bool, StoreError> {
        let newest = i16::from(LogVersion::NEWEST.get());
        let sql = "UPDATE meta SET log_version = ? WHERE id = 1 AND log_version < ?";
        let raised = self.inner.connections.writer.execute_raw(self.statement(sql, [newest.into(), newest.into()])).await?;
        Ok(raised.rows_affected() == 1)
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
}

pub(super) async fn find(connection: &impl ConnectionTrait, partition: PartitionId) -> Result<PartitionRow, StoreError> {
    let row = partition::Entity::find_by_id(i32::from(partition.get())).one(connection).await?;
    row.ok_or_else(|| StoreError::Corrupt(format!("there is no partition {partition}")))?.row()
}

impl partition::Model {
    fn row(self) -> Result<PartitionRow, StoreError> {
        let corrupt = |column: &str| StoreError::Corrupt(format!("partitions.{column} of {}", self.id));
        let epoch = |column, value: i64| u32::try_from(value).ok().and_then(|v| Epoch::new(v).ok()).ok_or_else(|| corrupt(column));
        let id = u16::try_from(self.id).ok().and_then(|index| PartitionId::new(index).ok()).ok_or_else(|| corrupt("id"))?;
        let sequence = |column, value: i64| u64::try_from(value).map(Sequence).map_err(|_| corrupt(column));
        let applied = (epoch("applied_epoch", self.applied_epoch)?, sequence("applied_sequence", self.applied_sequence)?);
        let position = (epoch("checkpoint_epoch", self.checkpoint_epoch)?, sequence("checkpoint_sequence", self.checkpoint_sequence)?);
        let checkpoint = CheckpointRow {
            generation: self.checkpoint_generation,
            position,
            parts: u32::try_from(self.checkpoint_parts).map_err(|_| corrupt("checkpoint_parts"))?,
            bytes: u64::try_from(self.checkpoint_bytes).map_err(|_| corrupt("checkpoint_bytes"))?,
        };
        Ok(PartitionRow { id, epoch: epoch("epoch", self.epoch)?, applied, checkpoint, owner: self.owner })
    }
}
