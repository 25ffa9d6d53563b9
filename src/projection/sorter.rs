//! The order of a log is its numbers, not its places: what one subscription is sent, in any order, becomes what is to be applied next.
//!
//! A broker gives messages back behind those that came back before, so a log that several readers have had may stand in any order, with
//! copies in it. Two things hold all the same, and everything here rests on them: whoever reads a log alone is sent what was ever
//! given back before what was never sent to anybody; and what was never sent comes in the order in which it was written.
//!
//! Pure: it never talks to a broker or a database, and never decides whether a batch counts. That is the projection's affair.

use std::collections::BTreeMap;

use super::Position;
use crate::breaks::{self, Break};
use crate::domain::Sequence;

/// How much of what stands in the log is known to have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    /// Nothing is known.
    Part,
    /// All that was ever given back: something came that was never sent before.
    GivenBack,
    /// All that stood in the log when a [marker](crate::event::Batch::marker) was written.
    All,
}

/// What nothing can be done without: the batches from one position on, before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The batch that would be next.
    pub(crate) expected: Position,
    /// The first that is there.
    pub(crate) found: Position,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { expected, found } = self;
        if found.sequence == Sequence::FENCE {
            return write!(f, "any batch of epoch {} from {expected} on", expected.epoch);
        }
        if found.epoch != expected.epoch {
            return write!(f, "the fence of epoch {}", found.epoch);
        }
        match found.sequence.0 - expected.sequence.0 {
            1 => write!(f, "batch {expected}"),
            _ => write!(f, "batches {expected} to {}/{}", found.epoch, found.sequence.0 - 1),
        }
    }
}

/// What one subscription was sent and is not applied yet.
#[derive(Debug)]
pub(crate) struct Sorter<T> {
    /// Of the last batch that was handed out, or is in the tables.
    position: Position,
    /// By position, and copies in the order they came.
    waiting: BTreeMap<(Position, u64), T>,
    taken: u64,
    seen: Seen,
}

impl<T> Sorter<T> {
    /// Begins a subscription, the projection being at that position.
    pub(crate) const fn after(position: Position) -> Self {
        Self { position, waiting: BTreeMap::new(), taken: 0, seen: Seen::Part }
    }

    /// Something came, a batch or not; `again` if the broker says that it may have been sent before.
    pub(crate) fn saw(&mut self, again: bool) {
        self.taken += 1;
        // What comes back behind what was never sent was with another reader meanwhile, who may have left more behind.
        self.seen = if again { Seen::Part } else { self.seen.max(Seen::GivenBack) };
    }

    /// What came is that batch.
    pub(crate) fn take(&mut self, at: Position, again: bool, item: T) {
        if !again && at == Position::default() {
            self.seen = Seen::All;
        }
        self.waiting.insert((at, self.taken), item);
    }

    /// How much came.
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether all that was ever given back came.
    pub(crate) fn has_seen_given_back(&self) -> bool {
        self.seen >= Seen::GivenBack
    }

