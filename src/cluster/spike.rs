//! A node that sells: it takes the partitions the ring gives it, answers buyers, and passes on to other nodes what is theirs.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::parts::{Parts, Served, StartError, close, listen, node_id, unable};
use super::steward::Steward;
use crate::clock;
use crate::config::Config;
use crate::domain::Reach;
use crate::membership::{Ended, View, join};
use crate::ownership::ClusterOwnership;
use crate::partition::Settings;
use crate::routing::Router;
use crate::routing::peer::{self, Local, PeerServer};
use crate::server::Surface;
use crate::store::{NodeState, Store};

/// How long the database may take to be told that this node leaves.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

const INTERNAL_LISTEN: &str = "DOORBUSTER__NODE__INTERNAL_LISTEN";

/// A running node.
pub struct SpikeNode {
    parts: Parts,
    buyers: Served,
    internal: PeerServer,
    ownership: Arc<ClusterOwnership>,
    membership: JoinHandle<Ended>,
    view: watch::Receiver<Arc<View>>,
    steward: JoinHandle<()>,
    steward_stop: CancellationToken,
    leave_timeout: Duration,
}

impl SpikeNode {
    /// Starts a node; resolves when it answers buyers and has begun to take its partitions.
    ///
    /// # Errors
    /// [`StartError`], after which nothing runs and this node is nobody's peer.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let (internal, bound) = listen(&config.node.internal_listen, INTERNAL_LISTEN).await?;
        let (buyers, _) = listen(&config.http.listen, "DOORBUSTER__HTTP__LISTEN").await?;
        let address = advertised(config, bound).await?;
        let parts = Parts::assemble(config, ("spike", config.broker.url.is_some()), node_id(config), Some(address)).await?;
        let interval = Duration::from_millis(config.node.heartbeat_interval_ms);
        join(&parts.store, &parts.me, address, &parts.local, clock::system, interval).await?;
        let ownership = Arc::new(ClusterOwnership::start(config, parts.store.clone(), clock::system)?);
        let board = Arc::clone(&parts.local.board);
        ownership.confirmed().ask_too(move |partition| board.confirmed(partition));
        let internal = peer::serve(internal, Arc::clone(&parts.local)).map_err(|cause| unable(&bound.into(), INTERNAL_LISTEN, cause))?;
        let membership = parts.membership(config);
        let view = membership.view();
        let buyers = parts.serve(config, buyers, Surface::Buyers, view.clone())?;
        tokio::spawn(parts.stop.clone().run_until_cancelled_owned(ownership.tell_reach(reach_teller(&parts.local))));
        // Told before it is active: nobody is to give up a partition for a node that has no broker.
        let broker = first_reach(&parts.local).await;
        parts.store.beat(&parts.me.id, parts.me.instance, clock::system(), broker).await?;
        parts.store.move_node(&parts.me.id, parts.me.instance, &[NodeState::Joining], NodeState::Active).await?;
        let membership = tokio::spawn(membership.run());
        let steward = Steward {
            local: Arc::clone(&parts.local),
            ownership: ownership.clone(),
            settings: Settings::from(&config.partition),
            clock: clock::system,
        };
        let steward_stop = CancellationToken::new();
        let steward = tokio::spawn(steward.run(view.clone(), steward_stop.clone()));
        tracing::info!(node = %parts.me.id, http = %buyers.address, internal = %bound, "node {} is up", parts.me.id);
        let leave_timeout = Duration::from_millis(config.http.leave_timeout_ms);
        Ok(Self { parts, buyers, internal, ownership, membership, view, steward, steward_stop, leave_timeout })
    }

    /// Where buyers are answered.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.buyers.address
    }

    /// Where other nodes are answered.
    #[must_use]
    pub fn internal_address(&self) -> SocketAddr {
        self.internal.address()
    }

    /// The way of commands.
    #[must_use]
    pub fn router(&self) -> &Arc<Router> {
        &self.parts.router
    }

    /// The cluster as this node sees it, now and whenever that changes.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Serves until `shutdown` resolves or this node is replaced, then stops in order.
    ///
    /// # Errors
    /// [`Ended`], when it was not told to.
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Ended> {
        let ended = tokio::select! {
            () = shutdown => None,
            ended = &mut self.membership => Some(ended.unwrap_or(Ended::Replaced)),
        };
        if let Some(ended) = ended {
            tracing::error!(%ended, "stopping: {ended}");
        }
        self.stop().await;
        ended.map_or(Ok(()), Err)
    }

    /// Leaves in order: no request fails for it.
    ///
    /// First the partitions go, and whoever asks meanwhile is led to the next owner, also from here. Each answer asks its client
    /// to close the connection; when all have, or the bound is over, the buyers' server stops, and at last the internal one.
    pub async fn stop(self) {
        let Parts { store, me, local, roads, tracer, stop, .. } = self.parts;
        tracing::info!(node = %me.id, "leaving: giving up what is owned");
        roads.close();
        self.buyers.connections.leave();
        local.leave();
        let living = [NodeState::Joining, NodeState::Active];
        farewell(&store, &me, &living, NodeState::Draining).await;
        self.steward_stop.cancel();
        if let Err(error) = self.steward.await {
            tracing::error!(%error, "the steward of the partitions ended abnormally");
        }
        self.buyers.connections.gone(self.leave_timeout).await;
        self.buyers.stop().await;
        self.ownership.stop().await;
        self.membership.abort();
        farewell(&store, &me, &[NodeState::Joining, NodeState::Active, NodeState::Draining], NodeState::Gone).await;
        local.closed.cancel();
        self.internal.stop().await;
        stop.cancel();
        close(&store).await;
        tracer.shut().await;
        tracing::info!(node = %me.id, "stopped");
    }
}

/// Whoever asks this node is told how it reaches the broker: peers, operators, and its own membership.
fn reach_teller(local: &Arc<Local>) -> impl Fn(Reach) + Send + 'static {
    metrics::describe_gauge!("doorbuster_broker_up", "1 = this node has a session with the broker");
    let (local, up) = (Arc::clone(local), metrics::gauge!("doorbuster_broker_up"));
    move |reach| {
        up.set(f64::from(u8::from(reach == Reach::Up)));
        local.set_reach(reach);
    }
}

/// How the broker is reached when the first attempt to connect is over.
async fn first_reach(local: &Local) -> Reach {
    let mut reaches = local.reaches();
    // Whoever tells it does so within a bound, and lives as long as this node.
    let first = reaches.wait_for(|reach| *reach != Reach::Down).await;
    first.map_or(Reach::Away, |reach| *reach)
}

/// Tells the database. If it is away, the others learn it from the closed connection.
async fn farewell(store: &Store, me: &crate::membership::Me, from: &[NodeState], to: NodeState) {
    match tokio::time::timeout(FAREWELL_TIMEOUT, store.move_node(&me.id, me.instance, from, to)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the database was not told that this node is {}", to.word()),
        Err(_) => tracing::warn!("the database was not told within {FAREWELL_TIMEOUT:?} that this node is {}", to.word()),
    }
}

/// Where other nodes find this one.
async fn advertised(config: &Config, bound: SocketAddr) -> Result<SocketAddr, StartError> {
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
