//! What a partition's task does beside answering: it takes notice of how far the tables are, forgets what they have, and closes what
//! has been over for long. All of it goes in small pieces, so that no order waits for them.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Hear, Reply, Term};
use crate::domain::{Epoch, Timestamp};
use crate::ownership::Applied;

/// How often orders are forgotten. What the tables have had since the last time is: a row that a command brings along may be this old.
const FORGET_EVERY: Duration = Duration::from_secs(1);
/// Orders forgotten in one piece, at most: less than a millisecond of work.
const FORGOTTEN_MAX: usize = 2_000;
/// Changes of orders that are dropped in one piece because the tables have them, at most; who reads an order waits for so many.
const DROPPED_MAX: usize = 1_000;
/// How often is looked for commodities to close; more often where they are kept for less than that.
const CLOSE_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Commodities closed in one piece, at most.
const CLOSED_MAX: usize = 64;

pub(super) struct Chores {
    epoch: Epoch,
    applied: Option<Applied>,
    retention: Duration,
    /// Whether the tables have more than was dropped.
    has_more_to_drop: bool,
    forget_at: Instant,
    close_every: Duration,
    close_at: Instant,
}

impl Chores {
    pub(super) fn new(epoch: Epoch, applied: Option<Applied>, retention: Duration) -> Self {
        let (now, close_every) = (Instant::now(), retention.clamp(CLOSE_EVERY.0, CLOSE_EVERY.1));
        let (forget_at, close_at) = (now + FORGET_EVERY, now + close_every);
        Self { epoch, applied, retention, has_more_to_drop: false, forget_at, close_every, close_at }
    }

    /// Resolves when there is something to do.
    pub(super) async fn due(&mut self) {
        if self.has_more_to_drop {
            return;
        }
        let next = self.forget_at.min(self.close_at);
        match &mut self.applied {
            None => sleep_until(next).await,
            Some(applied) => tokio::select! {
                // Nobody tells it any more: the claim is about to end.
                changed = applied.changed() => if changed.is_err() { self.applied = None; },
                () = sleep_until(next) => {}
            },
        }
    }

    /// Whether the tables have a later epoch: then somebody else has had the lock, whatever the broker says of it.
    pub(super) fn is_overtaken(&self) -> bool {
        self.applied.as_ref().is_some_and(|applied| applied.borrow().0 > self.epoch)
    }

    /// Does it, or a piece of it.
    pub(super) fn work<C: Hear<Reply>>(&mut self, term: &mut Term<C>, time: Timestamp) {
        if let Some(applied) = &mut self.applied {
            let (epoch, sequence) = *applied.borrow_and_update();
            if epoch == self.epoch {
                term.applied(sequence);
            }
        }
        self.has_more_to_drop = term.drop_applied(DROPPED_MAX);
        let now = Instant::now();
        if now >= self.forget_at {
            let more = term.forget(FORGOTTEN_MAX);
            self.forget_at = if more { now } else { now + FORGET_EVERY };
        }
        if now >= self.close_at {
            term.close_ended(time, time.minus_millis(self.retention.as_millis() as u64), CLOSED_MAX);
            self.close_at = now + self.close_every;
        }
    }
}
