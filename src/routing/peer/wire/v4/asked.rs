//! What is asked, to and from version 4.

use super::{Ask, Cancel, Change, Command, Item, List, Restock};
use crate::domain::{CommodityId, Units, UserId};
use crate::engine;
use crate::routing::peer::wire::{self, Garbage};

impl<'a> From<&'a wire::Item> for Item<'a> {
    fn from(item: &'a wire::Item) -> Self {
        let ask = match &item.ask {
            wire::Ask::Command(command) => Ask::Command(command.into()),
            wire::Ask::Lookup(order) => Ask::Lookup((*order).into()),
        };
        Self { budget_ms: item.budget_ms, ask, trace: item.trace.map(Into::into) }
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

impl<'a> From<&'a engine::Command> for Command<'a> {
    fn from(command: &'a engine::Command) -> Self {
        match command {
            engine::Command::List { commodity, terms, total } => {
                Self::List(List { commodity: commodity.get(), terms: (&**terms).into(), total: (*total).into() })
            }
            engine::Command::Change { commodity, change, expected_version } => {
                Self::Change(Change::of(*commodity, change, *expected_version))
            }
            engine::Command::Restock { commodity, units } => Self::Restock(Restock { commodity: commodity.get(), units: (*units).into() }),
            engine::Command::Pause(commodity) => Self::Pause(commodity.get()),
            engine::Command::Resume(commodity) => Self::Resume(commodity.get()),
            engine::Command::End(commodity) => Self::End(commodity.get()),
            engine::Command::Remove(commodity) => Self::Remove(commodity.get()),
            engine::Command::Place(place) => Self::Place(place.into()),
            engine::Command::ConfirmPayment(order) => Self::ConfirmPayment((*order).into()),
            engine::Command::ConfirmRefund(order) => Self::ConfirmRefund((*order).into()),
            engine::Command::Cancel { order, user } => Self::Cancel(Cancel { order: (*order).into(), user: user.map(UserId::get) }),
            engine::Command::Expire { at_most } => Self::Expire(*at_most as u64),
        }
    }
}

impl TryFrom<Command<'_>> for engine::Command {
    type Error = Garbage;

    fn try_from(command: Command<'_>) -> Result<Self, Garbage> {
        Ok(match command {
            Command::List(List { commodity, terms, total }) => {
                Self::List { commodity: CommodityId::new(commodity)?, terms: Box::new(terms.try_into()?), total: Units::new(total)? }
            }
            Command::Change(change) => {
                let (commodity, change, expected_version) = change.read()?;
                Self::Change { commodity, change: Box::new(change), expected_version }
            }
            Command::Restock(Restock { commodity, units }) => {
                Self::Restock { commodity: CommodityId::new(commodity)?, units: Units::new(units)? }
            }
            Command::Pause(commodity) => Self::Pause(CommodityId::new(commodity)?),
            Command::Resume(commodity) => Self::Resume(CommodityId::new(commodity)?),
            Command::End(commodity) => Self::End(CommodityId::new(commodity)?),
            Command::Remove(commodity) => Self::Remove(CommodityId::new(commodity)?),
            Command::Place(place) => Self::Place(place.try_into()?),
            Command::ConfirmPayment(order) => Self::ConfirmPayment(order.try_into()?),
            Command::ConfirmRefund(order) => Self::ConfirmRefund(order.try_into()?),
            Command::Cancel(Cancel { order, user }) => Self::Cancel { order: order.try_into()?, user: user.map(UserId::new).transpose()? },
            Command::Expire(at_most) => Self::Expire { at_most: usize::try_from(at_most).map_err(|_| Garbage)? },
        })
    }
}
