//! `consumer`: brings the logs of all partitions from RabbitMQ into the database.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use doorbuster::config::Config;
use doorbuster::shutdown::StopSignals;
use doorbuster::{consumer, telemetry};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Brings the logs of all partitions into the database, each sale exactly once.
///
/// Needs AMQP_URL and DATABASE_URL (or broker.url and database.url in the configuration). Several share the partitions.
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
            eprintln!("consumer: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(config: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    telemetry::install_tracing(&config.telemetry)?;
    let metrics = telemetry::install_metrics()?;
    let listen = config.consumer.listen;
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen} (consumer.listen)"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let signals = StopSignals::catch()?;
        let stop = CancellationToken::new();
        tokio::spawn(telemetry::run_metrics_upkeep(metrics.clone(), stop.clone()));
        tokio::spawn({
            let stop = stop.clone();
            async move {
                let signal = signals.first().await;
                tracing::info!(signal, "told to stop");
                stop.cancel();
            }
        });
        tracing::info!(address = %listener.local_addr()?, "metrics and health on http://{}", listener.local_addr()?);
        Ok(consumer::serve(&config, listener, metrics, stop).await?)
    })
}
