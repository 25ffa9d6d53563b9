//! The other nodes of a cluster: what they know of this process, how it joins them and leaves them. Never decides who owns what.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Port, StartError};
use crate::clock;
use crate::config::{self, Config};
use crate::domain::{NodeId, Reach};
use crate::membership::{Ended, Me, Membership, Pace, View, join};
use crate::partition::Board;
use crate::routing::peer::{self, Credential, LinkSettings, Local, PeerServer, Sources};
use crate::routing::{Neighbours, Roads, Router, watch_tasks};
use crate::store::{NodeState, Store};
use crate::trace::Tracer;

/// How long the database may take to be told that this node leaves.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// This process in its cluster.
pub(super) struct Peers {
    pub(super) local: Arc<Local>,
    pub(super) view: watch::Receiver<Arc<View>>,
    me: Me,
    store: Store,
    roads: Arc<Roads>,
    neighbours: Arc<Neighbours>,
    /// Until it runs.
    membership: Option<Membership>,
    running: Option<JoinHandle<Ended>>,
    internal: Option<PeerServer>,
}

impl Peers {
    /// Nobody knows of it yet. `address` is where other nodes are to find it; none: it owns nothing and is nobody's peer.
    pub(super) fn new(
        config: &Config,
        (id, address): (NodeId, Option<SocketAddr>),
        credential: Credential,
        (store, board, tracer): (&Store, &Arc<Board>, &Tracer),
        stop: &CancellationToken,
    ) -> Self {
        let me = Me { id, instance: rand::random(), address, log_version: config.release.log_version() };
        let mut local = Local::new(me.id.clone(), me.instance, store.partitions(), credential, Arc::clone(board));
        local.tracer = tracer.clone();
        local.speaks = config.release.peer_version();
        let local = Arc::new(local);
        tokio::spawn(local.credential.clone().follow(stop.clone()));
        let roads = Arc::new(Roads::none(store.partitions()));
        let settings = LinkSettings {
            partitions: store.partitions(),
            depth_max: config.partition.inbox_depth_max,
            command_timeout: patience(config),
            answer_timeout: Duration::from_millis(config.partition.append_timeout_ms),
        };
        let neighbours = Neighbours::new(Arc::clone(&local), Arc::clone(&roads), settings);
        tokio::spawn(stop.clone().run_until_cancelled_owned(watch_tasks(Arc::clone(&neighbours))));
        let (known, met) = (Arc::clone(&local), Arc::clone(&neighbours));
        let membership = Membership::new(store.clone(), me.clone(), known, met, clock::system, Pace::from(config));
        let view = membership.view();
        Self { local, view, me, store: store.clone(), roads, neighbours, membership: Some(membership), running: None, internal: None }
    }

    /// Asks the others whether this process may be one of them, if it is to be.
    pub(super) async fn join(&self, config: &Config) -> Result<(), StartError> {
        let Some(address) = self.me.address else { return Ok(()) };
        let interval = Duration::from_millis(config.node.heartbeat_interval_ms);
        Ok(join(&self.store, &self.me, address, &self.local, clock::system, interval).await?)
    }

    /// Answers other nodes from now on.
    pub(super) fn listen(&mut self, port: Port) -> Result<(), StartError> {
        let local = Arc::clone(&self.local);
        self.internal = Some(port.serve(|listener| peer::serve(listener, local))?);
        Ok(())
    }

    /// The way of commands to whoever owns their partitions.
    pub(super) fn router(&self, config: &Config, board: Arc<Board>) -> Router {
        Router::shifting(board, self.store.clone(), self.store.partitions(), Arc::clone(&self.roads), patience(config))
    }

    /// The cluster, as operators are shown it.
    pub(super) fn shown(&self) -> crate::http::Cluster {
        crate::http::Cluster { view: self.view.clone(), neighbours: Arc::clone(&self.neighbours), local: Arc::clone(&self.local) }
    }

    /// Where other nodes are answered.
    pub(super) fn internal_address(&self) -> Option<SocketAddr> {
        self.internal.as_ref().map(PeerServer::address)
    }

