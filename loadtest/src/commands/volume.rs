//! `loadtest volume`: fills a database, or lets the library measure on filled ones. Never measures: that is the library's.

use std::path::Path;
use std::process::ExitCode;

use anyhow::ensure;
use doorbuster::config::Config;
use doorbuster::datadir;
use doorbuster::domain::Partitions;
use doorbuster::store::Store;
use loadtest::loopback::{Target, database_is_here};
use loadtest::outcome::NoOutcome;
use loadtest::report::thousands;
use loadtest::sale::Desk;
use loadtest::tokens::Mint;
use loadtest::volume::{self, Accepts, Boards, Failover, Fill, Filled, Lists, Restart};

use super::{LOGS, Stage, conclude, writable_json};
use crate::arguments::volume::{
    AcceptsArguments, BoardsArguments, CloseArguments, FailoverArguments, ListsArguments, MeasureArguments, RestartArguments,
    SeedArguments, VolumeCommand,
};

/// Commodities that orders are spread over if nobody says how many, where the measurement is not about one.
const SEVERAL: u32 = 16;

pub async fn volume(command: VolumeCommand) -> anyhow::Result<ExitCode> {
    match command {
        VolumeCommand::Seed(arguments) => seed(arguments).await,
        VolumeCommand::Close(arguments) => close(arguments).await,
        VolumeCommand::Restart(arguments) => restart(arguments).await,
        VolumeCommand::Failover(arguments) => failover(arguments).await,
        VolumeCommand::Accepts(arguments) => accepts(arguments).await,
        VolumeCommand::Boards(arguments) => boards(arguments).await,
        VolumeCommand::Lists(arguments) => lists(arguments).await,
    }
}

async fn seed(arguments: SeedArguments) -> anyhow::Result<ExitCode> {
    let fill = arguments.fill.fill(SEVERAL)?;
    let filled = match (&arguments.data, &arguments.database) {
        (Some(data), _) => volume::fill_folder(data, fill).await?,
        (None, Some(url)) => fill_database(url, fill).await?,
        (None, None) => unreachable!("one of them is required"),
    };
    let ids = |places: &[volume::Place]| places.iter().map(|place| place.id.to_string()).collect::<Vec<_>>().join(", ");
    println!("{} orders of commodities on sale: {}", thousands(filled.fill().live), ids(filled.on_sale()));
    if !filled.over().is_empty() {
        println!("{} orders of commodities whose sale is over: {}", thousands(filled.fill().over), ids(filled.over()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn fill_database(url: &str, fill: Fill) -> anyhow::Result<Filled> {
    ensure!(database_is_here(url), "the database must be mysql:// or mariadb:// on a loopback address or localhost");
    let config = Config::load(None)?;
    Store::migrate(url, &config.database, Partitions::new(config.partition.count)?).await?;
    let store = Store::connect(url, &config.database).await?;
    let filled = volume::seed_with_bar(&store, fill).await?;
    store.close().await?;
    Ok(filled)
}

async fn close(arguments: CloseArguments) -> anyhow::Result<ExitCode> {
    let target: Target = arguments.url.parse()?;
    let config = Config::load(None)?;
    let secret = match (&config.auth.jwt_secret, &arguments.data) {
        (Some(secret), _) => secret.clone(),
        (None, data) => datadir::read_secret(data.as_deref().unwrap_or_else(|| Path::new("data")))?,
    };
    let mut desk = Desk::new(target, &Mint::new(&config.auth, &secret)?)?;
    println!("{}", volume::close_listed(&mut desk).await?);
    Ok(ExitCode::SUCCESS)
}

/// A folder for it, with the programs that are to be measured.
fn stage(programs: Option<&Path>, json: Option<&Path>) -> anyhow::Result<Stage> {
    writable_json(json)?;
    let mut stage = Stage::new()?;
    if let Some(programs) = programs {
        let programs = std::path::absolute(programs).map_err(|error| NoOutcome::mark(error.into()))?;
        println!("  programs of {}", programs.display());
        stage.launcher = stage.launcher.with_programs(&programs);
    }
    Ok(stage)
}

fn say(line: String) {
    println!("  {line}");
}

async fn restart(arguments: RestartArguments) -> anyhow::Result<ExitCode> {
    let restart = Restart { fill: arguments.fill.fill(SEVERAL)?, rounds: arguments.rounds, sale: arguments.sale };
    let MeasureArguments { programs, json } = &arguments.measure;
    let stage = stage(programs.as_deref(), json.as_deref())?;
    let report = volume::restart(&restart, &stage.launcher, &stage.mint, stage.folder.path(), say).await;
    conclude(stage, report, json.as_deref(), LOGS)
}

async fn failover(arguments: FailoverArguments) -> anyhow::Result<ExitCode> {
    let (fill, nodes) = (arguments.fill.fill(1)?, arguments.nodes.into());
    let failover = Failover { fill, is_spread: arguments.spread, nodes, turns: arguments.turns };
    let MeasureArguments { programs, json } = &arguments.measure;
    let stage = stage(programs.as_deref(), json.as_deref())?;
    let report = volume::failover(&failover, &stage.launcher, &stage.mint, stage.folder.path(), say).await;
    conclude(stage, report, json.as_deref(), LOGS)
}

async fn accepts(arguments: AcceptsArguments) -> anyhow::Result<ExitCode> {
    let accepts = Accepts {
        fill: arguments.fill.fill(SEVERAL)?,
        rounds: arguments.rounds as usize,
        seconds: arguments.seconds,
        connections: arguments.load.connections as usize,
        threads: arguments.load.threads as usize,
    };
    let json = arguments.load.json.as_deref();
    let stage = stage(arguments.programs.as_deref(), json)?;
    let report = volume::accepts(&accepts, &stage.launcher, &stage.mint, stage.folder.path(), say).await;
    conclude(stage, report, json, LOGS)
}

async fn boards(arguments: BoardsArguments) -> anyhow::Result<ExitCode> {
    let boards = Boards {
        commodities: arguments.commodities,
        rounds: arguments.rounds as usize,
        seconds: arguments.seconds,
        pages: arguments.pages as usize,
        connections: arguments.load.connections as usize,
        threads: arguments.load.threads as usize,
    };
    let json = arguments.load.json.as_deref();
    let stage = stage(arguments.programs.as_deref(), json)?;
    let report = volume::boards(&boards, &stage.launcher, &stage.mint, stage.folder.path(), say).await;
    conclude(stage, report, json, LOGS)
}

async fn lists(arguments: ListsArguments) -> anyhow::Result<ExitCode> {
    let fill = arguments.fill.fill(1)?;
    let lists = Lists {
        on: arguments.on,
        fill: Fill { regular: arguments.own.min(fill.live), ..fill },
        repeats: arguments.repeats as usize,
        export_seconds_max: arguments.export_seconds,
    };
    let MeasureArguments { programs, json } = &arguments.measure;
    let stage = stage(programs.as_deref(), json.as_deref())?;
    let report = volume::lists(&lists, &stage.launcher, &stage.mint, stage.folder.path(), say).await;
    conclude(stage, report, json.as_deref(), LOGS)
}
