//! One partition as a consumer sees it: its subscription, what came and is not applied yet, and what it waits for. It never gives back
//! single messages.

use std::sync::Arc;

use lapin::message::Delivery;
use lapin::types::FieldTable;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::search::{STANDS_BY, Search, Share, Step, wider};
use super::tags::{Acknowledgement, Tags};
use crate::broker::{BrokerError, Messages, Session, Subscription, Topology};
use crate::domain::{PartitionId, Timestamp};
use crate::event::Batch;
use crate::projection::{Position, Sorter, position_of};
use crate::trace::Context;

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
    /// It is stopped: when to look whether somebody has put it right.
    pub(super) look_at: Option<Instant>,
    /// Messages under way, at most: more than is configured while something is looked for.
    prefetch: u16,
}

struct Open {
    subscription: Subscription,
    _reader: AbortOnDropHandle<()>,
    tags: Tags,
    /// None until the first message comes: a subscription may stand by for long, while another consumer moves the position.
    sorter: Option<Sorter<Taken>>,
    bytes: u64,
    search: Option<Search>,
    since: Instant,
}

/// A batch that came, with what is wanted of its message later.
pub(super) struct Taken {
    pub(super) tag: u64,
    pub(super) batch: Batch,
    pub(super) sent_at: Option<Timestamp>,
    pub(super) traces: Vec<Context>,
}

/// What a partition needs that it can't do itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// Another subscription, with that prefetch.
    Prefetch(u16),
    /// A marker at the end of its log.
    Marker,
    /// To begin again, for that reason.
    Again(String),
    /// To stop, for that reason.
    Stop(String),
}

impl Lane {
    pub(super) fn new(partition: PartitionId, prefetch: u16, now: Instant) -> Self {
        Self { partition, generation: 0, open: None, retry_at: Some(now), suspect: false, look_at: None, prefetch }
    }

    /// Subscribes; what comes goes to the pump.
    pub(super) async fn open(&mut self, terms: &Terms) -> Result<(), BrokerError> {
        let session = &terms.session;
        let (queue, arguments) = (terms.topology.log(self.partition), arguments(terms.seed, self.partition));
        let channel = session.channel().await?;
        let (subscription, messages) = Subscription::open(session, channel, queue, self.prefetch, arguments).await?;
        self.generation += 1;
        self.retry_at = None;
        let reader = read(messages, self.partition, self.generation, terms.arrivals.clone());
        let reader = AbortOnDropHandle::new(tokio::spawn(reader));
        self.open = Some(Open {
            subscription,
            _reader: reader,
            tags: Tags::default(),
            sorter: None,
            bytes: 0,
            search: None,
            since: Instant::now(),
        });
        Ok(())
    }

    /// Gives the subscription up until then: what is not acknowledged goes back to the log, behind what went back before.
    pub(super) async fn close(&mut self, session: &Session, retry_at: Option<Instant>) {
        self.generation += 1;
        self.retry_at = retry_at;
        if let Some(open) = self.open.take() {
            open.subscription.close(session).await;
        }
    }

    /// The prefetch of the next subscription.
    pub(super) fn set_prefetch(&mut self, prefetch: u16) {
        self.prefetch = prefetch;
    }

    /// How it takes part in what all lanes may hold together.
    pub(super) fn share(&self, now: Instant) -> Share {
        let stands_by = self.open.as_ref().is_some_and(|open| open.sorter.is_none() && open.since + STANDS_BY <= now);
        Share { prefetch: self.prefetch, stands_by }
    }

    /// Whether something came in this subscription.
    pub(super) fn has_begun(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.sorter.is_some())
    }

    /// The first message is here, and the projection is at that position.
    pub(super) fn begin(&mut self, position: Position) {
        if let Some(open) = &mut self.open {
            open.sorter = Some(Sorter::after(position));
        }
    }

    /// A message came, a batch or not.
    pub(super) fn came(&mut self, delivery: &Delivery, now: Instant) {
        let Some(open) = &mut self.open else { return };
        open.tags.came(delivery.delivery_tag);
        open.bytes += delivery.data.len() as u64;
        open.sorter.iter_mut().for_each(|sorter| sorter.saw(delivery.redelivered));
        open.search.iter_mut().for_each(|search| search.came(now));
    }

    /// It is a batch; `again` if it may have been sent before.
    pub(super) fn take(&mut self, taken: Taken, again: bool) {
        if let Some(sorter) = self.open.as_mut().and_then(|open| open.sorter.as_mut()) {
            sorter.take(position_of(&taken.batch), again, taken);
        }
    }

    /// The batch to be applied next, if it is here.
    pub(super) fn pop(&mut self) -> Option<Taken> {
        self.open.as_mut()?.sorter.as_mut()?.pop()
    }

    /// Whether it is.
    pub(super) fn is_ready(&self) -> bool {
        self.open.as_ref().and_then(|open| open.sorter.as_ref()).is_some_and(Sorter::is_ready)
    }

    /// How many messages came in this subscription.
    pub(super) fn looked_at(&self) -> u64 {
        self.open.as_ref().and_then(|open| open.sorter.as_ref()).map_or(0, Sorter::taken)
    }

    /// When it is to be looked at, if nothing happens before.
    pub(super) fn due(&self) -> Option<Instant> {
        let search = self.open.as_ref().and_then(|open| open.search.as_ref());
        self.retry_at.or(search.map(Search::until)).into_iter().chain(self.look_at).min()
    }

    /// What it needs.
    pub(super) fn need(&mut self, configured: u16, now: Instant) -> Need {
        let partition = self.partition;
        let Some(Open { tags, sorter: Some(sorter), bytes, search, .. }) = &mut self.open else { return Need::Nothing };
        let Some(missing) = sorter.missing() else {
            *search = None;
            // Caught up: there is nothing that would be sent again.
            let is_wide = self.prefetch != configured && tags.count() == 0;
            return if is_wide { Need::Prefetch(configured) } else { Need::Nothing };
        };
        if tags.count() >= usize::from(self.prefetch) {
            let all_given_back = !sorter.has_seen_given_back();
            return match wider(self.prefetch, configured, *bytes / sorter.taken().max(1), all_given_back) {
                Some(prefetch) => Need::Prefetch(prefetch),
                None => Need::Stop(format!(
                    "partition {partition}: expected batch {}, found {}: {missing} may lie further back in the log than the {} messages that \
                     were looked at: stop its node and run `doorbuster log repair {partition}`, which looks through all of it",
                    missing.expected,
                    missing.found,
                    sorter.taken()
                )),
            };
        }
        match search.get_or_insert_with(|| Search::begin(now)).step(now) {
            Step::Wait => Need::Nothing,
            Step::Mark => Need::Marker,
            Step::GiveUp => Need::Again(format!("{missing} may be with another reader of the log, which sends nothing more")),
        }
    }

    /// The marker is written.
    pub(super) fn marked(&mut self, now: Instant) {
        if let Some(search) = self.open.as_mut().and_then(|open| open.search.as_mut()) {
            search.marked(now);
        }
    }

    /// Acknowledges what is done with, if that subscription is still there.
    pub(super) async fn acknowledge(&mut self, session: &Session, generation: u64, done: &[u64]) -> Result<(), BrokerError> {
        let Some(open) = self.open.as_mut().filter(|_| generation == self.generation) else { return Ok(()) };
        for Acknowledgement { tag, multiple } in open.tags.settle(done) {
            open.subscription.acknowledge(session, tag, multiple).await?;
        }
        Ok(())
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
