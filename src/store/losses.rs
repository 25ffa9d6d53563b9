//! What is known of batches that a log may lose: which were confirmed, what the projection lacks, and which losses an operator has accepted.
//! Never decides that something is lost: that is the projection's to find and an operator's to accept.

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Value};

use super::meta::read_log_version;
use super::waits::to_the_end;
use super::{Position, Store, StoreError, pool};
use crate::domain::{Epoch, PartitionId, Sequence, Timestamp};
use crate::event::LogVersion;

/// The longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 1_000;
/// The longest name of who accepts a loss, in characters.
const WHO_CHARS_MAX: usize = 200;

/// What the projection of a partition lacks to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The partition.
    pub partition: PartitionId,
    /// The last batch in the tables.
    pub applied: Position,
    /// The last batch that is missing.
    pub missing: Position,
    /// Whether it is there, and does not fit without what was lost before it.
    pub is_broken: bool,
}

/// A loss that an operator has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The partition.
    pub partition: PartitionId,
    /// The last batch that was in the tables then.
    pub applied: Position,
    /// The last batch that was missing.
    pub missing: Position,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who it was, as the system knew them.
    pub accepted_by: String,
    /// When.
    pub accepted_at: Timestamp,
}

/// Why no loss was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLoss {
    /// No consumer has found something missing where the projection stands now.
    NothingMissing,
    /// The next batch is there and contradicts the tables, and no loss in its epoch explains that.
    NotOfALoss,
}

impl Store {
    /// The last batch of a partition that is known to be confirmed, as far as the tables were told; (0, 0) for none.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn confirmed(&self, partition: PartitionId) -> Result<Position, StoreError> {
        let sql = "SELECT epoch, sequence FROM log_confirmed WHERE partition_id = ?";
        let row = self.reader().query_one_raw(self.statement(sql, [id(partition)])).await?;
        row.map_or_else(|| Ok(Position::default()), |row| position(&row, 0))
    }

    /// Notes that a batch is confirmed. Only what really is may be told here: whoever claims the partition next insists on it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_confirmed(&self, partition: PartitionId, confirmed: Position) -> Result<(), StoreError> {
        let [epoch, sequence] = columns(confirmed)?;
        let sql = "UPDATE log_confirmed SET epoch = ?, sequence = ? WHERE partition_id = ? AND (epoch < ? OR epoch = ? AND sequence < ?)";
        let values = [epoch.clone(), sequence.clone(), id(partition), epoch.clone(), epoch, sequence];
        self.inner.connections.writer.execute_raw(self.statement(sql, values)).await?;
        Ok(())
    }

    /// What the projection of a partition lacks, as a consumer has noted it; none if it has gone on since.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn gap(&self, partition: PartitionId) -> Result<Option<Gap>, StoreError> {
        self.gap_in(self.reader(), partition).await
    }

    async fn gap_in(&self, connection: &impl ConnectionTrait, partition: PartitionId) -> Result<Option<Gap>, StoreError> {
        let sql = "SELECT g.applied_epoch, g.applied_sequence, g.missing_epoch, g.missing_sequence, g.is_broken \
                   FROM log_gaps g JOIN partitions p ON p.id = g.partition_id \
                   WHERE g.partition_id = ? AND p.applied_epoch = g.applied_epoch AND p.applied_sequence = g.applied_sequence";
        let Some(row) = connection.query_one_raw(self.statement(sql, [id(partition)])).await? else { return Ok(None) };
        let is_broken = row.try_get_by_index::<i16>(4)? != 0;
        Ok(Some(Gap { partition, applied: position(&row, 0)?, missing: position(&row, 2)?, is_broken }))
    }

    /// Notes what the projection of a partition lacks, in the place of what was noted before.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_gap(&self, gap: Gap, now: Timestamp) -> Result<(), StoreError> {
        let store = self.clone();
        to_the_end(async move {
            let transaction = store.begin_write().await?;
            let [applied_epoch, applied_sequence] = columns(gap.applied)?;
            let [missing_epoch, missing_sequence] = columns(gap.missing)?;
            let noted = async {
                transaction.execute_raw(store.statement("DELETE FROM log_gaps WHERE partition_id = ?", [id(gap.partition)])).await?;
                let sql = "INSERT INTO log_gaps (partition_id, applied_epoch, applied_sequence, missing_epoch, missing_sequence, is_broken, \
                           noted_at) VALUES (?, ?, ?, ?, ?, ?, ?)";
                let values = [
                    id(gap.partition),
                    applied_epoch,
                    applied_sequence,
                    missing_epoch,
                    missing_sequence,
                    i16::from(gap.is_broken).into(),
                    now.millis().into(),
                ];
                transaction.execute_raw(store.statement(sql, values)).await
            };
            let noted = noted.await;
            ended(transaction, noted.map(drop).map_err(StoreError::from)).await
        })
        .await
    }

    /// Lets the projection of a partition go on without what it lacks: the missing batches count as applied from now on, and their orders as
    /// never placed. Nobody may own the partition meanwhile. `reason` and `who` are cut to what the table holds.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn accept_loss(
        &self,
        partition: PartitionId,
        reason: &str,
        who: &str,
        now: Timestamp,
    ) -> Result<Result<Loss, NoLoss>, StoreError> {
        let (store, reason, accepted_by) = (self.clone(), cut(reason, REASON_CHARS_MAX), cut(who, WHO_CHARS_MAX));
        to_the_end(async move {
            let transaction = store.begin_write().await?;
            let accepted = store.accept_in(&transaction, partition, (reason, accepted_by, now)).await;
            ended(transaction, accepted).await
        })
        .await
    }

    async fn accept_in(
        &self,
        transaction: &pool::Transaction,
        partition: PartitionId,
        (reason, accepted_by, accepted_at): (String, String, Timestamp),
    ) -> Result<Result<Loss, NoLoss>, StoreError> {
        // As the projection does, so that nothing is applied meanwhile.
        let lock = if self.backend() == DbBackend::MySql { " FOR UPDATE" } else { "" };
        let sql = format!("SELECT id FROM partitions WHERE id = ?{lock}");
        transaction.query_one_raw(self.statement(&sql, [id(partition)])).await?;
        let Some(Gap { applied, missing, is_broken, .. }) = self.gap_in(transaction, partition).await? else {
            return Ok(Err(NoLoss::NothingMissing));
        };
        let [applied_epoch, applied_sequence] = columns(applied)?;
        let [missing_epoch, missing_sequence] = columns(missing)?;
        if is_broken {
            let sql = "SELECT partition_id FROM log_losses WHERE partition_id = ? AND missing_epoch = ? LIMIT 1";
            if transaction.query_one_raw(self.statement(sql, [id(partition), missing_epoch.clone()])).await?.is_none() {
                return Ok(Err(NoLoss::NotOfALoss));
            }
        }
        let sql = "INSERT INTO log_losses (partition_id, missing_epoch, missing_sequence, applied_epoch, applied_sequence, reason, accepted_by, \
                   accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        let (kept_reason, kept_by) = (reason.clone().into(), accepted_by.clone().into());
        let at = accepted_at.millis().into();
        let [epoch, sequence] = [missing_epoch.clone(), missing_sequence.clone()];
        let (from_epoch, from_sequence) = (applied_epoch.clone(), applied_sequence.clone());
        let values = [id(partition), epoch, sequence, from_epoch, from_sequence, kept_reason, kept_by, at];
        transaction.execute_raw(self.statement(sql, values)).await?;
        let sql = "UPDATE partitions SET applied_epoch = ?, applied_sequence = ? WHERE id = ?";
        let values = [missing_epoch.clone(), missing_sequence.clone(), id(partition)];
        transaction.execute_raw(self.statement(sql, values)).await?;
        if read_log_version(transaction).await? >= LogVersion::V2 {
            // So that checkpoints can be made of what comes before and behind: nothing of what is lost is in it.
            let sql = "INSERT INTO checkpoint_deltas (partition_id, epoch, sequence, previous_epoch, previous_sequence, body) \
                       VALUES (?, ?, ?, ?, ?, ?)";
            let values = [id(partition), missing_epoch, missing_sequence, applied_epoch, applied_sequence, Vec::<u8>::new().into()];
            transaction.execute_raw(self.statement(sql, values)).await?;
        }
        transaction.execute_raw(self.statement("DELETE FROM log_gaps WHERE partition_id = ?", [id(partition)])).await?;
        Ok(Ok(Loss { partition, applied, missing, reason, accepted_by, accepted_at }))
    }

    /// The losses that were accepted, the latest first, at most so many.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn losses(&self, at_most: u32) -> Result<Vec<Loss>, StoreError> {
        let sql = "SELECT partition_id, applied_epoch, applied_sequence, missing_epoch, missing_sequence, reason, accepted_by, accepted_at \
                   FROM log_losses ORDER BY accepted_at DESC, partition_id, missing_epoch DESC, missing_sequence DESC LIMIT ?";
        let rows = self.reader().query_all_raw(self.statement(sql, [i64::from(at_most).into()])).await?;
        rows.iter().map(loss).collect()
    }
}

