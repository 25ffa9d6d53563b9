//! Building an engine from a snapshot. Never repairs: a snapshot that contradicts itself is refused with a sentence.

use std::collections::VecDeque;

use super::buyers::Buyers;
use super::keys::Keys;
use super::operations::Operations;
use super::orders::{NONE, Record, number_of};
use super::{Commodities, EndedKey, Engine, Holds, KnownCommodity, KnownKey, KnownOrder, Orders, Snapshot};
use crate::domain::{Epoch, OrderId, OrderStatus, PartitionId, Sequence, StockColumn};
use crate::event::LogVersion;

/// A snapshot that contradicts itself: the tables were tampered with, or we have a bug. The partition must not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("partition {partition}: {what}")]
pub struct RestoreError {
    /// Whose snapshot.
    pub partition: PartitionId,
    /// What does not fit.
    pub what: String,
}

pub(super) fn restore(partition: PartitionId, epoch: Epoch, snapshot: Snapshot, log_version: LogVersion) -> Result<Engine, RestoreError> {
    let mut engine = Engine {
        partition,
        epoch,
        next_number: 0,
        log_version,
        commodities: Commodities::new(),
        orders: Orders::new(),
        holds: Holds::new(),
        gathering: Sequence::FENCE.next(),
        unsettled: VecDeque::new(),
        ending: VecDeque::new(),
        forgotten_up_to: Sequence::FENCE,
        ended_keys: VecDeque::new(),
        operations: Operations::default(),
    };
    fill(&mut engine, snapshot).map_err(|what| RestoreError { partition, what })?;
    Ok(engine)
}

fn fill(engine: &mut Engine, snapshot: Snapshot) -> Result<(), String> {
    engine.operations = Operations::of(snapshot.operations);
    engine.orders.reserve(snapshot.commodities.iter().map(|known| known.orders.len()).sum());
    let mut ended = Vec::new();
    for known in snapshot.commodities {
        let slot = add_commodity(engine, &known)?;
        add_buyers(engine, slot, &known)?;
        for key in &known.keys {
            add_key(engine, slot, key, &mut ended)?;
        }
        let mut held = 0;
        for order in &known.orders {
            held += add_order(engine, slot, order)?;
        }
        check(engine, slot, held)?;
    }
    // They are freed in this order.
    ended.sort_unstable_by_key(|(at, key): &(i64, EndedKey)| (*at, key.number));
    engine.ended_keys.extend(ended.into_iter().map(|(_, key)| key));
    Ok(())
}

fn add_commodity(engine: &mut Engine, known: &KnownCommodity) -> Result<u32, String> {
    let commodity = &known.commodity;
    if engine.commodities.find(commodity.id).is_some() {
        return Err(format!("commodity {} comes twice", commodity.id));
    }
    if !commodity.stock.balances() {
        return Err(format!("the stock of commodity {} does not balance: {:?}", commodity.id, commodity.stock));
    }
    Ok(engine.commodities.insert(commodity.clone(), known.removed))
}

fn add_buyers(engine: &mut Engine, slot: u32, known: &KnownCommodity) -> Result<(), String> {
    let listing = engine.commodities.listing_mut(slot);
    if listing.is_over() {
        return Ok(());
    }
    let own = known.buyers.iter().filter(|buyer| buyer.user.account().is_some()).count();
    listing.buyers = Buyers::with_capacity(own, known.buyers.len() - own);
    listing.keys = Keys::with_capacity(known.keys.len());
    for buyer in &known.buyers {
        let too_many = || format!("{} has too many units of commodity {}", buyer.user, known.commodity.id);
        listing.buyers.add(buyer.user, buyer.units).ok_or_else(too_many)?;
    }
    Ok(())
}

