//! Ports that are taken, and the servers on them. Never knows what is served.

use std::net::{SocketAddr, TcpListener};

use actix_web::dev::{Server, ServerHandle};
use tokio::task::JoinHandle;

use super::StartError;
use crate::config::Address;
use crate::http;

/// A port that is taken: whoever connects waits until it is served.
pub struct Port {
    address: SocketAddr,
    listener: TcpListener,
    setting: &'static str,
}

impl Port {
    /// Takes it; `setting` is what to set if it is taken.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub(crate) async fn take(address: &Address, setting: &'static str) -> Result<Self, StartError> {
        let wrong = |cause| StartError::Listen { address: address.clone(), setting, cause };
        let listener = http::listen(address).await.map_err(wrong)?;
        Ok(Self { address: listener.local_addr().map_err(wrong)?, listener, setting })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves it.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub(crate) fn serve<S>(self, serve: impl FnOnce(TcpListener) -> std::io::Result<S>) -> Result<S, StartError> {
        let Self { address, listener, setting } = self;
        serve(listener).map_err(|cause| StartError::Listen { address: address.into(), setting, cause })
    }
}

/// A running HTTP server.
pub(crate) struct Served {
    handle: ServerHandle,
    task: JoinHandle<std::io::Result<()>>,
}

impl From<Server> for Served {
    fn from(server: Server) -> Self {
        Self { handle: server.handle(), task: tokio::spawn(server) }
    }
}

impl Served {
    /// Answers what is in flight and takes no more.
    pub(crate) async fn stop(self) {
        self.handle.stop(true).await;
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "an HTTP server ended with an error"),
            Err(error) => tracing::error!(%error, "an HTTP server ended abnormally"),
        }
    }
}
