//! Who asks an inbox for something, as seen by whoever answers. Never waits.

use std::sync::{Arc, OnceLock};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::stage::Stage;
use super::{Hear, Reply};
use crate::domain::OrderId;
use crate::engine::Answer;

/// Who waits for an answer, and whether they still do.
pub(crate) struct Caller<T> {
    /// When the caller gives up, unless the request was taken up before.
    pub(crate) deadline: Instant,
    pub(super) shared: Arc<Shared>,
    pub(super) sender: oneshot::Sender<T>,
}

/// What whoever asks and whoever answers both see.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) stage: Stage,
    /// That it is decided, and the order that is to be told of, if it is one.
    pub(super) decided: OnceLock<Option<OrderId>>,
}

/// Who waits for what becomes of a command that a task here has taken up.
pub(crate) struct Answering {
    sender: oneshot::Sender<Reply>,
    shared: Arc<Shared>,
}

/// A caller that left meanwhile is told nothing.
impl Hear<Reply> for Answering {
    fn hear(self, reply: Reply) {
        drop(self.sender.send(reply));
    }

    fn wait_for(&self, reply: &Reply) {
        let order = if let Reply::Done(Answer::Placed(order)) = reply { Some(order.id) } else { None };
        // Decided once.
        let _ = self.shared.decided.set(order);
    }
}

impl<T> Caller<T> {
    /// Takes the request up: from now on the caller waits until it is answered. None if the caller gave up before.
    pub(crate) fn take(self) -> Option<oneshot::Sender<T>> {
        self.shared.stage.take().then_some(self.sender)
    }
}

impl Caller<Reply> {
    /// The same of a task that is about to decide the command.
    pub(crate) fn take_to_decide(self) -> Option<Answering> {
        self.shared.stage.take().then_some(Answering { sender: self.sender, shared: self.shared })
    }
}
