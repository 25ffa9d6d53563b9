//! Everything in one process, on a database of its own: which parts that is made of, and the demo. Never decides anything itself.

mod demo;
mod welcome;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::datadir::DataDir;
pub use crate::process::StartError;
use crate::process::{Database, Engines, Plan, Process, Takers};
use crate::routing::Router;
use crate::server::Surface;
use crate::store::Store;
use demo::Demo;

/// How long the partitions may take to be served at the start.
const SERVING_TIMEOUT: Duration = Duration::from_secs(30);

/// A running Doorbuster of one process.
pub struct App {
    process: Process,
    data: DataDir,
    demo: Demo,
}

impl App {
    /// Starts everything; resolves when requests are served.
    ///
    /// # Errors
    /// [`StartError`], after which nothing runs.
    pub async fn start(config: &Config, data: &Path) -> Result<Self, StartError> {
        Self::begin(config, data, false).await
    }

    /// As [`App::start`]; and before the first request is served, on a first run with an empty database, makes the demo
    /// sale, and refreshes the demo's tokens.
    ///
    /// # Errors
    /// [`StartError`], after which nothing runs.
    pub async fn start_with_demo(config: &Config, data: &Path) -> Result<Self, StartError> {
        Self::begin(config, data, true).await
    }

    async fn begin(config: &Config, data: &Path, with_demo: bool) -> Result<Self, StartError> {
        let data = DataDir::open(data)?;
        let secret = match &config.auth.jwt_secret {
            Some(secret) => secret.clone(),
            None => data.secret()?,
        };
        let plan = Plan {
            role: "embedded",
            id: config.node.id.parse().expect("checked with the configuration"),
            jwt_secret: &secret,
            database: Database::own(config, data.path()),
            http: (&config.http.listen, "DOORBUSTER__HTTP__LISTEN"),
            surface: Surface::Both,
            peers: false,
            internal: None,
            engines: Engines::All,
            takers: Takers::ConfiguredOrSandbox(data.path().to_owned()),
        };
        // Before the first request: whoever waits for `/readyz` finds the demo.
        let (process, demo) = Process::start(config, plan, async |process| {
            process.router.served(SERVING_TIMEOUT).await.map_err(|_| StartError::NotServing(SERVING_TIMEOUT))?;
            if !with_demo {
                return Ok(Demo::default());
            }
            demo::prepare(&process, &data, config.accounts.demo).await
        })
        .await?;
        Ok(Self { process, data, demo })
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// The way of commands.
    #[must_use]
    pub fn router(&self) -> &Arc<Router> {
        self.process.router()
    }

    /// Prints where to look.
    pub fn welcome(&self) {
        let banner = welcome::banner(self.address(), self.data.path(), (self.demo, self.process.has_sandbox()), self.router().board());
        // Whether anybody reads it or not: a sale does not end because of a closed pipe.
        drop(writeln!(std::io::stdout(), "{banner}"));
    }

    /// Serves until `shutdown` resolves, then stops.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        self.stop().await;
    }

    /// Stops in order: no new requests, those in flight answered, the last batches confirmed, the database closed.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

/// Creates or upgrades the schema of the configured database; a sentence that says what was done.
///
/// # Errors
/// [`StartError`] when the database cannot be reached or changed.
pub async fn migrate(config: &Config, data: &Path) -> Result<String, StartError> {
    let _lock = match &config.database.url {
        Some(_) => None,
        None => Some(DataDir::open(data)?),
    };
    Ok(match Database::own(config, data).migrate(config).await? {
        0 => "the schema was up to date".into(),
        1 => "the schema is up to date now (1 step)".into(),
        steps => format!("the schema is up to date now ({steps} steps)"),
    })
}

/// The configured database, for tools that run beside a live server: takes no lock, makes nothing.
///
/// # Errors
/// [`StartError`] when there is none, or its schema is of another release.
pub async fn open_existing(config: &Config, data: &Path) -> Result<Store, StartError> {
    Database::open_existing(config, data).await
}
