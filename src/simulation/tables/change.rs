//! A transaction on the tables. What it did is undone, last first, unless it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::{Listed, Memory, Mood, Row, SYSTEM, away};
use crate::domain::{CommodityId, OperationKey, OrderId, PartitionId, PaymentId, Stock, SystemId, Units};
use crate::store::{
    CommodityUpdate, Delta, EventPlace, Move, NewCommodity, NewNotice, NewOperation, NewOrder, NewPayment, NewStep, PaymentChange,
    Position, StoreError, Transaction,
};

/// The transaction.
pub(in crate::simulation) struct Change {
    memory: Memory,
    undo: Mutex<Vec<Undo>>,
}

enum Undo {
    Order(OrderId, Option<Row>),
    MovedBack(OrderId),
    Unsealed(CommodityId),
    Commodity(CommodityId, Option<Listed>),
    Position(PartitionId, Position),
    Delta(PartitionId),
    Operation(OperationKey, Option<NewOperation>),
    Payment(PaymentId, Option<NewPayment>),
    Step(EventPlace),
    Notice(EventPlace),
}

impl Transaction for Change {
    fn system(&self) -> SystemId {
        SYSTEM
    }

    async fn positions(&self, partitions: &[PartitionId]) -> Result<BTreeMap<PartitionId, Position>, StoreError> {
        let inner = self.memory.lock();
        Ok(partitions.iter().filter_map(|id| Some((*id, inner.partitions.get(id)?.1))).collect())
    }

    async fn set_positions(&self, positions: &BTreeMap<PartitionId, Position>) -> Result<(), StoreError> {
        for (id, position) in positions {
            if let Some((_, found)) = self.memory.lock().partitions.get_mut(id) {
                let before = std::mem::replace(found, *position);
                self.noted(Undo::Position(*id, before));
            }
        }
        Ok(())
    }

    async fn append_deltas(&self, deltas: Vec<Delta>) -> Result<(), StoreError> {
        if self.memory.lock().is_older {
            return Ok(());
        }
        for delta in deltas {
            self.noted(Undo::Delta(delta.partition));
            self.memory.lock().checkpoints.entry(delta.partition).or_default().deltas.push(delta);
        }
        Ok(())
    }

    async fn insert_orders(&self, orders: &[NewOrder]) -> Result<(), StoreError> {
        let mut inner = self.memory.lock();
        for NewOrder { order, foreign, key, fingerprint, changed_at } in orders {
            if inner.row(order.id).is_some() {
                return Err(StoreError::Refused(format!("order {} is there already", order.id)));
            }
            if !inner.commodities.contains_key(&order.commodity) {
                return Err(StoreError::Refused(format!("order {} is of no commodity", order.id)));
            }
            if let Some(key) = key
                && let Some(other) = inner.keys.insert((order.user, order.commodity, *key), order.id)
            {
                inner.keys.insert((order.user, order.commodity, *key), other);
                return Err(StoreError::Refused(format!("orders {other} and {} have one key", order.id)));
            }
            let (foreign, key, fingerprint, changed_at) = (foreign.clone(), *key, *fingerprint, *changed_at);
            inner.orders.insert(order.id, Row { order: *order, foreign, key, fingerprint, changed_at });
            self.noted(Undo::Order(order.id, None));
        }
        Ok(())
    }

    async fn move_orders(&self, orders: &Move) -> Result<u64, StoreError> {
        let mut inner = self.memory.lock();
        let mut found = 0;
        for id in &orders.orders {
            let Some(row) = inner.orders.get_mut(id).filter(|row| row.order.status == orders.from) else { continue };
            self.noted(Undo::Order(*id, Some(row.clone())));
            (row.order.status, row.changed_at) = (orders.to, orders.at);
            found += 1;
        }
        Ok(found)
    }

    async fn bring_back(&self, orders: &[OrderId]) -> Result<u64, StoreError> {
        Ok(self.move_back(orders))
    }

