//! The other side of [`crate::server`]: what a child process serves. It listens on a free loopback port, or where its settings
//! say if it is one of a cluster, prints the address, and leaves on SIGTERM or when its parent is gone.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;
use doorbuster::broker::Broker;
use doorbuster::cluster::{AdminNode, SpikeNode};
use doorbuster::config::Config;
use doorbuster::domain::PartitionId;
use doorbuster::embedded::{self, App};
use doorbuster::shutdown::StopSignals;
use doorbuster::tools::{dead, log};
use doorbuster::{clock, consumer, telemetry};

use crate::bare;
use crate::server::{LISTENING, SECRET_VARIABLE};
use crate::tokens::Mint;

/// Serves the bare endpoint.
///
/// # Errors
/// If there is no secret or no port.
pub fn serve_bare() -> anyhow::Result<()> {
    let secret = std::env::var(SECRET_VARIABLE).context("the secret is handed over in the environment")?;
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

/// Serves the whole of doorbuster on a data folder, with the environment's configuration.
///
/// # Errors
/// If it does not start.
pub fn serve_embedded(data: &Path) -> anyhow::Result<()> {
    let mut config = configured()?;
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0)).into();
    runtime()?.block_on(async {
        let signals = StopSignals::catch()?;
        let app = App::start(&config, data).await?;
        println!("{LISTENING}{}", app.address());
        app.run_until(told_to_stop(signals)).await;
        Ok(())
    })
}

/// Serves a node that sells, with the environment's configuration.
///
/// # Errors
/// If it does not start, or another took its place.
pub fn serve_spike() -> anyhow::Result<()> {
    let config = configured()?;
    runtime()?.block_on(async {
        let signals = StopSignals::catch()?;
        let node = SpikeNode::start(&config).await?;
        println!("{LISTENING}{}", node.address());
        Ok(node.run_until(told_to_stop(signals)).await?)
    })
}

/// Serves the operators' process of a cluster, with the environment's configuration.
///
/// # Errors
/// If it does not start.
pub fn serve_admin() -> anyhow::Result<()> {
    let config = configured()?;
    runtime()?.block_on(async {
        let signals = StopSignals::catch()?;
        let node = AdminNode::start(&config).await?;
        println!("{LISTENING}{}", node.address());
        node.run_until(told_to_stop(signals)).await;
        Ok(())
    })
}

/// Serves a consumer, with the environment's configuration.
///
/// # Errors
/// If it does not start.
pub fn serve_consumer() -> anyhow::Result<()> {
    let config = configured()?;
    runtime()?.block_on(async {
        let signals = StopSignals::catch()?;
        let port = consumer::listen(&config.consumer).await?;
        println!("{LISTENING}{}", port.address());
        Ok(consumer::run_until(&config, port, told_to_stop(signals)).await?)
    })
}

/// Accepts the loss of what the log of a partition has lost, as `doorbuster log accept-loss` does, with the environment's configuration.
///
/// # Errors
/// If nothing is lost, or a node owns the partition.
pub fn accept_loss(partition: u16, reason: &str) -> anyhow::Result<()> {
    let config = configured()?;
    runtime()?.block_on(async {
        let store = embedded::open_existing(&config, Path::new("")).await?;
        let (broker, partition) = (Broker::new(&config.broker)?, PartitionId::new(partition)?);
        println!("{}", log::accept_loss(&broker, &store, partition, (reason, "loadtest"), clock::system()).await?);
        Ok(())
    })
}

/// Puts dead letters back, as `doorbuster dead put-back` does, with the environment's configuration.
///
/// # Errors
/// If one of them cannot be, or a node owns its partition.
pub fn put_back(names: &[String]) -> anyhow::Result<()> {
    let config = configured()?;
    runtime()?.block_on(async {
        let store = embedded::open_existing(&config, Path::new("")).await?;
        for line in dead::put_back(&Broker::new(&config.broker)?, &store, names).await? {
            println!("{line}");
        }
        Ok(())
    })
}

fn configured() -> anyhow::Result<Config> {
    let config = Config::load(None)?;
    telemetry::install_tracing(&config.telemetry)?;
    Ok(config)
}

/// The same runtime as the programs have.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

async fn told_to_stop(signals: StopSignals) {
    tokio::select! {
        () = signals.told() => {}
        () = parent_gone() => {}
    }
}

/// Resolves when the process that started this one is gone: its end of our standard input is closed then.
///
/// A plain thread reads: one of tokio's would keep the runtime from ending.
async fn parent_gone() {
    let (gone, is_gone) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // An error on standard input means the same as its end, and a server that stopped by itself no longer listens.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = gone.send(());
    });
    let _ = is_gone.await;
}