/// Commits what was done, or undoes it.
async fn ended<T>(transaction: pool::Transaction, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
    match &outcome {
        Ok(_) => transaction.commit().await?,
        Err(_) => transaction.rollback().await?,
    }
    outcome
}

fn loss(row: &QueryResult) -> Result<Loss, StoreError> {
    let corrupt = || StoreError::Corrupt("a row of log_losses".into());
    let partition = u16::try_from(row.try_get_by_index::<i32>(0)?).ok().and_then(|index| PartitionId::new(index).ok());
    Ok(Loss {
        partition: partition.ok_or_else(corrupt)?,
        applied: position(row, 1)?,
        missing: position(row, 3)?,
        reason: row.try_get_by_index(5)?,
        accepted_by: row.try_get_by_index(6)?,
        accepted_at: Timestamp::from_millis(row.try_get_by_index(7)?).map_err(|_| corrupt())?,
    })
}

fn id(partition: PartitionId) -> Value {
    i32::from(partition.get()).into()
}

fn columns((epoch, sequence): Position) -> Result<[Value; 2], StoreError> {
    let sequence = i64::try_from(sequence.0).map_err(|_| StoreError::Corrupt(format!("sequence {sequence}")))?;
    Ok([i64::from(epoch.get()).into(), sequence.into()])
}

fn position(row: &QueryResult, first: usize) -> Result<Position, StoreError> {
    let (epoch, sequence): (i64, i64) = (row.try_get_by_index(first)?, row.try_get_by_index(first + 1)?);
    let corrupt = || StoreError::Corrupt(format!("a position of {epoch}/{sequence}"));
    let epoch = u32::try_from(epoch).ok().and_then(|epoch| Epoch::new(epoch).ok()).ok_or_else(corrupt)?;
    Ok((epoch, Sequence(u64::try_from(sequence).map_err(|_| corrupt())?)))
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}
