//! What all workers share: made once, outside the app factory, which runs once per worker.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use super::connections::Connections;
use super::request_id::RequestIds;
use crate::auth::{Authenticator, Hasher};
use crate::clock::Clock;
use crate::config;
use crate::drift::Drift;
use crate::limits::Limiter;
use crate::membership::View;
use crate::routing::peer::Local;
use crate::routing::{Neighbours, Router};
use crate::store::Store;
use crate::trace::Tracer;

/// The shared state of the HTTP layer.
#[derive(Debug)]
pub struct AppState {
    /// The way of commands to their engines, and the board.
    pub router: Arc<Router>,
    /// The projection and the accounts.
    pub store: Store,
    /// Who a bearer token speaks for.
    pub authenticator: Arc<Authenticator>,
    /// Where passwords are hashed: a few at a time, off the workers.
    pub hasher: Arc<Hasher>,
    /// Rate limits.
    pub limiter: Arc<Limiter>,
    /// The time, for states of commodities and `server_time`; decisions use the owner's clock.
    pub clock: Clock,
    /// What `/metrics` shows.
    pub prometheus: PrometheusHandle,
    /// Sizes, times and trusted proxies.
    pub config: config::Http,
    /// What is offered of the built-in accounts.
    pub accounts: config::Accounts,
    /// The clients' connections.
    pub connections: Arc<Connections>,
    /// Where request ids come from.
    pub request_ids: RequestIds,
    /// Which requests are traced.
    pub tracer: Tracer,
    /// How far this machine's clock is off.
    pub drift: Arc<Drift>,
    /// The other nodes; none in a process that is the whole system.
    pub cluster: Option<Cluster>,
}

/// What this process knows of the cluster it belongs to.
#[derive(Debug)]
pub struct Cluster {
    /// Who belongs to it and who should own what.
    pub view: watch::Receiver<Arc<View>>,
    /// What the other nodes say they serve.
    pub neighbours: Arc<Neighbours>,
    /// What is served here.
    pub local: Arc<Local>,
}
