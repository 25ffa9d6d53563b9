//! What much of a past costs: databases filled with sold orders, and the same work done beside empty ones.
//!
//! Fills only databases of its own, or one that it is given and that nobody sells from. Never judges a figure.

mod accepts;
mod boards;
mod cases;
mod close;
mod download;
mod failover;
mod fill;
mod filled;
mod lists;
mod restart;
mod seed;
mod shop;
mod spread;

use std::path::Path;

use doorbuster::config::Config;
use doorbuster::datadir::DataDir;
use doorbuster::embedded;
use doorbuster::store::Store;
use indicatif::{ProgressBar, ProgressStyle};

pub use accepts::{Accepts, AcceptsReport, accepts};
pub use boards::{Boards, BoardsReport, boards};
pub use close::{Closing, close_listed};
pub use failover::{Failover, FailoverReport, failover};
pub use fill::Fill;
pub use filled::{Filled, Made, Place};
pub use lists::{Exported, Listed, Lists, ListsReport, lists};
pub use restart::{Restart, RestartReport, restart};
pub use seed::seed;
pub use shop::On;
pub use spread::Spread;

/// Fills a database, and shows a bar meanwhile, if standard error is a terminal.
///
/// # Errors
/// If a node may own a partition, or the database does not take all of it.
pub async fn seed_with_bar(store: &Store, fill: Fill) -> anyhow::Result<Filled> {
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} orders, {per_sec}, {eta} left")?;
    let bar = ProgressBar::new(fill.orders()).with_style(style);
    let filled = seed(store, fill, |orders| bar.set_position(orders)).await;
    bar.finish_and_clear();
    filled
}

/// Fills the SQLite file of a data folder, which it makes if it is missing, and which no server works on meanwhile.
///
/// # Errors
/// If a server has the folder, or the file does not take all of it.
pub async fn fill_folder(data: &Path, fill: Fill) -> anyhow::Result<Filled> {
    let mut config = Config::load(None)?;
    config.database.url = None;
    embedded::migrate(&config, data).await?;
    let _lock = DataDir::open(data)?;
    let store = embedded::open_existing(&config, data).await?;
    let filled = seed_with_bar(&store, fill).await?;
    store.close().await?;
    Ok(filled)
}
