//! Who takes the money in the embedded mode: whoever is configured, else a sandbox in this process. That one has a port of its own for
//! whoever sells, so that this process is not held to the limits of its own buyers; its pages are on the buyers' port too. Never takes real
//! money unless somebody said whose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::StartError;
use crate::clock;
use crate::config::{Address, Config};
use crate::datadir::DataDir;
use crate::http;
use crate::payments::provider::{Scheme, Settings};
use crate::payments::{ProviderName, Providers};
use crate::sandbox::{self, Sandbox, ServerError};

/// The sandbox's books, in the data folder.
const BOOKS: &str = "sandbox.sqlite";

/// How long the sandbox in this process may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Questions to it at the same time, at most.
const IN_FLIGHT_MAX: usize = 64;

/// Who takes the money.
pub(super) struct Till {
    pub(super) providers: Arc<Providers>,
    pub(super) sandbox: Option<sandbox::Server>,
}

/// Opens it; buyers are answered at that address.
pub(super) async fn open(config: &Config, data: &DataDir, buyers: SocketAddr) -> Result<Till, StartError> {
    let providers = Providers::new(&config.payments).map_err(StartError::Payments)?;
    if !config.payments.is_left_open() {
        return Ok(Till { providers: Arc::new(providers), sandbox: None });
    }
    // Both ends are here: what one shows the other needs not be known to anybody, nor outlive this process.
    let (secret, webhook_secret) = (SecretString::from(sandbox::random_secret("")), SecretString::from(sandbox::random_secret("whsec_")));
    let (name, reachable) = (ProviderName::sandbox(), format!("http://{}", sandbox::reachable(buyers)));
    let settings = sandbox::Settings {
        file: data.path().join(BOOKS),
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
    Ok(Till { providers: Arc::new(providers), sandbox: Some(server) })
}
