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
mod reply;
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

pub use board::{Board, Listing, Walk};
pub(crate) use board::{Edition, Gap, News};
pub(crate) use inbox::Request;
pub use inbox::{Inbox, Patience, SpareKey, Traced};
pub use recent::RecentOrders;
pub(crate) use reply::Hear;
pub use reply::{Busy, Reply, Sighting};
pub use task::{Runner, Settings, spawn};
pub(crate) use term::{Bounds, Term};
pub use trouble::Trouble;
