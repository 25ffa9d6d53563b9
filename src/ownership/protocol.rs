//! The steps to becoming a partition's owner: lock, epoch, a look at the lock, what is known, fence, drain, load, look back, serve; as a
//! plain state machine. It says what to do next and is told what came of it. It awaits nothing, keeps no time and talks to nobody: what really claims is one
//! shell around it ([`super::climb`]), the simulator another.

use crate::breaks::{self, Break};
use crate::domain::{Epoch, PartitionId, Sequence};
use crate::event::Batch;

/// One attempt to take a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Protocol {
    partition: PartitionId,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Locking,
    CountingUp,
    CheckingLock(Epoch),
    CollectingKnown(Epoch),
    Fencing(Epoch),
    Draining(Epoch),
    Loading(Epoch),
    LookingBack(Epoch),
    Over,
}

/// What came of the last action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The exclusive queue is ours.
    LockGranted,
    /// It is somebody else's.
    LockRefused,
    /// The database counted up to this epoch, and has us as its owner.
    EpochTaken(Epoch),
    /// The exclusive queue is still ours.
    LockHeld,
    /// The last batch that anybody who was asked knows to be confirmed.
    Known(Option<(Epoch, Sequence)>),
    /// The fence is in the log.
    FenceConfirmed,
    /// The projection is in this epoch.
    Applied(Epoch),
    /// The snapshot is read.
    Loaded,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Declare the exclusive queue, on the connection that will append.
    Lock,
    /// Count the epoch up in the database.
    TakeEpoch,
    /// Ask whether the exclusive queue is still ours. If it is not, the attempt is over.
    CheckLock,
    /// Collect what is known to be confirmed: here, from others, from the tables. Less than there is does no harm, more than is confirmed
    /// would stop the partition.
    CollectKnown,
    /// Publish this on the connection of the lock, and await the confirm.
    Fence(Batch),
    /// Read the projection's applied epoch.
    ReadApplied,
    /// It is not there yet: read it again, after a pause.
    ReadAppliedLater,
    /// Read the snapshot.
    Load,
    /// Serve in this epoch. The attempt is over.
    Serve(Epoch),
    /// Somebody else owns it. The attempt is over.
    Taken,
    /// A later epoch's fence is in the tables: this lock is one no longer. Give it up; the attempt is over.
    Overtaken {
        /// The epoch of this attempt.
        epoch: Epoch,
        /// The projection's.
        applied: Epoch,
    },
    /// A batch of this epoch, or of a later one, is confirmed: a later owner was faster, or the tables are older than the log. The attempt
    /// is over.
    Behind {
        /// The epoch of this attempt.
        epoch: Epoch,
        /// That of the confirmed batch.
        confirmed: Epoch,
    },
}

impl Protocol {
    /// Begins; the first action is [`Action::Lock`]. If an action cannot be done, or the connection is lost, the attempt is over:
    /// it is dropped, and the next one begins here again (R2).
    pub(crate) const fn new(partition: PartitionId) -> Self {
        Self { partition, step: Step::Locking }
    }

