//! What a partition task measures. Handles are made once; recording allocates nothing.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::domain::PartitionId;

/// The meters of one partition.
pub(super) struct Meters {
    batch_events: Histogram,
    commit_seconds: Histogram,
    drained_requests: Histogram,
    late_confirms: Counter,
    restarts: Counter,
    panics: Counter,
    stopped: Gauge,
}

impl Meters {
    pub(super) fn of(partition: PartitionId) -> Self {
        let label = partition.to_string();
        Self {
            batch_events: histogram!("doorbuster_batch_size"),
            commit_seconds: histogram!("doorbuster_commit_seconds"),
            drained_requests: histogram!("doorbuster_drain_size"),
            late_confirms: counter!("doorbuster_late_confirms_total", "partition" => label.clone()),
            restarts: counter!("doorbuster_partition_restarts_total", "partition" => label.clone()),
            panics: counter!("doorbuster_partition_panics_total", "partition" => label.clone()),
            stopped: gauge!("doorbuster_partition_stopped", "partition" => label),
        }
    }

    /// So many requests were taken from the inbox at once.
    pub(super) fn drained(&self, taken: usize) {
        self.drained_requests.record(taken as f64);
    }

    /// A batch of so many events was sent.
    pub(super) fn sent(&self, events: usize) {
        self.batch_events.record(events as f64);
    }

    /// A batch was confirmed after that time.
    pub(super) fn confirmed(&self, after: Duration) {
        self.commit_seconds.record(after.as_secs_f64());
    }

    /// A confirm did not come in time.
    pub(super) fn late(&self) {
        self.late_confirms.increment(1);
    }

    /// The owner had to start over.
    pub(super) fn lost(&self) {
        self.restarts.increment(1);
    }

    /// Whether something is the matter that keeps the partition from being served.
    pub(super) fn stopped(&self, is_stopped: bool) {
        self.stopped.set(f64::from(u8::from(is_stopped)));
    }

    /// The task panicked, and begins again.
    pub(super) fn panicked(&self) {
        self.panics.increment(1);
    }
}
