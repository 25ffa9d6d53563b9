//! What is asked, to and from version 3.

use super::{Ask, Cancel, Change, Command, Context, Item, List, Place, Restock};
use crate::domain::{
    self, CommodityId, IdempotencyKey, Price, PrincipalKey, Quantity, RequestFingerprint, TermsChange, Timestamp, Units, UserId,
};
use crate::engine;
use crate::form::{currency_of, says_all_of, says_all_of_change};
use crate::routing::peer::wire::{self, Garbage, Unsayable};
use crate::trace;

impl<'a> TryFrom<&'a wire::Item> for Item<'a> {
    type Error = Unsayable;

    fn try_from(item: &'a wire::Item) -> Result<Self, Unsayable> {
        let ask = match &item.ask {
            wire::Ask::Command(command) => Ask::Command(command.try_into()?),
            wire::Ask::Lookup(order) => Ask::Lookup((*order).into()),
            wire::Ask::OrdersOf(..) => return Err(Unsayable),
        };
        Ok(Self { budget_ms: item.budget_ms, ask, trace: item.trace.map(Into::into) })
    }
}

impl TryFrom<Item<'_>> for wire::Item {
    type Error = Garbage;

    fn try_from(item: Item<'_>) -> Result<Self, Garbage> {
        let ask = match item.ask {
            Ask::Command(command) => wire::Ask::Command(command.try_into()?),
            Ask::Lookup(order) => wire::Ask::Lookup(order.try_into()?),
        };
        Ok(Self { budget_ms: item.budget_ms, ask, trace: item.trace.map(Into::into) })
    }
}

impl<'a> TryFrom<&'a engine::Command> for Command<'a> {
    type Error = Unsayable;

    fn try_from(command: &'a engine::Command) -> Result<Self, Unsayable> {
        Ok(match command {
            engine::Command::List { terms, .. } if !says_all_of(terms) => return Err(Unsayable),
            engine::Command::Change { change, .. } if !says_all_of_change(change) => return Err(Unsayable),
            engine::Command::List { commodity, terms, total } => Self::List(List::of(*commodity, terms, *total)),
            engine::Command::Change { commodity, change } => Self::Change(Change::of(*commodity, change, None)),
            engine::Command::Expecting { version, command } => match command.as_ref() {
                engine::Command::Change { commodity, change } if says_all_of_change(change) => {
                    Self::Change(Change::of(*commodity, change, Some(*version)))
                }
                // Only a change says what it expects in this version, and not every change can be said.
                _ => return Err(Unsayable),
            },
            // Of version 6.
            engine::Command::Keyed { .. } => return Err(Unsayable),
            engine::Command::Restock { commodity, units } => Self::Restock(Restock::of(*commodity, *units)),
            engine::Command::Pause(commodity) => Self::Pause(commodity.get()),
            engine::Command::Resume(commodity) => Self::Resume(commodity.get()),
            engine::Command::End(commodity) => Self::End(commodity.get()),
            engine::Command::Remove(commodity) => Self::Remove(commodity.get()),
            engine::Command::Place(place) => Self::Place(place.try_into()?),
            engine::Command::ConfirmPayment { order, row: None } => Self::ConfirmPayment((*order).into()),
            engine::Command::ConfirmRefund { order, row: None } => Self::ConfirmRefund((*order).into()),
            engine::Command::Cancel { order, user, reason: _, row: None } => {
                Self::Cancel(Cancel { order: (*order).into(), user: user.map(account_of).transpose()? })
            }
            engine::Command::Expire { at_most } => Self::Expire(*at_most as u64),
            // Its engine takes up no order again that it has forgotten, and closes nothing.
            engine::Command::ConfirmPayment { row: Some(_), .. }
            | engine::Command::ConfirmRefund { row: Some(_), .. }
            | engine::Command::Cancel { row: Some(_), .. }
            | engine::Command::StartPayment { .. }
            | engine::Command::PaymentSucceeded { .. }
            | engine::Command::PaymentEnded { .. }
            | engine::Command::Refund { .. }
            | engine::Command::ListOnce { .. }
            | engine::Command::Close(_)
            | engine::Command::CloseEnded { .. } => return Err(Unsayable),
        })
    }
}

impl TryFrom<Command<'_>> for engine::Command {
    type Error = Garbage;

    fn try_from(command: Command<'_>) -> Result<Self, Garbage> {
        Ok(match command {
            Command::List(list) => list.try_into()?,
            Command::Change(change) => change.try_into()?,
            Command::Restock(restock) => restock.try_into()?,
            Command::Pause(commodity) => Self::Pause(CommodityId::new(commodity)?),
            Command::Resume(commodity) => Self::Resume(CommodityId::new(commodity)?),
            Command::End(commodity) => Self::End(CommodityId::new(commodity)?),
            Command::Remove(commodity) => Self::Remove(CommodityId::new(commodity)?),
            Command::Place(place) => Self::Place(place.try_into()?),
            Command::ConfirmPayment(order) => Self::ConfirmPayment { order: order.try_into()?, row: None },
            Command::ConfirmRefund(order) => Self::ConfirmRefund { order: order.try_into()?, row: None },
            Command::Cancel(Cancel { order, user }) => {
                Self::Cancel { order: order.try_into()?, user: user.map(key_of).transpose()?, reason: None, row: None }
            }
            Command::Expire(at_most) => Self::Expire { at_most: usize::try_from(at_most).map_err(|_| Garbage)? },
        })
    }
}

