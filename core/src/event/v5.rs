//! Version 5 of the wire form, frozen. It knows payments, the grace of a hold, what a coupon takes off, and who moved an order and why.
//!
//! What a batch says once it doesn't say again: its orders are of its partition, an epoch is told as how far back it lies, and times are
//! told as how long after the batch's own they are. A key and the fingerprint of its request travel together, or neither does. Its events
//! are its own, apart from those of older versions, and no type of the domain is in here. An order without a hold takes one byte more than
//! in version 4.

use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, Reader, Unwritable, put};
use super::v2::{commodity_of, counted_from, signed, time, unsigned};
use super::version::LogVersion;
use super::{Batch, Event as Fact};
use crate::domain::{
    self, Actor, Attempt, Cause, CouponId, Currency, Epoch, Foreign, IdempotencyKey, Operation, OperationKey, Order, OrderId, PartitionId,
    PaymentFact, PaymentId, PaymentStatus, Price, PrincipalKey, Quantity, Reason, RequestFingerprint, Sequence, SystemId, Timestamp, Units,
};
use crate::form::sale::{Commodity, Terms};
use crate::form::{code_of, currency_of, status_of};

/// How many kinds of events there are.
const EVENTS: u32 = 14;

#[derive(Serialize, Deserialize)]
struct Head {
    partition: u16,
    epoch: u32,
    sequence: u64,
    system: [u8; 16],
    /// Of a fence alone.
    known: Option<Known>,
    /// What the times in it count from, in Unix milliseconds.
    at: i64,
    events: u64,
}

/// A batch of an earlier epoch.
#[derive(Serialize, Deserialize)]
struct Known {
    epoch: u32,
    sequence: u64,
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
    /// By an account of our own.
    #[serde(borrow)]
    Placed(Placed<'a>),
    #[serde(borrow)]
    PlacedByForeign(PlacedByForeign<'a>),
    #[serde(borrow)]
    Moved(Moved<'a>),
    KeyForgotten(Id),
    Closed(Closed),
    Operated(Operated),
    PaymentStarted(PaymentStarted),
    PaymentChanged(PaymentChanged),
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
struct Placed<'a> {
    user: u64,
    #[serde(borrow)]
    placed: Claim<'a>,
}

#[derive(Serialize, Deserialize)]
struct PlacedByForeign<'a> {
    /// `<issuer's name>:<subject>`.
    buyer: &'a str,
    #[serde(borrow)]
    placed: Claim<'a>,
}

/// An order as it was placed, but for its buyer.
#[derive(Serialize, Deserialize)]
struct Claim<'a> {
    /// With its number, its id: the epoch is the batch's.
    placed_after_ms: i64,
    number: u64,
    commodity: u64,
    quantity: u32,
    unit_price: u64,
    currency: [u8; 3],
    status: u32,
    hold: Option<Hold>,
    keyed: Option<Keyed>,
    #[serde(borrow)]
    more: Option<More<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Hold {
    /// From when it was placed to when it must be paid.
    pay_within_ms: i64,
    grace_seconds: u32,
}

/// What few orders have.
#[derive(Serialize, Deserialize)]
struct More<'a> {
    discount: Option<Discount>,
    /// Of a distributed transaction, the ids of it and of its branch: none is written yet.
    #[serde(borrow)]
    branch: Option<(&'a str, &'a str)>,
}

#[derive(Serialize, Deserialize)]
struct Discount {
    coupon: u64,
    amount: u64,
}

#[derive(Serialize, Deserialize)]
struct Keyed {
    key: [u8; 16],
    fingerprint: [u8; 8],
}

#[derive(Serialize, Deserialize)]
struct Moved<'a> {
    order: Id,
    commodity: u64,
    /// The principal's key; 0 where it is not known.
    buyer: u128,
    quantity: u32,
    from: u32,
    to: u32,
    after_ms: i64,
    by: u8,
    reason: Option<&'a str>,
    payment: Option<Payment>,
}

/// A payment of the order, and how it stands then.
#[derive(Serialize, Deserialize)]
struct Payment {
    attempt: u8,
    status: u8,
}

