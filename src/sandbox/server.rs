//! The sandbox as a server of its own: what `doorbuster sandbox` runs, and what the embedded mode talks to. Never shares the port of those who
//! buy: whoever sells is not held to the limits of buyers.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{OpenError, Sandbox, Settings, api};
use crate::clock;
use crate::config::{Address, Config};
use crate::datadir::{DataDir, DataDirError};
use crate::http;
use crate::payments::ProviderName;

/// The folder of a sandbox of its own, in the data folder.
const FOLDER: &str = "sandbox";
/// Its books.
const BOOKS: &str = "sandbox.sqlite";
/// What whoever sells shows it, and what its messages are signed with, where the configuration says neither.
const SECRET: &str = "provider.secret";
const WEBHOOK_SECRET: &str = "webhook.secret";

/// Worker threads.
const WORKERS: usize = 2;

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its folder.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// Its books, or a setting.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its port.
    #[error("cannot listen on {address}: {cause}; stop what listens there, or set DOORBUSTER__SANDBOX__LISTEN")]
    Listen {
        /// Where.
        address: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A secret in a file.
    #[error("cannot use {}: {cause}", path.display())]
    Secret {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        cause: std::io::Error,
    },
}

/// A sandbox that listens.
#[derive(Debug)]
pub struct Server {
    sandbox: Arc<Sandbox>,
    address: SocketAddr,
    handle: ServerHandle,
    served: JoinHandle<std::io::Result<()>>,
    running: JoinHandle<()>,
    stop: CancellationToken,
    /// Of a sandbox of its own.
    _data: Option<DataDir>,
}

/// What is needed to start a sandbox of its own: its folder, which is this process's from now on, where it listens, and how others are told to
/// reach it.
#[derive(Debug)]
pub struct Prepared {
    data: DataDir,
    listener: TcpListener,
    settings: Settings,
    /// What to write into the configuration of whoever sells; no secret is in it.
    pub advice: String,
}

/// Gets ready to start a sandbox of its own: takes its folder and its port.
///
/// # Errors
/// [`ServerError`].
pub async fn prepare(config: &Config, data: &Path) -> Result<Prepared, ServerError> {
    let data = DataDir::open(&data.join(FOLDER))?;
    let listener = listen(&config.sandbox.listen).await?;
    let address = listener.local_addr().map_err(|cause| ServerError::Listen { address: config.sandbox.listen.to_string(), cause })?;
    let public_url = config.sandbox.public_url.clone().unwrap_or_else(|| format!("http://{}", reachable(address)));
    let configured = config.payments.providers.get(&ProviderName::sandbox());
    let secret = match configured.and_then(|provider| provider.secret.clone()) {
        Some(secret) => secret,
        None => kept(&data.path().join(SECRET), "")?,
    };
    let webhook_secret = match configured.and_then(|provider| provider.webhook_secrets.first().cloned()) {
        Some(secret) => secret,
        None => kept(&data.path().join(WEBHOOK_SECRET), "whsec_")?,
    };
    let file = config.sandbox.file.clone().unwrap_or_else(|| data.path().join(BOOKS));
    let webhook = config.sandbox.webhook_url.clone();
    let advice = advice(&public_url, &file, webhook.as_deref(), configured.is_some(), data.path());
    let settings = Settings { file, public_url, secret, webhook: webhook.map(|url| (url, webhook_secret)) };
    Ok(Prepared { data, listener, settings, advice })
}

impl Server {
    /// Starts a sandbox of its own.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn start(prepared: Prepared) -> Result<Self, ServerError> {
        let Prepared { data, listener, settings, advice: _ } = prepared;
        let sandbox = Sandbox::open(&settings, clock::system).await?;
        let server = Self::serve(sandbox, listener)?;
        Ok(Self { _data: Some(data), ..server })
    }

    /// Serves a sandbox on that listener.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub fn serve(sandbox: Arc<Sandbox>, listener: TcpListener) -> Result<Self, ServerError> {
        let unable = |cause| ServerError::Listen { address: "the sandbox's port".to_owned(), cause };
        let address = listener.local_addr().map_err(unable)?;
        let shared = web::Data::from(Arc::clone(&sandbox));
        let factory = move || {
            App::new()
                .configure(|routes| api::routes(routes, &shared))
                .route("/healthz", web::get().to(|| std::future::ready(HttpResponse::Ok().body("ok"))))
        };
        let server =
            HttpServer::new(factory).workers(WORKERS).disable_signals().shutdown_timeout(5).listen(listener).map_err(unable)?.run();
        let stop = CancellationToken::new();
        let (handle, served) = (server.handle(), tokio::spawn(server));
        let running = tokio::spawn(Arc::clone(&sandbox).run(stop.clone()));
        Ok(Self { sandbox, address, handle, served, running, stop, _data: None })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The sandbox.
    #[must_use]
    pub fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// Stops in order: what is asked is answered, and the books are closed.
    pub async fn stop(self) {
        self.handle.stop(true).await;
        if let Err(error) = self.served.await {
            tracing::error!(%error, "the sandbox's server ended abnormally");
        }
        self.stop.cancel();
        if let Err(error) = self.running.await {
            tracing::error!(%error, "the sandbox's messages ended abnormally");
        }
        if let Err(error) = self.sandbox.close().await {
            tracing::error!(%error, "the sandbox's books did not close well");
        }
    }
}

async fn listen(address: &Address) -> Result<TcpListener, ServerError> {
    http::listen(address).await.map_err(|cause| ServerError::Listen { address: address.to_string(), cause })
}

/// Where somebody on this machine finds what listens there.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], v6.port())),
        address => address,
    }
}

/// A new secret of webhooks.
pub(crate) fn random_secret(prefix: &str) -> String {
    format!("{prefix}{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// The secret in a file, for its owner alone; a new one if there is no file.
fn kept(path: &Path, prefix: &str) -> Result<SecretString, ServerError> {
    use std::io::Write;
    let failed = |cause| ServerError::Secret { path: path.to_owned(), cause };
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(mut file) => {
            let secret = random_secret(prefix);
            file.write_all(format!("{secret}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(SecretString::from(secret))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let text = std::fs::read_to_string(path).map_err(failed)?;
            match text.trim() {
                "" => Err(failed(std::io::Error::other("it is empty: delete it to get a new one"))),
                secret => Ok(SecretString::from(secret)),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

fn advice(url: &str, file: &Path, webhook: Option<&str>, is_configured: bool, folder: &Path) -> String {
    let mut text = format!(
        "\nThe sandbox is up: it takes no real money\n\n  API          {url}/sandbox\n  books        {}\n  messages to  {}\n",
        file.display(),
        webhook.unwrap_or("nobody")
    );
    if !is_configured {
        text.push_str(&format!(
            "\nWhoever sells with it needs this in doorbuster.toml:\n\n  [payments]\n  provider = \"sandbox\"\n\n  [payments.providers.sandbox]\n  \
             scheme = \"standard\"\n  url = \"{url}/sandbox\"\n  secret_file = \"{}\"\n  webhook_secrets_file = \"{}\"\n",
            folder.join(SECRET).display(),
            folder.join(WEBHOOK_SECRET).display()
        ));
    }
    text.push_str("\nStop with Ctrl-C: its books are on disk.\n");
    text
}
