//! `admin`: the operators' process of a cluster.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use doorbuster::cluster::AdminNode;
use doorbuster::config::Config;
use doorbuster::shutdown::StopSignals;
use doorbuster::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The operators' API of a cluster. What it is asked to change goes to the nodes that sell, as commands.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A configuration file; doorbuster.toml is read if it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().config.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("admin: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(config: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    telemetry::install_tracing(&config.telemetry)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let signals = StopSignals::catch()?;
        let node = AdminNode::start(&config).await?;
        println!("admin: http://{}/docs", node.address());
        node.run_until(async {
            let signal = signals.first().await;
            tracing::info!(signal, "told to stop");
        })
        .await;
        Ok(())
    })
}