#[derive(Serialize, Deserialize)]
struct PaymentStarted {
    order: Id,
    attempt: u8,
    commodity: u64,
    amount: u64,
    currency: [u8; 3],
    after_ms: i64,
    /// From when it was started.
    expires_after_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct PaymentChanged {
    order: Id,
    payment: Payment,
    commodity: u64,
    after_ms: i64,
}

/// What came before it was asked for under a key.
#[derive(Serialize, Deserialize)]
struct Operated {
    asked: Keyed,
    subject: Subject,
    after_ms: i64,
}

#[derive(Serialize, Deserialize)]
enum Subject {
    Commodity(u64),
    Order(Id),
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
    let system = batch.system.ok_or(unwritable("a batch of no system"))?;
    if batch.known.is_some_and(|(before, _)| !batch.is_fence() || before >= batch.epoch) {
        return Err(unwritable("a batch that knows of one that is not before it"));
    }
    let at = counted_from(&batch.events);
    let head = Head {
        partition: batch.partition.get(),
        epoch: batch.epoch.get(),
        sequence: batch.sequence.0,
        system: system.to_bytes(),
        known: batch.known.map(|(epoch, sequence)| Known { epoch: epoch.get(), sequence: sequence.0 }),
        at,
        events: batch.events.len() as u64,
    };
    let frame = Frame { partition: batch.partition, epoch: batch.epoch, at };
    batch.events.iter().try_fold(put(out, &head), |out, fact| Ok(put(out, &frame.event(fact)?)))
}

/// Reads the body of a batch.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Batch, DecodeError> {
    let head: Head = reader.take()?;
    let (partition, epoch) = (PartitionId::new(head.partition)?, Epoch::new(head.epoch)?);
    let known = match head.known {
        Some(known) => Some((Epoch::new(known.epoch)?, Sequence(known.sequence))),
        None => None,
    };
    let frame = Frame { partition, epoch, at: head.at };
    let mut events = Vec::new();
    for _ in 0..head.events {
        events.push(frame.fact(reader.take_one_of(EVENTS, "an event of kind")?)?);
    }
    let batch = Batch::new(partition, epoch, Sequence(head.sequence), events).of_system(SystemId::from_bytes(head.system));
    if known.is_some_and(|(before, _)| !batch.is_fence() || before >= epoch) {
        return Err(DecodeError::Broken("a batch that knows of one that is not before it".to_owned()));
    }
    Ok(batch.knowing(known))
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
            Fact::Placed { order, foreign, key, fingerprint } => self.placed(order, foreign.as_ref(), *key, *fingerprint)?,
            Fact::Moved { order, commodity, buyer, quantity, from, to, at, cause } => Event::Moved(Moved {
                order: self.id(*order)?,
                commodity: unsigned(*commodity),
                buyer: buyer.map_or(0, PrincipalKey::get),
                quantity: quantity.get(),
                from: code_of(*from),
                to: code_of(*to),
                after_ms: self.after(*at),
                by: cause.by.code(),
                reason: cause.reason.as_ref().map(Reason::as_str),
                payment: cause.payment.map(|fact| Payment { attempt: fact.attempt.get(), status: fact.status.code() }),
            }),
            Fact::PaymentStarted { payment, commodity, amount, currency, expires_at, at } => Event::PaymentStarted(PaymentStarted {
                order: self.id(payment.order)?,
                attempt: payment.attempt.get(),
                commodity: unsigned(*commodity),
                amount: unsigned(*amount),
                currency: *currency.letters(),
                after_ms: self.after(*at),
                expires_after_ms: expires_at.millis() - at.millis(),
            }),
            Fact::PaymentChanged { payment, commodity, status, at } => Event::PaymentChanged(PaymentChanged {
                order: self.id(payment.order)?,
                payment: Payment { attempt: payment.attempt.get(), status: status.code() },
                commodity: unsigned(*commodity),
                after_ms: self.after(*at),
            }),
            Fact::KeyForgotten { order } => Event::KeyForgotten(self.id(*order)?),
            Fact::Operated { operation, subject, at } => Event::Operated(Operated {
                asked: Keyed { key: operation.key.to_bytes(), fingerprint: operation.fingerprint.0.to_le_bytes() },
                subject: match subject {
                    domain::Subject::Commodity(commodity) => Subject::Commodity(unsigned(*commodity)),
                    domain::Subject::Order(order) => Subject::Order(self.id(*order)?),
                },
                after_ms: self.after(*at),
            }),
            Fact::Closed { commodity, at, version } => {
                Event::Closed(Closed { commodity: unsigned(*commodity), after_ms: self.after(*at), version: *version })
            }
        })
    }

    fn placed<'a>(
        &self,
        order: &Order,
        foreign: Option<&'a Foreign>,
        key: Option<IdempotencyKey>,
        fingerprint: RequestFingerprint,
    ) -> Result<Event<'a>, Unwritable> {
        if order.id.epoch() != self.epoch {
            return Err(unwritable("the placing of an order of another epoch"));
        }
        let id = self.id(order.id)?;
        let placed = Claim {
            placed_after_ms: id.placed_after_ms,
            number: id.number,
            commodity: unsigned(order.commodity),
            quantity: order.quantity.get(),
            unit_price: unsigned(order.unit_price),
            currency: *order.currency.letters(),
            status: code_of(order.status),
            hold: order
                .pay_by
                .map(|pay_by| Hold { pay_within_ms: pay_by.millis() - order.id.placed_at().millis(), grace_seconds: order.grace_seconds }),
            keyed: key.map(|key| Keyed { key: key.to_bytes(), fingerprint: fingerprint.0.to_le_bytes() }),
            more: order.discount.map(|discount| More {
                discount: Some(Discount { coupon: unsigned(discount.coupon), amount: unsigned(discount.amount) }),
                branch: None,
            }),
        };
        match (order.user.account(), foreign) {
            (Some(user), None) => Ok(Event::Placed(Placed { user: unsigned(user), placed })),
            (None, Some(foreign)) if foreign.key() == order.user => {
                Ok(Event::PlacedByForeign(PlacedByForeign { buyer: foreign.as_str(), placed }))
            }
            _ => Err(unwritable("an order whose buyer is another than its principal")),
        }
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
            Event::Placed(Placed { user, placed }) => {
                let account = PrincipalKey::new(user.into())?;
                self.placed_fact(account, None, &placed)?
            }
            Event::PlacedByForeign(PlacedByForeign { buyer, placed }) => {
                let foreign: Foreign = buyer.parse()?;
                self.placed_fact(foreign.key(), Some(foreign), &placed)?
            }
            Event::Moved(moved) => Fact::Moved {
                order: self.order_of(&moved.order)?,
                commodity: commodity_of(moved.commodity)?,
                buyer: (moved.buyer != 0).then(|| PrincipalKey::new(moved.buyer)).transpose()?,
                quantity: Quantity::new(moved.quantity.into())?,
                from: status_of(moved.from)?,
                to: status_of(moved.to)?,
                at: time(self.at, moved.after_ms)?,
                cause: Cause {
                    by: actor_of(moved.by)?,
                    reason: moved.reason.map(str::parse).transpose()?,
                    payment: moved.payment.as_ref().map(payment_fact).transpose()?,
                },
            },
            Event::PaymentStarted(started) => {
                let at = time(self.at, started.after_ms)?;
                Fact::PaymentStarted {
                    payment: PaymentId { order: self.order_of(&started.order)?, attempt: Attempt::new(started.attempt)? },
                    commodity: commodity_of(started.commodity)?,
                    amount: amount_of(started.amount)?,
                    currency: letters(&started.currency)?,
                    expires_at: time(at.millis(), started.expires_after_ms)?,
                    at,
                }
            }
            Event::PaymentChanged(PaymentChanged { order, payment, commodity, after_ms }) => {
                let PaymentFact { attempt, status } = payment_fact(&payment)?;
                let payment = PaymentId { order: self.order_of(&order)?, attempt };
                Fact::PaymentChanged { payment, commodity: commodity_of(commodity)?, status, at: time(self.at, after_ms)? }
            }
            Event::KeyForgotten(order) => Fact::KeyForgotten { order: self.order_of(&order)? },
            Event::Operated(Operated { asked: Keyed { key, fingerprint }, subject, after_ms }) => Fact::Operated {
                operation: Operation {
                    key: OperationKey::from_bytes(key),
                    fingerprint: RequestFingerprint(i64::from_le_bytes(fingerprint)),
                },
                subject: match subject {
                    Subject::Commodity(commodity) => domain::Subject::Commodity(commodity_of(commodity)?),
                    Subject::Order(order) => domain::Subject::Order(self.order_of(&order)?),
                },
                at: time(self.at, after_ms)?,
            },
            Event::Closed(Closed { commodity, after_ms, version }) => {
                Fact::Closed { commodity: commodity_of(commodity)?, at: time(self.at, after_ms)?, version }
            }
        })
    }

    fn placed_fact(&self, user: PrincipalKey, foreign: Option<Foreign>, placed: &Claim<'_>) -> Result<Fact, DecodeError> {
        let id = self.order_of(&Id { placed_after_ms: placed.placed_after_ms, number: placed.number, epochs_back: 0 })?;
        let hold = placed.hold.as_ref();
        let order = Order {
            id,
            commodity: commodity_of(placed.commodity)?,
            user,
            quantity: Quantity::new(placed.quantity.into())?,
            unit_price: Price::new(signed(placed.unit_price))?,
            currency: letters(&placed.currency)?,
            status: status_of(placed.status)?,
            pay_by: hold.map(|hold| time(id.placed_at().millis(), hold.pay_within_ms)).transpose()?,
            grace_seconds: hold.map_or(Ok(0), |hold| grace_of(hold.grace_seconds))?,
            discount: placed.more.as_ref().map(discount_of).transpose()?.flatten(),
        };
        let (key, fingerprint) = match &placed.keyed {
            Some(keyed) => (Some(IdempotencyKey::from_bytes(keyed.key)), i64::from_le_bytes(keyed.fingerprint)),
            None => (None, 0),
        };
        Ok(Fact::Placed { order, foreign, key, fingerprint: RequestFingerprint(fingerprint) })
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

fn letters(currency: &[u8; 3]) -> Result<Currency, DecodeError> {
    Ok(currency_of(std::str::from_utf8(currency).map_err(|_| DecodeError::Broken("a currency that is no text".to_owned()))?)?)
}

fn amount_of(minor: u64) -> Result<i64, DecodeError> {
    i64::try_from(minor).map_err(|_| DecodeError::Broken("an impossible amount".to_owned()))
}

fn grace_of(seconds: u32) -> Result<u32, DecodeError> {
    let is_right = seconds <= domain::Terms::GRACE_SECONDS_MAX;
    is_right.then_some(seconds).ok_or_else(|| DecodeError::Broken("an impossible grace".to_owned()))
}

fn discount_of(more: &More<'_>) -> Result<Option<domain::Discount>, DecodeError> {
    if more.branch.is_some() {
        return Err(DecodeError::Unknown("an order of a distributed transaction".to_owned()));
    }
    let discount = |Discount { coupon, amount }: &Discount| {
        Ok::<_, DecodeError>(domain::Discount { coupon: CouponId::new(signed(*coupon))?, amount: amount_of(*amount)? })
    };
    more.discount.as_ref().map(discount).transpose()
}

fn actor_of(code: u8) -> Result<Actor, DecodeError> {
    Actor::from_code(code).ok_or_else(|| DecodeError::Unknown(format!("an actor of number {code}")))
}

fn payment_fact(payment: &Payment) -> Result<PaymentFact, DecodeError> {
    let status = PaymentStatus::from_code(payment.status);
    let status = status.ok_or_else(|| DecodeError::Unknown(format!("a payment status of number {}", payment.status)))?;
    Ok(PaymentFact { attempt: Attempt::new(payment.attempt)?, status })
}

const fn unwritable(what: &'static str) -> Unwritable {
    Unwritable { version: LogVersion::V5, what }
}
