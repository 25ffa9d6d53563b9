//! What the `main` of every role of a cluster does: arguments, configuration, logs, a runtime, and what to say if it comes
//! to nothing. Never knows what a role is for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::config::Config;
use crate::shutdown::StopSignals;
use crate::telemetry;

/// The arguments of a role.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A configuration file; doorbuster.toml is read if it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs a role until it is told to stop. `about` is its `--help`; the exit code is 2 when it does not start or ends by itself.
pub fn run(name: &'static str, about: &'static str, work: impl AsyncFnOnce(Config, StopSignals) -> anyhow::Result<()>) -> ExitCode {
    let matches = Arguments::command().name(name).about(about).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match configured(arguments.config.as_deref(), work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The errors of this crate name their causes themselves.
            eprintln!("{name}: {error}");
            ExitCode::from(2)
        }
    }
}

fn configured(file: Option<&Path>, work: impl AsyncFnOnce(Config, StopSignals) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    telemetry::install_tracing(&config.telemetry)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async { work(config, StopSignals::catch()?).await })
}
