//! Who waits for which batch, and what they hear when it is confirmed, in doubt, or never sent (R1, R2). Never awaits.

use super::{Busy, Hear, Reply};
use crate::domain::NamedOrder;
use crate::engine::Answer;
use crate::event::Event;

/// The events of one batch, what they come to, and everyone whose answer rests on it.
pub(super) struct Gathered<C> {
    pub(super) events: Vec<Event>,
    /// Orders as they stand after the event that changed them, in the order of the events.
    pub(super) changed: Vec<NamedOrder>,
    /// The number that the next order gets.
    pub(super) next_number: u64,
    pub(super) waiting: Vec<Waiter<C>>,
}

impl<C> Default for Gathered<C> {
    fn default() -> Self {
        Self { events: Vec::new(), changed: Vec::new(), next_number: 0, waiting: Vec::new() }
    }
}

/// Somebody whose answer is known and not yet true.
pub(super) struct Waiter<C>(pub(super) C, pub(super) Reply);

impl<C: Hear<Reply>> Waiter<C> {
    /// The batch is confirmed: the answer is true now.
    pub(super) fn confirmed(self) {
        self.0.hear(self.1);
    }

    /// The batch was sent and may be durable or not.
    pub(super) fn in_doubt(self) {
        self.0.hear(doubtful(self.1));
    }

    /// The batch was never sent and never will be: what it would have decided did not happen.
    pub(super) fn never_sent(self) {
        self.0.hear(undone(self.1));
    }
}

/// What is left to say when the batch an answer rests on is in doubt.
fn doubtful(reply: Reply) -> Reply {
    match reply {
        Reply::Done(Answer::Placed(order) | Answer::Replayed(order) | Answer::Order(order) | Answer::Payment { order, .. }) => {
            Reply::Pending(Some(order.id))
        }
        // Its order is in the tables, whatever becomes of this batch.
        Reply::Done(Answer::PlacedBefore(order)) => Reply::Done(Answer::PlacedBefore(order)),
        Reply::Done(Answer::Commodity(_) | Answer::DoneBefore(..) | Answer::Removed | Answer::Expired(_) | Answer::Closed(_))
        | Reply::Pending(_) => Reply::Pending(None),
        // A refused command changed nothing, but the state it was refused for may turn out never to have been.
        Reply::Refused(_) | Reply::Busy(_) => Reply::Busy(Busy::Unavailable),
    }
}

/// What is left to say when the batch was not sent. An answer that rests on an earlier batch (a replay, an order that
/// had changed before) shares that batch's doubt; everything else certainly did not happen.
fn undone(reply: Reply) -> Reply {
    match reply {
        Reply::Done(Answer::Replayed(order) | Answer::Payment { order, is_new: false, .. }) => Reply::Pending(Some(order.id)),
        // Its order is in the tables, whatever becomes of this batch.
        Reply::Done(Answer::PlacedBefore(order)) => Reply::Done(Answer::PlacedBefore(order)),
        Reply::Done(Answer::DoneBefore(..)) => Reply::Pending(None),
        _ => Reply::Busy(Busy::Unavailable),
    }
}
