//! The command line.

pub mod volume;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};
use loadtest::chaos::Scenario;
use volume::VolumeCommand;

/// Races buyers against a Doorbuster server on this machine and audits the outcome.
///
/// Without --url it starts a server of its own in a temporary folder. Exit code: 0 clean, 1 a violation, 2 no outcome.
#[derive(Parser)]
#[command(version, max_term_width = 120)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// N buyers race for a stock; at the end the answers are held against the database.
    Race(RaceArguments),
    /// Durable accepts and sold-out refusals against a bare endpoint that verifies the same token and parses the same
    /// body, or forwarded requests against those at the owner, in turns within one run.
    Compare(CompareArguments),
    /// Kill -9 in the middle of races on one data folder, with the proof after each restart that nothing was lost.
    Crash(CrashArguments),
    /// Faults in the middle of sales on a cluster of its own (MariaDB or MySQL and RabbitMQ as for `race --spikes`), with an
    /// audit after each.
    Chaos(ChaosArguments),
    /// Orders of another issuer's buyers at an even pace, while their issuer changes its keys without a word: none is refused.
    Rotate(RotateArguments),
    /// What much of a past costs: starts, failovers, accepts and lists on databases with many sold orders, beside empty ones.
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// The bare endpoint of `compare`, on a free port.
    #[command(hide = true)]
    ServeBare,
    /// Deletes the queues and the exchange of a cluster that is over, with all that is in them.
    #[command(hide = true)]
    RemoveQueues {
        /// Where the broker is.
        amqp: String,
        /// What their names begin with.
        prefix: String,
    },
    /// `doorbuster log accept-loss`, with the environment's settings.
    #[command(hide = true)]
    AcceptLoss {
        /// Which partition.
        partition: u16,
        /// Why.
        reason: String,
    },
    /// `doorbuster dead put-back`, with the environment's settings.
    #[command(hide = true)]
    PutBack {
        /// Which letters.
        names: Vec<String>,
    },
    /// A node that sells, with the environment's settings.
    #[command(hide = true)]
    ServeSpike,
    /// A consumer, with the environment's settings.
    #[command(hide = true)]
    ServeConsumer,
    /// The operators' process, with the environment's settings.
    #[command(hide = true)]
    ServeAdmin,
    /// The whole of doorbuster in one process, on a free port.
    #[command(hide = true)]
    ServeEmbedded {
        /// The data folder.
        #[arg(long)]
        data: PathBuf,
    },
}

/// How the load is generated.
#[derive(Args)]
pub struct LoadArguments {
    /// Keep-alive connections.
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Threads that drive them.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=64))]
    pub threads: u32,
    /// Writes all figures into this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
pub struct RaceArguments {
    /// Buyers, each with a token and one request.
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=2_000_000))]
    pub buyers: u32,
    /// Units on sale.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000_000))]
    pub stock: u32,
    /// Units of one order.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub quantity: u32,
    /// Open loop: so many requests a second, with latency counted from when a request was due. Without it: closed loop.
    #[arg(long, value_name = "PER_SECOND", value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub rate: Option<u32>,
    /// Orders are held so long for a payment that does not come. Without it: orders need no payment.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=31_536_000))]
    pub hold_seconds: Option<u32>,
    /// Repeat a request, under an idempotency key, after no answer, 429 or 503, at most so often.
    #[arg(long, value_name = "TIMES", default_value_t = 0, default_missing_value = "5", num_args = 0..=1, value_parser = value_parser!(u32).range(0..=100))]
    pub retry: u32,
    /// Aim at this server, loopback only; several share the connections. Give its --data (and its environment) too, or, for
    /// a cluster, the environment of its processes.
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,
    /// Where the operators of the servers at --url are answered. Without it: a cluster's at DOORBUSTER__ADMIN__LISTEN, else at
    /// the first --url.
    #[arg(long, value_name = "URL", requires = "url")]
    pub admin: Option<String>,
    /// Starts a cluster of its own with so many nodes that sell, on MariaDB or MySQL and RabbitMQ (DATABASE_URL and AMQP_URL,
    /// else those of this machine).
    #[arg(long, value_name = "N", conflicts_with_all = ["url", "data"], value_parser = value_parser!(u8).range(1..=16))]
    pub spikes: Option<u8>,
    /// So many consumers in it.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "spikes", value_parser = value_parser!(u8).range(1..=16))]
    pub consumers: u8,
    /// The data folder: of the server at --url, or for the server that is started (default: a temporary one).
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Decides the order of the buyers.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// No request is begun later than so many seconds after the start.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = value_parser!(u64).range(1..=3_600))]
    pub time_limit: u64,
    #[command(flatten)]
    pub load: LoadArguments,
}

/// What stands between an accept and the database, or between a buyer and the owner.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Through {
    /// One process on SQLite, against the bare endpoint.
    Embedded,
    /// A node whose log is on RabbitMQ, against the bare endpoint.
    Rabbitmq,
    /// A node that passes requests on to the owner, against the owner itself.
    Peer,
}

#[derive(Args)]
pub struct CompareArguments {
    /// What is compared. All but the first need MariaDB or MySQL and RabbitMQ, as for `race --spikes`.
    #[arg(long, value_enum, default_value_t = Through::Embedded)]
    pub through: Through,
    /// With `--through rabbitmq`: the consumer works before and after the rounds, not during them.
    #[arg(long)]
    pub without_consumer: bool,
    /// How long a round lasts, in seconds.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Rounds for each contender.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    #[command(flatten)]
    pub load: LoadArguments,
}

#[derive(Args)]
pub struct CrashArguments {
    /// How often the server is killed.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=1_000))]
    pub times: u32,
    /// Decides when; drawn if left out, and printed.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Units of each sale.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub stock: u32,
    /// Buyers of each sale; more than units.
    #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u32).range(2..=2_000_000))]
    pub buyers: u32,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Writes the figures into this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
pub struct RotateArguments {
    /// Requests a second, each with a token that nobody has seen before.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// For so many seconds.
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
    /// So often the issuer signs with another key, from one moment to the next.
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=1_000))]
    pub rotations: u32,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 512, value_parser = value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Writes the figures into this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
pub struct ChaosArguments {
    /// What is done.
    #[arg(long, value_enum)]
    pub scenario: Scenario,
    /// How often.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=1_000))]
    pub times: u32,
    /// Decides when; drawn if left out, and printed. Turn n counts on from it, so a turn that fails can be repeated alone.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Units of each sale.
    #[arg(long, default_value_t = 600, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub stock: u32,
    /// Buyers of each sale; more than units.
    #[arg(long, default_value_t = 800, value_parser = value_parser!(u32).range(2..=2_000_000))]
    pub buyers: u32,
    /// Requests a second.
    #[arg(long, default_value_t = 400, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 128, value_parser = value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// How long requests may wait for the next owner (`partition.command_timeout_ms`, by default what it is there), in milliseconds. More
    /// on a machine that is so busy that owners change slowly.
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = value_parser!(u32).range(1..=60_000))]
    pub patience_ms: u32,
    /// Buyers have no `Idempotency-Key`, and ask nodes that are not the owner (with owner-killed or owner-paused): each `202` must have a
    /// `retry_key`, and each gets its outcome by it.
    #[arg(long)]
    pub keyless: bool,
    /// Orders of commodities on sale that the database is filled with before the cluster starts.
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u64).range(..=100_000_000))]
    pub live: u64,
    /// Writes what every buyer was told, and the rows at the end, into this file as JSON lines. They are checked anyway.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Writes the figures into this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
