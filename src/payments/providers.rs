//! The providers that are set up: which one new payments go to, and those that older ones went to. Never changes while the process runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::Notify;

use super::ProviderName;
use super::provider::{Provider, Settings};
use super::webhook::Verifier;
use crate::config;

/// All providers that are set up.
#[derive(Debug, Default)]
pub struct Providers {
    chosen: Option<ProviderName>,
    known: BTreeMap<ProviderName, Known>,
    /// Wakes whoever looks after payments here.
    news: Arc<Notify>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Known {
    /// How it is asked.
    pub provider: Provider,
    /// How its messages are known.
    pub verifier: Verifier,
    /// Where buyers go after they have paid, unless they say so themselves.
    pub return_url: Option<String>,
}

impl Providers {
    /// Those of a configuration.
    ///
    /// # Errors
    /// A sentence about one that cannot be used.
    pub fn new(config: &config::Payments) -> Result<Self, String> {
        let known = config.providers.iter().map(|(name, settings)| {
            let wrong = |why: String| format!("payments.providers.{name}: {why}");
            let provider = Provider::new(&settings.settings()).map_err(wrong)?;
            let verifier = Verifier::new(settings.scheme, &settings.webhook_secrets).map_err(wrong)?;
            Ok((name.clone(), Known { provider, verifier, return_url: settings.return_url.clone() }))
        });
        Ok(Self { chosen: config.chosen().cloned(), known: known.collect::<Result<_, String>>()?, news: Arc::default() })
    }

    /// The same, with one more that new payments go to.
    ///
    /// # Errors
    /// As [`Providers::new`].
    pub fn with_chosen(mut self, name: ProviderName, settings: &Settings, webhook_secret: &SecretString) -> Result<Self, String> {
        let provider = Provider::new(settings)?;
        let verifier = Verifier::new(settings.scheme, std::slice::from_ref(webhook_secret))?;
        self.known.insert(name.clone(), Known { provider, verifier, return_url: None });
        self.chosen = Some(name);
        Ok(self)
    }

    /// Whom new payments go to.
    #[must_use]
    pub fn chosen(&self) -> Option<(&ProviderName, &Known)> {
        self.known.get_key_value(self.chosen.as_ref()?)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &ProviderName) -> Option<&Known> {
        self.known.get(name)
    }

    /// The one of that name in a path.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(&ProviderName, &Known)> {
        self.known.get_key_value(&name.parse().ok()?)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&ProviderName, &Known)> {
        self.known.iter()
    }

    /// Whether there is nobody to ask about anything.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.known.is_empty()
    }

    /// Wakes whoever looks after payments here.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    /// Resolves when there is something to look after.
    pub async fn woken(&self) {
        self.news.notified().await;
    }
}
