//! Who waits for which batch, and what they hear when it is confirmed, in doubt, or never sent (R1, R2). Never awaits.

use super::{Busy, Reply, Sighting};
use crate::engine::Answer;
use crate::event::Event;

/// Somebody who hears one answer.
pub(crate) trait Hear<T> {
    /// Tells them. Who has left loses nothing but the answer.
    fn hear(self, what: T);
}

/// The events of one batch and everyone whose answer rests on it.
pub(super) struct Gathered<C, L> {
    pub(super) events: Vec<Event>,
    pub(super) waiting: Vec<Waiter<C, L>>,
}

impl<C, L> Default for Gathered<C, L> {
    fn default() -> Self {
        Self { events: Vec::new(), waiting: Vec::new() }
    }
}

/// Somebody whose answer is known and not yet true.
pub(super) enum Waiter<C, L> {
    Command(C, Reply),
    Lookup(L, Sighting),
}

impl<C: Hear<Reply>, L: Hear<Sighting>> Waiter<C, L> {
    /// The batch is confirmed: the answer is true now.
    pub(super) fn confirmed(self) {
        match self {
            Self::Command(caller, reply) => caller.hear(reply),
            Self::Lookup(caller, sighting) => caller.hear(sighting),
        }
    }

    /// The batch was sent and may be durable or not.
    pub(super) fn in_doubt(self) {
        match self {
            Self::Command(caller, reply) => caller.hear(doubtful(reply)),
            Self::Lookup(caller, _) => caller.hear(Sighting::InDoubt),
        }
    }

    /// The batch was never sent and never will be: what it would have decided did not happen.
    pub(super) fn never_sent(self) {
        match self {
            Self::Command(caller, reply) => caller.hear(undone(reply)),
            Self::Lookup(caller, _) => caller.hear(Sighting::InDoubt),
        }
    }
}

/// What is left to say when the batch an answer rests on is in doubt.
fn doubtful(reply: Reply) -> Reply {
    match reply {
        Reply::Done(Answer::Placed(order) | Answer::Replayed(order) | Answer::Order(order)) => Reply::Pending(Some(order.id)),
        Reply::Done(Answer::Commodity(_) | Answer::Removed | Answer::Expired(_)) | Reply::Pending(_) => Reply::Pending(None),
        // A refused command changed nothing, but the state it was refused for may turn out never to have been.
        Reply::Refused(_) | Reply::Busy(_) => Reply::Busy(Busy::Unavailable),
    }
}

/// What is left to say when the batch was not sent. An answer that rests on an earlier batch (a replay, an order that
/// had changed before) shares that batch's doubt; everything else certainly did not happen.
fn undone(reply: Reply) -> Reply {
    match reply {
        Reply::Done(Answer::Replayed(order)) => Reply::Pending(Some(order.id)),
        _ => Reply::Busy(Busy::Unavailable),
    }
}
