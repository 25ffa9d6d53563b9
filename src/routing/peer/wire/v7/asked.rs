//! What is asked, to and from version 7.

use uuid::Uuid;

use super::codes::{code_of_end, code_of_payment, end_of, payment_of};
use super::{
    Ask, Buyer, Cancel, Change, Command, Commodity, Discount, Item, Keyed, List, Order, Payment, PaymentEnded, PaymentSucceeded, Place,
    Recalled, Refund, Restock,
};
use crate::domain::{
    self, Attempt, CommodityId, CouponId, Epoch, Foreign, IdempotencyKey, Operation, OperationKey, OrderId, PartitionId, PaymentId,
    Payments, Price, Principal, PrincipalKey, Quantity, Reason, RequestFingerprint, Sequence, Taken, Timestamp, Units, UserId,
};
use crate::engine;
use crate::form::{code_of, currency_of, status_of};
use crate::routing::peer::wire::{self, Garbage, Unsayable};

impl<'a> TryFrom<&'a wire::Item> for Item<'a> {
    type Error = Unsayable;

    fn try_from(item: &'a wire::Item) -> Result<Self, Unsayable> {
        let (mut keyed, mut expecting) = (None, None);
        let ask = match &item.ask {
            wire::Ask::Command(command) => {
                let mut command = command;
                if let engine::Command::Keyed { operation, command: inner } = command {
                    keyed = Some(Keyed { key: operation.key.to_bytes(), fingerprint: operation.fingerprint.0 });
                    command = inner;
                }
                if let engine::Command::Expecting { version, command: inner } = command {
                    expecting = Some(*version);
                    command = inner;
                }
                Ask::Command(command.try_into()?)
            }
            wire::Ask::Lookup(order) => Ask::Lookup(bytes_of(*order)),
            wire::Ask::OrdersOf(partition, user) => Ask::OrdersOf(partition.get(), user.get()),
        };
        Ok(Self { budget_ms: item.budget_ms, expecting, keyed, ask, trace: item.trace.map(Into::into) })
    }
}

impl TryFrom<Item<'_>> for wire::Item {
    type Error = Garbage;

    fn try_from(item: Item<'_>) -> Result<Self, Garbage> {
        let ask = match (item.ask, item.expecting, item.keyed) {
            (Ask::Command(command), expecting, keyed) => {
                let mut command = command.try_into()?;
                if let Some(version) = expecting {
                    command = engine::Command::Expecting { version, command: Box::new(command) };
                }
                if let Some(Keyed { key, fingerprint }) = keyed {
                    let operation = Operation { key: OperationKey::from_bytes(key), fingerprint: RequestFingerprint(fingerprint) };
                    command = engine::Command::Keyed { operation, command: Box::new(command) };
                }
                wire::Ask::Command(command)
            }
            (Ask::Lookup(order), None, None) => wire::Ask::Lookup(id_of(order)?),
            (Ask::OrdersOf(partition, user), None, None) => wire::Ask::OrdersOf(PartitionId::new(partition)?, PrincipalKey::new(user)?),
            (Ask::Lookup(_) | Ask::OrdersOf(..), _, _) => return Err(Garbage),
        };
        Ok(Self { budget_ms: item.budget_ms, ask, trace: item.trace.map(Into::into) })
    }
}

impl<'a> TryFrom<&'a engine::Command> for Command<'a> {
    type Error = Unsayable;

    fn try_from(command: &'a engine::Command) -> Result<Self, Unsayable> {
        let form = |row: &'a Option<Box<engine::Recalled>>| row.as_deref().map(|row| Box::new(row.into()));
        Ok(match command {
            engine::Command::List { commodity, terms, total } => {
                Self::List(List { commodity: commodity.get(), terms: (&**terms).into(), total: (*total).into(), absent_at: None })
            }
            engine::Command::ListOnce { commodity, terms, total, absent_at: (epoch, sequence) } => {
                let absent_at = Some((epoch.get(), sequence.0));
                Self::List(List { commodity: commodity.get(), terms: (&**terms).into(), total: (*total).into(), absent_at })
            }
            engine::Command::Change { commodity, change } => Self::Change(Change::of(*commodity, change)),
            engine::Command::Restock { commodity, units } => Self::Restock(Restock::of(*commodity, *units)),
            engine::Command::Pause(commodity) => Self::Pause(commodity.get()),
            engine::Command::Resume(commodity) => Self::Resume(commodity.get()),
            engine::Command::End(commodity) => Self::End(commodity.get()),
            engine::Command::Close(commodity) => Self::Close(commodity.get()),
            engine::Command::Remove(commodity) => Self::Remove(commodity.get()),
            engine::Command::Place(place) => Self::Place(place.into()),
            engine::Command::ConfirmPayment { order, row } => Self::ConfirmPayment(bytes_of(*order), form(row)),
            engine::Command::ConfirmRefund { order, row } => Self::ConfirmRefund(bytes_of(*order), form(row)),
            engine::Command::Cancel { order, user, reason, row } => Self::Cancel(Cancel {
                order: bytes_of(*order),
                user: user.map(PrincipalKey::get),
                reason: reason.as_ref().map(Reason::as_str),
                row: form(row),
            }),
            engine::Command::StartPayment { order, user, row } => {
                Self::StartPayment(bytes_of(*order), user.map(PrincipalKey::get), form(row))
            }
            engine::Command::PaymentSucceeded { payment, amount, currency, taken, row } => Self::PaymentSucceeded(PaymentSucceeded {
                order: bytes_of(payment.order),
                attempt: payment.attempt.get(),
                amount: *amount,
                currency: *currency.letters(),
                is_captured: *taken == Taken::Captured,
                row: form(row),
            }),
            engine::Command::PaymentEnded { payment, how, row } => Self::PaymentEnded(PaymentEnded {
                order: bytes_of(payment.order),
                attempt: payment.attempt.get(),
                how: code_of_end(*how),
                row: form(row),
            }),
            engine::Command::Refund { order, reason, restock, row } => Self::Refund(Refund {
                order: bytes_of(*order),
                reason: reason.as_ref().map(Reason::as_str),
                restock: *restock,
                row: form(row),
            }),
            // What has a key or expects a version holds no other such; and an owner asks the rest of itself.
            engine::Command::Keyed { .. }
            | engine::Command::Expecting { .. }
            | engine::Command::Expire { .. }
            | engine::Command::CloseEnded { .. } => return Err(Unsayable),
        })
    }
}