    async fn forget_keys(&self, orders: &[OrderId]) -> Result<(), StoreError> {
        let mut inner = self.memory.lock();
        for id in orders {
            let Some(row) = inner.orders.get_mut(id) else { continue };
            self.noted(Undo::Order(*id, Some(row.clone())));
            let key = row.key.take().map(|key| (row.order.user, row.order.commodity, key));
            key.and_then(|key| inner.keys.remove(&key));
        }
        Ok(())
    }

    async fn insert_commodity(&self, new: &NewCommodity) -> Result<(), StoreError> {
        let NewCommodity { commodity, partition, removed_at } = new;
        let mut inner = self.memory.lock();
        if inner.commodities.contains_key(&commodity.id) {
            return Err(StoreError::Refused(format!("commodity {} is there already", commodity.id)));
        }
        self.noted(Undo::Commodity(commodity.id, None));
        let row = Listed { commodity: commodity.clone(), partition: *partition, removed: removed_at.is_some() };
        inner.commodities.insert(commodity.id, row);
        Ok(())
    }

    async fn update_commodity(&self, id: CommodityId, update: &CommodityUpdate) -> Result<bool, StoreError> {
        let mut inner = self.memory.lock();
        let Some(row) = inner.commodities.get_mut(&id) else { return Ok(false) };
        self.noted(Undo::Commodity(id, Some(row.clone())));
        let commodity = &mut row.commodity;
        let stock = commodity.stock;
        let total = update.total.unwrap_or(stock.total);
        let sum = |now: Units, change: i64| {
            Units::new(i64::from(now) + change).map_err(|_| StoreError::Refused(format!("commodity {id}: a counter below zero")))
        };
        commodity.stock = Stock {
            total,
            available: sum(stock.available, update.available + i64::from(total) - i64::from(stock.total))?,
            held: sum(stock.held, update.held)?,
            sold: sum(stock.sold, update.sold)?,
        };
        if let Some(terms) = &update.terms {
            commodity.terms = (**terms).clone();
        }
        commodity.paused = update.paused.unwrap_or(commodity.paused);
        commodity.ended_at = update.ended_at.or(commodity.ended_at);
        commodity.closed_at = update.closed_at.or(commodity.closed_at);
        commodity.version = update.version.unwrap_or(commodity.version);
        row.removed |= update.removed_at.is_some();
        Ok(true)
    }

    async fn insert_operations(&self, operations: &[NewOperation]) -> Result<(), StoreError> {
        let mut inner = self.memory.lock();
        for new in operations {
            let before = inner.operations.insert(new.operation.key, *new);
            self.noted(Undo::Operation(new.operation.key, before));
        }
        Ok(())
    }

    fn is_outbox_wanted(&self) -> bool {
        self.memory.lock().is_outbox_wanted
    }

    async fn insert_payments(&self, payments: &[NewPayment]) -> Result<(), StoreError> {
        let mut inner = self.memory.lock();
        for new in payments {
            if inner.payments.contains_key(&new.id) {
                return Err(StoreError::Refused(format!("payment {} is there already", new.id)));
            }
            inner.payments.insert(new.id, *new);
            self.noted(Undo::Payment(new.id, None));
        }
        Ok(())
    }

    async fn change_payments(&self, change: &PaymentChange) -> Result<u64, StoreError> {
        let mut inner = self.memory.lock();
        let mut found = 0;
        for order in &change.orders {
            let id = PaymentId { order: *order, attempt: change.attempt };
            let Some(row) = inner.payments.get_mut(&id) else { continue };
            self.noted(Undo::Payment(id, Some(*row)));
            (row.status, row.pays, row.changed_at) = (change.status, row.pays || change.pays, change.at);
            found += 1;
        }
        Ok(found)
    }

    async fn insert_steps(&self, steps: &[NewStep]) -> Result<(), StoreError> {
        let mut inner = self.memory.lock();
        for new in steps {
            if inner.steps.insert(new.event, new.clone()).is_some() {
                return Err(StoreError::Refused(format!("the step at {:?} is there already", new.event)));
            }
            self.noted(Undo::Step(new.event));
        }
        Ok(())
    }

