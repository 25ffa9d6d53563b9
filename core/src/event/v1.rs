//! Version 1 of the wire form, frozen: what the first release wrote. Numbers, texts and other frozen forms alone, no type of the
//! domain, so that no change of those can change these bytes.

use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, Reader, Unwritable, put};
use super::version::LogVersion;
use super::{Batch, Event as Fact};
use crate::domain::{
    Actor, Cause, CommodityId, Epoch, IdempotencyKey, PartitionId, Quantity, RequestFingerprint, Sequence, Timestamp, Units,
};
use crate::form::{Commodity, Id, Order, Terms, code_of, says_all_of, says_all_of_order, status_of};

/// How many kinds of events there are.
const EVENTS: u32 = 9;

#[derive(Serialize, Deserialize)]
struct Head {
    partition: u16,
    epoch: u32,
    sequence: u64,
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
    #[serde(borrow)]
    Placed(Placed<'a>),
    Moved(Moved),
    KeyForgotten(Id),
}

#[derive(Serialize, Deserialize)]
struct Changed<'a> {
    commodity: i64,
    #[serde(borrow)]
    terms: Terms<'a>,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Restocked {
    commodity: i64,
    total: i64,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Paused {
    commodity: i64,
    paused: bool,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Ended {
    commodity: i64,
    at: i64,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Removed {
    commodity: i64,
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct Placed<'a> {
    #[serde(borrow)]
    order: Order<'a>,
    key: Option<u128>,
    fingerprint: i64,
}

#[derive(Serialize, Deserialize)]
struct Moved {
    order: Id,
    commodity: i64,
    quantity: i64,
    from: u32,
    to: u32,
    at: i64,
}

/// Appends the body of a batch.
pub(super) fn write(batch: &Batch, out: Vec<u8>) -> Result<Vec<u8>, Unwritable> {
    let Batch { partition, epoch, sequence, events, .. } = batch;
    let head = Head { partition: partition.get(), epoch: epoch.get(), sequence: sequence.0, events: events.len() as u64 };
    events.iter().try_fold(put(out, &head), |out, fact| Ok(put(out, &Event::try_from(fact)?)))
}

/// Reads the body of a batch.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Batch, DecodeError> {
    let head: Head = reader.take()?;
    let (partition, epoch) = (PartitionId::new(head.partition)?, Epoch::new(head.epoch)?);
    let mut events = Vec::new();
    for _ in 0..head.events {
        events.push(reader.take_one_of::<Event<'_>>(EVENTS, "an event of kind")?.try_into()?);
    }
    Ok(Batch::new(partition, epoch, Sequence(head.sequence), events))
}

impl<'a> TryFrom<&'a Fact> for Event<'a> {
    type Error = Unwritable;

    fn try_from(fact: &'a Fact) -> Result<Self, Unwritable> {
        Ok(match fact {
            Fact::Listed(commodity) if !says_all_of(&commodity.terms) => return Err(unwritable("terms of a later form")),
            Fact::Changed { terms, .. } if !says_all_of(terms) => return Err(unwritable("terms of a later form")),
            Fact::Listed(commodity) => Self::Listed((&**commodity).into()),
            Fact::Changed { commodity, terms, version } => {
                Self::Changed(Changed { commodity: commodity.get(), terms: (&**terms).into(), version: *version })
            }
            Fact::Restocked { commodity, total, version } => {
                Self::Restocked(Restocked { commodity: commodity.get(), total: total.get().into(), version: *version })
            }
            Fact::Paused { commodity, paused, version } => {
                Self::Paused(Paused { commodity: commodity.get(), paused: *paused, version: *version })
            }
            Fact::Ended { commodity, at, version } => Self::Ended(Ended { commodity: commodity.get(), at: at.millis(), version: *version }),
            Fact::Removed { commodity, at } => Self::Removed(Removed { commodity: commodity.get(), at: at.millis() }),
            Fact::Placed { order, .. } if !says_all_of_order(order) => return Err(unwritable("a grace or a discount")),
            Fact::Placed { order, foreign: _, key, fingerprint } => {
                let what = "an order of another issuer's account";
                let order = Order::of(order).ok_or(Unwritable { version: LogVersion::V1, what })?;
                let key = key.map(|key| u128::from_be_bytes(key.to_bytes()));
                Self::Placed(Placed { order, key, fingerprint: fingerprint.0 })
            }
            // Whose order it is was not written down.
            Fact::Moved { order, commodity, buyer: _, quantity, from, to, at, cause: _ } => Self::Moved(Moved {
                order: (*order).into(),
                commodity: commodity.get(),
                quantity: quantity.get().into(),
                from: code_of(*from),
                to: code_of(*to),
                at: at.millis(),
            }),
            Fact::KeyForgotten { order } => Self::KeyForgotten((*order).into()),
            Fact::PaymentStarted { .. } | Fact::PaymentChanged { .. } => return Err(unwritable("a payment")),
            Fact::Operated { .. } => return Err(unwritable("the key of a change")),
            Fact::Closed { .. } => return Err(unwritable("that a commodity is closed")),
        })
    }
}

const fn unwritable(what: &'static str) -> Unwritable {
    Unwritable { version: LogVersion::V1, what }
}

impl TryFrom<Event<'_>> for Fact {
    type Error = DecodeError;

    fn try_from(event: Event<'_>) -> Result<Self, DecodeError> {
        Ok(match event {
            Event::Listed(commodity) => Self::Listed(Box::new(commodity.try_into()?)),
            Event::Changed(Changed { commodity, terms, version }) => {
                Self::Changed { commodity: CommodityId::new(commodity)?, terms: Box::new(terms.try_into()?), version }
            }
            Event::Restocked(Restocked { commodity, total, version }) => {
                Self::Restocked { commodity: CommodityId::new(commodity)?, total: Units::new(total)?, version }
            }
            Event::Paused(Paused { commodity, paused, version }) => {
                Self::Paused { commodity: CommodityId::new(commodity)?, paused, version }
            }
            Event::Ended(Ended { commodity, at, version }) => {
                Self::Ended { commodity: CommodityId::new(commodity)?, at: Timestamp::from_millis(at)?, version }
            }
            Event::Removed(Removed { commodity, at }) => {
                Self::Removed { commodity: CommodityId::new(commodity)?, at: Timestamp::from_millis(at)? }
            }
            Event::Placed(Placed { order, key, fingerprint }) => {
                let key = key.map(|key| IdempotencyKey::from_bytes(key.to_be_bytes()));
                Self::Placed { order: order.try_into()?, foreign: None, key, fingerprint: RequestFingerprint(fingerprint) }
            }
            Event::Moved(Moved { order, commodity, quantity, from, to, at }) => Self::Moved {
                order: order.try_into()?,
                commodity: CommodityId::new(commodity)?,
                buyer: None,
                quantity: Quantity::new(quantity)?,
                from: status_of(from)?,
                to: status_of(to)?,
                at: Timestamp::from_millis(at)?,
                cause: Cause::by(Actor::System),
            },
            Event::KeyForgotten(order) => Self::KeyForgotten { order: order.try_into()? },
        })
    }
}
