//! What both roles are made of, and why one does not start.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::account_changes::AccountChanges;
use crate::auth::{Authenticator, Hasher, KeyError};
use crate::broker::BrokerError;
use crate::clock;
use crate::config::{self, Address, Config};
use crate::domain::NodeId;
use crate::drift::Drift;
use crate::http::{self, AppState, Connections, Costly, Surface};
use crate::limits::Limiter;
use crate::logins::Logins;
use crate::membership::{JoinError, Me, Membership, Pace, View};
use crate::partition::Board;
use crate::payments::{Providers, Worker};
use crate::routing::peer::{Credential, CredentialError, LinkSettings, Local, Sources};
use crate::routing::{Neighbours, Roads, Router, watch_tasks};
use crate::store::{Store, StoreError};
use crate::telemetry::{self, TelemetryError};
use crate::trace::Tracer;

/// Why a role does not start: lines that say what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings that a cluster cannot do without: one line each.
    #[error("{}", .0.join("\n"))]
    Missing(Vec<String>),
    /// The database is away, or its schema is of another release.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The schema has another number of partitions than the configuration.
    #[error(
        "the schema has {schema} partitions and partition.count says {configured}: set DOORBUSTER__PARTITION__COUNT={schema} on all nodes"
    )]
    Partitions {
        /// The schema's.
        schema: u16,
        /// The configuration's.
        configured: u16,
    },
    /// The other nodes do not want this one.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The secret or the public key is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is nothing that other nodes could know this one by.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// Metrics or logs cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The port is taken or not ours to take.
    #[error("cannot listen on {address}: {cause}; stop what listens there, or set {setting}")]
    Listen {
        /// Where.
        address: Address,
        /// What to set.
        setting: &'static str,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The name that other nodes are to find this one by leads nowhere.
    #[error("DOORBUSTER__NODE__INTERNAL_ADVERTISE: {address} cannot be looked up: {cause}")]
    Advertise {
        /// The name.
        address: Address,
        /// What the resolver says.
        cause: std::io::Error,
    },
    /// The broker's URL is wrong.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// The settings a cluster cannot do without.
pub(super) struct Secrets<'a> {
    database_url: &'a SecretString,
    jwt: &'a SecretString,
}

impl<'a> Secrets<'a> {
    /// Looks for all of them, so that all that is missing is told at once. `broker` is whether a URL of one is configured,
    /// or none is needed.
    pub(super) fn of(config: &'a Config, broker: bool) -> Result<Self, StartError> {
        let url = config.database.url.as_ref().filter(|url| {
            let url = url.expose_secret();
            url.starts_with("mysql:") || url.starts_with("mariadb:")
        });
        let is_known = config.auth.internal_secret.is_some() || config.peer.tls.certificate_file.is_some();
        let needed = [
            (url.is_some(), "a cluster needs one MySQL or MariaDB: set DATABASE_URL=mysql://USER:PASSWORD@HOST:3306/DATABASE"),
            (broker, "a cluster needs RabbitMQ: set AMQP_URL=amqp://USER:PASSWORD@HOST:5672"),
            (config.auth.jwt_secret.is_some(), "set DOORBUSTER__AUTH__JWT_SECRET to at least 32 random bytes, the same on all nodes"),
            (
                is_known,
                "set DOORBUSTER__AUTH__INTERNAL_SECRET to at least 32 random bytes, the same on all nodes (or certificates: docs/security.md)",
            ),
        ];
        match (url, &config.auth.jwt_secret) {
            (Some(database_url), Some(jwt)) if broker && is_known => Ok(Self { database_url, jwt }),
            _ => Err(StartError::Missing(needed.iter().filter(|(is_there, _)| !is_there).map(|(_, line)| (*line).to_owned()).collect())),
        }
    }
}

/// What a role is made of.
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) me: Me,
    pub(super) local: Arc<Local>,
    pub(super) router: Arc<Router>,
    pub(super) neighbours: Arc<Neighbours>,
    pub(super) roads: Arc<Roads>,
    authenticator: Arc<Authenticator>,
    account_changes: AccountChanges,
    pub(super) tracer: Tracer,
    pub(super) stop: CancellationToken,
}

impl Parts {
    /// Checks the configuration and connects to the database. `address` is where other nodes find this one.
    pub(super) async fn assemble(
        config: &Config,
        (role, broker): (&str, bool),
        id: NodeId,
        address: Option<SocketAddr>,
    ) -> Result<Self, StartError> {
        let secrets = Secrets::of(config, broker)?;
        let authenticator = Arc::new(Authenticator::new(&config.auth, secrets.jwt)?);
        let credential = Credential::new(&id, sources(config))?;
        let store = Store::connect(secrets.database_url.expose_secret(), &config.database).await?;
        let (schema, configured) = (store.partitions().get(), config.partition.count);
        if schema != configured {
            return Err(StartError::Partitions { schema, configured });
        }
        let endings = Arc::clone(authenticator.endings());
        let account_changes = AccountChanges::load(store.clone(), endings, config.auth.token_ttl_seconds, clock::system()).await?;
        let me = Me { id, instance: rand::random(), address, log_version: config.release.log_version() };
        let board = Arc::new(Board::new(store.partitions()));
        let tracer = Tracer::start(&config.telemetry, role, me.id.as_str())?;
        let mut local = Local::new(me.id.clone(), me.instance, store.partitions(), credential, Arc::clone(&board));
        local.tracer = tracer.clone();
        local.speaks = config.release.peer_version();
        let local = Arc::new(local);
        let roads = Arc::new(Roads::none(store.partitions()));
        let patience = Duration::from_millis(config.partition.command_timeout_ms);
        let settings = LinkSettings {
            depth_max: config.partition.inbox_depth_max,
            command_timeout: patience,
            answer_timeout: Duration::from_millis(config.partition.append_timeout_ms),
        };
        let neighbours = Neighbours::new(Arc::clone(&local), Arc::clone(&roads), settings);
        let router = Arc::new(Router::shifting(board, store.clone(), store.partitions(), Arc::clone(&roads), patience));
        let stop = CancellationToken::new();
        tokio::spawn(local.credential.clone().follow(stop.clone()));
        Ok(Self { store, me, local, router, neighbours, roads, authenticator, account_changes, tracer, stop })
    }

