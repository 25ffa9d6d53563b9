//! The single-writer task around an engine, and the board. Never knows HTTP and never writes SQL.

mod batch;
mod board;
#[cfg(test)]
mod board_tests;
mod caller;
mod chores;
mod inbox;
mod metrics;
mod pace;
mod recent;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod shuttled;
mod stage;
mod supervisor;
mod sync;
mod task;
mod term;
mod traces;
mod trouble;

pub(crate) use batch::Hear;
pub use board::{Board, Listing, Walk};
pub(crate) use board::{Edition, Gap, News};
pub(crate) use chores::Applied;
pub(crate) use inbox::Request;
pub use inbox::{Busy, Inbox, Patience, Sighting, SpareKey, Traced};
pub use recent::RecentOrders;
pub use task::{Runner, Settings, spawn};
pub(crate) use term::{Bounds, Term};
pub use trouble::Trouble;

use crate::domain::OrderId;
use crate::engine::{Answer, Refusal};

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Carried out, and on stable storage.
    Done(Answer),
    /// Refused; nothing changed.
    Refused(Refusal),
    /// Not known yet (R2). The order's id, where there is one, is what to ask again with.
    Pending(Option<OrderId>),
    /// Certainly not carried out: try again later.
    Busy(Busy),
}
