//! Everything in one process: store, log, engines, HTTP. Never decides anything itself.

mod demo;
mod till;
mod welcome;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::account_changes::AccountChanges;
use crate::admin;
use crate::auth::{Authenticator, Hasher, KeyError};
use crate::clock;
use crate::config::{Address, Config};
use crate::datadir::{DataDir, DataDirError};
use crate::domain::Partitions;
use crate::event::LogVersion;
use crate::http::{self, AppState, Costly};
use crate::limits::Limiter;
use crate::logins::Logins;
use crate::ownership::embedded::EmbeddedOwnership;
use crate::partition::{self, Board, Runner};
use crate::payments::Worker;
use crate::projection;
use crate::routing::Router;
use crate::sandbox;
use crate::store::{Store, StoreError};
use crate::telemetry::{self, TelemetryError};
use crate::trace::Tracer;
use demo::Demo;

/// Why the process does not start: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder is in use, not writable, or its secret is readable by others.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// The database is away, or its schema is of another release.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secret or the public key is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Metrics or logs cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The port is taken or not ours to take.
    #[error("cannot listen on {address}: {cause}; stop what listens there, or set DOORBUSTER__HTTP__LISTEN")]
    Listen {
        /// Where.
        address: Address,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The partitions were not served in time.
    #[error("the partitions are not served after {0:?}; the log above says why")]
    NotServing(Duration),
    /// There is no database to look at yet.
    #[error("no database at {0}; start `doorbuster` once, or name the folder with --data or the database with DATABASE_URL")]
    NoDatabase(String),
    /// The payment provider that this process is itself does not start.
    #[error(transparent)]
    Sandbox(#[from] sandbox::ServerError),
    /// A payment provider cannot be used.
    #[error("{0}")]
    Payments(String),
    /// The demo sale could not be made.
    #[error("the demo sale could not be made: {0}")]
    Demo(String),
}

/// How long the partitions may take to be served at the start.
const SERVING_TIMEOUT: Duration = Duration::from_secs(30);

/// A running Doorbuster of one process.
pub struct App {
    address: SocketAddr,
    data: DataDir,
    store: Store,
    router: Arc<Router>,
    demo: Demo,
    ownership: Arc<EmbeddedOwnership>,
    runners: Vec<Runner>,
    server: ServerHandle,
    served: JoinHandle<std::io::Result<()>>,
    working: JoinHandle<()>,
    sandbox: Option<sandbox::Server>,
    tracer: Tracer,
    stop: CancellationToken,
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
        let authenticator = Arc::new(Authenticator::new(&config.auth, &secret)?);
        let hasher = Arc::new(Hasher::new(config.auth.hashing_concurrency_max));
        let unable = |cause| StartError::Listen { address: config.http.listen.clone(), cause };
        let listener = http::listen(&config.http.listen).await.map_err(unable)?;
        let address = listener.local_addr().map_err(unable)?;
        let metrics = telemetry::install_metrics()?;
        let tracer = Tracer::start(&config.telemetry, "embedded", &config.node.id)?;
        let url = database_url(config, data.path());
        Store::migrate(url.expose_secret(), &config.database, partitions_wanted(config)).await?;
        let store = Store::connect(url.expose_secret(), &config.database).await?;

        // This process is all there is: none of an older release runs beside it.
        store.raise_log_version().await?;

        let endings = Arc::clone(authenticator.endings());
        let account_changes = AccountChanges::load(store.clone(), endings, config.auth.token_ttl_seconds, clock::system()).await?;

        let stop = CancellationToken::new();
        // Whatever ends this start early also ends the tasks it has begun.
        let began = stop.clone().drop_guard();
        let ownership = Arc::new(EmbeddedOwnership::start(store.clone(), config.node.id.clone(), &config.partition, clock::system));
        let settings = partition::Settings::from(&config.partition);
        let partitions = store.partitions();
        let board = Arc::new(Board::new(partitions));
        let runners: Vec<Runner> = partitions
            .iter()
            .map(|id| partition::spawn(id, settings, ownership.clone(), Arc::clone(&board), clock::system, stop.clone()))
            .collect();
        let inboxes = runners.iter().map(|runner| runner.inbox.clone()).collect();
        let router = Arc::new(Router::new(board, store.clone(), partitions, inboxes));
        router.served(SERVING_TIMEOUT).await.map_err(|_| StartError::NotServing(SERVING_TIMEOUT))?;

        // Before the first request: whoever waits for `/readyz` finds the demo.
        let demo = if with_demo {
            demo::prepare((&store, &router), (&hasher, &authenticator), &data, config.accounts.demo).await?
        } else {
            Demo::default()
        };

        let limiter = Arc::new(Limiter::new(&config.limits));
        tokio::spawn({
            let (limiter, stop) = (Arc::clone(&limiter), stop.clone());
            async move { limiter.run_upkeep(stop).await }
        });
        tokio::spawn(Arc::clone(&authenticator).follow_keys(stop.clone()));
        tokio::spawn(account_changes.follow(clock::system, stop.clone()));
        tokio::spawn(Logins::run_upkeep(store.clone(), clock::system, stop.clone()));
        tokio::spawn(telemetry::run_metrics_upkeep(metrics.clone(), stop.clone()));
        tokio::spawn(admin::list_what_was_left(Arc::clone(&router), store.clone(), stop.clone()));
        tokio::spawn(projection::keep_checkpoints((store.clone(), LogVersion::NEWEST), clock::system, stop.clone()));
        let till = till::open(config, &data, address).await?;
        let worker = Worker::new(Arc::clone(&router), store.clone(), Arc::clone(&till.providers), clock::system);
        let working = tokio::spawn(Arc::clone(&worker).run(stop.clone()));
        let state = web::Data::new(AppState {
            router: Arc::clone(&router),
            store: store.clone(),
            authenticator,
            hasher,
            // No other node answers logins.
            logins: Logins::new(&config.limits, Arc::clone(&limiter), store.clone(), false),
            costly: Costly::default(),
            limiter,
            clock: clock::system,
            prometheus: metrics,
            config: config.http.clone(),
            accounts: config.accounts,
            connections: Arc::new(http::Connections::new(config)),
            request_ids: http::RequestIds::new(rand::random()),
            tracer: tracer.clone(),
            // The database has no other clock.
            drift: Arc::default(),
            providers: till.providers,
            worker,
            sandbox: till.sandbox.as_ref().map(|server| Arc::clone(server.sandbox())),
            cluster: None,
        });
        let server = http::server(listener, state, http::Surface::Both).map_err(unable)?;
        let handle = server.handle();
        let served = tokio::spawn(server);
        began.disarm();
        Ok(Self {
            address,
            data,
            store,
            router,
            demo,
            ownership,
            runners,
            server: handle,
            served,
            working,
            sandbox: till.sandbox,
            tracer,
            stop,
        })
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The way of commands.
    #[must_use]
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// Prints where to look.
    pub fn welcome(&self) {
        let banner = welcome::banner(self.address, self.data.path(), (self.demo, self.sandbox.is_some()), self.router.board());
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
        tracing::info!("stopping: answering what is in flight");
        self.server.stop(true).await;
        if let Err(error) = self.served.await {
            tracing::error!(%error, "the HTTP server ended abnormally");
        }
        self.stop.cancel();
        if let Err(error) = self.working.await {
            tracing::error!(%error, "what looks after payments ended abnormally");
        }
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await;
        }
        for runner in self.runners {
            runner.stopped().await;
        }
        self.ownership.stop().await;
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the database did not close well");
        }
        self.tracer.shut().await;
        tracing::info!("stopped");
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
    let url = database_url(config, data);
    let steps = Store::migrate(url.expose_secret(), &config.database, partitions_wanted(config)).await?;
    Ok(match steps {
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
    let file = data.join(DATABASE_FILE);
    if config.database.url.is_none() && !file.exists() {
        return Err(StartError::NoDatabase(file.display().to_string()));
    }
    Ok(Store::connect(database_url(config, data).expose_secret(), &config.database).await?)
}

fn partitions_wanted(config: &Config) -> Partitions {
    Partitions::new(config.partition.count).expect("checked with the configuration")
}

/// The name of the database in the data folder.
const DATABASE_FILE: &str = "doorbuster.sqlite";

fn database_url(config: &Config, data: &Path) -> SecretString {
    config.database.url.clone().unwrap_or_else(|| format!("sqlite:{}", data.join(DATABASE_FILE).display()).into())
}
