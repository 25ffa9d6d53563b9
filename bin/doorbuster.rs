//! `doorbuster`: the whole system in one process on SQLite, and the tools.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use doorbuster::auth::Authenticator;
use doorbuster::broker::Broker;
use doorbuster::config::Config;
use doorbuster::domain::{PartitionId, Principal, UserId};
use doorbuster::shutdown::StopSignals;
use doorbuster::store::{AuditScope, Role, Store};
use doorbuster::tools::{archive, audit, certs, dead, log, nodes, simulate, token, upgrade};
use doorbuster::{clock, datadir, embedded, sandbox, simulation, telemetry};
use secrecy::ExposeSecret;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A flash-sale engine: accepted means sold, neither oversold nor undersold, whatever is killed.
///
/// Without a command it runs the whole system in one process on SQLite.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The folder with the database and the secrets of the embedded mode.
    #[arg(long, global = true, default_value = "data", value_name = "DIR")]
    data: PathBuf,
    /// A configuration file; doorbuster.toml is read if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Mint tokens with the configured key.
    Token(TokenArguments),
    /// Check for every commodity that total = available + held + sold = what the order rows say; exit 1 if not.
    Audit {
        /// Check what is sealed too: closed and removed commodities that an audit has found right before.
        #[arg(long)]
        all: bool,
    },
    /// Move the orders of what is over and sealed into a table of their own, while everybody sells. See docs/closing.md.
    Archive(ArchiveArguments),
    /// Create or upgrade the schema.
    Migrate {
        /// Instead: the last step of an upgrade, when every process is of this release. See docs/upgrading.md.
        #[arg(long)]
        finish: bool,
    },
    /// Show the nodes of a cluster and the partitions they own, as the database has them.
    Nodes,
    /// Run the simulator: the real engine, ownership and projection in seeded worlds full of faults; exit 1 at the first bad
    /// seed.
    Simulate(SimulateArguments),
    /// Run the sandbox: a payment provider to try with, which takes no real money. See docs/payments.md.
    Sandbox,
    /// Make certificates for the nodes of a cluster, and an authority of its own if the folder has none. See docs/security.md.
    Certs(CertsArguments),
    /// Look at the messages no consumer could read, and put some back.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Look after the log of a partition: what it has lost, and its order. See docs/rabbitmq.md.
    #[command(subcommand)]
    Log(LogCommand),
}

