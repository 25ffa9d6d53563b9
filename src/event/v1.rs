//! Version 1 of the wire form, frozen: what the first release wrote. Numbers, texts and arrays alone, no type of the domain, so that
//! no change of those can change these bytes. Lengths and numbers are of variable length; an id is 16 bytes behind their count.

use serde::{Deserialize, Serialize};

use super::wire::{DecodeError, LogVersion, Reader, Unwritable, put};
use super::{Batch, Event as Fact};
use crate::domain::{
    self, CommodityId, Currency, Epoch, IdempotencyKey, OrderId, OrderStatus, PartitionId, Price, Quantity, RequestFingerprint, Sequence,
    Timestamp, Units, UserId,
};

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

/// A commodity, all of it.
#[derive(Serialize, Deserialize)]
pub(super) struct Commodity<'a> {
    id: i64,
    #[serde(borrow)]
    terms: Terms<'a>,
    total: i64,
    available: i64,
    held: i64,
    sold: i64,
    paused: bool,
    ended_at: Option<i64>,
    version: u32,
}

/// What is offered.
#[derive(Serialize, Deserialize)]
pub(super) struct Terms<'a> {
    name: &'a str,
    description: &'a str,
    image_url: Option<&'a str>,
    price: i64,
    currency: &'a str,
    limit_per_user: Option<u32>,
    hold_seconds: Option<u32>,
    starts_at: i64,
    ends_at: i64,
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
    order: Id,
    commodity: i64,
    user: i64,
    quantity: i64,
    unit_price: i64,
    currency: &'a str,
    status: u32,
    pay_by: Option<i64>,
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

#[derive(Serialize, Deserialize)]
struct Id {
    /// Always 16.
    length: u8,
    bytes: [u8; 16],
}

/// Appends the body of a batch.
pub(super) fn write(batch: &Batch, out: Vec<u8>) -> Result<Vec<u8>, Unwritable> {
    let Batch { partition, epoch, sequence, events } = batch;
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
    Ok(Batch { partition, epoch, sequence: Sequence(head.sequence), events })
}

impl<'a> TryFrom<&'a Fact> for Event<'a> {
    type Error = Unwritable;

    fn try_from(fact: &'a Fact) -> Result<Self, Unwritable> {
        Ok(match fact {
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
            Fact::Placed { order, key, fingerprint } => Self::Placed(Placed {
                order: order.id.into(),
                commodity: order.commodity.get(),
                user: order.user.get(),
                quantity: order.quantity.get().into(),
                unit_price: order.unit_price.minor(),
                currency: order.currency.code(),
                status: code_of(order.status),
                pay_by: order.pay_by.map(Timestamp::millis),
                key: key.map(|key| u128::from_be_bytes(key.to_bytes())),
                fingerprint: fingerprint.0,
            }),
            // Whose order it is was not written down.
            Fact::Moved { order, commodity, buyer: _, quantity, from, to, at } => Self::Moved(Moved {
                order: (*order).into(),
                commodity: commodity.get(),
                quantity: quantity.get().into(),
                from: code_of(*from),
                to: code_of(*to),
                at: at.millis(),
            }),
            Fact::KeyForgotten { order } => Self::KeyForgotten((*order).into()),
            Fact::Closed { .. } => return Err(Unwritable { version: LogVersion::V1, what: "that a commodity is closed" }),
        })
    }
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
            Event::Placed(placed) => placed.try_into()?,
            Event::Moved(Moved { order, commodity, quantity, from, to, at }) => Self::Moved {
                order: order.try_into()?,
                commodity: CommodityId::new(commodity)?,
                buyer: None,
                quantity: Quantity::new(quantity)?,
                from: status_of(from)?,
                to: status_of(to)?,
                at: Timestamp::from_millis(at)?,
            },
            Event::KeyForgotten(order) => Self::KeyForgotten { order: order.try_into()? },
        })
    }
}

impl TryFrom<Placed<'_>> for Fact {
    type Error = DecodeError;

    fn try_from(placed: Placed<'_>) -> Result<Self, DecodeError> {
        let order = domain::Order {
            id: placed.order.try_into()?,
            commodity: CommodityId::new(placed.commodity)?,
            user: UserId::new(placed.user)?,
            quantity: Quantity::new(placed.quantity)?,
            unit_price: Price::new(placed.unit_price)?,
            currency: currency_of(placed.currency)?,
            status: status_of(placed.status)?,
            pay_by: placed.pay_by.map(Timestamp::from_millis).transpose()?,
        };
        let key = placed.key.map(|key| IdempotencyKey::from_bytes(key.to_be_bytes()));
        Ok(Self::Placed { order, key, fingerprint: RequestFingerprint(placed.fingerprint) })
    }
}

