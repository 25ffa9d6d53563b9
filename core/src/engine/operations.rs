//! Changes that were asked for under a key: which were made, so that none is made twice. Never reads a clock: whoever asks says what time
//! it is.
//!
//! A change of a commodity is remembered for 25 hours, by each engine of its partition after the other. That an order was cancelled its
//! own status remembers, and the tables under which key: here that is known only until they have it.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::{Answer, Command, Engine, KnownOperation, Outcome, Refusal};
use crate::domain::{Operation, OperationKey, RequestFingerprint, Sequence, Subject, Timestamp};
use crate::event::{Event, LogVersion};

/// How long the key of a change is kept, in milliseconds: 24 hours, and one more for clocks that are apart.
pub const OPERATIONS_KEPT_MS: u64 = 25 * 60 * 60 * 1_000;

/// Keys of changes of commodities that one engine remembers, at most.
pub(super) const KEPT_MAX: usize = 65_536;

/// Keys that are freed at most with a change: two, so that their number falls while changes come.
const FREED_PER_CHANGE_MAX: usize = 2;

/// A change that was made.
#[derive(Clone, Copy, Debug)]
struct Made {
    fingerprint: RequestFingerprint,
    subject: Subject,
    at: Timestamp,
}

/// The changes that were made.
#[derive(Debug, Default)]
pub(super) struct Operations {
    made: HashMap<OperationKey, Made>,
    /// Of commodities, oldest first.
    kept: VecDeque<(Timestamp, OperationKey)>,
    /// Of orders, oldest first: the tables may not have them yet.
    unsettled: VecDeque<(Sequence, OperationKey)>,
}

impl Operations {
    /// Those that the tables have.
    pub(super) fn of(mut known: Vec<KnownOperation>) -> Self {
        let mut operations = Self::default();
        known.sort_unstable_by_key(|known| (known.at, known.operation.key));
        for KnownOperation { operation, commodity, at } in known {
            operations.keep(operation, Subject::Commodity(commodity), at);
        }
        operations
    }

    /// What was made under that key, unless that is so long ago that the key is free again.
    fn find(&self, key: OperationKey, now: Timestamp) -> Option<Made> {
        self.made.get(&key).copied().filter(|made| !is_over(made.at, now))
    }

    /// Whether there is room for one more key of a commodity's change.
    fn has_room(&mut self, now: Timestamp) -> bool {
        for _ in 0..FREED_PER_CHANGE_MAX {
            let Some((at, key)) = self.kept.front().copied().filter(|(at, _)| is_over(*at, now)) else { break };
            self.kept.pop_front();
            // One that was used again since has an entry of its own here.
            if self.made.get(&key).is_some_and(|made| made.at == at) {
                self.made.remove(&key);
            }
        }
        self.kept.len() < KEPT_MAX
    }

    fn keep(&mut self, operation: Operation, subject: Subject, at: Timestamp) {
        self.made.insert(operation.key, Made { fingerprint: operation.fingerprint, subject, at });
        self.kept.push_back((at, operation.key));
    }

    fn keep_until_applied(&mut self, operation: Operation, subject: Subject, at: Timestamp, sequence: Sequence) {
        self.made.insert(operation.key, Made { fingerprint: operation.fingerprint, subject, at });
        self.unsettled.push_back((sequence, operation.key));
    }

    /// Forgets changes of orders that the tables have, at most so many. Returns whether there may be more.
    pub(super) fn forget(&mut self, applied: Sequence, at_most: usize) -> bool {
        for _ in 0..at_most {
            let Some((_, key)) = self.unsettled.front().copied().filter(|(sequence, _)| *sequence <= applied) else { return false };
            self.unsettled.pop_front();
            self.made.remove(&key);
        }
        true
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.made.allocation_size()
            + self.kept.capacity() * size_of::<(Timestamp, OperationKey)>()
            + self.unsettled.capacity() * size_of::<(Sequence, OperationKey)>()
    }
}

fn is_over(at: Timestamp, now: Timestamp) -> bool {
    now.millis() - at.millis() > OPERATIONS_KEPT_MS.cast_signed()
}

impl Engine {
    /// Carries out a command, unless it was carried out under this key before. Then the commodity or the order is the answer, as it stands
    /// now. A refusal is not kept: asked again, the command may be carried out.
    pub(super) fn operate(&mut self, now: Timestamp, operation: Operation, command: Command, events: &mut Vec<Event>) -> Outcome {
        if let Some(made) = self.operations.find(operation.key, now) {
            return if made.fingerprint == operation.fingerprint { Ok(self.made(made.subject)) } else { Err(Refusal::IdempotencyMismatch) };
        }
        let Some(subject) = subject_of(&command) else { return self.apply(now, command, events) };
        // Older releases do not know the event.
        let are_kept = self.log_version >= LogVersion::V4;
        match subject {
            Subject::Commodity(_) if !are_kept => return Err(Refusal::UpgradeUnfinished),
            Subject::Commodity(_) if !self.operations.has_room(now) => return Err(Refusal::TooManyKeys),
            // An order that was cancelled is not cancelled again, whoever knows why.
            Subject::Order(_) if !are_kept => return self.apply(now, command, events),
            Subject::Commodity(_) | Subject::Order(_) => {}
        }
        let answer = self.apply(now, command, events)?;
        match subject {
            Subject::Commodity(_) => self.operations.keep(operation, subject, now),
            Subject::Order(_) => self.operations.keep_until_applied(operation, subject, now, self.gathering),
        }
        events.push(Event::Operated { operation, subject, at: now });
        Ok(answer)
    }

    fn made(&self, subject: Subject) -> Answer {
        match subject {
            Subject::Commodity(id) => {
                Answer::DoneBefore(id, self.commodities.find(id).map(|slot| Box::new(self.commodities.get(slot).clone())))
            }
            Subject::Order(id) => self.order(id).map_or(Answer::PlacedBefore(id), Answer::Order),
        }
    }
}

/// What a command changes whose key is kept; none for one that has a key of its own, or is nobody's request.
fn subject_of(command: &Command) -> Option<Subject> {
    match command {
        Command::List { .. }
        | Command::ListOnce { .. }
        | Command::Change { .. }
        | Command::Restock { .. }
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::End(_)
        | Command::Close(_)
        | Command::Remove(_)
        | Command::Expecting { .. } => command.commodity().map(Subject::Commodity),
        Command::Cancel { .. }
        | Command::Refund { .. }
        | Command::StartPayment { .. }
        | Command::PaymentSucceeded { .. }
        | Command::PaymentEnded { .. }
        | Command::ConfirmPayment { .. }
        | Command::ConfirmRefund { .. } => command.order().map(Subject::Order),
        Command::Place(_) | Command::Keyed { .. } | Command::CloseEnded { .. } | Command::Expire { .. } => None,
    }
}
