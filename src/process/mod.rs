//! Puts a process together and takes it apart again. Every step stands here once, in its order: the modes and roles differ in the parts that
//! their plan names, never in a second order of steps. Never decides anything itself.

mod database;
mod engines;
mod error;
mod http;
mod peers;
mod port;
mod steward;
mod till;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use database::Database;
pub(crate) use engines::Engines;
pub use error::StartError;
pub use port::Port;
pub(crate) use port::Served;
pub(crate) use till::Takers;

use crate::account_changes::AccountChanges;
use crate::auth::{Authenticator, Hasher};
use crate::clock;
use crate::config::{Address, Config};
use crate::domain::NodeId;
use crate::http::Connections;
use crate::membership::{Ended, View};
use crate::partition::Board;
use crate::routing::Router;
use crate::routing::peer::Credential;
use crate::server::Surface;
use crate::store::Store;
use crate::telemetry;
use crate::trace::Tracer;
use engines::Running;
use peers::Peers;
use till::Till;

/// What a process is made of.
pub(crate) struct Plan<'a> {
    /// What it is called in traces.
    pub(crate) role: &'static str,
    /// Its id.
    pub(crate) id: NodeId,
    /// What tokens are signed with.
    pub(crate) jwt_secret: &'a SecretString,
    /// Its database.
    pub(crate) database: Database,
    /// Where HTTP is answered, and what to set if that is taken.
    pub(crate) http: (&'a Address, &'static str),
    /// What is answered there.
    pub(crate) surface: Surface,
    /// Whether there are other nodes.
    pub(crate) peers: bool,
    /// Where other nodes are answered, and what to set if that is taken; none: this process is nobody's peer.
    pub(crate) internal: Option<(&'a Address, &'static str)>,
    /// Whose engines it runs.
    pub(crate) engines: Engines,
    /// Who takes the money.
    pub(crate) takers: Takers,
}

/// What every process has that works on the database.
pub(crate) struct Base {
    pub(crate) store: Store,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) tracer: Tracer,
    /// Ends the tasks that work beside requests.
    pub(crate) stop: CancellationToken,
    close_timeout: Duration,
}

impl Base {
    /// Metrics and traces first, then the database, as `open` gets it.
    pub(crate) async fn start(config: &Config, (role, id): (&str, &str), database: &Database) -> Result<Self, StartError> {
        let (metrics, tracer) = observed(config, (role, id))?;
        let store = database.open(config).await?;
        let stop = CancellationToken::new();
        tokio::spawn(telemetry::run_metrics_upkeep(metrics.clone(), stop.clone()));
        Ok(Self { store, metrics, tracer, stop, close_timeout: database.close_timeout() })
    }

    async fn close(self) {
        self.stop.cancel();
        database::close(&self.store, self.close_timeout).await;
        self.tracer.shut().await;
        tracing::info!("stopped");
    }
}

/// Metrics and traces of a process.
pub(crate) fn observed(config: &Config, (role, id): (&str, &str)) -> Result<(PrometheusHandle, Tracer), StartError> {
    Ok((telemetry::install_metrics()?, Tracer::start(&config.telemetry, role, id)?))
}

/// Tokens and passwords.
pub(crate) struct Accounts {
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) hasher: Arc<Hasher>,
}

/// A process that answers HTTP.
pub(crate) struct Process {
    base: Base,
    router: Arc<Router>,
    peers: Option<Peers>,
    engines: Running,
    address: SocketAddr,
    connections: Arc<Connections>,
    served: Served,
    till: Till,
    leave_timeout: Duration,
}

/// What is there before HTTP is answered.
pub(crate) struct Unserved<'a> {
    pub(crate) store: &'a Store,
    pub(crate) router: &'a Arc<Router>,
    pub(crate) accounts: &'a Accounts,
}

