//! The place where an issuer publishes its keys, and what is asked of it: in turns, and out of turn for a key that is not known here, that at
//! most every five seconds however many tokens name one. Never follows a redirect, never trusts an answer that is not whole, and never
//! lets anybody wait without a bound.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, Uri, header};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use super::key_file;
use super::key_set::KEY_ID_BYTES_MAX;
use crate::auth::Unauthenticated;
use crate::config;

/// How long one fetch may take, from the look-up of the name to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// How long it is from the beginning of one fetch out of turn to that of the next.
const OUT_OF_TURN_INTERVAL: Duration = Duration::from_secs(5);

/// How long a request waits for keys at most: for its turn, and for the answer.
const WAIT_MAX: Duration = Duration::from_secs(9);

/// Requests that wait for the keys of one issuer, at most: as many as come in the longest time between two fetches where a thousand come a
/// second, all with a new key.
const WAITING_MAX: usize = 8_192;

/// The pauses after fetches that failed, in seconds: doubled each time, from the first to the last.
const RETRY_SECONDS: (u64, u64) = (1, 30);

/// The largest set of keys that is read, in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// The place where an issuer publishes its keys.
pub(super) struct Endpoint {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    refresh: Duration,
    asked: Mutex<Asked>,
    wake: Notify,
    finished: watch::Sender<Finished>,
    /// What the last answer did not have, though somebody asked for it or it was there before.
    absent: ArcSwap<Absent>,
    waiting: Semaphore,
}

/// What requests wait for.
#[derive(Default)]
struct Asked {
    ids: HashSet<Box<str>>,
    /// The number of the last fetch that began, from 1.
    begun: u64,
    is_running: bool,
}

/// The last fetch that is over; 0 = none yet.
#[derive(Clone, Copy, Default)]
struct Finished {
    number: u64,
    is_good: bool,
}

struct Absent {
    ids: HashSet<Box<str>>,
    /// Until then the issuer is not asked again for them.
    until: Instant,
}

/// A request that waits for keys.
pub(in crate::auth) struct Waiting<'e> {
    finished: watch::Receiver<Finished>,
    /// The fetch that answers it.
    number: u64,
    until: Instant,
    _permit: SemaphorePermit<'e>,
}

/// What a waiting request heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum Heard {
    /// A fetch is over that began before it asked: its key may be there.
    Earlier,
    /// The fetch is over that it asked for; whether it was good.
    Answer(bool),
    /// Nothing in time.
    Nothing,
}

