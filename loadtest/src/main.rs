//! `loadtest`: arguments in, one library call, a table out. See `loadtest --help`.

mod arguments;
mod commands;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;
use futures_util::future::select_all;
use loadtest::outcome::NOTHING;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Race(arguments) => run(commands::race(arguments)),
        Command::Compare(arguments) => run(commands::compare(arguments)),
        Command::Crash(arguments) => run(commands::crash(arguments)),
        Command::Chaos(arguments) => run(commands::chaos(arguments)),
        Command::Rotate(arguments) => run(commands::rotate(arguments)),
        Command::Volume(command) => run(commands::volume(command)),
        Command::RemoveQueues { amqp, prefix } => loadtest::cluster::remove_queues(&amqp, &prefix).map(|()| ExitCode::SUCCESS),
        Command::AcceptLoss { partition, reason } => loadtest::child::accept_loss(partition, &reason).map(|()| ExitCode::SUCCESS),
        Command::PutBack { names } => loadtest::child::put_back(&names).map(|()| ExitCode::SUCCESS),
        Command::ServeBare => loadtest::child::serve_bare().map(|()| ExitCode::SUCCESS),
        Command::ServeSpike => loadtest::child::serve_spike().map(|()| ExitCode::SUCCESS),
        Command::ServeConsumer => loadtest::child::serve_consumer().map(|()| ExitCode::SUCCESS),
        Command::ServeAdmin => loadtest::child::serve_admin().map(|()| ExitCode::SUCCESS),
        Command::ServeEmbedded { data } => loadtest::child::serve_embedded(&data).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("loadtest: {error:#}");
        ExitCode::from(NOTHING)
    })
}

/// Does the work to its end, or until it is told to stop: then the work is dropped, and what it started and made goes with it.
fn run(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome,
            code = stopped() => code,
        }
    });
    // Threads that still send would be waited for otherwise, and nobody is there to answer them.
    runtime.shutdown_background();
    outcome
}

/// Waits for a signal that asks a program to end, and says so as soon as it comes, before everything is cleaned up.
async fn stopped() -> anyhow::Result<ExitCode> {
    let mut signals = Vec::new();
    for (kind, name) in [
        (SignalKind::hangup(), "SIGHUP"),
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::quit(), "SIGQUIT"),
        (SignalKind::terminate(), "SIGTERM"),
    ] {
        // `nohup` has it ignored, and means it.
        if kind != SignalKind::hangup() || !is_ignored(kind) {
            signals.push((signal(kind)?, kind, name));
        }
    }
    let told = signals.iter_mut().map(|(signal, kind, name)| {
        Box::pin(async {
            signal.recv().await;
            (*kind, *name)
        })
    });
    let ((kind, name), _, _) = select_all(told).await;
    eprintln!("loadtest: stopped by {name}, cleaning up");
    Ok(ExitCode::from(128 + kind.as_raw_value() as u8))
}

/// Whether whoever started this program has that signal ignored. Where the system does not say, nobody does.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|ignored| ignored >> (kind.as_raw_value() - 1) & 1 == 1)
}
