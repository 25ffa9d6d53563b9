//! What goes into one transaction, and what may be acknowledged after it. Pure: it touches neither broker nor database.

use std::collections::BTreeMap;

use crate::domain::{PartitionId, Timestamp};
use crate::event::Batch;
use crate::projection::Outcome;
use crate::trace::Span;

/// Batches of any partitions, those of one partition in the order in which they are to be applied.
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
    deliveries: BTreeMap<Subscribed, Vec<Taken>>,
}

/// A subscription: of which partition, and the how-manieth.
pub(super) type Subscribed = (PartitionId, u64);

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

impl Round {
    pub(super) fn batch(&mut self, subscribed: Subscribed, tag: u64, batch: Batch) {
        self.events += batch.events.len();
        let taken = Taken { tag, batch: Some(self.batches.len()) };
        self.batches.push(batch);
        self.deliveries.entry(subscribed).or_default().push(taken);
    }

    pub(super) fn buried(&mut self, subscribed: Subscribed, tag: u64) {
        self.deliveries.entry(subscribed).or_default().push(Taken { tag, batch: None });
    }

    pub(super) fn sent_at(&mut self, at: Timestamp) {
        self.sent_at = Some(self.sent_at.map_or(at, |oldest| oldest.min(at)));
    }

    /// How much is in it: a fence has no events and is work all the same.
    pub(super) fn weight(&self) -> usize {
        self.events + self.batches.len()
    }

    /// The tags that are done with, given what became of the batches.
    pub(super) fn done(&self, outcomes: &[Outcome]) -> Vec<(Subscribed, Vec<u64>)> {
        let is_done =
            |taken: &&Taken| taken.batch.is_none_or(|index| outcomes.get(index).is_some_and(|outcome| *outcome != Outcome::Stopped));
        let tags = |taken: &[Taken]| taken.iter().filter(is_done).map(|taken| taken.tag).collect::<Vec<_>>();
        self.deliveries.iter().map(|(subscribed, taken)| (*subscribed, tags(taken))).filter(|(_, tags)| !tags.is_empty()).collect()
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

    fn tags(round: &Round, outcomes: &[Outcome]) -> Vec<(u16, Vec<u64>)> {
        round.done(outcomes).into_iter().map(|((partition, _), tags)| (partition.get(), tags)).collect()
    }

    #[test]
    fn what_stopped_a_partition_and_what_is_behind_it_stays_in_the_log() {
        let mut round = Round::default();
        for (index, tag) in [(1, 7), (2, 3), (1, 8), (2, 4), (1, 9)] {
            round.batch((partition(index), 1), tag, batch(index, tag));
        }
        let outcomes = [Outcome::Skipped, Outcome::Stopped, Outcome::Applied, Outcome::Stopped, Outcome::Stopped];
        assert_eq!(tags(&round, &outcomes), [(1, vec![7, 8])]);
    }

    #[test]
    fn what_is_buried_is_done_with_whatever_becomes_of_the_others() {
        let mut round = Round::default();
        round.batch((partition(1), 1), 1, batch(1, 1));
        round.buried((partition(1), 1), 2);
        assert_eq!(tags(&round, &[Outcome::Applied]), [(1, vec![1, 2])]);
        assert_eq!(tags(&round, &[Outcome::Stopped]), [(1, vec![2])]);
    }

    #[test]
    fn a_batch_whose_fate_is_not_known_is_not_acknowledged() {
        let mut round = Round::default();
        round.batch((partition(1), 1), 1, batch(1, 1));
        assert_eq!(tags(&round, &[]), []);
    }
}
