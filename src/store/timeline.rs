//! What became of orders after they were placed, and what is to be told to others of all that: rows that the projection adds and never
//! changes. Never tells anybody.

use sea_orm::{ConnectionTrait, QueryResult, Value};

use super::statements::places;
use super::{Store, StoreError};
use crate::domain::{Actor, CommodityId, Epoch, OrderId, OrderStatus, PartitionId, Reason, Sequence, Timestamp};

/// Rows in one statement, at most.
pub(super) const ROWS_MAX: usize = 100;

/// Steps of one order that are read, at most: an order has no more than some.
const STEPS_MAX: usize = 100;

/// Where an event stands in all logs: its name for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPlace {
    /// The log.
    pub partition: PartitionId,
    /// The batch.
    pub epoch: Epoch,
    /// The batch.
    pub sequence: Sequence,
    /// Which of the batch's events, from 0.
    pub place: u32,
}

/// A step of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineStep {
    /// When.
    pub at: Timestamp,
    /// What it was from then on.
    pub status: OrderStatus,
    /// Who moved it.
    pub by: Actor,
    /// Why, if they said so.
    pub reason: Option<Reason>,
}

/// A row for the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewStep {
    pub(crate) order: OrderId,
    pub(crate) event: EventPlace,
    pub(crate) step: TimelineStep,
}

/// A row for the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewNotice {
    pub(crate) event: EventPlace,
    pub(crate) at: Timestamp,
    pub(crate) commodity: CommodityId,
    /// Of an order's event: which, and what it is from then on.
    pub(crate) order: Option<(OrderId, OrderStatus)>,
}

/// The statement that adds these steps.
pub(super) fn insert_steps(rows: &[NewStep]) -> Result<(String, Vec<Value>), StoreError> {
    let row = format!("({})", places(8));
    let columns = "order_id, epoch, sequence, place, at, status, actor, reason";
    let sql = format!("INSERT INTO order_timeline ({columns}) VALUES {}", vec![row.as_str(); rows.len()].join(","));
    let mut values = Vec::with_capacity(8 * rows.len());
    for NewStep { order, event, step } in rows {
        values.push(order.uuid().into());
        values.extend(place_values(event)?);
        values.extend([
            step.at.millis().into(),
            step.status.code().into(),
            i16::from(step.by.code()).into(),
            step.reason.as_ref().map(|reason| reason.as_str().to_owned()).into(),
        ]);
    }
    Ok((sql, values))
}

/// The statement that adds these rows.
pub(super) fn insert_notices(rows: &[NewNotice]) -> Result<(String, Vec<Value>), StoreError> {
    let row = format!("({})", places(8));
    let columns = "partition_id, epoch, sequence, place, at, commodity_id, order_id, status";
    let sql = format!("INSERT INTO outbox ({columns}) VALUES {}", vec![row.as_str(); rows.len()].join(","));
    let mut values = Vec::with_capacity(8 * rows.len());
    for NewNotice { event, at, commodity, order } in rows {
        values.push(i32::from(event.partition.get()).into());
        values.extend(place_values(event)?);
        values.extend([
            at.millis().into(),
            commodity.get().into(),
            order.map(|(order, _)| order.uuid()).into(),
            order.map(|(_, status)| status.code()).into(),
        ]);
    }
    Ok((sql, values))
}

fn place_values(event: &EventPlace) -> Result<[Value; 3], StoreError> {
    let corrupt = || StoreError::Corrupt(format!("an event at {}/{}", event.sequence, event.place));
    let sequence = i64::try_from(event.sequence.0).map_err(|_| corrupt())?;
    let place = i32::try_from(event.place).map_err(|_| corrupt())?;
    // Epochs have 26 bits.
    Ok([(event.epoch.get() as i32).into(), sequence.into(), place.into()])
}

impl Store {
    /// What became of an order after it was placed, as far as the tables have it, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn timeline(&self, order: OrderId) -> Result<Vec<TimelineStep>, StoreError> {
        let sql = "SELECT at, status, actor, reason FROM order_timeline WHERE order_id = ? ORDER BY epoch, sequence, place LIMIT ?";
        let values = [order.uuid().into(), Value::from(STEPS_MAX as i64)];
        let rows = self.reader().query_all_raw(self.statement(sql, values)).await?;
        rows.iter().map(|row| read(order, row)).collect()
    }
}

fn read(order: OrderId, row: &QueryResult) -> Result<TimelineStep, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("order_timeline.{what} of {order}"));
    let (status, actor): (i16, i16) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
    let reason: Option<String> = row.try_get_by_index(3)?;
    Ok(TimelineStep {
        at: Timestamp::from_millis(row.try_get_by_index(0)?).map_err(|_| corrupt("at"))?,
        status: OrderStatus::from_code(status).ok_or_else(|| corrupt("status"))?,
        by: u8::try_from(actor).ok().and_then(Actor::from_code).ok_or_else(|| corrupt("actor"))?,
        reason: reason.map(|text| text.parse()).transpose().map_err(|_| corrupt("reason"))?,
    })
}