    /// What is to be applied next. What the projection has, and copies, come first, to be skipped. What follows a gap comes when it is known
    /// that nothing is to be found that closes it, for the projection to stop at.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let key = self.ready()?;
        self.position = self.position.max(key.0);
        self.waiting.remove(&key)
    }

    /// Whether there is a next.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready().is_some()
    }

    /// What it waits for, if something waits and nothing is ready.
    pub(crate) fn missing(&self) -> Option<Missing> {
        let (found, _) = *self.waiting.keys().next()?;
        if self.is_ready() { None } else { Some(Missing { expected: self.expected(), found }) }
    }

    fn ready(&self) -> Option<(Position, u64)> {
        if breaks::is_broken(Break::OrderOfNumbers) {
            return self.waiting.keys().min_by_key(|(_, place)| *place).copied();
        }
        let first = *self.waiting.keys().next()?;
        self.may_follow(first.0).then_some(first)
    }

    fn may_follow(&self, at: Position) -> bool {
        if at <= self.position || at == self.expected() {
            return true;
        }
        if at.sequence == Sequence::FENCE {
            return self.may_end_the_epoch();
        }
        self.seen == Seen::All
    }

    /// A fence ends the epochs before it, so nothing of them that counts may be behind it. It was written after all that counts. So it may
    /// pass when nothing that was given back can be left in the log: what was never sent to anybody was written after it, or comes before it.
    fn may_end_the_epoch(&self) -> bool {
        self.has_seen_given_back() || breaks::is_broken(Break::FenceWaits)
    }

    fn expected(&self) -> Position {
        Position { sequence: self.position.sequence.next(), ..self.position }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Epoch;

    fn at(epoch: u32, sequence: u64) -> Position {
        Position { epoch: Epoch::new(epoch).unwrap(), sequence: Sequence(sequence) }
    }

    /// What a sorter hands out of deliveries, each with whether it was sent before, in the order in which it can.
    fn sorted(sorter: &mut Sorter<Position>, sent: &[(Position, bool)]) -> Vec<Position> {
        let mut out = Vec::new();
        for (at, again) in sent {
            sorter.saw(*again);
            sorter.take(*at, *again, *at);
            out.extend(std::iter::from_fn(|| sorter.pop()));
        }
        out
    }

    fn again(positions: impl IntoIterator<Item = Position>) -> Vec<(Position, bool)> {
        positions.into_iter().map(|at| (at, true)).collect()
    }

    #[test]
    fn what_comes_in_order_is_handed_out_as_it_comes() {
        let mut sorter = Sorter::after(at(1, 4));
        let log = [at(1, 5), at(1, 6), at(2, 0), at(2, 1)];
        assert_eq!(sorted(&mut sorter, &log.map(|at| (at, false))), log);
        assert_eq!((sorter.missing(), sorter.taken()), (None, 4));
    }

    #[test]
    fn what_was_given_back_in_pieces_is_put_in_order() {
        let mut sorter = Sorter::after(at(1, 36));
        let log = (69..=128).chain(37..=68).chain(129..=140);
        let out = sorted(&mut sorter, &again(log.map(|sequence| at(1, sequence))));
        assert_eq!(out, (37..=140).map(|sequence| at(1, sequence)).collect::<Vec<_>>());
    }

    #[test]
    fn copies_and_what_is_applied_are_handed_out_at_once_to_be_skipped() {
        let mut sorter = Sorter::after(at(2, 5));
        let log = [at(2, 8), at(1, 9), at(2, 5), at(2, 8), at(2, 6), at(2, 7), at(2, 7)];
        let out = sorted(&mut sorter, &again(log));
        assert_eq!(out, [at(1, 9), at(2, 5), at(2, 6), at(2, 7), at(2, 8), at(2, 8), at(2, 7)]);
    }

    #[test]
    fn a_fence_that_came_back_waits_until_nothing_older_can_be_left() {
        let mut sorter = Sorter::after(at(1, 5));
        assert_eq!(sorted(&mut sorter, &again([at(2, 0), at(1, 7)])), []);
        assert_eq!(sorter.missing().unwrap().to_string(), "batch 1/6");
        assert_eq!(sorted(&mut sorter, &again([at(1, 6)])), [at(1, 6), at(1, 7)]);
        assert_eq!(sorter.missing().unwrap().to_string(), "any batch of epoch 1 from 1/8 on");
        assert_eq!(sorted(&mut sorter, &[(at(2, 1), false)]), [at(2, 0), at(2, 1)]);
    }

    #[test]
    fn a_gap_is_one_when_a_marker_came_that_was_never_sent_before() {
        let mut sorter = Sorter::after(at(1, 5));
        assert_eq!(sorted(&mut sorter, &[(at(1, 9), true), (at(1, 10), false)]), []);
        assert_eq!(sorter.missing().unwrap().to_string(), "batches 1/6 to 1/8");
        // Another reader had this one: what stood before it may be behind it now.
        assert_eq!(sorted(&mut sorter, &again([Position::default()])), [Position::default()]);
        assert_eq!(sorted(&mut sorter, &[(Position::default(), false)]), [Position::default(), at(1, 9), at(1, 10)]);
    }

    #[test]
    fn what_was_known_of_the_log_is_not_known_any_more_when_another_reader_was_there() {
        let mut sorter = Sorter::after(at(1, 5));
        assert_eq!(sorted(&mut sorter, &[(at(1, 6), false)]), [at(1, 6)]);
        assert_eq!(sorted(&mut sorter, &again([at(2, 0)])), [], "1/7 may stand behind it");
        assert_eq!(sorted(&mut sorter, &again([at(1, 7)])), [at(1, 7)]);
        assert_eq!(sorted(&mut sorter, &[(Position::default(), false)]), [Position::default(), at(2, 0)]);
    }

    #[test]
    fn a_batch_whose_fence_is_missing_waits() {
        let mut sorter = Sorter::after(at(1, 5));
        assert_eq!(sorted(&mut sorter, &[(at(3, 1), false)]), []);
        assert_eq!(sorter.missing().unwrap().to_string(), "the fence of epoch 3");
        assert_eq!(sorted(&mut sorter, &[(at(3, 0), false)]), [at(3, 0), at(3, 1)]);
    }
}
