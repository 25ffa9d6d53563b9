//! What a consumer measures. Handles are made once; recording allocates nothing.

use std::collections::HashMap;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::domain::{PartitionId, Partitions, Timestamp};
use crate::projection::{Outcome, Report};

pub(super) struct Meters {
    applied: Counter,
    skipped: Counter,
    events: Counter,
    buried: Counter,
    resubscriptions: Counter,
    transaction_events: Histogram,
    transaction_seconds: Histogram,
    age_seconds: Gauge,
    stopped: HashMap<PartitionId, Gauge>,
}

impl Meters {
    pub(super) fn new(partitions: Partitions) -> Self {
        let stopped = |partition: PartitionId| gauge!("doorbuster_consumer_partition_stopped", "partition" => partition.to_string());
        Self {
            applied: counter!("doorbuster_consumer_batches_total", "outcome" => "applied"),
            skipped: counter!("doorbuster_consumer_batches_total", "outcome" => "skipped"),
            events: counter!("doorbuster_consumer_events_total"),
            buried: counter!("doorbuster_consumer_dead_letters_total"),
            resubscriptions: counter!("doorbuster_consumer_resubscriptions_total"),
            transaction_events: histogram!("doorbuster_consumer_transaction_size"),
            transaction_seconds: histogram!("doorbuster_consumer_transaction_seconds"),
            age_seconds: gauge!("doorbuster_consumer_applied_age_seconds"),
            stopped: partitions.iter().map(|partition| (partition, stopped(partition))).collect(),
        }
    }

    /// A transaction was committed that so many events went into.
    pub(super) fn transaction(&self, report: &Report, events: usize, took: Duration) {
        self.applied.increment(report.count(Outcome::Applied) as u64);
        self.skipped.increment(report.count(Outcome::Skipped) as u64);
        self.events.increment(events as u64);
        self.transaction_events.record(events as f64);
        self.transaction_seconds.record(took.as_secs_f64());
    }

    /// What was just applied had been sent then.
    pub(super) fn age(&self, sent_at: Timestamp, now: Timestamp) {
        self.age_seconds.set((now.millis() - sent_at.millis()).max(0) as f64 / 1000.0);
    }

    pub(super) fn buried(&self) {
        self.buried.increment(1);
    }

    pub(super) fn resubscribed(&self) {
        self.resubscriptions.increment(1);
    }

    pub(super) fn stopped(&self, partition: PartitionId, stopped: bool) {
        if let Some(gauge) = self.stopped.get(&partition) {
            gauge.set(f64::from(u8::from(stopped)));
        }
    }
}
