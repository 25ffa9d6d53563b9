//! The other side of [`crate::server`]: what a child process serves. It listens on a free loopback port, prints the
//! address, and leaves on SIGTERM or when its parent is gone.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;
use doorbuster::config::Config;
use doorbuster::embedded::App;
use doorbuster::shutdown::StopSignals;
use doorbuster::telemetry;

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
    let mut config = Config::load(None)?;
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    telemetry::install_tracing(&config.telemetry)?;
    // The same runtime as the `doorbuster` binary has.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let signals = StopSignals::catch()?;
        let app = App::start(&config, data).await?;
        println!("{LISTENING}{}", app.address());
        app.run_until(async {
            tokio::select! {
                _ = signals.first() => {}
                () = parent_gone() => {}
            }
        })
        .await;
        Ok(())
    })
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
