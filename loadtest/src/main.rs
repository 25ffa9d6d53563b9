//! `loadtest`: arguments in, one library call, a table out. See `loadtest --help`.

mod arguments;
mod commands;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Race(arguments) => run(commands::race(arguments)),
        Command::Compare(arguments) => run(commands::compare(arguments)),
        Command::Crash(arguments) => run(commands::crash(arguments)),
        Command::Chaos(arguments) => run(commands::chaos(arguments)),
        Command::RemoveQueues { amqp, prefix } => {
            loadtest::cluster::remove_queues(&amqp, &prefix);
            Ok(ExitCode::SUCCESS)
        }
        Command::ServeBare => loadtest::child::serve_bare().map(|()| ExitCode::SUCCESS),
        Command::ServeSpike => loadtest::child::serve_spike().map(|()| ExitCode::SUCCESS),
        Command::ServeConsumer => loadtest::child::serve_consumer().map(|()| ExitCode::SUCCESS),
        Command::ServeAdmin => loadtest::child::serve_admin().map(|()| ExitCode::SUCCESS),
        Command::ServeEmbedded { data } => loadtest::child::serve_embedded(&data).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("loadtest: {error:#}");
        ExitCode::from(2)
    })
}

/// Does the work to its end, or until it is told to stop: then the work is dropped, and what it started and made goes with it.
fn run(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let (interrupted, terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            outcome = work => outcome,
            () = told(interrupted, "SIGINT") => Ok(ExitCode::from(130)),
            () = told(terminated, "SIGTERM") => Ok(ExitCode::from(143)),
        }
    });
    // Threads that still send would be waited for otherwise, and nobody is there to answer them.
    runtime.shutdown_background();
    outcome
}

/// Says so as soon as the signal comes, before everything is cleaned up.
async fn told(mut signal: Signal, name: &str) {
    signal.recv().await;
    eprintln!("loadtest: stopped by {name}, cleaning up");
}
