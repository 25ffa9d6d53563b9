//! The command line of `loadtest volume`.

use std::path::PathBuf;

use clap::{Args, Subcommand, value_parser};
use doorbuster::domain::PartitionId;
use loadtest::volume::{Fill, On};

use super::LoadArguments;

/// The most orders of each kind.
const ORDERS_MAX: u64 = 50_000_000;
/// The most commodities of each kind.
const COMMODITIES_MAX: i64 = 1_000_000;

#[derive(Subcommand)]
pub enum VolumeCommand {
    /// Fills a database of this release with sold orders, through the projection.
    Seed(SeedArguments),
    /// Closes every commodity whose sale is over, on a server that runs.
    Close(CloseArguments),
    /// From the start of the embedded server to its readiness, and its memory then.
    Restart(RestartArguments),
    /// From the kill of a commodity's owner to the next order, on a cluster (MariaDB or MySQL and RabbitMQ as for `race --spikes`).
    Failover(FailoverArguments),
    /// Durable orders a second on the embedded server.
    Accepts(AcceptsArguments),
    /// Durable orders a second, and pages of the list of commodities, with many commodities on sale, beside one, on the embedded server.
    Boards(BoardsArguments),
    /// Pages of lists of orders, with every combination of filters, and exports.
    Lists(ListsArguments),
}

/// What a database is filled with.
#[derive(Args)]
pub struct FillArguments {
    /// Orders of commodities that are on sale.
    #[arg(long, value_name = "ORDERS", default_value_t = 100_000, value_parser = value_parser!(u64).range(0..=ORDERS_MAX))]
    pub live: u64,
    /// Spread over so many commodities, in turns [default: 16, and 1 of `failover` and `lists`].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=COMMODITIES_MAX))]
    pub commodities: Option<u32>,
    /// Orders of commodities whose sale is over. They are closed before anything is measured, by a release that can.
    #[arg(long, value_name = "ORDERS", default_value_t = 0, value_parser = value_parser!(u64).range(0..=ORDERS_MAX))]
    pub over: u64,
    /// Spread over so many commodities, in turns.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = value_parser!(u32).range(1..=COMMODITIES_MAX))]
    pub over_commodities: u32,
    /// The partition of all commodities; without it they are spread over all partitions (`failover`: all are in partition 0).
    #[arg(long, value_name = "ID", value_parser = value_parser!(u16).range(0..=4_095))]
    pub partition: Option<u16>,
    /// So many of a hundred orders are placed under an idempotency key.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = value_parser!(u8).range(0..=100))]
    pub keyed: u8,
    /// So many of a hundred orders are cancelled.
    #[arg(long, value_name = "PERCENT", default_value_t = 1, value_parser = value_parser!(u8).range(0..=100))]
    pub cancelled: u8,
}

impl FillArguments {
    /// `commodities` where nobody says how many.
    pub fn fill(&self, commodities: u32) -> anyhow::Result<Fill> {
        Ok(Fill {
            live: self.live,
            commodities: self.commodities.unwrap_or(commodities),
            over: self.over,
            over_commodities: self.over_commodities,
            partition: self.partition.map(PartitionId::new).transpose()?,
            keyed_percent: self.keyed,
            cancelled_percent: self.cancelled,
            regular: 0,
        })
    }
}

#[derive(Args)]
pub struct SeedArguments {
    /// The data folder of an embedded server that does not run; made if it is missing.
    #[arg(long, value_name = "DIR", required_unless_present = "database")]
    pub data: Option<PathBuf>,
    /// A MySQL or MariaDB database on this machine (mysql://user@127.0.0.1:3306/name) that no node works on.
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub database: Option<String>,
    #[command(flatten)]
    pub fill: FillArguments,
}

#[derive(Args)]
pub struct CloseArguments {
    /// Where operators are answered, loopback only.
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// The data folder of that server, for its secret; without it DOORBUSTER__AUTH__JWT_SECRET has it.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// What all measurements have in common.
#[derive(Args)]
pub struct MeasureArguments {
    /// Runs `doorbuster`, `spike`, `consumer` and `admin` of that folder, which know this schema, in place of this build.
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Writes all figures into this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
pub struct RestartArguments {
    #[command(flatten)]
    pub fill: FillArguments,
    /// Starts on each file.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Orders placed after the last start, before its memory is looked at again.
    #[arg(long, value_name = "ORDERS", default_value_t = 10_000, value_parser = value_parser!(u32).range(0..=1_000_000))]
    pub sale: u32,
    #[command(flatten)]
    pub measure: MeasureArguments,
}

#[derive(Args)]
pub struct FailoverArguments {
    #[command(flatten)]
    pub fill: FillArguments,
    /// Nodes that sell in each cluster.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u8).range(2..=16))]
    pub nodes: u8,
    /// Everything is spread evenly over all partitions.
    #[arg(long, conflicts_with = "partition")]
    pub spread: bool,
    /// Kills on each cluster.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=1_000))]
    pub turns: u32,
    #[command(flatten)]
    pub measure: MeasureArguments,
}

#[derive(Args)]
pub struct AcceptsArguments {
    #[command(flatten)]
    pub fill: FillArguments,
    /// How long a round lasts, in seconds.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Rounds on each file.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Runs `doorbuster` of that folder, which knows this schema, in place of this build.
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    #[command(flatten)]
    pub load: LoadArguments,
}

#[derive(Args)]
pub struct BoardsArguments {
    /// Commodities on sale, beside a server with one.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = value_parser!(u32).range(1..=COMMODITIES_MAX))]
    pub commodities: u32,
    /// How long orders are placed in a round, in seconds.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// How often the first page is asked for in a round, one request at a time, and how many pages behind it.
    #[arg(long, default_value_t = 500, value_parser = value_parser!(u32).range(1..=100_000))]
    pub pages: u32,
    /// Rounds on each server.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Runs `doorbuster` of that folder, which knows this schema, in place of this build.
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    #[command(flatten)]
    pub load: LoadArguments,
}

#[derive(Args)]
pub struct ListsArguments {
    /// The database.
    #[arg(long, value_enum, default_value_t = On::Sqlite)]
    pub on: On,
    #[command(flatten)]
    pub fill: FillArguments,
    /// So many of the live orders are one buyer's, whose own list is asked for.
    #[arg(long, value_name = "ORDERS", default_value_t = 1_000, value_parser = value_parser!(u64).range(1..=ORDERS_MAX))]
    pub own: u64,
    /// How often each page and export is asked for; fewer times if it is slow.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=1_000))]
    pub repeats: u32,
    /// How long an export may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = value_parser!(u64).range(1..=3_600))]
    pub export_seconds: u64,
    #[command(flatten)]
    pub measure: MeasureArguments,
}
