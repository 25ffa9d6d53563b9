//! Who takes the money, and who looks after payments: whoever is configured; where that is left open, in the embedded mode, a sandbox in
//! this process. That one has a port of its own for whoever sells, so that this process is not held to the limits of its own buyers; its
//! pages are on the buyers' port too. Never takes real money unless somebody said whose.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Base, StartError};
use crate::clock;
use crate::config::{Address, Config};
use crate::http;
use crate::payments::provider::{Scheme, Settings};
use crate::payments::{ProviderName, Providers, Worker};
use crate::routing::Router;
use crate::sandbox::{self, Sandbox, ServerError};

/// The sandbox's books, in the data folder.
const BOOKS: &str = "sandbox.sqlite";

/// How long the sandbox in this process may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Questions to it at the same time, at most.
const IN_FLIGHT_MAX: usize = 64;

/// Who is to take the money.
pub(crate) enum Takers {
    /// Who is configured; nobody, if that is nobody.
    Configured {
        /// Whether this process looks after payments: where there are several they share the work.
        looks_after_payments: bool,
    },
    /// Who is configured; else a sandbox in this process, with its books in that folder.
    ConfiguredOrSandbox(PathBuf),
}

/// Who takes the money, and who looks after payments.
pub(super) struct Till {
    pub(super) providers: Arc<Providers>,
    pub(super) worker: Arc<Worker>,
    pub(super) sandbox: Option<sandbox::Server>,
    working: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Takers {
    /// Opens the till of a process that answers its buyers at that address.
    pub(super) async fn open(self, config: &Config, buyers: SocketAddr, (base, router): (&Base, &Arc<Router>)) -> Result<Till, StartError> {
        let providers = Providers::new(&config.payments).map_err(StartError::Payments)?;
        let (providers, sandbox, works) = match self {
            Self::Configured { looks_after_payments } => (providers, None, looks_after_payments),
            Self::ConfiguredOrSandbox(_) if !config.payments.is_left_open() => (providers, None, true),
            Self::ConfiguredOrSandbox(folder) => {
                let (providers, sandbox) = with_sandbox(providers, config, &folder, buyers).await?;
                (providers, Some(sandbox), true)
            }
        };
        let providers = Arc::new(providers);
        let worker = Worker::new(Arc::clone(router), base.store.clone(), Arc::clone(&providers), clock::system);
        let stop = base.stop.child_token();
        let working = works.then(|| tokio::spawn(Arc::clone(&worker).run(stop.clone())));
        Ok(Till { providers, worker, sandbox, working, stop })
    }
}

impl Till {
    /// Stops looking after payments, then the sandbox.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Some(working) = self.working
            && let Err(error) = working.await
        {
            tracing::error!(%error, "what looks after payments ended abnormally");
        }
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await;
        }
    }
}

async fn with_sandbox(
    providers: Providers,
    config: &Config,
    folder: &Path,
    buyers: SocketAddr,
) -> Result<(Providers, sandbox::Server), StartError> {
    // Both ends are here: what one shows the other needs not be known to anybody, nor outlive this process.
    let (secret, webhook_secret) = (SecretString::from(sandbox::random_secret("")), SecretString::from(sandbox::random_secret("whsec_")));
    let (name, reachable) = (ProviderName::sandbox(), format!("http://{}", sandbox::reachable(buyers)));
    let settings = sandbox::Settings {
        file: folder.join(BOOKS),
        public_url: config.sandbox.public_url.clone().unwrap_or_else(|| reachable.clone()),
        secret: secret.clone(),
        webhook: Some((format!("{reachable}/v1/payments/webhooks/{name}"), webhook_secret.clone())),
    };
    let own = "127.0.0.1:0".parse::<Address>().expect("it is an address");
    let listener = http::listen(&own).await.map_err(|cause| ServerError::Listen { address: own.to_string(), cause })?;
    let sandbox = Sandbox::open(&settings, clock::system).await.map_err(ServerError::from)?;
    let server = sandbox::Server::serve(sandbox, listener)?;
    let asked = Settings {
        scheme: Scheme::Standard,
        url: format!("http://{}/sandbox", server.address()),
        secret,
        timeout: TIMEOUT,
        in_flight_max: IN_FLIGHT_MAX,
        ca_file: None,
    };
    let providers = providers.with_chosen(name, &asked, &webhook_secret).map_err(StartError::Payments)?;
    Ok((providers, server))
}
