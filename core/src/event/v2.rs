//! Version 2 of the wire form, frozen. It is smaller than version 1, tells whose order moved, and knows that a commodity is closed.
//!
//! What a batch says once it doesn't say again. Its orders are of its partition; an epoch is told as how far back it lies; times
//! are told as how long after the batch's own they are. A key and the fingerprint of its request travel together, or neither does.
//! What operators do is rare, and keeps the form it had. No type of the domain is in here. A placed order with a key and a hold is 45
//! bytes (66 in version 1), with a key alone 42 (60), with neither 18 (41).

use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, Reader, Unwritable, put};
use super::version::LogVersion;
use super::{Batch, Event as Fact};
use crate::domain::{
    Actor, Cause, CommodityId, Epoch, IdempotencyKey, Order, OrderId, PartitionId, Price, PrincipalKey, Quantity, RequestFingerprint,
    Sequence, Timestamp, Units, UserId,
};
use crate::form::{Commodity, Terms, code_of, currency_of, says_all_of, says_all_of_order, status_of};

/// How many kinds of events there are.
const EVENTS: u32 = 10;

#[derive(Serialize, Deserialize)]
struct Head {
    partition: u16,
    epoch: u32,
    sequence: u64,
    /// What the times in it count from, in Unix milliseconds.
    at: i64,
    events: u64,
}