    async fn insert_notices(&self, notices: &[NewNotice]) -> Result<(), StoreError> {
        let mut inner = self.memory.lock();
        for new in notices {
            if inner.notices.insert(new.event, *new).is_some() {
                return Err(StoreError::Refused(format!("the notice at {:?} is there already", new.event)));
            }
            self.noted(Undo::Notice(new.event));
        }
        Ok(())
    }

    async fn unseal(&self, commodities: &BTreeSet<CommodityId>) -> Result<(), StoreError> {
        self.unseal_all(commodities.iter().copied());
        Ok(())
    }

    async fn commit(self) -> Result<(), StoreError> {
        let mood = std::mem::replace(&mut self.memory.lock().mood, Mood::Well);
        match mood {
            Mood::Well => {
                self.undo.lock().unwrap_or_else(PoisonError::into_inner).clear();
                Ok(())
            }
            Mood::HidesCommit => {
                self.undo.lock().unwrap_or_else(PoisonError::into_inner).clear();
                Err(away())
            }
            Mood::Away | Mood::LosesCommit => Err(away()),
        }
    }

    async fn rollback(self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Change {
    pub(super) fn on(memory: Memory) -> Self {
        Self { memory, undo: Mutex::new(Vec::new()) }
    }

    fn unseal_all(&self, commodities: impl IntoIterator<Item = CommodityId>) {
        let mut inner = self.memory.lock();
        for id in commodities {
            if inner.sealed.remove(&id) {
                self.noted(Undo::Unsealed(id));
            }
        }
    }

    fn move_back(&self, orders: &[OrderId]) -> u64 {
        let mut found = Vec::new();
        for id in orders {
            let mut inner = self.memory.lock();
            if let Some(row) = inner.archived.remove(id) {
                found.push(row.order.commodity);
                inner.orders.insert(*id, row);
                self.noted(Undo::MovedBack(*id));
            }
        }
        let count = found.len() as u64;
        self.unseal_all(found);
        count
    }

    fn noted(&self, undo: Undo) {
        self.undo.lock().unwrap_or_else(PoisonError::into_inner).push(undo);
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let undo = std::mem::take(self.undo.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut inner = self.memory.lock();
        for undo in undo.into_iter().rev() {
            match undo {
                Undo::Order(id, before) => {
                    if let Some(key) = inner.orders.remove(&id).and_then(|row| Some((row.order.user, row.order.commodity, row.key?))) {
                        inner.keys.remove(&key);
                    }
                    if let Some(row) = before {
                        if let Some(key) = row.key {
                            inner.keys.insert((row.order.user, row.order.commodity, key), id);
                        }
                        inner.orders.insert(id, row);
                    }
                }
                Undo::MovedBack(id) => {
                    if let Some(row) = inner.orders.remove(&id) {
                        inner.archived.insert(id, row);
                    }
                }
                Undo::Unsealed(id) => drop(inner.sealed.insert(id)),
                Undo::Commodity(id, Some(row)) => drop(inner.commodities.insert(id, row)),
                Undo::Commodity(id, None) => drop(inner.commodities.remove(&id)),
                Undo::Operation(key, Some(row)) => drop(inner.operations.insert(key, row)),
                Undo::Operation(key, None) => drop(inner.operations.remove(&key)),
                Undo::Payment(id, Some(row)) => drop(inner.payments.insert(id, row)),
                Undo::Payment(id, None) => drop(inner.payments.remove(&id)),
                Undo::Step(event) => drop(inner.steps.remove(&event)),
                Undo::Notice(event) => drop(inner.notices.remove(&event)),
                Undo::Delta(id) => drop(inner.checkpoints.get_mut(&id).and_then(|kept| kept.deltas.pop())),
                Undo::Position(id, position) => {
                    if let Some((_, found)) = inner.partitions.get_mut(&id) {
                        *found = position;
                    }
                }
            }
        }
    }
}