impl Endpoint {
    pub(super) fn new(config: &config::Issuer) -> Result<Self, String> {
        let url: Uri = config.jwks_url.as_deref().unwrap_or_default().parse().map_err(|_| "jwks_url is no URL".to_owned())?;
        let roots = match (url.scheme_str(), &config.ca_file) {
            (Some("https"), None) => None,
            (Some("https"), Some(file)) => Some(authorities(file)?),
            _ => Some(RootCertStore::empty()),
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(FETCH_TIMEOUT));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls(roots)?).https_or_http().enable_http1().wrap_connector(tcp);
        // A connection would be idle for a minute between two fetches.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self {
            url,
            client,
            refresh: Duration::from_secs(config.refresh_seconds),
            asked: Mutex::default(),
            wake: Notify::new(),
            finished: watch::Sender::default(),
            absent: ArcSwap::from_pointee(Absent { ids: HashSet::new(), until: Instant::now() }),
            waiting: Semaphore::new(WAITING_MAX),
        })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &Uri {
        &self.url
    }

    /// Whether it may have a key with that id, and is to be asked.
    pub(super) fn may_have(&self, id: &str) -> bool {
        let absent = self.absent.load();
        id.len() <= KEY_ID_BYTES_MAX && !(absent.ids.contains(id) && Instant::now() < absent.until)
    }

    /// Asks for a key that is not here, or for any. Who asks is answered by the next fetch that begins, together with all others who do.
    ///
    /// # Errors
    /// [`Unauthenticated::KeysAway`] where there is nothing to wait for: the last fetch failed, or too many wait.
    pub(super) fn ask(&self, id: Option<&str>) -> Result<Waiting<'_>, Unauthenticated> {
        let permit = self.waiting.try_acquire().map_err(|_| Unauthenticated::KeysAway)?;
        let finished = self.finished.subscribe();
        let last = *finished.borrow();
        if last.number > 0 && !last.is_good {
            return Err(Unauthenticated::KeysAway);
        }
        let mut asked = self.asked();
        // Who went away leaves the id behind until the next fetch begins.
        if asked.ids.len() >= WAITING_MAX {
            return Err(Unauthenticated::KeysAway);
        }
        // Of the first fetch any key is news.
        let number = if asked.is_running && last.number == 0 { asked.begun } else { asked.begun + 1 };
        if let Some(id) = id {
            asked.ids.insert(id.into());
        }
        drop(asked);
        self.wake.notify_one();
        Ok(Waiting { finished, number, until: Instant::now() + WAIT_MAX, _permit: permit })
    }

    /// Resolves when the next fetch is due: at that time, or earlier if somebody asks for a key. Whether it is that time.
    pub(super) async fn due(&self, at: Instant, last_out_of_turn: Option<Instant>) -> bool {
        let out_of_turn = async {
            loop {
                self.wake.notified().await;
                if !self.asked().ids.is_empty() {
                    break;
                }
            }
            if let Some(begun) = last_out_of_turn {
                tokio::time::sleep_until(begun + OUT_OF_TURN_INTERVAL).await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(at) => true,
            () = out_of_turn => false,
        }
    }

    /// Begins a fetch: the ids that were asked for.
    pub(super) fn begin(&self) -> HashSet<Box<str>> {
        let mut asked = self.asked();
        asked.begun += 1;
        asked.is_running = true;
        std::mem::take(&mut asked.ids)
    }

    /// Ends it: `absent` are the ids that its answer does not have. Whoever waits hears of it, so the keys are to be in force by now.
    pub(super) fn end(&self, begun: Instant, absent: Option<HashSet<Box<str>>>) {
        let is_good = absent.is_some();
        if let Some(ids) = absent {
            self.absent.store(Arc::new(Absent { ids, until: begun + OUT_OF_TURN_INTERVAL }));
        }
        let mut asked = self.asked();
        asked.is_running = false;
        let number = asked.begun;
        drop(asked);
        self.finished.send_replace(Finished { number, is_good });
    }

    /// How long after the beginning of one fetch the next one is due; so many have failed since the last good one.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let (first, longest) = RETRY_SECONDS;
        match failures {
            0 => self.refresh,
            _ => Duration::from_secs(first.checked_shl(failures - 1).unwrap_or(longest).min(longest)).min(self.refresh),
        }
    }

    /// The bytes that are there now.
    pub(super) async fn fetch(&self) -> Result<Bytes, String> {
        let answer = tokio::time::timeout(FETCH_TIMEOUT, self.answer()).await;
        answer.unwrap_or_else(|_| Err(format!("no whole answer within {} seconds", FETCH_TIMEOUT.as_secs())))
    }

    async fn answer(&self) -> Result<Bytes, String> {
        let request = Request::get(&self.url)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("doorbuster/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| innermost(&error))?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(format!("it answers {status}, and redirects are not followed")),
            status => return Err(format!("it answers {status}")),
        }
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| innermost(&*error))
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    /// Resolves when a fetch is over, or when it has waited long enough.
    pub(in crate::auth) async fn hear(&mut self) -> Heard {
        match tokio::time::timeout_at(self.until, self.finished.changed()).await {
            Ok(Ok(())) => {
                let last = *self.finished.borrow_and_update();
                if last.number < self.number { Heard::Earlier } else { Heard::Answer(last.is_good) }
            }
            // The sender lives as long as the endpoint.
            Ok(Err(_)) | Err(_) => Heard::Nothing,
        }
    }
}

impl Heard {
    /// What a request is told whose key has not come; none while it may.
    pub(in crate::auth) fn refusal(self) -> Option<Unauthenticated> {
        match self {
            Self::Earlier => None,
            Self::Answer(true) => Some(Unauthenticated::UnknownKey),
            Self::Answer(false) | Self::Nothing => Some(Unauthenticated::KeysAway),
        }
    }
}

/// None: those of this machine.
fn tls(roots: Option<RootCertStore>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let trusting = match roots {
        Some(roots) => versions.with_root_certificates(roots),
        None => versions
            .with_native_roots()
            .map_err(|_| "this machine has no certificates of authorities: install ca-certificates, or set ca_file")?,
    };
    Ok(trusting.with_no_client_auth())
}

/// The certificates in a file.
fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let text = key_file::text(file)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|_| format!("the file {} holds what is no certificate", file.display()))?;
        roots.add(certificate).map_err(|_| format!("the file {} holds a certificate that cannot be used", file.display()))?;
    }
    if roots.is_empty() { Err(format!("the file {} holds no certificate", file.display())) } else { Ok(roots) }
}

/// What it comes down to: the outer errors say only that something failed.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map_or_else(String::new, ToString::to_string)
}
