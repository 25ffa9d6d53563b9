//! What the link to one peer measures. Handles are made once; recording allocates nothing.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::domain::NodeId;

/// The meters of one link.
pub(super) struct Meters {
    forwarded: Counter,
    misdirected: Counter,
    undelivered: Counter,
    in_doubt: Counter,
    batch_requests: Histogram,
    answer_seconds: Histogram,
    breaker: Gauge,
}

impl Meters {
    pub(super) fn of(peer: &NodeId) -> Self {
        let label = peer.to_string();
        let failed = |outcome| counter!("doorbuster_peer_failures_total", "peer" => label.clone(), "outcome" => outcome);
        Self {
            forwarded: counter!("doorbuster_peer_requests_total", "peer" => label.clone()),
            misdirected: failed("misdirected"),
            undelivered: failed("undelivered"),
            in_doubt: failed("in_doubt"),
            batch_requests: histogram!("doorbuster_peer_batch_size"),
            answer_seconds: histogram!("doorbuster_peer_answer_seconds"),
            breaker: gauge!("doorbuster_peer_breaker_open", "peer" => label.clone()),
        }
    }

    /// So many requests go out together.
    pub(super) fn sent(&self, requests: usize) {
        self.forwarded.increment(requests as u64);
        self.batch_requests.record(requests as f64);
    }

    /// All of a batch was answered after that time.
    pub(super) fn answered(&self, after: Duration) {
        self.answer_seconds.record(after.as_secs_f64());
        self.breaker.set(0.0);
    }

    /// The peer does not run the partition of a request.
    pub(super) fn misdirected(&self) {
        self.misdirected.increment(1);
    }

    /// A batch did not reach the peer.
    pub(super) fn undelivered(&self) {
        self.undelivered.increment(1);
    }

    /// What became of a batch, or the rest of it, is not known.
    pub(super) fn in_doubt(&self) {
        self.in_doubt.increment(1);
    }

    /// The peer is left alone for a while.
    pub(super) fn opened(&self) {
        self.breaker.set(1.0);
    }
}

/// Nobody is left alone who is no peer any more.
impl Drop for Meters {
    fn drop(&mut self) {
        self.breaker.set(0.0);
    }
}
