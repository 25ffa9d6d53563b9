//! What a claim needs of a partition's past, kept small: a checkpoint of it at one position of the log, and a delta for each
//! transaction of the projection since. A partition of a million sold orders is read in some megabytes instead of a million rows.
//!
//! It is made from the rows' own events and never decides anything; whoever doubts it makes the same from the rows ([`FromRows`]).
//! Pure: it reads no clock and talks to no database.

mod deltas;
mod form;
mod rows;
#[cfg(test)]
mod tests;

pub use deltas::{Checkpoint, delta_of};
pub use form::{Unreadable, parts_of};
pub use rows::FromRows;

use std::collections::BTreeMap;

use crate::domain::{Commodity, CommodityId, Epoch, Sequence, Timestamp};
use crate::engine::{BuyerUnits, KnownKey, KnownOrder};

/// How long keys are kept after their orders ended, in milliseconds: 24 hours.
pub const KEYS_KEPT_MS: u64 = 24 * 60 * 60 * 1_000;

/// A position in a partition's log: what was applied up to.
pub type Position = (Epoch, Sequence);

/// The commodities of a partition that count for a claim: what is on the list, and what is over and yet owes a refund.
#[derive(Clone, Debug, Default)]
pub struct CommodityRows {
    /// Neither closed nor removed.
    pub listed: Vec<Commodity>,
    /// Closed or removed (then the flag is set); only those with a refund due matter.
    pub over: Vec<(Commodity, bool)>,
}

/// What is known of one commodity's orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    buyers: Vec<BuyerUnits>,
    keys: Vec<KnownKey>,
    orders: Vec<KnownOrder>,
}

type KnownByCommodity = BTreeMap<CommodityId, Known>;

/// Keys of orders that ended before this time are left out.
fn keys_since(now: Timestamp) -> Timestamp {
    now.minus_millis(KEYS_KEPT_MS)
}

fn is_kept(key: &KnownKey, since: Timestamp) -> bool {
    key.ended_at.is_none_or(|at| at >= since)
}
