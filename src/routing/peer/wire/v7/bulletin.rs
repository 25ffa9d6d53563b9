//! What a node says of itself and its board, to and from version 7: as in version 5, with commodities in their newer form.

use serde::{Deserialize, Serialize};

use super::Commodity;
use crate::domain::CommodityId;
use crate::partition::Listing;
use crate::routing::peer::wire::bulletin::{self, Content};
use crate::routing::peer::wire::v5::{Served, Standing};
use crate::routing::peer::wire::{Garbage, all};

/// What a node says of itself.
#[derive(Serialize, Deserialize)]
pub(in crate::routing::peer::wire) enum Bulletin<'a> {
    Standing(Standing),
    #[serde(borrow)]
    Part(Part<'a>),
    #[serde(borrow)]
    Changes(Changes<'a>),
}

/// A part of a partition's snapshot.
#[derive(Serialize, Deserialize)]
pub(in crate::routing::peer::wire) struct Part<'a> {
    of: Served,
    version: u64,
    is_first: bool,
    is_last: bool,
    #[serde(borrow)]
    shown: Vec<Commodity<'a>>,
}

/// What changed in a partition.
#[derive(Serialize, Deserialize)]
pub(in crate::routing::peer::wire) struct Changes<'a> {
    of: Served,
    since: u64,
    version: u64,
    #[serde(borrow)]
    shown: Vec<Commodity<'a>>,
    hidden: Vec<i64>,
}

impl<'a> From<&'a bulletin::Bulletin> for Bulletin<'a> {
    fn from(bulletin: &'a bulletin::Bulletin) -> Self {
        let piece = match bulletin {
            bulletin::Bulletin::Standing(standing) => return Self::Standing(standing.into()),
            bulletin::Bulletin::Piece(piece) => piece,
        };
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

fn written(listings: &[Listing]) -> Vec<Commodity<'_>> {
    listings.iter().map(|listing| (&**listing).into()).collect()
}

fn listing(commodity: Commodity<'_>) -> Result<Listing, Garbage> {
    Ok(Listing::new(commodity.try_into()?))
}
