//! `loadtest`: arguments in, one library call, a table out. See `loadtest --help`.

mod arguments;
mod commands;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;

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

fn run(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
