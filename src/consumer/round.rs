//! What goes into one transaction, and what may be acknowledged after it. Pure: it touches neither broker nor database.

use std::collections::BTreeMap;

use crate::domain::{PartitionId, Timestamp};
use crate::event::Batch;
use crate::projection::Outcome;
use crate::trace::Span;

/// Deliveries that came together, in the order they came.
#[derive(Default)]
pub(super) struct Round {
    pub(super) batches: Vec<Batch>,
    pub(super) events: usize,
    /// When the oldest batch was sent, where one said so.
    pub(super) sent_at: Option<Timestamp>,
    /// Subscriptions to be given up when the transaction is done; what came behind is not taken in.
    pub(super) halts: BTreeMap<PartitionId, Halt>,
    /// The traces of orders in the batches: each with its batch's place in `batches`.
    pub(super) spans: Vec<(usize, Span)>,
    deliveries: BTreeMap<(PartitionId, u64), Vec<Taken>>,
}

/// Why a subscription is given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// A message that must stay where it is, for this reason.
    Stop(String),
    /// Something that may be better in a moment.
    Pause,
}

/// One delivery: its tag, and its batch's place in `batches`; none if it was buried.
struct Taken {
    tag: u64,
    batch: Option<usize>,
}

/// Everything up to that tag of that subscription is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledgement {
    pub(super) partition: PartitionId,
    pub(super) generation: u64,
    pub(super) tag: u64,
}

impl Round {
    pub(super) fn batch(&mut self, partition: PartitionId, generation: u64, tag: u64, batch: Batch) {
        self.events += batch.events.len();
        let taken = Taken { tag, batch: Some(self.batches.len()) };
        self.batches.push(batch);
        self.deliveries.entry((partition, generation)).or_default().push(taken);
    }

    pub(super) fn buried(&mut self, partition: PartitionId, generation: u64, tag: u64) {
        self.deliveries.entry((partition, generation)).or_default().push(Taken { tag, batch: None });
    }

    pub(super) fn sent_at(&mut self, at: Timestamp) {
        self.sent_at = Some(self.sent_at.map_or(at, |oldest| oldest.min(at)));
    }

    /// How much is in it: a fence has no events and is work all the same.
    pub(super) fn weight(&self) -> usize {
        self.events + self.batches.len()
    }

    /// What may be acknowledged, given what became of the batches: in each subscription, all before the first that stopped it.
    pub(super) fn acknowledgements(&self, outcomes: &[Outcome]) -> Vec<Acknowledgement> {
        let done = |taken: &&Taken| taken.batch.is_none_or(|index| outcomes.get(index).is_some_and(|outcome| *outcome != Outcome::Stopped));
        let last = |taken: &[Taken]| taken.iter().take_while(done).last().map(|taken| taken.tag);
        self.deliveries
            .iter()
            .filter_map(|((partition, generation), taken)| {
                Some(Acknowledgement { partition: *partition, generation: *generation, tag: last(taken)? })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Epoch, Sequence};

    fn partition(index: u16) -> PartitionId {
        PartitionId::new(index).unwrap()
    }

    fn batch(index: u16, sequence: u64) -> Batch {
        Batch::new(partition(index), Epoch::default(), Sequence(sequence), Vec::new())
    }

    fn tags(round: &Round, outcomes: &[Outcome]) -> Vec<(u16, u64)> {
        round.acknowledgements(outcomes).iter().map(|ack| (ack.partition.get(), ack.tag)).collect()
    }

    #[test]
    fn each_subscription_is_acknowledged_up_to_the_batch_that_stopped_it() {
        let mut round = Round::default();
        for (index, tag) in [(1, 7), (2, 3), (1, 8), (2, 4), (1, 9)] {
            round.batch(partition(index), 1, tag, batch(index, tag));
        }
        let outcomes = [Outcome::Skipped, Outcome::Stopped, Outcome::Applied, Outcome::Stopped, Outcome::Stopped];
        assert_eq!(tags(&round, &outcomes), [(1, 8)]);
    }

    #[test]
    fn a_buried_delivery_is_acknowledged_with_its_neighbours_and_not_before_them() {
        let mut round = Round::default();
        round.batch(partition(1), 1, 1, batch(1, 1));
        round.buried(partition(1), 1, 2);
        round.buried(partition(2), 1, 5);
        assert_eq!(tags(&round, &[Outcome::Applied]), [(1, 2), (2, 5)]);
        assert_eq!(tags(&round, &[Outcome::Stopped]), [(2, 5)]);
    }

    #[test]
    fn a_batch_whose_fate_is_not_known_is_not_acknowledged() {
        let mut round = Round::default();
        round.batch(partition(1), 1, 1, batch(1, 1));
        assert_eq!(tags(&round, &[]), []);
    }
}
