//! What is answered and told, to and from version 3.

use super::codes::{busy_of, code_of_busy, code_of_reach, code_of_refusal, code_of_trouble, reach_of, refusal_of, trouble_of};
use super::{Answer, Bulletin, Introduction, Reply, Sighting, Told};
use crate::domain::{self, Commodity, CommodityId, Epoch, NamedOrder, OrderId, PartitionId};
use crate::form::Order;
use crate::partition::{Busy, Listing};
use crate::routing::peer::wire::bulletin::{Standing, Together, served};
use crate::routing::peer::wire::{self, Garbage, all};
use crate::{engine, partition};

impl<'a> From<&'a wire::Told> for Told<'a> {
    fn from(told: &'a wire::Told) -> Self {
        match told {
            wire::Told::Reply(reply) => Self::Reply(reply.into()),
            wire::Told::Sighting(Ok(sighting)) => Self::Sighting(sighting.try_into().map_err(code_of_busy)),
            wire::Told::Sighting(Err(busy)) => Self::Sighting(Err(code_of_busy(*busy))),
            // Nobody asks in this version.
            wire::Told::Orders(_) | wire::Told::Misdirected => Self::Misdirected,
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
            Told::Misdirected => Self::Misdirected,
        })
    }
}

impl<'a> From<&'a partition::Reply> for Reply<'a> {
    fn from(reply: &'a partition::Reply) -> Self {
        match reply {
            partition::Reply::Done(answer) => match answer {
                engine::Answer::Placed(order) => Self::of(order, Answer::Placed),
                engine::Answer::Replayed(order) => Self::of(order, Answer::Replayed),
                // Who asks for the order by its id learns how it stands.
                engine::Answer::PlacedBefore(order) => Self::Pending(Some((*order).into())),
                engine::Answer::Order(order) => Self::of(order, Answer::Order),
                engine::Answer::Commodity(commodity) => Self::Done(Answer::Commodity((&**commodity).into())),
                engine::Answer::Removed => Self::Done(Answer::Removed),
                engine::Answer::Expired(count) => Self::Done(Answer::Expired(*count as u64)),
                // No node asks another for it.
                engine::Answer::Payment { order, .. } => Self::Pending(Some(order.id.into())),
                engine::Answer::Closed(_) | engine::Answer::DoneBefore(..) => Self::Pending(None),
            },
            // A refusal changed nothing: to say that nothing was done is true, too.
            partition::Reply::Refused(refusal) => {
                code_of_refusal(*refusal).map_or(Self::Busy(code_of_busy(Busy::Unavailable)), Self::Refused)
            }
            partition::Reply::Pending(order) => Self::Pending(order.map(Into::into)),
            partition::Reply::Busy(busy) => Self::Busy(code_of_busy(*busy)),
        }
    }
}

impl<'a> Reply<'a> {
    /// Another issuer's order has no form here: whoever asks a newer node for it by its id learns how it stands.
    fn of(order: &'a domain::Order, answer: impl FnOnce(Order<'a>) -> Answer<'a>) -> Self {
        Order::of(order).map_or_else(|| Self::Pending(Some(order.id.into())), |order| Self::Done(answer(order)))
    }
}

impl TryFrom<Reply<'_>> for partition::Reply {
    type Error = Garbage;

    fn try_from(reply: Reply<'_>) -> Result<Self, Garbage> {
        Ok(match reply {
            Reply::Done(answer) => Self::Done(answer.try_into()?),
            Reply::Refused(code) => Self::Refused(refusal_of(code)?),
            Reply::Pending(order) => Self::Pending(order.map(OrderId::try_from).transpose()?),
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
            Answer::Order(order) => Self::Order(order.try_into()?),
            Answer::Commodity(commodity) => Self::Commodity(Box::new(commodity.try_into()?)),
            Answer::Removed => Self::Removed,
            Answer::Expired(count) => Self::Expired(usize::try_from(count).map_err(|_| Garbage)?),
        })
    }
}

impl<'a> TryFrom<&'a partition::Sighting> for Sighting<'a> {
    /// Of an order that has no form here.
    type Error = Busy;

    fn try_from(sighting: &'a partition::Sighting) -> Result<Self, Busy> {
        Ok(match sighting {
            partition::Sighting::Known(named) => Self::Known(Order::of(&named.order).ok_or(Busy::Unavailable)?),
            // An owner that works with older releases knows every live order, as they expect of it.
            partition::Sighting::Unknown { epoch, next_number, in_tables: _ } => {
                Self::Unknown { epoch: epoch.get(), next_number: *next_number }
            }
            partition::Sighting::InDoubt => Self::InDoubt,
        })
    }
}

impl TryFrom<Sighting<'_>> for partition::Sighting {
    type Error = Garbage;

    fn try_from(sighting: Sighting<'_>) -> Result<Self, Garbage> {
        Ok(match sighting {
            Sighting::Known(order) => Self::Known(NamedOrder { order: order.try_into()?, foreign: None }),
            Sighting::Unknown { epoch, next_number } => Self::Unknown { epoch: Epoch::new(epoch)?, next_number, in_tables: false },
            Sighting::InDoubt => Self::InDoubt,
        })
    }
}

impl<'a> From<&'a Together> for Bulletin<'a> {
    fn from(bulletin: &'a Together) -> Self {
        let Standing { leaving, broker, serving, claiming, stopped } = &bulletin.standing;
        Self {
            leaving: *leaving,
            broker: code_of_reach(*broker),
            serving: serving.iter().map(|served| (served.partition.get(), served.epoch.get())).collect(),
            confirmed: serving.iter().map(|served| (served.partition.get(), served.confirmed.0)).collect(),
            claiming: claiming.iter().map(|partition| partition.get()).collect(),
            stopped: stopped.iter().map(|(partition, trouble)| (partition.get(), code_of_trouble(*trouble))).collect(),
            shown: bulletin.shown.iter().map(|(partition, listing)| (partition.get(), (&**listing).into())).collect(),
            hidden: bulletin.hidden.iter().map(|commodity| commodity.get()).collect(),
        }
    }
}

impl TryFrom<Bulletin<'_>> for Together {
    type Error = Garbage;

    fn try_from(bulletin: Bulletin<'_>) -> Result<Self, Garbage> {
        let partition = |index| PartitionId::new(index);
        let standing = Standing {
            leaving: bulletin.leaving,
            broker: reach_of(bulletin.broker)?,
            serving: served(bulletin.serving, bulletin.confirmed)?,
            claiming: all(bulletin.claiming, |index| Ok(partition(index)?))?,
            stopped: all(bulletin.stopped, |(index, trouble)| Ok((partition(index)?, trouble_of(trouble)?)))?,
        };
        Ok(Self {
            standing,
            shown: all(bulletin.shown, |(index, commodity)| Ok((partition(index)?, Listing::new(Commodity::try_from(commodity)?))))?,
            hidden: all(bulletin.hidden, |commodity| Ok(CommodityId::new(commodity)?))?,
        })
    }
}

impl From<wire::Introduction> for Introduction {
    fn from(introduction: wire::Introduction) -> Self {
        Self { instance: introduction.instance, partitions: introduction.partitions }
    }
}

impl From<Introduction> for wire::Introduction {
    fn from(introduction: Introduction) -> Self {
        Self { instance: introduction.instance, partitions: introduction.partitions }
    }
}