    /// Goes on. An input that answers another action is a fault of the shell.
    pub(crate) fn step(&mut self, input: Input) -> Action {
        let (step, action) = match (self.step, input) {
            (Step::Locking, Input::LockGranted) => (Step::CountingUp, Action::TakeEpoch),
            (Step::Locking, Input::LockRefused) if breaks::is_broken(Break::Lock) => (Step::CountingUp, Action::TakeEpoch),
            (Step::Locking, Input::LockRefused) => (Step::Over, Action::Taken),
            (Step::CountingUp, Input::EpochTaken(epoch)) if breaks::is_broken(Break::Fence) => (Step::Loading(epoch), Action::Load),
            // The lock can go while its connection lives: somebody deletes the queue. If it is there when the epoch is taken, whoever has it
            // next takes a later one. So epochs are in the order of the locks, and no fence ends an epoch whose lock was taken after its own.
            (Step::CountingUp, Input::EpochTaken(epoch)) if !breaks::is_broken(Break::LockAtFence) => {
                (Step::CheckingLock(epoch), Action::CheckLock)
            }
            (Step::CountingUp, Input::EpochTaken(epoch)) | (Step::CheckingLock(epoch), Input::LockHeld) => {
                (Step::CollectingKnown(epoch), Action::CollectKnown)
            }
            // What was confirmed stands in front of this fence, unless the log has lost it: the projection can tell only if it knows of it.
            (Step::CollectingKnown(epoch), Input::Known(Some((confirmed, _)))) if confirmed >= epoch => {
                (Step::Over, Action::Behind { epoch, confirmed })
            }
            (Step::CollectingKnown(epoch), Input::Known(known)) => {
                let known = known.filter(|_| !breaks::is_broken(Break::KnownAtFence));
                (Step::Fencing(epoch), Action::Fence(Batch::fence(self.partition, epoch).knowing(known)))
            }
            (Step::Fencing(epoch), Input::FenceConfirmed) if breaks::is_broken(Break::Drain) => (Step::Loading(epoch), Action::Load),
            (Step::Fencing(epoch), Input::FenceConfirmed) => (Step::Draining(epoch), Action::ReadApplied),
            (Step::Draining(epoch), Input::Applied(applied)) => match applied.cmp(&epoch) {
                std::cmp::Ordering::Less => (self.step, Action::ReadAppliedLater),
                std::cmp::Ordering::Equal => (Step::Loading(epoch), Action::Load),
                std::cmp::Ordering::Greater => (Step::Over, Action::Overtaken { epoch, applied }),
            },
            (Step::Loading(epoch), Input::Loaded) if breaks::is_broken(Break::LookBack) => (Step::Over, Action::Serve(epoch)),
            // While it was read, a later owner's fence may have come: what is loaded then holds orders of an epoch this one
            // never heard of. The projection does not go back, so if it is in this epoch now, it was when the snapshot was taken.
            (Step::Loading(epoch), Input::Loaded) => (Step::LookingBack(epoch), Action::ReadApplied),
            (Step::LookingBack(epoch), Input::Applied(applied)) if applied > epoch => (Step::Over, Action::Overtaken { epoch, applied }),
            (Step::LookingBack(epoch), Input::Applied(_)) => (Step::Over, Action::Serve(epoch)),
            (step, input) => panic!("partition {}: {input:?} is no answer in {step:?}", self.partition),
        };
        self.step = step;
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = match PartitionId::new(3) {
        Ok(partition) => partition,
        Err(_) => unreachable!(),
    };

    fn epoch(value: u32) -> Epoch {
        Epoch::new(value).unwrap()
    }

    fn drained(to: u32) -> Protocol {
        let mut protocol = Protocol::new(PARTITION);
        assert_eq!(protocol.step(Input::LockGranted), Action::TakeEpoch);
        assert_eq!(protocol.step(Input::EpochTaken(epoch(to))), Action::CheckLock);
        assert_eq!(protocol.step(Input::LockHeld), Action::CollectKnown);
        let known = Some((epoch(to - 1), Sequence(4)));
        assert_eq!(protocol.step(Input::Known(known)), Action::Fence(Batch::fence(PARTITION, epoch(to)).knowing(known)));
        assert_eq!(protocol.step(Input::FenceConfirmed), Action::ReadApplied);
        protocol
    }

    #[test]
    fn an_owner_locks_counts_checks_its_lock_fences_with_what_is_known_drains_loads_looks_back_and_serves() {
        let mut protocol = drained(7);
        assert_eq!(protocol.step(Input::Applied(epoch(6))), Action::ReadAppliedLater);
        assert_eq!(protocol.step(Input::Applied(epoch(7))), Action::Load);
        assert_eq!(protocol.step(Input::Loaded), Action::ReadApplied);
        assert_eq!(protocol.step(Input::Applied(epoch(7))), Action::Serve(epoch(7)));
    }

    #[test]
    fn a_refused_lock_ends_the_attempt() {
        assert_eq!(Protocol::new(PARTITION).step(Input::LockRefused), Action::Taken);
    }

    #[test]
    fn what_is_confirmed_of_no_earlier_epoch_ends_the_attempt() {
        for confirmed in [7, 8] {
            let mut protocol = Protocol::new(PARTITION);
            protocol.step(Input::LockGranted);
            protocol.step(Input::EpochTaken(epoch(7)));
            protocol.step(Input::LockHeld);
            let behind = Action::Behind { epoch: epoch(7), confirmed: epoch(confirmed) };
            assert_eq!(protocol.step(Input::Known(Some((epoch(confirmed), Sequence(1))))), behind);
        }
    }

    #[test]
    fn a_later_epoch_in_the_tables_ends_the_attempt() {
        let overtaken = Action::Overtaken { epoch: epoch(7), applied: epoch(8) };
        assert_eq!(drained(7).step(Input::Applied(epoch(8))), overtaken);
    }

    #[test]
    fn what_was_loaded_while_a_later_epoch_began_is_not_served() {
        let mut protocol = drained(7);
        assert_eq!(protocol.step(Input::Applied(epoch(7))), Action::Load);
        assert_eq!(protocol.step(Input::Loaded), Action::ReadApplied);
        assert_eq!(protocol.step(Input::Applied(epoch(8))), Action::Overtaken { epoch: epoch(7), applied: epoch(8) });
    }
}
