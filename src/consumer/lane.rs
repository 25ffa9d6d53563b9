//! One partition as a consumer sees it: its subscription, and what went wrong with it. It never gives back single messages.

use std::sync::Arc;

use lapin::message::Delivery;
use lapin::types::FieldTable;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::broker::{BrokerError, Messages, Session, Subscription, Topology};
use crate::domain::PartitionId;

/// A delivery on its way to the pump, or the end of a subscription that nobody here asked for.
pub(super) struct Arrival {
    pub(super) partition: PartitionId,
    /// Which subscription of the partition: what an earlier one left behind does not count.
    pub(super) generation: u64,
    pub(super) what: Result<Delivery, String>,
}

/// How to subscribe.
pub(super) struct Terms {
    pub(super) session: Arc<Session>,
    pub(super) topology: Topology,
    pub(super) prefetch: u16,
    /// Differs from consumer to consumer: what spreads the partitions over them.
    pub(super) seed: u64,
    pub(super) arrivals: mpsc::Sender<Arrival>,
}

/// A partition as this consumer sees it.
pub(super) struct Lane {
    pub(super) partition: PartitionId,
    pub(super) generation: u64,
    open: Option<Open>,
    /// When to subscribe again, while there is no subscription.
    pub(super) retry_at: Option<Instant>,
    /// A batch could not be applied, and none has been since.
    pub(super) suspect: bool,
}

struct Open {
    subscription: Subscription,
    _reader: AbortOnDropHandle<()>,
}

impl Lane {
    pub(super) fn new(partition: PartitionId, now: Instant) -> Self {
        Self { partition, generation: 0, open: None, retry_at: Some(now), suspect: false }
    }

    /// Subscribes; what comes goes to the pump.
    pub(super) async fn open(&mut self, terms: &Terms) -> Result<(), BrokerError> {
        let session = &terms.session;
        let (queue, arguments) = (terms.topology.log(self.partition), arguments(terms.seed, self.partition));
        let channel = session.channel().await?;
        let (subscription, messages) = Subscription::open(session, channel, queue, terms.prefetch, arguments).await?;
        self.generation += 1;
        self.retry_at = None;
        let reader = read(messages, self.partition, self.generation, terms.arrivals.clone());
        self.open = Some(Open { subscription, _reader: AbortOnDropHandle::new(tokio::spawn(reader)) });
        Ok(())
    }

    /// Gives the subscription up until then: what is not acknowledged goes back to the queue in order.
    pub(super) async fn close(&mut self, session: &Session, retry_at: Option<Instant>) {
        self.generation += 1;
        self.retry_at = retry_at;
        if let Some(open) = self.open.take() {
            open.subscription.close(session).await;
        }
    }

    /// Acknowledges everything up to that tag, if that subscription is still there.
    pub(super) async fn acknowledge(&self, session: &Session, generation: u64, tag: u64) -> Result<(), BrokerError> {
        match &self.open {
            Some(open) if generation == self.generation => open.subscription.acknowledge(session, tag).await,
            _ => Ok(()),
        }
    }
}

/// RabbitMQ 4 makes the consumer with the highest priority the active one, so that several consumers share the partitions about
/// evenly; before it, the one that came first is active for all of them and the others stand by.
fn arguments(seed: u64, partition: PartitionId) -> FieldTable {
    let priority = xxhash_rust::xxh3::xxh3_64_with_seed(&partition.get().to_le_bytes(), seed) % 1_000;
    let mut arguments = FieldTable::default();
    arguments.insert("x-priority".into(), i32::try_from(priority).unwrap_or(0).into());
    arguments
}

async fn read(mut messages: Messages, partition: PartitionId, generation: u64, arrivals: mpsc::Sender<Arrival>) {
    loop {
        let what = messages.next().await;
        let over = what.is_err();
        if arrivals.send(Arrival { partition, generation, what }).await.is_err() || over {
            return;
        }
    }
}
