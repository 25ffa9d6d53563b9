//! What is answered, to and from version 6.

use super::asked::{bytes_of, id_of};
use super::{Answer, Order, Reply, Sighting, Told};
use crate::domain::{self, CommodityId, Epoch, Foreign, NamedOrder};
use crate::routing::peer::wire::v3::codes::{busy_of, code_of_busy};
use crate::routing::peer::wire::v4::codes::{code_of_refusal, refusal_of};
use crate::routing::peer::wire::{self, Garbage, all};
use crate::{engine, partition};

impl<'a> From<&'a wire::Told> for Told<'a> {
    fn from(told: &'a wire::Told) -> Self {
        match told {
            wire::Told::Reply(reply) => Self::Reply(reply.into()),
            wire::Told::Sighting(Ok(sighting)) => Self::Sighting(Ok(sighting.into())),
            wire::Told::Sighting(Err(busy)) => Self::Sighting(Err(code_of_busy(*busy))),
            wire::Told::Orders(Ok(orders)) => Self::Orders(Ok(orders.iter().copied().map(Into::into).collect())),
            wire::Told::Orders(Err(busy)) => Self::Orders(Err(code_of_busy(*busy))),
            wire::Told::Misdirected => Self::Misdirected,
        }
    }
}

impl TryFrom<Told<'_>> for wire::Told {
    type Error = Garbage;

    fn try_from(told: Told<'_>) -> Result<Self, Garbage> {
        Ok(match told {
            Told::Reply(reply) => Self::Reply(reply.try_into()?),
            Told::Sighting(Ok(sighting)) => Self::Sighting(Ok(sighting.try_into()?)),
            Told::Sighting(Err(busy)) => Self::Sighting(Err(busy_of(busy)?)),
            Told::Orders(Ok(orders)) => Self::Orders(Ok(all(orders, domain::Order::try_from)?)),
            Told::Orders(Err(busy)) => Self::Orders(Err(busy_of(busy)?)),
            Told::Misdirected => Self::Misdirected,
        })
    }
}

impl<'a> From<&'a partition::Reply> for Reply<'a> {
    fn from(reply: &'a partition::Reply) -> Self {
        match reply {
            partition::Reply::Done(answer) => match answer {
                engine::Answer::Placed(order) => Self::Done(Answer::Placed((*order).into())),
                engine::Answer::Replayed(order) => Self::Done(Answer::Replayed((*order).into())),
                engine::Answer::PlacedBefore(order) => Self::Done(Answer::PlacedBefore(bytes_of(*order))),
                engine::Answer::Order(order) => Self::Done(Answer::Order((*order).into())),
                engine::Answer::Commodity(commodity) => Self::Done(Answer::Commodity((&**commodity).into())),
                engine::Answer::Removed => Self::Done(Answer::Removed),
                engine::Answer::DoneBefore(id, commodity) => Self::Done(Answer::DoneBefore(id.get(), commodity.as_deref().map(Into::into))),
                // No node that speaks this version asks for it.
                engine::Answer::Payment { order, .. } => Self::Pending(Some(bytes_of(order.id))),
                // No node asks another for these.
                engine::Answer::Expired(_) | engine::Answer::Closed(_) => Self::Pending(None),
            },
            partition::Reply::Refused(refusal) => Self::Refused(code_of_refusal(*refusal)),
            partition::Reply::Pending(order) => Self::Pending(order.map(bytes_of)),
            partition::Reply::Busy(busy) => Self::Busy(code_of_busy(*busy)),
        }
    }
}

impl TryFrom<Reply<'_>> for partition::Reply {
    type Error = Garbage;

    fn try_from(reply: Reply<'_>) -> Result<Self, Garbage> {
        Ok(match reply {
            Reply::Done(answer) => Self::Done(answer.try_into()?),
            Reply::Refused(code) => Self::Refused(refusal_of(code)?),
            Reply::Pending(order) => Self::Pending(order.map(id_of).transpose()?),
            Reply::Busy(code) => Self::Busy(busy_of(code)?),
        })
    }
}

impl TryFrom<Answer<'_>> for engine::Answer {
    type Error = Garbage;

    fn try_from(answer: Answer<'_>) -> Result<Self, Garbage> {
        Ok(match answer {
            Answer::Placed(order) => Self::Placed(order.try_into()?),
            Answer::Replayed(order) => Self::Replayed(order.try_into()?),
            Answer::PlacedBefore(order) => Self::PlacedBefore(id_of(order)?),
            Answer::Order(order) => Self::Order(order.try_into()?),
            Answer::Commodity(commodity) => Self::Commodity(Box::new(commodity.try_into()?)),
            Answer::Removed => Self::Removed,
            Answer::DoneBefore(id, commodity) => {
                let commodity = commodity.map(|commodity| Ok::<_, Garbage>(Box::new(commodity.try_into()?))).transpose()?;
                Self::DoneBefore(CommodityId::new(id)?, commodity)
            }
        })
    }
}

impl<'a> From<&'a partition::Sighting> for Sighting<'a> {
    fn from(sighting: &'a partition::Sighting) -> Self {
        match sighting {
            partition::Sighting::Known(named) => Self::Known(named.order.into(), named.foreign.as_ref().map(Foreign::as_str)),
            partition::Sighting::Unknown { epoch, next_number, in_tables } => {
                Self::Unknown { epoch: epoch.get(), next_number: *next_number, in_tables: *in_tables }
            }
            partition::Sighting::InDoubt => Self::InDoubt,
        }
    }
}

impl TryFrom<Sighting<'_>> for partition::Sighting {
    type Error = Garbage;

    fn try_from(sighting: Sighting<'_>) -> Result<Self, Garbage> {
        Ok(match sighting {
            Sighting::Known(order, foreign) => Self::Known(named(order, foreign)?),
            Sighting::Unknown { epoch, next_number, in_tables } => Self::Unknown { epoch: Epoch::new(epoch)?, next_number, in_tables },
            Sighting::InDoubt => Self::InDoubt,
        })
    }
}

fn named(order: Order, foreign: Option<&str>) -> Result<NamedOrder, Garbage> {
    let (order, foreign) = (domain::Order::try_from(order)?, foreign.map(str::parse::<Foreign>).transpose()?);
    match &foreign {
        Some(foreign) if foreign.key() != order.user => Err(Garbage),
        _ => Ok(NamedOrder { order, foreign }),
    }
}
