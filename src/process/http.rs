//! The HTTP server of a process, and the tasks that work beside its requests. Never knows which role it is.

use std::sync::Arc;

use actix_web::web::Data;

use super::till::Till;
use super::{Accounts, Base, Port, Served, StartError};
use crate::account_changes::AccountChanges;
use crate::config::Config;
use crate::drift::Drift;
use crate::http::{AppState, Cluster, Connections, Costly, RequestIds};
use crate::limits::Limiter;
use crate::logins::Logins;
use crate::routing::Router;
use crate::server::{self, Surface};
use crate::{admin, clock};

/// What all workers share; begins the tasks that look after it.
pub(super) fn state(
    config: &Config,
    base: &Base,
    Accounts { authenticator, hasher }: Accounts,
    changes: AccountChanges,
    (router, connections, cluster): (&Arc<Router>, &Arc<Connections>, Option<Cluster>),
    till: &Till,
) -> AppState {
    let Base { store, metrics, tracer, stop, .. } = base;
    let (limiter, drift) = (Arc::new(Limiter::new(&config.limits)), Arc::<Drift>::default());
    tokio::spawn({
        let (limiter, stop) = (Arc::clone(&limiter), stop.clone());
        async move { limiter.run_upkeep(stop).await }
    });
    tokio::spawn(Arc::clone(&authenticator).follow_keys(stop.clone()));
    tokio::spawn(changes.follow(clock::system, stop.clone()));
    tokio::spawn(Logins::run_upkeep(store.clone(), clock::system, stop.clone()));
    // A database of our own has no other clock.
    if cluster.is_some() {
        let (drift, store, stop) = (Arc::clone(&drift), store.clone(), stop.clone());
        tokio::spawn(async move { drift.watch(store, clock::system, stop).await });
    }
    AppState {
        router: Arc::clone(router),
        store: store.clone(),
        authenticator,
        // Where there are other nodes, they answer logins too.
        logins: Logins::new(&config.limits, (Arc::clone(&limiter), hasher), store.clone(), cluster.is_some()),
        costly: Costly::default(),
        limiter,
        clock: clock::system,
        prometheus: metrics.clone(),
        config: config.http.clone(),
        accounts: config.accounts,
        connections: Arc::clone(connections),
        request_ids: RequestIds::new(rand::random()),
        tracer: tracer.clone(),
        drift,
        providers: Arc::clone(&till.providers),
        worker: Arc::clone(&till.worker),
        sandbox: till.sandbox.as_ref().map(|server| Arc::clone(server.sandbox())),
        cluster,
    }
}

/// Answers HTTP from now on.
pub(super) fn serve(port: Port, state: AppState, surface: Surface, base: &Base) -> Result<Served, StartError> {
    if surface != Surface::Buyers {
        tokio::spawn(admin::list_what_was_left(Arc::clone(&state.router), base.store.clone(), base.stop.clone()));
    }
    Ok(port.serve(|listener| server::serve(listener, Data::new(state), surface))?.into())
}