impl Process {
    /// Starts it; resolves when HTTP is answered and, in a cluster, the other nodes are told that it is there. `prepare` is done right before
    /// HTTP is answered.
    ///
    /// # Errors
    /// [`StartError`], after which nothing runs and this process is nobody's peer.
    pub(crate) async fn start<T>(
        config: &Config,
        plan: Plan<'_>,
        prepare: impl AsyncFnOnce(Unserved<'_>) -> Result<T, StartError>,
    ) -> Result<(Self, T), StartError> {
        // Ports: whether they can be had is known before anything is waited for.
        let internal = match plan.internal {
            Some((address, setting)) => Some(Port::take(address, setting).await?),
            None => None,
        };
        let http = Port::take(plan.http.0, plan.http.1).await?;
        let advertised = match &internal {
            Some(port) => Some(peers::advertised(config, port.address()).await?),
            None => None,
        };

        // Keys.
        let authenticator = Arc::new(Authenticator::new(&config.auth, plan.jwt_secret)?);
        let accounts = Accounts { authenticator, hasher: Arc::new(Hasher::new(config.auth.hashing_concurrency_max)) };
        let credential = if plan.peers { Some(Credential::new(&plan.id, peers::sources(config))?) } else { None };

        // Metrics, traces, database.
        let base = Base::start(config, (plan.role, plan.id.as_str()), &plan.database).await?;
        // Whatever ends this start early also ends the tasks it has begun.
        let begun: DropGuard = base.stop.clone().drop_guard();
        let endings = Arc::clone(accounts.authenticator.endings());
        let changes = AccountChanges::load(base.store.clone(), endings, config.auth.token_ttl_seconds, clock::system()).await?;

        // The other nodes.
        let board = Arc::new(Board::new(base.store.partitions()));
        let mut peers = credential
            .map(|credential| Peers::new(config, (plan.id, advertised), credential, (&base.store, &board, &base.tracer), &base.stop));
        if let Some(peers) = &peers {
            peers.join(config).await?;
        }

        // Engines, and the way to them.
        let engines = plan.engines.start(config, &base, &board, peers.as_ref())?;
        if let (Some(peers), Some(port)) = (&mut peers, internal) {
            peers.listen(port)?;
        }
        let router = Arc::new(match (&peers, engines.inboxes()) {
            (Some(peers), _) => peers.router(config, board),
            (None, inboxes) => Router::new(board, base.store.clone(), base.store.partitions(), inboxes.unwrap_or_default()),
        });
        let prepared = prepare(Unserved { store: &base.store, router: &router, accounts: &accounts }).await?;

        // HTTP.
        let (address, connections) = (http.address(), Arc::new(Connections::new(config)));
        let till = plan.takers.open(config, address, (&base, &router)).await?;
        let cluster = peers.as_ref().map(Peers::shown);
        let state = http::state(config, &base, accounts, changes, (&router, &connections, cluster), &till);
        let served = http::serve(http, state, plan.surface, &base)?;

        // Only now do others count on it.
        if let Some(peers) = &mut peers {
            peers.activate().await?;
        }
        begun.disarm();
        let leave_timeout = Duration::from_millis(config.http.leave_timeout_ms);
        Ok((Self { base, router, peers, engines, address, connections, served, till, leave_timeout }, prepared))
    }

    /// Where HTTP is answered.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where other nodes are answered.
    pub(crate) fn internal_address(&self) -> Option<SocketAddr> {
        self.peers.as_ref()?.internal_address()
    }

    /// Whether it takes its buyers' money itself, to try with.
    pub(crate) fn has_sandbox(&self) -> bool {
        self.till.sandbox.is_some()
    }

    /// The way of commands.
    pub(crate) fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// The cluster as this process sees it; none where it is the whole system.
    pub(crate) fn view(&self) -> Option<watch::Receiver<Arc<View>>> {
        self.peers.as_ref().map(|peers| peers.view.clone())
    }

    /// Resolves when another process has taken its place in the cluster.
    pub(crate) async fn ended(&mut self) -> Ended {
        match &mut self.peers {
            Some(peers) => peers.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Stops in order: no request fails for it that somebody can answer.
    ///
    /// In a cluster the partitions go first, and whoever asks meanwhile is led to the next owner, also from here. Each answer asks its client
    /// to close the connection; when all have, or the bound is over, HTTP is answered no longer. A process that is the whole system answers
    /// what is in flight, and gives up its partitions then.
    pub(crate) async fn stop(mut self) {
        if let Some(peers) = self.peers.as_ref().filter(|peers| peers.is_member()) {
            self.connections.leave();
            peers.leave().await;
            self.engines.give_up().await;
            self.connections.gone(self.leave_timeout).await;
        } else {
            tracing::info!("stopping: answering what is in flight");
        }
        self.served.stop().await;
        self.till.stop().await;
        self.engines.give_up().await;
        self.engines.stop().await;
        if let Some(peers) = self.peers {
            peers.stop().await;
        }
        self.base.close().await;
    }
}
