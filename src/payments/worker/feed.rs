//! Reads what providers list of what happened, from where it was read to, in one process at a time: so that what a webhook did not tell is
//! heard all the same. Never believes what it reads: it has payments looked after.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::payments::provider::ProviderError;
use crate::payments::webhook::Notice;
use crate::payments::{Known, ProviderName};
use crate::store::{Heard, StoreError};

/// How often a list is read.
const READ_EVERY: Duration = Duration::from_secs(10);

/// How long one process has the list, in milliseconds.
const LEASE_MS: u64 = 60_000;

/// Pages in one go, at most.
const PAGES_MAX: usize = 20;

impl Worker {
    /// Reads a provider's list now and then, until it is told to stop.
    pub(super) async fn follow(self: Arc<Self>, name: ProviderName, stop: CancellationToken) {
        loop {
            // Processes that were started together do not stay together.
            let pause = READ_EVERY.mul_f64(0.75 + rand::random::<f64>() / 2.0);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let Some(known) = self.providers.get(&name) else { return };
            if let Err(error) = self.read_on(&name, known).await {
                tracing::warn!(%error, provider = %name, "cannot read what provider {name} lists");
            }
        }
    }

    async fn read_on(&self, name: &ProviderName, known: &Known) -> Result<(), StoreError> {
        let now = (self.clock)();
        let Some(mut last) = self.store.take_provider_position(name, now, now.plus_millis(LEASE_MS)).await? else { return Ok(()) };
        let mut news = 0;
        for _ in 0..PAGES_MAX {
            let events = match known.provider.events(last.as_deref()).await {
                Ok(events) => events,
                Err(ProviderError::Missing) if last.is_some() => {
                    tracing::warn!(provider = %name, "provider {name} does not know any more up to where its list was read: it is read from its end");
                    last = None;
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, provider = %name, "provider {name} does not tell what happened");
                    break;
                }
            };
            for event in &events.items {
                let notice = Notice {
                    event: event.id.clone(),
                    kind: event.kind.clone(),
                    object: event.object.clone(),
                    reference: event.reference.clone(),
                };
                let heard = self.hear(name, &notice).await?;
                news += usize::from(heard == Heard::News);
            }
            if let Some(event) = events.items.last() {
                last = Some(event.id.clone());
            }
            if !events.more || events.items.is_empty() {
                break;
            }
        }
        if news > 0 {
            self.providers.wake();
        }
        // Whoever is next may read on at once.
        self.store.leave_provider_position(name, last.as_deref(), (self.clock)()).await
    }

    /// Has the payment looked after that a provider speaks of.
    async fn hear(&self, name: &ProviderName, notice: &Notice) -> Result<Heard, StoreError> {
        let payment = crate::payments::payment_meant(&self.store, name, notice).await?;
        self.store.hear(name, notice, payment, (self.clock)()).await
    }
}
