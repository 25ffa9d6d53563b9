//! The operators' process: it owns nothing and is nobody's peer; what it is asked to change goes to the owners as commands.

use std::net::SocketAddr;

use super::secrets::Secrets;
use crate::config::Config;
use crate::process::{Database, Engines, Plan, Process, StartError, Takers};
use crate::server::Surface;

/// A running admin process.
pub struct AdminNode(Process);

impl AdminNode {
    /// Starts it; resolves when operators are answered.
    ///
    /// # Errors
    /// [`StartError`], after which nothing runs.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let secrets = Secrets::of(config, true)?;
        let plan = Plan {
            role: "admin",
            id: "admin".parse().expect("a word is an id"),
            jwt_secret: secrets.jwt,
            database: Database::Shared(secrets.database_url.clone()),
            http: (&config.admin.listen, "DOORBUSTER__ADMIN__LISTEN"),
            surface: Surface::Operators,
            peers: true,
            internal: None,
            engines: Engines::None,
            takers: Takers::Configured { looks_after_payments: false },
        };
        let (process, ()) = Process::start(config, plan, async |_| Ok(())).await?;
        tracing::info!(http = %process.address(), "the admin process is up");
        Ok(Self(process))
    }

    /// Where operators are answered.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Serves until `shutdown` resolves, then stops in order.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        self.stop().await;
    }

    /// Answers what is in flight, then stops.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}