    /// Begins to follow the other nodes.
    pub(super) fn membership(&self, config: &Config) -> Membership {
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(watch_tasks(Arc::clone(&self.neighbours))));
        let (local, neighbours) = (Arc::clone(&self.local), Arc::clone(&self.neighbours));
        Membership::new(self.store.clone(), self.me.clone(), local, neighbours, clock::system, Pace::from(config))
    }

    /// The HTTP server on that listener.
    pub(super) fn serve(
        &self,
        config: &Config,
        listener: TcpListener,
        surface: Surface,
        view: tokio::sync::watch::Receiver<Arc<View>>,
    ) -> Result<Served, StartError> {
        let address = listener.local_addr().map_err(|cause| unable(&config.http.listen, "another address", cause))?;
        let metrics = telemetry::install_metrics()?;
        let limiter = Arc::new(Limiter::new(&config.limits));
        tokio::spawn({
            let (limiter, stop) = (Arc::clone(&limiter), self.stop.clone());
            async move { limiter.run_upkeep(stop).await }
        });
        tokio::spawn(Arc::clone(&self.authenticator).follow_keys(self.stop.clone()));
        tokio::spawn(self.account_changes.clone().follow(clock::system, self.stop.clone()));
        tokio::spawn(Logins::run_upkeep(self.store.clone(), clock::system, self.stop.clone()));
        tokio::spawn(telemetry::run_metrics_upkeep(metrics.clone(), self.stop.clone()));
        let connections = Arc::new(Connections::new(config));
        let drift = Arc::<Drift>::default();
        tokio::spawn({
            let (drift, store, stop) = (Arc::clone(&drift), self.store.clone(), self.stop.clone());
            async move { drift.watch(store, clock::system, stop).await }
        });
        let providers = Arc::new(Providers::new(&config.payments).map_err(|why| StartError::Missing(vec![why]))?);
        let worker = Worker::new(Arc::clone(&self.router), self.store.clone(), Arc::clone(&providers), clock::system);
        // Buyers' processes are many, and they share the work.
        if surface == Surface::Buyers {
            tokio::spawn(Arc::clone(&worker).run(self.stop.clone()));
        }
        let state = web::Data::new(AppState {
            router: Arc::clone(&self.router),
            store: self.store.clone(),
            authenticator: Arc::clone(&self.authenticator),
            hasher: Arc::new(Hasher::new(config.auth.hashing_concurrency_max)),
            logins: Logins::new(&config.limits, Arc::clone(&limiter), self.store.clone(), true),
            costly: Costly::default(),
            limiter,
            clock: clock::system,
            prometheus: metrics,
            config: config.http.clone(),
            accounts: config.accounts,
            connections: Arc::clone(&connections),
            request_ids: http::RequestIds::new(rand::random()),
            tracer: self.tracer.clone(),
            drift,
            providers,
            worker,
            sandbox: None,
            cluster: Some(http::Cluster { view, neighbours: Arc::clone(&self.neighbours), local: Arc::clone(&self.local) }),
        });
        let server = http::server(listener, state, surface).map_err(|cause| unable(&address.into(), "another address", cause))?;
        Ok(Served { connections, ..Served::of(address, server) })
    }
}

/// What nodes know each other by, as it is configured.
fn sources(config: &Config) -> Sources {
    let config::PeerTls { ca_file, certificate_file, key_file } = &config.peer.tls;
    if config.release.peer_plain {
        tracing::warn!("release.peer_plain is set: nodes are let in and spoken to without TLS, by a proof that whoever sees it can repeat");
    }
    Sources {
        secret: config.auth.internal_secret.clone(),
        authorities: ca_file.clone(),
        own: certificate_file.clone().zip(key_file.clone()),
        plain: config.release.peer_plain,
    }
}

/// A running HTTP server.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<Connections>,
    handle: ServerHandle,
    task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    pub(super) fn of(address: SocketAddr, server: actix_web::dev::Server) -> Self {
        let handle = server.handle();
        Self { address, connections: Arc::default(), handle, task: tokio::spawn(server) }
    }

    /// Answers what is in flight and takes no more.
    pub(super) async fn stop(self) {
        self.handle.stop(true).await;
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "an HTTP server ended with an error"),
            Err(error) => tracing::error!(%error, "an HTTP server ended abnormally"),
        }
    }
}

pub(super) async fn listen(address: &Address, setting: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let wrong = |cause| unable(address, setting, cause);
    let listener = crate::http::listen(address).await.map_err(wrong)?;
    let bound = listener.local_addr().map_err(wrong)?;
    Ok((listener, bound))
}

pub(super) fn unable(address: &Address, setting: &'static str, cause: std::io::Error) -> StartError {
    StartError::Listen { address: address.clone(), setting, cause }
}

pub(super) fn node_id(config: &Config) -> NodeId {
    config.node.id.parse().expect("checked with the configuration")
}

/// Closes the database's connections. One that is in the middle of something must not keep a process from ending.
pub(super) async fn close(store: &Store) {
    const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
    match tokio::time::timeout(CLOSE_TIMEOUT, store.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the database did not close well"),
        Err(_) => tracing::warn!("the database did not close within {CLOSE_TIMEOUT:?}"),
    }
}
