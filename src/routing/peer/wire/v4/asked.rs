//! What is asked, to and from version 4.

use super::{Ask, Change, Command, Commodity, Item, List, Order, Recalled, Restock};
use crate::domain::{self, CommodityId, Epoch, IdempotencyKey, PartitionId, Payments, Sequence, Timestamp};
use crate::engine;
use crate::form::{says_all_of, says_all_of_change};
use crate::routing::peer::wire::v3::{account_of, key_of};
use crate::routing::peer::wire::{self, Garbage, Unsayable};

impl<'a> TryFrom<&'a wire::Item> for Item<'a> {
    type Error = Unsayable;

    fn try_from(item: &'a wire::Item) -> Result<Self, Unsayable> {
        let ask = match &item.ask {
            wire::Ask::Command(command) => Ask::Command(command.try_into()?),
            wire::Ask::Lookup(order) => Ask::Lookup((*order).into()),
            wire::Ask::OrdersOf(partition, user) => Ask::OrdersOf(partition.get(), account_of(*user)?),
        };
        Ok(Self { budget_ms: item.budget_ms, ask, trace: item.trace.map(Into::into) })
    }
}

impl<'a> Item<'a> {
    /// A request that asks for that command.
    pub(in crate::routing::peer::wire) fn of_command(
        budget_ms: u32,
        command: &'a engine::Command,
        trace: Option<crate::trace::Context>,
    ) -> Result<Self, Unsayable> {
        Ok(Self { budget_ms, ask: Ask::Command(command.try_into()?), trace: trace.map(Into::into) })
    }
}

impl TryFrom<Item<'_>> for wire::Item {
    type Error = Garbage;

    fn try_from(item: Item<'_>) -> Result<Self, Garbage> {
        let ask = match item.ask {
            Ask::Command(command) => wire::Ask::Command(command.try_into()?),
            Ask::Lookup(order) => wire::Ask::Lookup(order.try_into()?),
            Ask::OrdersOf(partition, user) => wire::Ask::OrdersOf(PartitionId::new(partition)?, key_of(user)?),
        };
        Ok(Self { budget_ms: item.budget_ms, ask, trace: item.trace.map(Into::into) })
    }
}

impl<'a> TryFrom<&'a engine::Command> for Command<'a> {
    type Error = Unsayable;

    fn try_from(command: &'a engine::Command) -> Result<Self, Unsayable> {
        let form = |row: &'a Option<Box<engine::Recalled>>| row.as_deref().map(|row| Recalled::try_from(row).map(Box::new)).transpose();
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
            engine::Command::Close(commodity) => Self::Close(commodity.get()),
            engine::Command::Remove(commodity) => Self::Remove(commodity.get()),
            engine::Command::Place(place) => Self::Place(place.try_into()?),
            engine::Command::ConfirmPayment { order, row } => Self::ConfirmPayment((*order).into(), form(row)?),
            engine::Command::ConfirmRefund { order, row } => Self::ConfirmRefund((*order).into(), form(row)?),
            engine::Command::Cancel { order, user, reason: _, row } => {
                Self::Cancel((*order).into(), user.map(account_of).transpose()?, form(row)?)
            }
            // Of later versions.
            engine::Command::ListOnce { .. }
            | engine::Command::StartPayment { .. }
            | engine::Command::PaymentSucceeded { .. }
            | engine::Command::PaymentEnded { .. }
            | engine::Command::Refund { .. } => return Err(Unsayable),
            // An owner asks these of itself.
            engine::Command::Expire { .. } | engine::Command::CloseEnded { .. } => return Err(Unsayable),
        })
    }
}

impl TryFrom<Command<'_>> for engine::Command {
    type Error = Garbage;

    fn try_from(command: Command<'_>) -> Result<Self, Garbage> {
        let read = |row: Option<Box<Recalled<'_>>>| row.map(|row| Ok::<_, Garbage>(Box::new((*row).try_into()?))).transpose();
        Ok(match command {
            Command::List(list) => list.try_into()?,
            Command::Change(change) => change.try_into()?,
            Command::Restock(restock) => restock.try_into()?,
            Command::Pause(commodity) => Self::Pause(CommodityId::new(commodity)?),
            Command::Resume(commodity) => Self::Resume(CommodityId::new(commodity)?),
            Command::End(commodity) => Self::End(CommodityId::new(commodity)?),
            Command::Close(commodity) => Self::Close(CommodityId::new(commodity)?),
            Command::Remove(commodity) => Self::Remove(CommodityId::new(commodity)?),
            Command::Place(place) => Self::Place(place.try_into()?),
            Command::ConfirmPayment(order, row) => Self::ConfirmPayment { order: order.try_into()?, row: read(row)? },
            Command::ConfirmRefund(order, row) => Self::ConfirmRefund { order: order.try_into()?, row: read(row)? },
            Command::Cancel(order, user, row) => {
                Self::Cancel { order: order.try_into()?, user: user.map(key_of).transpose()?, reason: None, row: read(row)? }
            }
        })
    }
}

impl<'a> TryFrom<&'a engine::Recalled> for Recalled<'a> {
    type Error = Unsayable;

    fn try_from(recalled: &'a engine::Recalled) -> Result<Self, Unsayable> {
        let (epoch, sequence) = recalled.applied;
        Ok(Self {
            order: Order::of(&recalled.order).ok_or(Unsayable)?,
            key: recalled.key.map(|key| u128::from_be_bytes(key.to_bytes())),
            applied_epoch: epoch.get(),
            applied_sequence: sequence.0,
            commodity: recalled.commodity.as_deref().map(Into::into),
        })
    }
}

impl TryFrom<Recalled<'_>> for engine::Recalled {
    type Error = Garbage;

    fn try_from(recalled: Recalled<'_>) -> Result<Self, Garbage> {
        Ok(Self {
            order: recalled.order.try_into()?,
            key: recalled.key.map(|key| IdempotencyKey::from_bytes(key.to_be_bytes())),
            payments: Payments::default(),
            applied: (Epoch::new(recalled.applied_epoch)?, Sequence(recalled.applied_sequence)),
            commodity: recalled.commodity.map(|commodity| Ok::<_, Garbage>(Box::new(commodity.try_into()?))).transpose()?,
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