    /// Begins to look at the others, and to be looked at. A process that owns partitions says first how it reaches the broker: nobody is to
    /// give up a partition for a node that has none.
    pub(super) async fn activate(&mut self) -> Result<(), StartError> {
        if self.is_member() {
            let broker = first_reach(&self.local).await;
            self.store.beat(&self.me.id, self.me.instance, clock::system(), broker).await?;
            self.store.move_node(&self.me.id, self.me.instance, &[NodeState::Joining], NodeState::Active).await?;
        }
        self.running = self.membership.take().map(|membership| tokio::spawn(membership.run()));
        Ok(())
    }

    /// Whether it may own partitions, so that others take over what it gives up.
    pub(super) fn is_member(&self) -> bool {
        self.me.address.is_some()
    }

    /// Resolves when it is a member no longer.
    pub(super) async fn ended(&mut self) -> Ended {
        match &mut self.running {
            Some(running) if self.me.address.is_some() => running.await.unwrap_or(Ended::Replaced),
            _ => std::future::pending().await,
        }
    }

    /// Says that it is about to give up all it has.
    pub(super) async fn leave(&self) {
        tracing::info!(node = %self.me.id, "leaving: giving up what is owned");
        self.roads.close();
        self.local.leave();
        self.farewell(&[NodeState::Joining, NodeState::Active], NodeState::Draining).await;
    }

    /// Is a member no longer, and answers no other node.
    pub(super) async fn stop(self) {
        if let Some(running) = &self.running {
            running.abort();
        }
        if self.is_member() {
            self.farewell(&[NodeState::Joining, NodeState::Active, NodeState::Draining], NodeState::Gone).await;
        }
        self.local.closed.cancel();
        if let Some(internal) = self.internal {
            internal.stop().await;
        }
    }

    /// Tells the database. If it is away, the others learn it from the closed connection.
    async fn farewell(&self, from: &[NodeState], to: NodeState) {
        match tokio::time::timeout(FAREWELL_TIMEOUT, self.store.move_node(&self.me.id, self.me.instance, from, to)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the database was not told that this node is {}", to.word()),
            Err(_) => tracing::warn!("the database was not told within {FAREWELL_TIMEOUT:?} that this node is {}", to.word()),
        }
    }
}

/// Whoever asks this node is told how it reaches the broker: peers, operators, and its own membership.
pub(super) fn reach_teller(local: &Arc<Local>) -> impl Fn(Reach) + Send + 'static {
    metrics::describe_gauge!("doorbuster_broker_up", "1 = this node has a session with the broker");
    let (local, up) = (Arc::clone(local), metrics::gauge!("doorbuster_broker_up"));
    move |reach| {
        up.set(f64::from(u8::from(reach == Reach::Up)));
        local.set_reach(reach);
    }
}

/// How the broker is reached when the first attempt to connect is over.
fn first_reach(local: &Local) -> impl Future<Output = Reach> + use<> {
    let mut reaches = local.reaches();
    async move {
        // Whoever tells it does so within a bound, and lives as long as this node.
        let first = reaches.wait_for(|reach| *reach != Reach::Down).await;
        first.map_or(Reach::Away, |reach| *reach)
    }
}

/// How long a request may look for somebody who takes it up.
fn patience(config: &Config) -> Duration {
    Duration::from_millis(config.partition.command_timeout_ms)
}

/// What nodes know each other by, as it is configured.
pub(super) fn sources(config: &Config) -> Sources {
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

/// Where other nodes find this one.
pub(super) async fn advertised(config: &Config, bound: SocketAddr) -> Result<SocketAddr, StartError> {
    let Some(address) = &config.node.internal_advertise else {
        if bound.ip().is_unspecified() {
            let line = "other nodes cannot find one that listens on every address: set DOORBUSTER__NODE__INTERNAL_ADVERTISE to the one they are to use";
            return Err(StartError::Missing(vec![line.to_owned()]));
        }
        return Ok(bound);
    };
    let found = address.resolve().await.map_err(|cause| StartError::Advertise { address: address.clone(), cause })?;
    // A name has at least one address, or it would be an error. Others are to come by the way that is listened on.
    let mut chosen = found.iter().copied().find(|found| found.is_ipv4() == bound.is_ipv4()).unwrap_or(found[0]);
    if chosen.port() == 0 {
        chosen.set_port(bound.port());
    }
    Ok(chosen)
}