impl TryFrom<Command<'_>> for engine::Command {
    type Error = Garbage;

    fn try_from(command: Command<'_>) -> Result<Self, Garbage> {
        let read = |row: Option<Box<Recalled<'_>>>| row.map(|row| Ok::<_, Garbage>(Box::new((*row).try_into()?))).transpose();
        Ok(match command {
            Command::List(List { commodity, terms, total, absent_at }) => {
                let (commodity, terms, total) = (CommodityId::new(commodity)?, Box::new(terms.try_into()?), Units::new(total)?);
                match absent_at {
                    Some((epoch, sequence)) => {
                        Self::ListOnce { commodity, terms, total, absent_at: (Epoch::new(epoch)?, Sequence(sequence)) }
                    }
                    None => Self::List { commodity, terms, total },
                }
            }
            Command::Change(change) => change.try_into()?,
            Command::Restock(restock) => restock.try_into()?,
            Command::Pause(commodity) => Self::Pause(CommodityId::new(commodity)?),
            Command::Resume(commodity) => Self::Resume(CommodityId::new(commodity)?),
            Command::End(commodity) => Self::End(CommodityId::new(commodity)?),
            Command::Close(commodity) => Self::Close(CommodityId::new(commodity)?),
            Command::Remove(commodity) => Self::Remove(CommodityId::new(commodity)?),
            Command::Place(place) => Self::Place(place.try_into()?),
            Command::ConfirmPayment(order, row) => Self::ConfirmPayment { order: id_of(order)?, row: read(row)? },
            Command::ConfirmRefund(order, row) => Self::ConfirmRefund { order: id_of(order)?, row: read(row)? },
            Command::Cancel(Cancel { order, user, reason, row }) => Self::Cancel {
                order: id_of(order)?,
                user: user.map(PrincipalKey::new).transpose()?,
                reason: reason.map(str::parse).transpose()?,
                row: read(row)?,
            },
            Command::StartPayment(order, user, row) => {
                Self::StartPayment { order: id_of(order)?, user: user.map(PrincipalKey::new).transpose()?, row: read(row)? }
            }
            Command::PaymentSucceeded(PaymentSucceeded { order, attempt, amount, currency, is_captured, row }) => Self::PaymentSucceeded {
                payment: PaymentId { order: id_of(order)?, attempt: Attempt::new(attempt)? },
                amount,
                currency: currency_of(std::str::from_utf8(&currency).map_err(|_| Garbage)?)?,
                taken: if is_captured { Taken::Captured } else { Taken::Authorized },
                row: read(row)?,
            },
            Command::PaymentEnded(PaymentEnded { order, attempt, how, row }) => Self::PaymentEnded {
                payment: PaymentId { order: id_of(order)?, attempt: Attempt::new(attempt)? },
                how: end_of(how)?,
                row: read(row)?,
            },
            Command::Refund(Refund { order, reason, restock, row }) => {
                Self::Refund { order: id_of(order)?, reason: reason.map(str::parse).transpose()?, restock, row: read(row)? }
            }
        })
    }
}

impl<'a> From<&'a engine::Place> for Place<'a> {
    fn from(place: &'a engine::Place) -> Self {
        Self {
            commodity: place.commodity.get(),
            buyer: match &place.user {
                Principal::Own(user) => Buyer::Own(user.get()),
                Principal::Foreign(foreign) => Buyer::Foreign(foreign.as_str()),
            },
            quantity: place.quantity.into(),
            key: place.key.map(IdempotencyKey::to_bytes),
            fingerprint: place.fingerprint.0,
            unit_price: place.unit_price.map(Price::minor),
        }
    }
}