impl<'a> From<&'a domain::Commodity> for Commodity<'a> {
    fn from(commodity: &'a domain::Commodity) -> Self {
        let stock = commodity.stock;
        Self {
            id: commodity.id.get(),
            terms: (&commodity.terms).into(),
            total: stock.total.into(),
            available: stock.available.into(),
            held: stock.held.into(),
            sold: stock.sold.into(),
            paused: commodity.paused,
            ended_at: commodity.ended_at.map(Timestamp::millis),
            version: commodity.version,
        }
    }
}

impl TryFrom<Commodity<'_>> for domain::Commodity {
    type Error = DecodeError;

    fn try_from(commodity: Commodity<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: CommodityId::new(commodity.id)?,
            terms: commodity.terms.try_into()?,
            stock: domain::Stock {
                total: Units::new(commodity.total)?,
                available: Units::new(commodity.available)?,
                held: Units::new(commodity.held)?,
                sold: Units::new(commodity.sold)?,
            },
            paused: commodity.paused,
            ended_at: commodity.ended_at.map(Timestamp::from_millis).transpose()?,
            closed_at: None,
            version: commodity.version,
        })
    }
}

impl<'a> From<&'a domain::Terms> for Terms<'a> {
    fn from(terms: &'a domain::Terms) -> Self {
        Self {
            name: &terms.name,
            description: &terms.description,
            image_url: terms.image_url.as_deref(),
            price: terms.price.minor(),
            currency: terms.currency.code(),
            limit_per_user: terms.limit_per_user,
            hold_seconds: terms.hold_seconds,
            starts_at: terms.starts_at.millis(),
            ends_at: terms.ends_at.millis(),
        }
    }
}

impl TryFrom<Terms<'_>> for domain::Terms {
    type Error = DecodeError;

    fn try_from(terms: Terms<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: terms.name.to_owned(),
            description: terms.description.to_owned(),
            image_url: terms.image_url.map(str::to_owned),
            price: Price::new(terms.price)?,
            currency: currency_of(terms.currency)?,
            limit_per_user: terms.limit_per_user,
            hold_seconds: terms.hold_seconds,
            starts_at: Timestamp::from_millis(terms.starts_at)?,
            ends_at: Timestamp::from_millis(terms.ends_at)?,
        })
    }
}

impl From<OrderId> for Id {
    fn from(id: OrderId) -> Self {
        Self { length: 16, bytes: id.uuid().into_bytes() }
    }
}

impl TryFrom<Id> for OrderId {
    type Error = DecodeError;

    fn try_from(id: Id) -> Result<Self, DecodeError> {
        if id.length != 16 {
            return Err(DecodeError::Broken(format!("an order id of {} bytes", id.length)));
        }
        Ok(Self::from_uuid(uuid::Uuid::from_bytes(id.bytes))?)
    }
}

/// The number of a status. A status that is added has none in this version: to write it is what a newer one is for.
pub(super) const fn code_of(status: OrderStatus) -> u32 {
    match status {
        OrderStatus::Reserved => 0,
        OrderStatus::Confirmed => 1,
        OrderStatus::Paid => 2,
        OrderStatus::Cancelled => 3,
        OrderStatus::Expired => 4,
        OrderStatus::RefundDue => 5,
        OrderStatus::Refunded => 6,
    }
}

/// The status with that number.
pub(super) fn status_of(code: u32) -> Result<OrderStatus, DecodeError> {
    let status = OrderStatus::ALL.into_iter().find(|status| code_of(*status) == code);
    status.ok_or_else(|| DecodeError::Unknown(format!("an order status of number {code}")))
}

/// The currency with that code. Countries make new ones, and a newer release may know them.
pub(super) fn currency_of(code: &str) -> Result<Currency, DecodeError> {
    code.parse().map_err(|error: domain::Invalid| {
        if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            DecodeError::Unknown(format!("the currency {code}"))
        } else {
            error.into()
        }
    })
}
