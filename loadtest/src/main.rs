//! `loadtest`: arguments in, one library call, a table out. See `loadtest --help`.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use hyper::body::Bytes;
use loadtest::client::Shape;
use loadtest::compare::{Contender, Settings, compare};
use loadtest::server::{Kind, LISTENING, Launcher, parent_gone};
use loadtest::tokens::Mint;
use loadtest::{bare, plan};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Races buyers against a Doorbuster server on this machine and audits the outcome.
#[derive(Parser)]
#[command(version, max_term_width = 120)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Durable accepts against a bare endpoint that verifies the same token and parses the same body, in turns.
    Compare(CompareArguments),
    /// The bare endpoint of `compare`, on a port of its own choice.
    #[command(hide = true)]
    ServeBare,
}

#[derive(Args)]
struct CompareArguments {
    /// Connections of each round.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How long a round lasts, in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Rounds for each contender.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Threads that send.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Writes all figures into this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Compare(arguments) => run(run_compare(arguments)),
        Command::ServeBare => serve_bare(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn run_compare(arguments: CompareArguments) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let secret = uuid::Uuid::from_u128(rand::random()).to_string();
    let launcher = Launcher::new(&std::env::current_exe()?, &secret);
    let bare = launcher.start(&Kind::Bare, &folder.path().join("bare.log")).await?;
    let shape = Shape::post("/v1/commodities/1/orders", Bytes::from_static(br#"{"quantity":1}"#));
    let contenders = [Contender { name: "bare actix", target: bare.target().clone(), shape, code: "accepted" }];
    let settings = Settings {
        connections: arguments.connections as usize,
        threads: arguments.threads as usize,
        round: Duration::from_secs(arguments.seconds),
        rounds: arguments.rounds as usize,
        buyers: plan::buyers(&Mint::with_secret(&secret)?, 10_000, 1, false)?,
    };
    let comparison = compare(&contenders, &settings).await?;
    println!("\n{comparison}");
    if let Some(file) = arguments.json {
        std::fs::write(&file, serde_json::to_vec_pretty(&comparison)?).with_context(|| format!("cannot write {}", file.display()))?;
    }
    bare.stop().await
}

fn serve_bare() -> anyhow::Result<()> {
    let secret = std::env::var("DOORBUSTER__AUTH__JWT_SECRET").context("the secret is handed over in the environment")?;
    let authenticator = Mint::with_secret(&secret)?.authenticator();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{LISTENING}{}", listener.local_addr()?);
    actix_web::rt::System::new().block_on(async {
        let server = bare::serve(listener, authenticator)?;
        let handle = server.handle();
        actix_web::rt::spawn(async move {
            parent_gone().await;
            handle.stop(false).await;
        });
        Ok(server.await?)
    })
}
