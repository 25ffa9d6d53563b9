//! The database of a process: one of its own, or one that others share. Never changes a schema that it does not own.

use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::StartError;
use crate::config::Config;
use crate::domain::Partitions;
use crate::store::Store;

/// How long it may take to close one: what is in the middle of something must not keep a process from ending.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// The same of one of our own: its file is put in order.
const OWN_CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The name of the database in the data folder.
const FILE: &str = "doorbuster.sqlite";

/// Where the database is.
pub(crate) enum Database {
    /// This process is all there is: its schema is made and brought up to date here.
    Own(SecretString),
    /// Other processes work on it too.
    Shared(SecretString),
}

impl Database {
    /// The configured one, or the file in the data folder.
    pub(crate) fn own(config: &Config, data: &Path) -> Self {
        Self::Own(config.database.url.clone().unwrap_or_else(|| format!("sqlite:{}", data.join(FILE).display()).into()))
    }

    /// Connects to it.
    pub(super) async fn open(&self, config: &Config) -> Result<Store, StartError> {
        match self {
            Self::Own(url) => {
                self.migrate(config).await?;
                let store = Store::connect(url.expose_secret(), &config.database).await?;
                // None of an older release runs beside it.
                store.raise_log_version().await?;
                Ok(store)
            }
            Self::Shared(url) => {
                let store = Store::connect(url.expose_secret(), &config.database).await?;
                let (schema, configured) = (store.partitions().get(), config.partition.count);
                if schema == configured { Ok(store) } else { Err(StartError::Partitions { schema, configured }) }
            }
        }
    }

    /// Makes its schema, or brings it up to date; how many steps that were.
    pub(crate) async fn migrate(&self, config: &Config) -> Result<usize, StartError> {
        let (Self::Own(url) | Self::Shared(url)) = self;
        let partitions = Partitions::new(config.partition.count).expect("checked with the configuration");
        Ok(Store::migrate(url.expose_secret(), &config.database, partitions).await?)
    }

    /// Connects to what is there, whatever its number of partitions: takes no lock, makes nothing.
    pub(crate) async fn open_existing(config: &Config, data: &Path) -> Result<Store, StartError> {
        let file = data.join(FILE);
        if config.database.url.is_none() && !file.exists() {
            return Err(StartError::NoDatabase(file.display().to_string()));
        }
        let (Self::Own(url) | Self::Shared(url)) = Self::own(config, data);
        Ok(Store::connect(url.expose_secret(), &config.database).await?)
    }

    pub(super) const fn close_timeout(&self) -> Duration {
        match self {
            Self::Own(_) => OWN_CLOSE_TIMEOUT,
            Self::Shared(_) => CLOSE_TIMEOUT,
        }
    }
}

/// Closes its connections.
pub(super) async fn close(store: &Store, bound: Duration) {
    match tokio::time::timeout(bound, store.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the database did not close well"),
        Err(_) => tracing::warn!("the database did not close within {bound:?}"),
    }
}
