//! What can be seen of a volley from outside while it is under way, and kept of it. Sends nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::answer::{Acceptance, Answer, Verdict};
use crate::client::TransportError;
use crate::tally::Shot;

/// One sending of a request and what came of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The buyer's place in the plan.
    pub buyer: usize,
    /// Which of the volley's targets it went to.
    pub target: usize,
    /// When the request was to be sent for the first time.
    pub due: Instant,
    /// When this attempt was sent.
    pub sent: Instant,
    /// When it ended.
    pub ended: Instant,
    /// The answer, or why there is none.
    pub result: Result<Answer, TransportError>,
}

/// What can be seen of a volley while it is under way.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    accepted: AtomicU64,
    milestone: AtomicU64,
    reached: Notify,
    finished: AtomicBool,
    called_off: AtomicBool,
    spares_nothing: AtomicBool,
    gate: Mutex<Gate>,
    witness: Option<Mutex<Vec<Attempt>>>,
}

/// What was let through of an open loop.
#[derive(Debug, Default)]
pub(super) struct Gate {
    is_held: bool,
    let_through: u64,
}

impl Gate {
    /// One request more, unless none may pass.
    pub(super) const fn pass(&mut self) -> bool {
        if !self.is_held {
            self.let_through += 1;
        }
        !self.is_held
    }
}

impl Progress {
    /// A progress that tells when so many requests were answered.
    #[must_use]
    pub fn with_milestone(answers: u64) -> Self {
        Self { milestone: AtomicU64::new(answers), ..Self::default() }
    }

    /// The same, and it keeps every attempt.
    #[must_use]
    pub fn witnessed(self) -> Self {
        Self { witness: Some(Mutex::default()), ..self }
    }

    /// Every attempt so far, in the order they ended, if they are kept. They are kept no longer.
    #[must_use]
    pub fn take_attempts(&self) -> Vec<Attempt> {
        self.witness
            .as_ref()
            .map(|witness| std::mem::take(&mut *witness.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    }

    /// Requests that ended, with an answer or without.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Orders accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Resolves when the milestone is reached, or the volley is over before.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// What must not outlast the units is over: the rest is sent at the even pace, also what was held back.
    pub fn spare_nothing(&self) {
        self.spares_nothing.store(true, Ordering::Relaxed);
        self.gate().is_held = false;
    }

    /// No request of the open loop is sent from now on, until nothing is spared any more.
    pub fn hold_back(&self) {
        self.gate().is_held = true;
    }

    /// Whether all that was sent is answered and nothing more is sent.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let gate = self.gate();
        gate.is_held && self.done() >= gate.let_through
    }

    /// All orders that were accepted so far, if attempts are kept.
    #[must_use]
    pub fn accepted_orders(&self) -> Vec<Acceptance> {
        let Some(witness) = &self.witness else { return Vec::new() };
        let accepted = |attempt: &Attempt| match &attempt.result {
            Ok(Answer { verdict: Verdict::Accepted(acceptance), .. }) => Some(*acceptance),
            Ok(_) | Err(_) => None,
        };
        witness.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(accepted).collect()
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spares_nothing(&self) -> bool {
        self.spares_nothing.load(Ordering::Relaxed)
    }

    /// For as long as somebody waits for the volley.
    pub(super) fn awaited(self: &Arc<Self>) -> Awaited {
        Awaited(Arc::clone(self))
    }

    /// Tells whoever waits for the milestone, or lets requests through, that nothing more comes.
    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
        self.reached.notify_one();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    pub(super) fn is_called_off(&self) -> bool {
        self.called_off.load(Ordering::Relaxed)
    }

    pub(super) fn witness(&self, attempt: impl FnOnce() -> Attempt) {
        if let Some(witness) = &self.witness {
            witness.lock().unwrap_or_else(PoisonError::into_inner).push(attempt());
        }
    }

    pub(super) fn note(&self, shot: &Shot) {
        if shot.is_accepted() {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
        if self.done.fetch_add(1, Ordering::Relaxed) + 1 == self.milestone.load(Ordering::Relaxed) {
            self.reached.notify_one();
        }
    }
}

/// A volley that somebody waits for. Dropped, nothing more is sent.
pub(super) struct Awaited(Arc<Progress>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.called_off.store(true, Ordering::Relaxed);
    }
}