#[derive(Subcommand)]
enum DeadCommand {
    /// One line for each dead letter, by name.
    List,
    /// All that is known of one.
    Show {
        /// Its name in the list.
        name: String,
    },
    /// Put some back to their places in the logs of their partitions, while no node owns those.
    PutBack {
        /// Their names in the list.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Subcommand)]
enum LogCommand {
    /// Write the log of a stopped partition again, in the order of its numbers, without copies and without what the tables have, while no
    /// node owns it.
    Repair {
        /// Which partition.
        #[arg(value_parser = parse_partition)]
        partition: PartitionId,
    },
    /// Let a partition go on without the batches that its log has lost, while no node owns it. Their orders are refused from then on, for
    /// ever.
    AcceptLoss {
        /// Which partition.
        #[arg(value_parser = parse_partition)]
        partition: PartitionId,
        /// Why: kept with the time and your name.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// One line for each loss that was accepted, the latest first.
    Losses,
}

fn parse_account(text: &str) -> Result<UserId, String> {
    match text.parse() {
        Ok(Principal::Own(user)) => Ok(user),
        Ok(Principal::Foreign(_)) => Err("tokens of another issuer's accounts are that issuer's to give".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_partition(text: &str) -> Result<PartitionId, String> {
    let index = text.parse().map_err(|_| "a partition is a whole number".to_owned())?;
    PartitionId::new(index).map_err(|error| error.to_string())
}

#[derive(Args)]
struct TokenArguments {
    /// The account the token is for, one of our own; the first one with --count.
    #[arg(long, value_parser = parse_account)]
    user: UserId,
    /// The role in the token.
    #[arg(long, default_value = "buyer", value_parser = PossibleValuesParser::new(Role::ALL.map(Role::word)).try_map(|word| word.parse::<Role>()))]
    role: Role,
    /// Tokens for so many users, counted up from --user.
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Write a CSV file (user_id,token) instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct ArchiveArguments {
    /// Only commodities that were closed or removed before: so many days ago (90d), or a date (2026-10-01).
    #[arg(long, value_name = "DAYS or DATE", default_value = "30d", value_parser = archive::parse_closed_before)]
    closed_before: archive::ClosedBefore,
    /// How much of the time it may work, in a hundred: the rest of it the database is left alone.
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    share: u32,
    /// Only say how many orders there are, and about how large they are.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct CertsArguments {
    /// Nodes by their ids (the operators' process is `admin`), if need be with the names and addresses they are found at.
    #[arg(value_name = "NODE[=HOST,HOST]", required_unless_present = "servers")]
    nodes: Vec<certs::Named>,
    /// A server that is no node, like the broker, with the names and addresses it is found at.
    #[arg(long = "server", value_name = "NAME=HOST,HOST")]
    servers: Vec<certs::Named>,
    /// The folder for the files, and where the authority is looked for.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    out: PathBuf,
    /// How long the certificates are good.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Make new ones in the place of those that are there. The authority stays.
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
struct SimulateArguments {
    /// One seed; a failure prints what led to it.
    #[arg(long, default_value_t = 0, conflicts_with = "seeds")]
    seed: u64,
    /// Seeds from A on, B excluded.
    #[arg(long, value_name = "A..B", value_parser = simulate::parse_seeds)]
    seeds: Option<Range<u64>>,
    /// Steps of each world before it heals.
    #[arg(long, default_value_t = simulation::STEPS)]
    steps: u32,
}

fn main() -> ExitCode {
    let Arguments { data, config, command } = Arguments::parse();
    match run(&data, config.as_deref(), command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("doorbuster: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(data: &Path, config: Option<&Path>, command: Option<Command>) -> anyhow::Result<ExitCode> {
    if let Some(Command::Simulate(SimulateArguments { seed, seeds, steps })) = command {
        // It needs nothing of this machine: no configuration, no runtime.
        let clean = simulate::run(&simulate::Request { seeds: seeds.unwrap_or(seed..seed.saturating_add(1)), steps });
        return Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if let Some(Command::Certs(CertsArguments { nodes, servers, out, days, force })) = command {
        certs::run(&certs::Request { out, nodes, servers, days, force }, clock::system(), &mut std::io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = Config::load(config)?;
    telemetry::install_tracing(&config.telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            None => serve(&config, data).await?,
            Some(Command::Token(arguments)) => mint(&config, data, arguments)?,
            Some(Command::Audit { all }) => {
                let scope = if all { AuditScope::All } else { AuditScope::Unsealed };
                return Ok(if audit::run(&config, data, scope).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Some(Command::Archive(ArchiveArguments { closed_before, share, dry_run })) => {
                archive::run(&config, data, &archive::Request { closed_before, share_percent: share, dry_run }).await?;
            }
            Some(Command::Dead(command)) => dead_letters(&config, command).await?,
            Some(Command::Log(command)) => logs(&config, data, command).await?,
            Some(Command::Sandbox) => serve_sandbox(&config, data).await?,
            Some(Command::Nodes) => nodes::run(&config, data).await?,
            Some(Command::Simulate(_) | Command::Certs(_)) => unreachable!("it has run"),
            Some(Command::Migrate { finish: false }) => println!("{}", embedded::migrate(&config, data).await?),
            Some(Command::Migrate { finish: true }) => println!("{}", upgrade::finish(&config, data).await?),
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn dead_letters(config: &Config, command: DeadCommand) -> anyhow::Result<()> {
    let broker = Broker::new(&config.broker)?;
    let mut out = std::io::stdout().lock();
    match command {
        DeadCommand::List => dead::list(&broker, &mut out).await?,
        DeadCommand::Show { name } => dead::show(&broker, &name, &mut out).await?,
        DeadCommand::PutBack { names } => {
            for line in dead::put_back(&broker, &store(config).await?, &names).await? {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}

async fn logs(config: &Config, data: &Path, command: LogCommand) -> anyhow::Result<()> {
    let store = embedded::open_existing(config, data).await?;
    match command {
        LogCommand::AcceptLoss { partition, reason } => {
            let broker = Broker::new(&config.broker)?;
            let who = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
            let who = who.unwrap_or_else(|| "somebody without a name".to_owned());
            println!("{}", log::accept_loss(&broker, &store, partition, (&reason, &who), clock::system()).await?);
        }
        LogCommand::Losses => log::losses(&store, &mut std::io::stdout().lock()).await?,
        LogCommand::Repair { partition } => {
            let repaired = log::repair(&Broker::new(&config.broker)?, &store, partition).await?;
            println!("partition {partition}: {repaired}");
        }
    }
    Ok(())
}

async fn store(config: &Config) -> anyhow::Result<Store> {
    let url = config.database.url.as_ref().context("no database is configured: set DATABASE_URL")?;
    Ok(Store::connect(url.expose_secret(), &config.database).await?)
}

async fn serve(config: &Config, data: &Path) -> anyhow::Result<()> {
    let signals = StopSignals::catch()?;
    let app = embedded::App::start_with_demo(config, data).await?;
    app.welcome();
    app.run_until(signals.told()).await;
    Ok(())
}

async fn serve_sandbox(config: &Config, data: &Path) -> anyhow::Result<()> {
    let signals = StopSignals::catch()?;
    let prepared = sandbox::prepare(config, data).await?;
    let advice = prepared.advice.clone();
    let server = sandbox::Server::start(prepared).await?;
    // Whether anybody reads it or not.
    drop(writeln!(std::io::stdout(), "{advice}"));
    signals.told().await;
    server.stop().await;
    Ok(())
}

fn mint(config: &Config, data: &Path, arguments: TokenArguments) -> anyhow::Result<()> {
    let secret = match &config.auth.jwt_secret {
        Some(secret) => secret.clone(),
        None => datadir::read_secret(data)?,
    };
    let request = token::Request { user: arguments.user, role: arguments.role, count: arguments.count, out: arguments.out };
    token::run(&request, &Authenticator::new(&config.auth, &secret)?, clock::system(), &mut std::io::stdout().lock())?;
    Ok(())
}
