//! `spike`: a node of a cluster that sells.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use doorbuster::cluster::SpikeNode;
use doorbuster::config::Config;
use doorbuster::shutdown::StopSignals;
use doorbuster::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A node that sells: it takes the partitions the ring gives it, answers buyers, and passes on what other nodes own.
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
            eprintln!("spike: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(config: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    telemetry::install_tracing(&config.telemetry)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let signals = StopSignals::catch()?;
        let node = SpikeNode::start(&config).await?;
        println!("spike {}: http://{}/docs, internal {}", config.node.id, node.address(), node.internal_address());
        node.run_until(async {
            let signal = signals.first().await;
            tracing::info!(signal, "told to stop");
        })
        .await?;
        Ok(())
    })
}