#[derive(Serialize, Deserialize)]
enum Event<'a> {
    #[serde(borrow)]
    Listed(Commodity<'a>),
    #[serde(borrow)]
    Changed(Changed<'a>),
    Restocked(Restocked),
    Paused(Paused),
    Ended(Ended),
    Removed(Removed),
    Placed(Placed),
    Moved(Moved),
    KeyForgotten(Id),
    Closed(Closed),
}

#[derive(Serialize, Deserialize)]
struct Changed<'a> {
    commodity: u64,
    #[serde(borrow)]
    terms: Terms<'a>,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Restocked {
    commodity: u64,
    total: u32,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Paused {
    commodity: u64,
    paused: bool,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Ended {
    commodity: u64,
    after_ms: i64,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Removed {
    commodity: u64,
    after_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Closed {
    commodity: u64,
    after_ms: i64,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Placed {
    /// With its number, its id: the epoch is the batch's.
    placed_after_ms: i64,
    number: u64,
    commodity: u64,
    user: u64,
    quantity: u32,
    unit_price: u64,
    currency: [u8; 3],
    status: u32,
    /// From when it was placed to when it must be paid.
    pay_within_ms: Option<i64>,
    keyed: Option<Keyed>,
}

#[derive(Serialize, Deserialize)]
struct Keyed {
    key: [u8; 16],
    fingerprint: [u8; 8],
}

#[derive(Serialize, Deserialize)]
struct Moved {
    order: Id,
    commodity: u64,
    /// 0 where it is not known.
    buyer: u64,
    quantity: u32,
    from: u32,
    to: u32,
    after_ms: i64,
}

/// An order of the batch's partition.
#[derive(Serialize, Deserialize)]
struct Id {
    placed_after_ms: i64,
    number: u64,
    /// 0 for the batch's own epoch.
    epochs_back: i32,
}

/// Appends the body of a batch.
pub(super) fn write(batch: &Batch, out: Vec<u8>) -> Result<Vec<u8>, Unwritable> {
    let Batch { partition, epoch, sequence, events, .. } = batch;
    let at = counted_from(events);
    let head = Head { partition: partition.get(), epoch: epoch.get(), sequence: sequence.0, at, events: events.len() as u64 };
    write_events(batch, at, put(out, &head))
}

/// What the times of these events count from.
pub(super) fn counted_from(events: &[Fact]) -> i64 {
    events.iter().find_map(time_of).map_or(0, Timestamp::millis)
}

/// Appends the events of a batch, their times counted from `at`.
pub(super) fn write_events(batch: &Batch, at: i64, out: Vec<u8>) -> Result<Vec<u8>, Unwritable> {
    let frame = Frame { partition: batch.partition, epoch: batch.epoch, at };
    batch.events.iter().try_fold(out, |out, fact| Ok(put(out, &frame.event(fact)?)))
}

/// Reads the body of a batch.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Batch, DecodeError> {
    let head: Head = reader.take()?;
    let (partition, epoch) = (PartitionId::new(head.partition)?, Epoch::new(head.epoch)?);
    let events = read_events(reader, (partition, epoch, head.at), head.events)?;
    Ok(Batch::new(partition, epoch, Sequence(head.sequence), events))
}

/// Reads so many events of a batch of that partition and epoch, whose times count from `at`.
pub(super) fn read_events(
    reader: &mut Reader<'_>,
    (partition, epoch, at): (PartitionId, Epoch, i64),
    count: u64,
) -> Result<Vec<Fact>, DecodeError> {
    let frame = Frame { partition, epoch, at };
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(frame.fact(reader.take_one_of(EVENTS, "an event of kind")?)?);
    }
    Ok(events)
}

/// When an event happened: the first one's time is what the others count from.
fn time_of(fact: &Fact) -> Option<Timestamp> {
    match fact {
        Fact::Placed { order, .. } => Some(order.id.placed_at()),
        Fact::Moved { at, .. }
        | Fact::Ended { at, .. }
        | Fact::Removed { at, .. }
        | Fact::Closed { at, .. }
        | Fact::Operated { at, .. }
        | Fact::PaymentStarted { at, .. }
        | Fact::PaymentChanged { at, .. } => Some(*at),
        Fact::Listed(_) | Fact::Changed { .. } | Fact::Restocked { .. } | Fact::Paused { .. } | Fact::KeyForgotten { .. } => None,
    }
}

/// What a batch says once for all of its events.
struct Frame {
    partition: PartitionId,
    epoch: Epoch,
    at: i64,
}

impl Frame {
    fn event<'a>(&self, fact: &'a Fact) -> Result<Event<'a>, Unwritable> {
        Ok(match fact {
            Fact::Listed(commodity) if !says_all_of(&commodity.terms) => return Err(unwritable("terms of a later form")),
            Fact::Changed { terms, .. } if !says_all_of(terms) => return Err(unwritable("terms of a later form")),
            Fact::Listed(commodity) => Event::Listed((&**commodity).into()),
            Fact::Changed { commodity, terms, version } => {
                Event::Changed(Changed { commodity: unsigned(*commodity), terms: (&**terms).into(), version: *version })
            }
            Fact::Restocked { commodity, total, version } => {
                Event::Restocked(Restocked { commodity: unsigned(*commodity), total: total.get(), version: *version })
            }
            Fact::Paused { commodity, paused, version } => {
                Event::Paused(Paused { commodity: unsigned(*commodity), paused: *paused, version: *version })
            }
            Fact::Ended { commodity, at, version } => {
                Event::Ended(Ended { commodity: unsigned(*commodity), after_ms: self.after(*at), version: *version })
            }
            Fact::Removed { commodity, at } => Event::Removed(Removed { commodity: unsigned(*commodity), after_ms: self.after(*at) }),
            Fact::Placed { order, foreign: _, key, fingerprint } => Event::Placed(self.placed(order, *key, *fingerprint)?),
            Fact::Moved { order, commodity, buyer, quantity, from, to, at, cause: _ } => Event::Moved(Moved {
                order: self.id(*order)?,
                commodity: unsigned(*commodity),
                // Of another issuer's account it has no form: whose order it is is in its row.
                buyer: buyer.and_then(PrincipalKey::account).map_or(0, unsigned),
                quantity: quantity.get(),
                from: code_of(*from),
                to: code_of(*to),
                after_ms: self.after(*at),
            }),
            Fact::KeyForgotten { order } => Event::KeyForgotten(self.id(*order)?),
            Fact::PaymentStarted { .. } | Fact::PaymentChanged { .. } => return Err(unwritable("a payment")),
            Fact::Operated { .. } => return Err(unwritable("the key of a change")),
            Fact::Closed { commodity, at, version } => {
                Event::Closed(Closed { commodity: unsigned(*commodity), after_ms: self.after(*at), version: *version })
            }
        })
    }

    fn placed(&self, order: &Order, key: Option<IdempotencyKey>, fingerprint: RequestFingerprint) -> Result<Placed, Unwritable> {
        if order.id.epoch() != self.epoch {
            return Err(unwritable("the placing of an order of another epoch"));
        }
        if !says_all_of_order(order) {
            return Err(unwritable("a grace or a discount"));
        }
        let id = self.id(order.id)?;
        Ok(Placed {
            placed_after_ms: id.placed_after_ms,
            number: id.number,
            commodity: unsigned(order.commodity),
            user: unsigned(order.user.account().ok_or(unwritable("an order of another issuer's account"))?),
            quantity: order.quantity.get(),
            unit_price: unsigned(order.unit_price),
            currency: *order.currency.letters(),
            status: code_of(order.status),
            pay_within_ms: order.pay_by.map(|pay_by| pay_by.millis() - order.id.placed_at().millis()),
            keyed: key.map(|key| Keyed { key: key.to_bytes(), fingerprint: fingerprint.0.to_le_bytes() }),
        })
    }

    fn id(&self, order: OrderId) -> Result<Id, Unwritable> {
        if order.partition() != self.partition {
            return Err(unwritable("an order of another partition"));
        }
        // Epochs have 26 bits.
        let epochs_back = self.epoch.get() as i32 - order.epoch().get() as i32;
        Ok(Id { placed_after_ms: self.after(order.placed_at()), number: order.number(), epochs_back })
    }

    fn after(&self, at: Timestamp) -> i64 {
        at.millis() - self.at
    }

    fn fact(&self, event: Event<'_>) -> Result<Fact, DecodeError> {
        Ok(match event {
            Event::Listed(commodity) => Fact::Listed(Box::new(commodity.try_into()?)),
            Event::Changed(Changed { commodity, terms, version }) => {
                Fact::Changed { commodity: commodity_of(commodity)?, terms: Box::new(terms.try_into()?), version }
            }
            Event::Restocked(Restocked { commodity, total, version }) => {
                Fact::Restocked { commodity: commodity_of(commodity)?, total: Units::new(total.into())?, version }
            }
            Event::Paused(Paused { commodity, paused, version }) => Fact::Paused { commodity: commodity_of(commodity)?, paused, version },
            Event::Ended(Ended { commodity, after_ms, version }) => {
                Fact::Ended { commodity: commodity_of(commodity)?, at: time(self.at, after_ms)?, version }
            }
            Event::Removed(Removed { commodity, after_ms }) => {
                Fact::Removed { commodity: commodity_of(commodity)?, at: time(self.at, after_ms)? }
            }
            Event::Placed(placed) => self.placed_fact(placed)?,
            Event::Moved(moved) => Fact::Moved {
                order: self.order_of(&moved.order)?,
                commodity: commodity_of(moved.commodity)?,
                buyer: (moved.buyer != 0).then(|| UserId::new(signed(moved.buyer)).map(PrincipalKey::own)).transpose()?,
                quantity: Quantity::new(moved.quantity.into())?,
                from: status_of(moved.from)?,
                to: status_of(moved.to)?,
                at: time(self.at, moved.after_ms)?,
                cause: Cause::by(Actor::System),
            },
            Event::KeyForgotten(order) => Fact::KeyForgotten { order: self.order_of(&order)? },
            Event::Closed(Closed { commodity, after_ms, version }) => {
                Fact::Closed { commodity: commodity_of(commodity)?, at: time(self.at, after_ms)?, version }
            }
        })
    }

    fn placed_fact(&self, placed: Placed) -> Result<Fact, DecodeError> {
        let id = self.order_of(&Id { placed_after_ms: placed.placed_after_ms, number: placed.number, epochs_back: 0 })?;
        let currency = std::str::from_utf8(&placed.currency).map_err(|_| DecodeError::Broken("a currency that is no text".to_owned()))?;
        let order = Order {
            id,
            commodity: commodity_of(placed.commodity)?,
            user: UserId::new(signed(placed.user))?.into(),
            quantity: Quantity::new(placed.quantity.into())?,
            unit_price: Price::new(signed(placed.unit_price))?,
            currency: currency_of(currency)?,
            status: status_of(placed.status)?,
            pay_by: placed.pay_within_ms.map(|within| time(id.placed_at().millis(), within)).transpose()?,
            grace_seconds: 0,
            discount: None,
        };
        Ok(match placed.keyed {
            Some(Keyed { key, fingerprint }) => Fact::Placed {
                order,
                foreign: None,
                key: Some(IdempotencyKey::from_bytes(key)),
                fingerprint: RequestFingerprint(i64::from_le_bytes(fingerprint)),
            },
            None => Fact::Placed { order, foreign: None, key: None, fingerprint: RequestFingerprint(0) },
        })
    }

    fn order_of(&self, id: &Id) -> Result<OrderId, DecodeError> {
        let epoch = i64::from(self.epoch.get()) - i64::from(id.epochs_back);
        let epoch = u32::try_from(epoch).map_err(|_| DecodeError::Broken("an order of an impossible epoch".to_owned()))?;
        if id.number > OrderId::NUMBER_MAX {
            return Err(DecodeError::Broken("an order of an impossible number".to_owned()));
        }
        Ok(OrderId::new(time(self.at, id.placed_after_ms)?, self.partition, Epoch::new(epoch)?, id.number))
    }
}

const fn unwritable(what: &'static str) -> Unwritable {
    Unwritable { version: LogVersion::V2, what }
}

pub(super) fn time(from: i64, after_ms: i64) -> Result<Timestamp, DecodeError> {
    let millis = from.checked_add(after_ms).ok_or_else(|| DecodeError::Broken("an impossible time".to_owned()))?;
    Ok(Timestamp::from_millis(millis)?)
}

pub(super) fn commodity_of(id: u64) -> Result<CommodityId, DecodeError> {
    Ok(CommodityId::new(signed(id))?)
}

/// A number that its type keeps from being negative.
pub(super) fn unsigned(number: impl Into<i64>) -> u64 {
    number.into().cast_unsigned()
}

/// The number back, negative if it never was one of ours.
pub(super) const fn signed(number: u64) -> i64 {
    number.cast_signed()
}
