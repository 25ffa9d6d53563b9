//! A node that sells: it takes the partitions the ring gives it, answers buyers, and passes on to other nodes what is theirs.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::secrets::Secrets;
use crate::config::Config;
use crate::membership::{Ended, View};
use crate::process::{Database, Engines, Plan, Process, StartError, Takers};
use crate::routing::Router;
use crate::server::Surface;

/// A running node.
pub struct SpikeNode(Process);

impl SpikeNode {
    /// Starts a node; resolves when it answers buyers and has begun to take its partitions.
    ///
    /// # Errors
    /// [`StartError`], after which nothing runs and this node is nobody's peer.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let secrets = Secrets::of(config, config.broker.url.is_some())?;
        let plan = Plan {
            role: "spike",
            id: config.node.id.parse().expect("checked with the configuration"),
            jwt_secret: secrets.jwt,
            database: Database::Shared(secrets.database_url.clone()),
            http: (&config.http.listen, "DOORBUSTER__HTTP__LISTEN"),
            surface: Surface::Buyers,
            peers: true,
            internal: Some((&config.node.internal_listen, "DOORBUSTER__NODE__INTERNAL_LISTEN")),
            engines: Engines::Placed,
            takers: Takers::Configured { looks_after_payments: true },
        };
        let (process, ()) = Process::start(config, plan, async |_| Ok(())).await?;
        let node = Self(process);
        let (id, http, internal) = (&config.node.id, node.address(), node.internal_address());
        tracing::info!(node = %id, %http, %internal, "node {id} is up");
        Ok(node)
    }

    /// Where buyers are answered.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Where other nodes are answered.
    #[must_use]
    pub fn internal_address(&self) -> SocketAddr {
        self.0.internal_address().expect("a node answers others")
    }

    /// The way of commands.
    #[must_use]
    pub fn router(&self) -> &Arc<Router> {
        self.0.router()
    }

    /// The cluster as this node sees it, now and whenever that changes.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.0.view().expect("a node has a cluster")
    }

    /// Serves until `shutdown` resolves or this node is replaced, then stops in order.
    ///
    /// # Errors
    /// [`Ended`], when it was not told to.
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Ended> {
        let ended = tokio::select! {
            () = shutdown => None,
            ended = self.0.ended() => Some(ended),
        };
        if let Some(ended) = ended {
            tracing::error!(%ended, "stopping: {ended}");
        }
        self.stop().await;
        ended.map_or(Ok(()), Err)
    }

    /// Leaves in order: no request fails for it.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}
