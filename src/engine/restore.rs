//! Building an engine from a snapshot. Never repairs: a snapshot that contradicts itself is refused with a sentence.

use super::commodities::Shelf;
use super::moves::is_forgettable;
use super::orders::{NONE, Record, number_of};
use super::{Buyers, Commodities, Ended, Engine, Heap, Held, Keys, KnownOrder, Orders, Snapshot};
use crate::domain::{Commodity, Epoch, OrderStatus, PartitionId};

/// A snapshot that contradicts itself: the tables were tampered with, or we have a bug. The partition must not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("partition {partition}: {what}")]
pub struct RestoreError {
    /// Whose snapshot.
    pub partition: PartitionId,
    /// What does not fit.
    pub what: String,
}

pub(super) fn restore(partition: PartitionId, epoch: Epoch, snapshot: Snapshot, ended_orders_max: usize) -> Result<Engine, RestoreError> {
    let mut engine = Engine {
        partition,
        epoch,
        next_number: 0,
        ended_orders_max,
        commodities: Commodities::new(),
        buyers: Buyers::new(),
        orders: Orders::new(),
        keys: Keys::new(),
        holds: Heap::new(),
        ended: Heap::new(),
    };
    fill(&mut engine, snapshot).map_err(|what| RestoreError { partition, what })?;
    Ok(engine)
}

fn fill(engine: &mut Engine, snapshot: Snapshot) -> Result<(), String> {
    let mut claims = Claims { of: vec![(0, 0); snapshot.commodities.len()] };
    for commodity in snapshot.commodities {
        add_commodity(engine, commodity)?;
    }
    for known in snapshot.orders {
        add_order(engine, known, &mut claims)?;
    }
    claims.check(engine)
}

fn add_commodity(engine: &mut Engine, commodity: Commodity) -> Result<(), String> {
    if engine.commodities.find(commodity.id).is_some() {
        return Err(format!("commodity {} comes twice", commodity.id));
    }
    if !commodity.stock.balances() {
        return Err(format!("the stock of commodity {} does not balance: {:?}", commodity.id, commodity.stock));
    }
    engine.commodities.insert(commodity);
    Ok(())
}

fn add_order(engine: &mut Engine, known: KnownOrder, claims: &mut Claims) -> Result<(), String> {
    let order = known.order;
    let (id, status) = (order.id, order.status);
    if id.partition() != engine.partition {
        return Err(format!("order {id} is of partition {}", id.partition()));
    }
    if id.epoch() >= engine.epoch {
        return Err(format!("order {id} is of epoch {}, and epoch {} only begins", id.epoch(), engine.epoch));
    }
    if engine.orders.find(number_of(id)).is_some() {
        return Err(format!("order {id} comes twice"));
    }
    if status == OrderStatus::Reserved && order.pay_by.is_none() {
        return Err(format!("order {id} is reserved and has no time to pay by"));
    }
    let Some(commodity) = engine.commodities.find(order.commodity) else {
        // The commodity was removed: what had ended of it was forgotten then.
        return if is_forgettable(status) { Ok(()) } else { Err(format!("order {id} is of unknown commodity {}", order.commodity)) };
    };
    claims.add(commodity, &known);
    let buyer = engine.buyers.join(commodity, order.user);
    if status.is_live() {
        let units = u64::from(engine.buyers.units(buyer)) + u64::from(order.quantity.get());
        u32::try_from(units).map_err(|_| format!("user {} has too many units of commodity {}", order.user, order.commodity))?;
        engine.buyers.add_units(buyer, order.quantity.get());
    }
    if let Some(key) = known.key
        && let Some(other) = engine.keys.find(buyer, key, &engine.orders)
    {
        return Err(format!("orders {} and {id} have the same key", engine.unpack(other).id));
    }
    let keyed = known.key.map_or(NONE, |key| engine.keys.store(key, known.fingerprint));
    let slot = engine.orders.insert(Record::pack(&order, buyer, keyed));
    if known.key.is_some() {
        engine.keys.index(slot, &engine.orders);
    }
    match status {
        OrderStatus::Reserved => engine.holds.push(Held(slot), &mut engine.orders),
        OrderStatus::Confirmed | OrderStatus::Paid => {}
        OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::Refunded => {
            engine.ended.push(Ended { slot, at: known.changed_at.millis() }, &mut engine.orders);
        }
        OrderStatus::RefundDue => engine.commodities.count_refund_due(commodity),
    }
    Ok(())
}

/// What the orders claim of each commodity, by slot: held and sold units.
struct Claims {
    of: Vec<(u64, u64)>,
}

impl Claims {
    fn add(&mut self, commodity: u32, known: &KnownOrder) {
        let (held, sold) = &mut self.of[commodity as usize];
        let units = u64::from(known.order.quantity.get());
        match Shelf::of(known.order.status) {
            Shelf::Available => {}
            Shelf::Held => *held += units,
            Shelf::Sold => *sold += units,
        }
    }

    /// Holds the commodities' stock against what the orders claim.
    fn check(&self, engine: &Engine) -> Result<(), String> {
        for (slot, (held, sold)) in (0..).zip(&self.of) {
            let commodity = engine.commodities.get(slot);
            let stock = commodity.stock;
            if (u64::from(stock.held.get()), u64::from(stock.sold.get())) != (*held, *sold) {
                return Err(format!(
                    "commodity {} has {} units held and {} sold, but its orders claim {held} and {sold}",
                    commodity.id,
                    stock.held.get(),
                    stock.sold.get()
                ));
            }
        }
        Ok(())
    }
}