impl<'a> Change<'a> {
    /// The form of a change.
    pub(in crate::routing::peer::wire) fn of(commodity: CommodityId, change: &'a TermsChange, expected_version: Option<u32>) -> Self {
        Self {
            commodity: commodity.get(),
            name: change.name.as_deref(),
            description: change.description.as_deref(),
            image_url: change.image_url.as_ref().map(Option::as_deref),
            price: change.price.map(Price::minor),
            currency: change.currency.as_ref().map(|currency| currency.code()),
            limit_per_user: change.limit_per_user,
            hold_seconds: change.hold_seconds,
            starts_at: change.starts_at.map(Timestamp::millis),
            ends_at: change.ends_at.map(Timestamp::millis),
            total: change.total.map(Into::into),
            expected_version,
        }
    }
}

impl TryFrom<Change<'_>> for engine::Command {
    type Error = Garbage;

    fn try_from(change: Change<'_>) -> Result<Self, Garbage> {
        let changes = TermsChange {
            sku: None,
            name: change.name.map(str::to_owned),
            description: change.description.map(str::to_owned),
            image_url: change.image_url.map(|url| url.map(str::to_owned)),
            price: change.price.map(Price::new).transpose()?,
            currency: change.currency.map(currency_of).transpose()?,
            limit_per_user: change.limit_per_user,
            hold_seconds: change.hold_seconds,
            grace_seconds: None,
            cancellation: None,
            starts_at: change.starts_at.map(Timestamp::from_millis).transpose()?,
            ends_at: change.ends_at.map(Timestamp::from_millis).transpose()?,
            total: change.total.map(Units::new).transpose()?,
        };
        let command = Self::Change { commodity: CommodityId::new(change.commodity)?, change: Box::new(changes) };
        Ok(match change.expected_version {
            Some(version) => Self::Expecting { version, command: Box::new(command) },
            None => command,
        })
    }
}

impl<'a> List<'a> {
    /// The form of a listing.
    pub(in crate::routing::peer::wire) fn of(commodity: CommodityId, terms: &'a domain::Terms, total: Units) -> Self {
        Self { commodity: commodity.get(), terms: terms.into(), total: total.into() }
    }
}

impl TryFrom<List<'_>> for engine::Command {
    type Error = Garbage;

    fn try_from(list: List<'_>) -> Result<Self, Garbage> {
        let (commodity, total) = (CommodityId::new(list.commodity)?, Units::new(list.total)?);
        Ok(Self::List { commodity, terms: Box::new(list.terms.try_into()?), total })
    }
}

impl Restock {
    /// The form of units that are added.
    pub(in crate::routing::peer::wire) fn of(commodity: CommodityId, units: Units) -> Self {
        Self { commodity: commodity.get(), units: units.into() }
    }
}

impl TryFrom<Restock> for engine::Command {
    type Error = Garbage;

    fn try_from(restock: Restock) -> Result<Self, Garbage> {
        Ok(Self::Restock { commodity: CommodityId::new(restock.commodity)?, units: Units::new(restock.units)? })
    }
}

/// An account of our own, which is all that these versions know.
pub(in crate::routing::peer::wire) fn account_of(user: PrincipalKey) -> Result<i64, Unsayable> {
    user.account().map(UserId::get).ok_or(Unsayable)
}

/// The key of an account.
pub(in crate::routing::peer::wire) fn key_of(user: i64) -> Result<PrincipalKey, Garbage> {
    Ok(UserId::new(user)?.into())
}

impl TryFrom<&engine::Place> for Place {
    type Error = Unsayable;

    fn try_from(place: &engine::Place) -> Result<Self, Unsayable> {
        // Without it, the buyer might pay what they never saw.
        if place.unit_price.is_some() {
            return Err(Unsayable);
        }
        Ok(Self {
            commodity: place.commodity.get(),
            user: account_of(place.user.key())?,
            quantity: place.quantity.into(),
            key: place.key.map(|key| u128::from_be_bytes(key.to_bytes())),
            fingerprint: place.fingerprint.0,
        })
    }
}

impl TryFrom<Place> for engine::Place {
    type Error = Garbage;

    fn try_from(place: Place) -> Result<Self, Garbage> {
        Ok(Self {
            commodity: CommodityId::new(place.commodity)?,
            user: UserId::new(place.user)?.into(),
            quantity: Quantity::new(place.quantity)?,
            key: place.key.map(|key| IdempotencyKey::from_bytes(key.to_be_bytes())),
            fingerprint: RequestFingerprint(place.fingerprint),
            unit_price: None,
        })
    }
}

impl From<trace::Context> for Context {
    fn from(context: trace::Context) -> Self {
        Self { trace: context.trace, span: context.span }
    }
}

impl From<Context> for trace::Context {
    fn from(context: Context) -> Self {
        Self { trace: context.trace, span: context.span }
    }
}
