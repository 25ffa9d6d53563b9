//! Version 5 of the peer link, frozen: bulletins in pieces, each with the epoch, the version and the last confirmed batch of its
//! partition; and every command about a commodity can say of which version that must be. What it did not change is version 4's.

use serde::{Deserialize, Serialize};

use super::bulletin::{self, Content};
use super::v3::codes::{code_of_reach, code_of_trouble, reach_of, trouble_of};
use super::v4::{self, Commodity};
use super::{Ask, Garbage, Unsayable, all};
use crate::domain::{CommodityId, Epoch, PartitionId, Sequence};
use crate::engine::Command;
use crate::partition::Listing;
use crate::routing::peer::wire;

/// A request in a batch.
#[derive(Serialize, Deserialize)]
pub(super) struct Item<'a> {
    /// Of which version the commodity must be. A change says it itself, as in version 4.
    expecting: Option<u32>,
    #[serde(borrow)]
    item: v4::Item<'a>,
}

impl<'a> TryFrom<&'a wire::Item> for Item<'a> {
    type Error = Unsayable;

    fn try_from(item: &'a wire::Item) -> Result<Self, Unsayable> {
        match &item.ask {
            Ask::Command(Command::Expecting { version, command }) if !matches!(command.as_ref(), Command::Change { .. }) => {
                Ok(Self { expecting: Some(*version), item: v4::Item::of_command(item.budget_ms, command, item.trace)? })
            }
            _ => Ok(Self { expecting: None, item: item.try_into()? }),
        }
    }
}

impl TryFrom<Item<'_>> for wire::Item {
    type Error = Garbage;

    fn try_from(Item { expecting, item }: Item<'_>) -> Result<Self, Garbage> {
        let item: Self = item.try_into()?;
        match (expecting, item.ask) {
            (None, ask) => Ok(Self { ask, ..item }),
            (Some(version), Ask::Command(command)) => {
                Ok(Self { ask: Ask::Command(Command::Expecting { version, command: Box::new(command) }), ..item })
            }
            (Some(_), Ask::Lookup(_) | Ask::OrdersOf(..)) => Err(Garbage),
        }
    }
}

/// What a node says of itself.
#[derive(Serialize, Deserialize)]
pub(super) enum Bulletin<'a> {
    Standing(Standing),
    #[serde(borrow)]
    Part(Part<'a>),
    #[serde(borrow)]
    Changes(Changes<'a>),
}

#[derive(Serialize, Deserialize)]
pub(super) struct Standing {
    leaving: bool,
    broker: u32,
    serving: Vec<Served>,
    claiming: Vec<u16>,
    stopped: Vec<(u16, u32)>,
}

/// A partition that is served.
#[derive(Serialize, Deserialize)]
pub(super) struct Served {
    partition: u16,
    epoch: u32,
    confirmed: u64,
}

/// A part of a partition's snapshot.
#[derive(Serialize, Deserialize)]
pub(super) struct Part<'a> {
    of: Served,
    version: u64,
    is_first: bool,
    is_last: bool,
    #[serde(borrow)]
    shown: Vec<Commodity<'a>>,
}

/// What changed in a partition.
#[derive(Serialize, Deserialize)]
pub(super) struct Changes<'a> {
    of: Served,
    since: u64,
    version: u64,
    #[serde(borrow)]
    shown: Vec<Commodity<'a>>,
    hidden: Vec<i64>,
}

impl<'a> From<&'a bulletin::Bulletin> for Bulletin<'a> {
    fn from(bulletin: &'a bulletin::Bulletin) -> Self {
        match bulletin {
            bulletin::Bulletin::Standing(standing) => Self::Standing(standing.into()),
            bulletin::Bulletin::Piece(piece) => {
                let (of, version) = (piece.of.into(), piece.version);
                match &piece.content {
                    Content::Part { is_first, is_last, shown } => {
                        Self::Part(Part { of, version, is_first: *is_first, is_last: *is_last, shown: written(shown) })
                    }
                    Content::Changes { since, shown, hidden } => {
                        let hidden = hidden.iter().map(|commodity| commodity.get()).collect();
                        Self::Changes(Changes { of, since: *since, version, shown: written(shown), hidden })
                    }
                }
            }
        }
    }
}

impl TryFrom<Bulletin<'_>> for bulletin::Bulletin {
    type Error = Garbage;

    fn try_from(bulletin: Bulletin<'_>) -> Result<Self, Garbage> {
        Ok(match bulletin {
            Bulletin::Standing(standing) => Self::Standing(standing.try_into()?),
            Bulletin::Part(Part { of, version, is_first, is_last, shown }) => {
                let content = Content::Part { is_first, is_last, shown: all(shown, listing)? };
                Self::Piece(bulletin::Piece { of: of.try_into()?, version, content })
            }
            Bulletin::Changes(Changes { of, since, version, shown, hidden }) => {
                let hidden = all(hidden, |commodity| Ok(CommodityId::new(commodity)?))?;
                let content = Content::Changes { since, shown: all(shown, listing)?, hidden };
                Self::Piece(bulletin::Piece { of: of.try_into()?, version, content })
            }
        })
    }
}

impl From<&bulletin::Standing> for Standing {
    fn from(standing: &bulletin::Standing) -> Self {
        Self {
            leaving: standing.leaving,
            broker: code_of_reach(standing.broker),
            serving: standing.serving.iter().map(|served| (*served).into()).collect(),
            claiming: standing.claiming.iter().map(|partition| partition.get()).collect(),
            stopped: standing.stopped.iter().map(|(partition, trouble)| (partition.get(), code_of_trouble(*trouble))).collect(),
        }
    }
}

impl TryFrom<Standing> for bulletin::Standing {
    type Error = Garbage;

    fn try_from(standing: Standing) -> Result<Self, Garbage> {
        Ok(Self {
            leaving: standing.leaving,
            broker: reach_of(standing.broker)?,
            serving: all(standing.serving, TryInto::try_into)?,
            claiming: all(standing.claiming, |index| Ok(PartitionId::new(index)?))?,
            stopped: all(standing.stopped, |(index, trouble)| Ok((PartitionId::new(index)?, trouble_of(trouble)?)))?,
        })
    }
}

impl From<bulletin::Served> for Served {
    fn from(served: bulletin::Served) -> Self {
        Self { partition: served.partition.get(), epoch: served.epoch.get(), confirmed: served.confirmed.0 }
    }
}

impl TryFrom<Served> for bulletin::Served {
    type Error = Garbage;

    fn try_from(served: Served) -> Result<Self, Garbage> {
        let Served { partition, epoch, confirmed } = served;
        Ok(Self { partition: PartitionId::new(partition)?, epoch: Epoch::new(epoch)?, confirmed: Sequence(confirmed) })
    }
}

fn written(listings: &[Listing]) -> Vec<Commodity<'_>> {
    listings.iter().map(|listing| (&**listing).into()).collect()
}

fn listing(commodity: Commodity<'_>) -> Result<Listing, Garbage> {
    Ok(Listing::new(commodity.try_into()?))
}
