//! What each subcommand does: sets the scene, makes the library call, prints, writes the JSON file.

mod compare;
mod volume;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use compare::compare;
pub use volume::volume;

use anyhow::{Context, bail};
use doorbuster::config::Config;
use doorbuster::datadir;
use loadtest::chaos::{self, Chaos};
use loadtest::cluster::{Cluster, Layout, Services};
use loadtest::crash::{self, Crash};
use loadtest::files::{has_files, writable};
use loadtest::loopback::Target;
use loadtest::outcome::{NoOutcome, VIOLATION, exit_code};
use loadtest::race::{self, Own, Race, Track};
use loadtest::rotate::{self, Rotation};
use loadtest::server::{Kind, Launcher};
use loadtest::tokens::Mint;

use crate::arguments::{ChaosArguments, CrashArguments, RaceArguments, RotateArguments};

/// What is said of a folder that stays.
const LOGS: &str = "the logs are kept";

/// A folder and a secret for servers of our own.
struct Stage {
    folder: tempfile::TempDir,
    launcher: Launcher,
    mint: Mint,
}

impl Stage {
    fn new() -> anyhow::Result<Self> {
        let secret = uuid::Uuid::from_u128(rand::random()).to_string();
        Ok(Self {
            folder: tempfile::Builder::new().prefix("doorbuster-loadtest-").tempdir()?,
            launcher: Launcher::new(&std::env::current_exe()?, &secret),
            mint: Mint::with_secret(&secret)?,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder stays, if anything is in it, and is named; `kept` says what of it.
    fn keep(self, kept: &str) {
        if has_files(self.folder.path()) {
            eprintln!("loadtest: {kept} in {}", self.folder.keep().display());
        }
    }
}

pub async fn race(arguments: RaceArguments) -> anyhow::Result<ExitCode> {
    let race = Race {
        buyers: arguments.buyers as usize,
        stock: arguments.stock,
        quantity: arguments.quantity,
        connections: arguments.load.connections as usize,
        threads: arguments.load.threads as usize,
        rate: arguments.rate,
        hold_seconds: arguments.hold_seconds,
        seed: arguments.seed,
        retries_max: arguments.retry,
        time_limit_seconds: arguments.time_limit,
    };
    writable_json(arguments.load.json.as_deref())?;
    let targets: Vec<Target> = arguments.url.iter().map(|url| url.parse()).collect::<Result<_, _>>()?;
    let stage = Stage::new()?;
    let operators = arguments.admin.map(|url| url.parse()).transpose()?;
    let track = match (arguments.spikes, arguments.data) {
        (Some(spikes), _) => own_cluster(&stage, Layout { spikes: spikes.into(), consumers: arguments.consumers.into() }).await,
        (None, Some(data)) if !targets.is_empty() => running(targets, operators, data).map_err(NoOutcome::mark),
        (None, None) if !targets.is_empty() => running_cluster(targets, operators).await.map_err(NoOutcome::mark),
        (None, data) => own(&stage, data).await,
    };
    let raced = match track {
        Ok(track) => {
            println!("{} buyers race for {} units at {}\n", race.buyers, race.stock, track.targets[0]);
            race::race(&race, track).await
        }
        Err(error) => Err(error),
    };
    let report = match raced {
        Ok(report) => report,
        Err(error) => return Ok(failed(stage, &error, LOGS)),
    };
    println!("{report}");
    let written = write_json(arguments.load.json.as_deref(), &report);
    if report.violations.is_empty() {
        return written.map(|()| ExitCode::SUCCESS);
    }
    if let Err(error) = written {
        eprintln!("loadtest: {error:#}");
    }
    stage.keep(LOGS);
    Ok(ExitCode::from(VIOLATION))
}

/// A server that runs already: its secret and database are found as it found them.
fn running(targets: Vec<Target>, operators: Option<Target>, data: PathBuf) -> anyhow::Result<Track> {
    let config = Config::load(None)?;
    let secret = match &config.auth.jwt_secret {
        Some(secret) => secret.clone(),
        None => datadir::read_secret(&data)?,
    };
    let mint = Mint::new(&config.auth, &secret)?;
    let operators = operators.unwrap_or_else(|| targets[0].clone());
    Ok(Track { targets, operators, mint, config, data, own: Own::Nothing })
}

/// A cluster that runs already, whose environment we share.
async fn running_cluster(targets: Vec<Target>, operators: Option<Target>) -> anyhow::Result<Track> {
    let config = Config::load(None)?;
    let (Some(secret), Some(_)) = (&config.auth.jwt_secret, &config.database.url) else {
        bail!("give --data, or for a cluster its DATABASE_URL and DOORBUSTER__AUTH__JWT_SECRET in the environment");
    };
    let mint = Mint::new(&config.auth, secret)?;
    let operators = match operators {
        Some(operators) => operators,
        None => Target::new(config.admin.listen.resolve().await?[0])?,
    };
    Ok(Track { targets, operators, mint, config, data: PathBuf::new(), own: Own::NothingOfCluster })
}

/// A cluster of our own.
async fn own_cluster(stage: &Stage, layout: Layout) -> anyhow::Result<Track> {
    let cluster = Cluster::start(layout, &Services::from_environment(), &stage.launcher, stage.folder.path()).await?;
    Ok(Track {
        targets: cluster.targets(),
        operators: cluster.admin.target().clone(),
        mint: stage.mint.clone(),
        config: cluster.config()?,
        data: PathBuf::new(),
        own: Own::Cluster(Box::new(cluster)),
    })
}

/// A server of our own, on a folder of our own unless one is named: what is in that is not ours.
async fn own(stage: &Stage, named: Option<PathBuf>) -> anyhow::Result<Track> {
    let (config, is_named) = (own_config()?, named.is_some());
    let data = match named {
        Some(data) => std::path::absolute(data).map_err(|error| NoOutcome::mark(error.into()))?,
        None => stage.path("data"),
    };
    let started = stage.launcher.start(&Kind::Embedded { data: data.clone() }, &stage.path("server.log")).await;
    let server = started.map_err(|error| if is_named { NoOutcome::mark(error) } else { error })?;
    let target = server.target().clone();
    let mint = stage.mint.clone();
    Ok(Track { targets: vec![target.clone()], operators: target, mint, config, data, own: Own::Server(Box::new(server)) })
}

/// The configuration of servers of our own, as far as it says how to read their database.
fn own_config() -> anyhow::Result<Config> {
    let mut config = Config::load(None).map_err(|error| NoOutcome::mark(error.into()))?;
    config.database.url = None;
    Ok(config)
}

pub async fn crash(arguments: CrashArguments) -> anyhow::Result<ExitCode> {
    let crash = Crash {
        times: arguments.times,
        seed: arguments.seed.unwrap_or_else(rand::random),
        stock: arguments.stock,
        buyers: arguments.buyers as usize,
        connections: arguments.connections as usize,
    };
    writable_json(arguments.json.as_deref())?;
    println!("seed {}", crash.seed);
    let stage = Stage::new()?;
    let say = |line| println!("  {line}");
    let outcome = crash::crash(&crash, &stage.launcher, stage.mint.clone(), stage.folder.path(), say).await;
    conclude(stage, outcome, arguments.json.as_deref(), "the data folder is kept")
}

pub async fn rotate(arguments: RotateArguments) -> anyhow::Result<ExitCode> {
    let rotation = Rotation {
        rate: arguments.rate,
        seconds: arguments.seconds,
        rotations: arguments.rotations,
        connections: arguments.connections as usize,
    };
    writable_json(arguments.json.as_deref())?;
    let stage = Stage::new()?;
    let outcome = rotate::rotate(rotation, &stage.launcher, &stage.mint, stage.folder.path()).await;
    conclude(stage, outcome, arguments.json.as_deref(), LOGS)
}

pub async fn chaos(arguments: ChaosArguments) -> anyhow::Result<ExitCode> {
    let chaos = Chaos {
        scenario: arguments.scenario,
        times: arguments.times,
        seed: arguments.seed.unwrap_or_else(|| rand::random_range(0..u64::from(u32::MAX))),
        stock: arguments.stock,
        buyers: arguments.buyers as usize,
        rate: arguments.rate,
        connections: arguments.connections as usize,
        patience_ms: arguments.patience_ms,
        keyless: arguments.keyless,
        live: arguments.live,
        history: arguments.history,
    };
    writable_json(arguments.json.as_deref())?;
    println!("seed {}", chaos.seed);
    let stage = Stage::new()?;
    let say = |line| println!("  {line}");
    let outcome = chaos::chaos(&chaos, &stage.launcher, stage.mint.clone(), stage.folder.path(), say).await;
    conclude(stage, outcome, arguments.json.as_deref(), LOGS)
}

/// The report and its figures; or what was violated, or why nothing was found out, and where to look.
fn conclude(
    stage: Stage,
    outcome: anyhow::Result<impl std::fmt::Display + serde::Serialize>,
    json: Option<&Path>,
    kept: &str,
) -> anyhow::Result<ExitCode> {
    match outcome {
        Ok(report) => {
            println!("\n{report}");
            write_json(json, &report)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(failed(stage, &error, kept)),
    }
}

/// Says what came in place of a report, and where to look.
fn failed(stage: Stage, error: &anyhow::Error, kept: &str) -> ExitCode {
    let code = exit_code(error);
    let what = if code == VIOLATION { "VIOLATION: " } else { "" };
    eprintln!("loadtest: {what}{error:#}");
    stage.keep(kept);
    ExitCode::from(code)
}

/// Whether the figures can be written into that file.
fn writable_json(json: Option<&Path>) -> anyhow::Result<()> {
    json.map_or(Ok(()), writable)
}

fn write_json(file: Option<&Path>, value: &impl serde::Serialize) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
