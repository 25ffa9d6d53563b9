//! What all workers share: made once, outside the app factory, which runs once per worker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use super::connections::Connections;
use super::request_id::RequestIds;
use crate::auth::Authenticator;
use crate::clock::Clock;
use crate::config;
use crate::drift::Drift;
use crate::limits::Limiter;
use crate::logins::Logins;
use crate::membership::View;
use crate::payments::{Providers, Worker};
use crate::routing::peer::Local;
use crate::routing::{Neighbours, Router};
use crate::sandbox::Sandbox;
use crate::single_flight::{Share, SingleFlight};
use crate::store::{AccountChange, Store, StoreError};
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
    /// Rate limits.
    pub limiter: Arc<Limiter>,
    /// How often passwords may be tried.
    pub logins: Logins,
    /// What costs something and may be asked for in a loop.
    pub costly: Costly,
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
    /// Who takes the money.
    pub providers: Arc<Providers>,
    /// What looks after payments.
    pub worker: Arc<Worker>,
    /// The provider to try with, where this process is it too.
    pub sandbox: Option<Arc<Sandbox>>,
    /// The other nodes; none in a process that is the whole system.
    pub cluster: Option<Cluster>,
}

/// Answers that cost something: made once at a time, for all who wait, and never more than a share of the time.
#[derive(Debug)]
pub struct Costly {
    /// Bodies of audits, and whether everything is looked at.
    pub audits: SingleFlight<bool, Result<Bytes, Arc<StoreError>>>,
    /// Texts of `/metrics`, and whether they tell of stock.
    pub scrapes: SingleFlight<bool, Bytes>,
}

impl Default for Costly {
    fn default() -> Self {
        let share = |rest, rest_max, waiting_max| Share { rest, rest_max: Duration::from_secs(rest_max), waiting_max };
        Self { audits: SingleFlight::new(share(4, 5, 64)), scrapes: SingleFlight::new(share(9, 1, 256)) }
    }
}

impl AppState {
    /// Tokens that an account was given before this change are over: here from now on, elsewhere when the news is there.
    pub fn has_changed(&self, change: AccountChange) {
        self.authenticator.endings().note(change.account, change.number, change.generation, change.at);
    }
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
