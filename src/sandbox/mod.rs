//! A payment provider to try with: a process of its own (`doorbuster sandbox`), or a part of the embedded mode under `/sandbox`. It speaks
//! like the big ones, keeps books that survive whatever ends it, and does wrong what it is told to. Never takes real money, and knows nothing
//! of orders: what it is told of one is a text.

mod api;
mod books;
mod deliveries;
mod faults;
mod pages;
mod reply;
mod server;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

pub(crate) use api::routes;
pub use books::BooksError;
pub use faults::Faults;
pub use server::{Prepared, Server, ServerError, prepare};
pub(crate) use server::{random_secret, reachable};

use crate::clock::Clock;
use books::{Books, Key, Told};
use deliveries::Deliveries;

/// The setting that the faults are kept under.
const FAULTS: &str = "faults";
/// The setting that the books' own name is kept under.
const NAME: &str = "name";

/// What a sandbox needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its books are.
    pub file: PathBuf,
    /// What browsers reach it by, without `/sandbox`.
    pub public_url: String,
    /// What whoever sells shows it.
    pub secret: SecretString,
    /// Where its messages go, and what they are signed with. None: nowhere.
    pub webhook: Option<(String, SecretString)>,
}

/// A sandbox. What all its requests share.
pub struct Sandbox {
    books: Books,
    /// Tells these books' events from those of others.
    name: String,
    faults: ArcSwap<Faults>,
    public_url: String,
    secret: [u8; 32],
    deliveries: Option<Deliveries>,
    wake: Notify,
    clock: Clock,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its file.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// A setting: a sentence.
    #[error("{0}")]
    Setting(String),
}

impl Sandbox {
    /// Opens the books, or begins new ones.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(settings: &Settings, clock: Clock) -> Result<Arc<Self>, OpenError> {
        let deliveries =
            settings.webhook.as_ref().map(|(url, secret)| Deliveries::new(url, secret)).transpose().map_err(OpenError::Setting)?;
        let books = Books::open(&settings.file).await?;
        let name = match books.setting(NAME).await? {
            Some(name) => name,
            None => {
                let name = format!("{:08x}", rand::random::<u32>());
                books.set(NAME, name.clone()).await?;
                name
            }
        };
        // What an older or a newer release has written and this one does not know is no fault.
        let faults = books.setting(FAULTS).await?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok(Arc::new(Self {
            books,
            name,
            faults: ArcSwap::from_pointee(faults),
            public_url: settings.public_url.trim_end_matches('/').to_owned(),
            secret: digest(settings.secret.expose_secret()),
            deliveries,
            wake: Notify::new(),
            clock,
        }))
    }

    /// Closes the books.
    ///
    /// # Errors
    /// [`BooksError`].
    pub async fn close(&self) -> Result<(), BooksError> {
        self.books.close().await
    }

    fn faults(&self) -> Faults {
        **self.faults.load()
    }

    async fn set_faults(&self, faults: Faults) -> Result<(), BooksError> {
        let text = serde_json::to_string(&faults).expect("numbers can be written");
        self.books.set(FAULTS, text).await?;
        self.faults.store(Arc::new(faults));
        Ok(())
    }

    /// Now, and how what happens now is told.
    fn told(&self) -> Told {
        let copies = if self.deliveries.is_some() { self.faults().copies() } else { Vec::new() };
        Told { now: (self.clock)(), copies }
    }

    /// The key of a request, which is the same as another if its path and body are.
    fn key(&self, text: String, path: &str, body: &[u8]) -> Key {
        let now = (self.clock)();
        let mut fingerprint = Sha256::new();
        fingerprint.update(path.as_bytes());
        fingerprint.update([0]);
        fingerprint.update(body);
        let fingerprint = fingerprint.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Key { text, fingerprint, used_at: now, forgotten_until: self.faults().forgotten_until(now) }
    }

    /// Whether that is the secret.
    fn is_secret(&self, given: &str) -> bool {
        digest(given) == self.secret
    }

    fn event_id(&self, number: i64) -> String {
        format!("evt_{}_{number:012}", self.name)
    }

    /// The number of an event of these books.
    fn event_number(&self, id: &str) -> Option<i64> {
        id.strip_prefix("evt_")?.strip_prefix(self.name.as_str())?.strip_prefix('_')?.parse().ok().filter(|number| *number >= 0)
    }

    /// Where a person pays.
    fn checkout_url(&self, token: &str) -> String {
        format!("{}/sandbox/checkout/{token}", self.public_url)
    }
}

/// Digests are compared, so that how long it takes says nothing of the secret.
fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// A name that nobody guesses.
fn random_name(prefix: &str) -> String {
    format!("{prefix}{:032x}", rand::random::<u128>())
}