fn add_key(engine: &mut Engine, slot: u32, known: &KnownKey, ended: &mut Vec<(i64, EndedKey)>) -> Result<(), String> {
    check_id(engine, known.order)?;
    let listing = engine.commodities.listing_mut(slot);
    if listing.is_over() {
        return Ok(());
    }
    let number = number_of(known.order);
    // Of two orders under one key the later counts: the key was free again when it was placed.
    if let Some(other) = listing.keys.slot(known.user, known.key) {
        let (live, other_number) = (known.ended_at.is_none(), listing.keys.number(other));
        if live && listing.keys.is_live(other) || other_number == number {
            return Err(format!("two orders of {} and commodity {} have the same key", known.user, listing.commodity.id));
        }
        if other_number > number {
            return Ok(());
        }
    }
    let keyed = listing.keys.store(known.user, known.key, known.fingerprint, known.order);
    if let Some(at) = known.ended_at {
        listing.keys.set_ended(keyed, Some(at));
        ended.push((at.millis(), EndedKey { commodity: slot, keyed, number }));
    }
    Ok(())
}

/// Returns the units that are held for it.
fn add_order(engine: &mut Engine, slot: u32, known: &KnownOrder) -> Result<u64, String> {
    let order = &known.order;
    let (id, status) = (order.id, order.status);
    check_id(engine, id)?;
    if engine.orders.find(number_of(id)).is_some() {
        return Err(format!("order {id} comes twice"));
    }
    if status == OrderStatus::Reserved && order.pay_by.is_none() {
        return Err(format!("order {id} is reserved and has no time to pay by"));
    }
    let listing = engine.commodities.listing(slot);
    if order.commodity != listing.commodity.id {
        return Err(format!("order {id} is of commodity {} and stands with {}", order.commodity, listing.commodity.id));
    }
    let (owes, is_sold) = (known.payments.owe(), StockColumn::of(status) == StockColumn::Sold);
    // Of what is over nobody knows who has how much: a sold order of it is here for its payments alone.
    let is_claimed = match listing.is_over() {
        true => is_sold && owes,
        false => listing.buyers.units(order.user) >= order.quantity.get(),
    };
    if status.is_live() && !is_claimed {
        return Err(format!("order {id} claims {} units, and its buyer has fewer", order.quantity.get()));
    }
    let keyed = known.key.and_then(|key| listing.keys.of_order(order.user, key, number_of(id))).unwrap_or(NONE);
    engine.commodities.count_order(slot);
    let record = engine.orders.insert(Record::pack(order, slot, keyed, Sequence::FENCE), order.user);
    engine.orders.set_payments(record, known.payments);
    engine.orders.set_discount(record, order.discount);
    engine.commodities.count_owed(slot, (false, owes));
    match StockColumn::of(status) {
        StockColumn::Held => {
            engine.holds.push(record, &mut engine.orders);
            return Ok(u64::from(order.quantity.get()));
        }
        StockColumn::Available if status == OrderStatus::RefundDue => engine.commodities.count_owed(slot, (false, true)),
        StockColumn::Available if !owes => return Err(format!("order {id} is {}: nothing is owed for it", status.word())),
        StockColumn::Available | StockColumn::Sold => {}
    }
    Ok(0)
}

fn check_id(engine: &Engine, id: OrderId) -> Result<(), String> {
    if id.partition() != engine.partition {
        return Err(format!("order {id} is of partition {}", id.partition()));
    }
    if id.epoch() >= engine.epoch {
        return Err(format!("order {id} is of epoch {}, and epoch {} only begins", id.epoch(), engine.epoch));
    }
    Ok(())
}

/// Holds a commodity's stock against what its buyers have and its orders hold.
fn check(engine: &Engine, slot: u32, held: u64) -> Result<(), String> {
    let listing = engine.commodities.listing(slot);
    let (id, stock) = (listing.commodity.id, listing.commodity.stock);
    if listing.is_over() {
        return if engine.commodities.is_owed(slot) { Ok(()) } else { Err(format!("commodity {id} is over, and nothing is owed of it")) };
    }
    let (in_stock, of_buyers) = (u64::from(stock.held.get()) + u64::from(stock.sold.get()), listing.buyers.total());
    if u64::from(stock.held.get()) != held || in_stock != of_buyers {
        return Err(format!(
            "commodity {id} has {} units held and {} sold, but its orders hold {held} and its buyers have {of_buyers} in all",
            stock.held.get(),
            stock.sold.get()
        ));
    }
    Ok(())
}
