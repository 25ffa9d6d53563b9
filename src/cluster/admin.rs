//! The operators' process: it owns nothing and is nobody's peer; what it is asked to change goes to the owners as commands.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::parts::{Parts, Served, StartError, close, listen};
use crate::admin;
use crate::config::Config;
use crate::membership::Ended;
use crate::server::Surface;

/// A running admin process.
pub struct AdminNode {
    parts: Parts,
    operators: Served,
    membership: JoinHandle<Ended>,
}

impl AdminNode {
    /// Starts it; resolves when operators are answered.
    ///
    /// # Errors
    /// [`StartError`], after which nothing runs.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let (listener, _) = listen(&config.admin.listen, "DOORBUSTER__ADMIN__LISTEN").await?;
        let id = "admin".parse().expect("a word is an id");
        let parts = Parts::assemble(config, ("admin", true), id, None).await?;
        let membership = parts.membership(config);
        let operators = parts.serve(config, listener, Surface::Operators, membership.view())?;
        tokio::spawn(admin::list_what_was_left(Arc::clone(&parts.router), parts.store.clone(), parts.stop.clone()));
        let membership = tokio::spawn(membership.run());
        tracing::info!(http = %operators.address, "the admin process is up");
        Ok(Self { parts, operators, membership })
    }

    /// Where operators are answered.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.operators.address
    }

    /// Serves until `shutdown` resolves, then stops in order.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        self.stop().await;
    }

    /// Answers what is in flight, then stops.
    pub async fn stop(self) {
        self.operators.stop().await;
        self.membership.abort();
        self.parts.stop.cancel();
        close(&self.parts.store).await;
        self.parts.tracer.shut().await;
        tracing::info!("stopped");
    }
}