impl TryFrom<Place<'_>> for engine::Place {
    type Error = Garbage;

    fn try_from(place: Place<'_>) -> Result<Self, Garbage> {
        Ok(Self {
            commodity: CommodityId::new(place.commodity)?,
            user: match place.buyer {
                Buyer::Own(user) => UserId::new(user)?.into(),
                Buyer::Foreign(text) => text.parse::<Foreign>()?.into(),
            },
            quantity: Quantity::new(place.quantity)?,
            key: place.key.map(IdempotencyKey::from_bytes),
            fingerprint: RequestFingerprint(place.fingerprint),
            unit_price: place.unit_price.map(Price::new).transpose()?,
        })
    }
}

impl<'a> From<&'a engine::Recalled> for Recalled<'a> {
    fn from(recalled: &'a engine::Recalled) -> Self {
        let (epoch, sequence) = recalled.applied;
        Self {
            order: recalled.order.into(),
            key: recalled.key.map(IdempotencyKey::to_bytes),
            payments: payments_form(recalled.payments),
            applied_epoch: epoch.get(),
            applied_sequence: sequence.0,
            commodity: recalled.commodity.as_deref().map(Into::into),
        }
    }
}

impl TryFrom<Recalled<'_>> for engine::Recalled {
    type Error = Garbage;

    fn try_from(recalled: Recalled<'_>) -> Result<Self, Garbage> {
        Ok(Self {
            order: recalled.order.try_into()?,
            key: recalled.key.map(IdempotencyKey::from_bytes),
            payments: payments_of(recalled.payments)?,
            applied: (Epoch::new(recalled.applied_epoch)?, Sequence(recalled.applied_sequence)),
            commodity: recalled.commodity.map(|commodity| Ok::<_, Garbage>(Box::new(commodity.try_into()?))).transpose()?,
        })
    }
}

impl From<domain::Order> for Order {
    fn from(order: domain::Order) -> Self {
        Self {
            id: bytes_of(order.id),
            commodity: order.commodity.get(),
            buyer: order.user.get(),
            quantity: order.quantity.into(),
            unit_price: order.unit_price.minor(),
            currency: *order.currency.letters(),
            status: code_of(order.status),
            pay_by: order.pay_by.map(Timestamp::millis),
            grace_seconds: order.grace_seconds,
            discount: order.discount.map(|discount| Discount { coupon: discount.coupon.get(), amount: discount.amount }),
        }
    }
}

impl TryFrom<Order> for domain::Order {
    type Error = Garbage;

    fn try_from(order: Order) -> Result<Self, Garbage> {
        Ok(Self {
            id: id_of(order.id)?,
            commodity: CommodityId::new(order.commodity)?,
            user: PrincipalKey::new(order.buyer)?,
            quantity: Quantity::new(order.quantity)?,
            unit_price: Price::new(order.unit_price)?,
            currency: currency_of(std::str::from_utf8(&order.currency).map_err(|_| Garbage)?)?,
            status: status_of(order.status)?,
            pay_by: order.pay_by.map(Timestamp::from_millis).transpose()?,
            grace_seconds: Some(order.grace_seconds).filter(|seconds| *seconds <= domain::Terms::GRACE_SECONDS_MAX).ok_or(Garbage)?,
            discount: order.discount.map(discount_of).transpose()?,
        })
    }
}

impl<'a> From<&'a domain::Commodity> for Commodity<'a> {
    fn from(commodity: &'a domain::Commodity) -> Self {
        Self { listed: commodity.into(), closed_at: commodity.closed_at.map(Timestamp::millis) }
    }
}

impl TryFrom<Commodity<'_>> for domain::Commodity {
    type Error = Garbage;

    fn try_from(commodity: Commodity<'_>) -> Result<Self, Garbage> {
        let closed_at = commodity.closed_at.map(Timestamp::from_millis).transpose()?;
        Ok(Self { closed_at, ..commodity.listed.try_into()? })
    }
}

fn discount_of(Discount { coupon, amount }: Discount) -> Result<domain::Discount, Garbage> {
    if amount < 0 { Err(Garbage) } else { Ok(domain::Discount { coupon: CouponId::new(coupon)?, amount }) }
}

fn payments_form(payments: Payments) -> Vec<Payment> {
    let form = |number| {
        let attempt = Attempt::new(number).expect("one that was started");
        Payment { attempt: number, state: code_of_payment(payments, attempt), pays: payments.paid_by() == Some(attempt) }
    };
    (1..=payments.last().map_or(0, Attempt::get)).map(form).collect()
}

fn payments_of(forms: Vec<Payment>) -> Result<Payments, Garbage> {
    let told = |Payment { attempt, state, pays }| Ok((Attempt::new(attempt)?, payment_of(state)?, pays));
    Ok(Payments::of(forms.into_iter().map(told).collect::<Result<Vec<_>, Garbage>>()?)?)
}

pub(super) fn bytes_of(order: OrderId) -> [u8; 16] {
    order.uuid().into_bytes()
}

pub(super) fn id_of(bytes: [u8; 16]) -> Result<OrderId, Garbage> {
    Ok(OrderId::from_uuid(Uuid::from_bytes(bytes))?)
}
