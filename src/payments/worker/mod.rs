//! Looks after payments: whatever is due is taken by one process for a while, its provider is asked how it stands, what is missing is done, and
//! the engine is told. So a payment whose webhook never came is found, and what was begun by a process that is gone goes on elsewhere. Never
//! believes what it was told without having asked, and never moves money that it has not looked for first.
//!
//! A payment is taken by moving its `due_at` on; whoever is gone leaves it to be due again then. News of a payment make it due at once, even
//! while somebody is at it: then two may look at it at the same time, which changes nothing, because each thing that is done is one that can be
//! done once.

mod feed;
mod step;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use step::{Settled, description};
pub(super) use step::{create, new_payment};

use super::{Providers, meters};
use crate::clock::Clock;
use crate::domain::{PaymentId, Timestamp};
use crate::routing::Router;
use crate::store::{Store, StoreError, StoredPayment};

/// How long a payment is one worker's, in milliseconds.
const LEASE_MS: u64 = 60_000;

/// How long a worker is at one payment, at most: less than it has.
const WORK_MAX: Duration = Duration::from_secs(45);

/// Payments that one process looks after at the same time, at most.
const AT_ONCE_MAX: usize = 64;

/// How often it is looked for what is due, if nobody has news.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long to wait when the tables cannot be read.
const TABLES_PAUSE: Duration = Duration::from_secs(2);

/// How often old news is dropped.
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// What looks after payments in this process.
pub struct Worker {
    router: Arc<Router>,
    store: Store,
    providers: Arc<Providers>,
    clock: Clock,
    at_work: Mutex<HashSet<PaymentId>>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("providers", &self.providers).finish_non_exhaustive()
    }
}

impl Worker {
    /// One that tells engines over that router.
    #[must_use]
    pub fn new(router: Arc<Router>, store: Store, providers: Arc<Providers>, clock: Clock) -> Arc<Self> {
        meters::describe();
        Arc::new(Self { router, store, providers, clock, at_work: Mutex::default() })
    }

    /// Looks after whatever is due, until it is told to stop: what it is at then is ended.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        if self.providers.are_none() {
            return;
        }
        let (mut works, mut tidied) = (JoinSet::new(), tokio::time::Instant::now());
        let feeds: JoinSet<()> = self.providers.all().map(|(name, _)| Arc::clone(&self).follow(name.clone(), stop.clone())).collect();
        while !stop.is_cancelled() {
            while works.try_join_next().is_some() {}
            let pause = match self.begin_what_is_due(&mut works).await {
                Ok(0) => LOOK_EVERY,
                // There may be more.
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    tracing::warn!(%error, "cannot look which payments are due");
                    TABLES_PAUSE
                }
            };
            if tidied.elapsed() > TIDY_EVERY {
                tidied = tokio::time::Instant::now();
                if let Err(error) = self.store.drop_old_provider_events((self.clock)()).await {
                    tracing::warn!(%error, "cannot drop what providers told long ago");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.providers.woken() => {}
                () = tokio::time::sleep(pause) => {}
                Some(_) = works.join_next(), if works.len() >= AT_ONCE_MAX => {}
            }
        }
        drop(feeds);
        while works.join_next().await.is_some() {}
    }

    /// Begins with what is due, as far as there is room; how much that is.
    async fn begin_what_is_due(self: &Arc<Self>, works: &mut JoinSet<()>) -> Result<usize, StoreError> {
        let room = AT_ONCE_MAX.saturating_sub(works.len());
        if room == 0 {
            return Ok(0);
        }
        let due = self.store.due_payments((self.clock)(), u32::try_from(room).unwrap_or(u32::MAX)).await?;
        let mut begun = 0;
        for payment in due {
            let (Some(due_at), Some(turn)) = (payment.due_at, self.turn(payment.id)) else { continue };
            let until = (self.clock)().plus_millis(LEASE_MS);
            if self.store.take_payment(payment.id, due_at, until).await? {
                begun += 1;
                let this = Arc::clone(self);
                works.spawn(async move {
                    let _turn = turn;
                    this.look_after(payment, until).await;
                });
            }
        }
        Ok(begun)
    }

    async fn look_after(self: &Arc<Self>, payment: StoredPayment, until: Timestamp) {
        let id = payment.id;
        let is_over = (self.clock)() >= payment.expires_at;
        meters::settled();
        let settled = match timeout(WORK_MAX, self.settle(&payment, is_over)).await {
            Ok(Ok(settled)) => settled,
            Ok(Err(error)) => {
                tracing::warn!(%error, payment = %id, "cannot look after payment {id}");
                Settled::In(TABLES_PAUSE)
            }
            Err(_) => {
                tracing::warn!(payment = %id, "payment {id} took too long to look after");
                Settled::In(TABLES_PAUSE)
            }
        };
        let next = match settled {
            Settled::Done => None,
            Settled::In(pause) => Some((self.clock)().plus_millis(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))),
        };
        if let Err(error) = self.store.leave_payment(id, until, next).await {
            // It is due again when the lease is over.
            tracing::warn!(%error, payment = %id, "cannot write down when payment {id} is due next");
        }
    }

    /// The right of this process's one task to be at a payment.
    fn turn(self: &Arc<Self>, id: PaymentId) -> Option<Turn> {
        self.at_work().insert(id).then(|| Turn { worker: Arc::clone(self), id })
    }

    fn at_work(&self) -> MutexGuard<'_, HashSet<PaymentId>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Turn {
    worker: Arc<Worker>,
    id: PaymentId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.worker.at_work().remove(&self.id);
    }
}
