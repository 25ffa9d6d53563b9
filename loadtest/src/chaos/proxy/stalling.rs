//! One partition's connection that stands still for a while: what its owner sends goes on to the broker only when the time is over.
//! Nothing is dropped and nothing is reset; all other connections go through as they are.

use tokio::sync::watch;

use super::frames::{Frame, QUEUE_DECLARE};
use super::{Onward, Tamper};

/// Which connection stands still: that on which the queue of this name was declared.
#[derive(Debug, Default)]
pub(super) struct Stall(watch::Sender<Option<String>>);

impl Stall {
    /// The name of that queue, as it changes.
    pub(super) fn receiver(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }

    /// Lets the connection of that queue stand still, or everything go on.
    pub(super) fn set(&self, queue: Option<String>) {
        self.0.send_replace(queue);
    }
}

/// A connection, and what is known of it.
#[derive(Debug)]
pub(super) struct Stalling {
    stall: watch::Receiver<Option<String>>,
    /// The queues that were declared on it.
    declared: Vec<String>,
}

impl Stalling {
    pub(super) fn new(stall: &Stall) -> Self {
        Self { stall: stall.receiver(), declared: Vec::new() }
    }
}

impl Tamper for Stalling {
    fn asked(&mut self, frame: Frame) -> Onward {
        if frame.method() == Some(QUEUE_DECLARE) {
            self.declared.extend(frame.declared_queue());
        }
        let stands_still = self.stall.borrow().as_ref().is_some_and(|queue| self.declared.contains(queue));
        let bytes = frame.into_bytes();
        if stands_still { Onward::Later(bytes) } else { Onward::Bytes(bytes) }
    }

    fn answered(&mut self, frame: Frame) -> Onward {
        Onward::Bytes(frame.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::{declare, publish};
    use super::*;

    #[test]
    fn only_the_connection_of_that_queue_stands_still_and_only_until_it_may_go_on() {
        let stall = Stall::default();
        let (mut hit, mut other) = (Stalling::new(&stall), Stalling::new(&stall));
        for (connection, queue) in [(&mut hit, "log.3.owner"), (&mut other, "log.4.owner")] {
            assert!(matches!(connection.asked(declare(1, queue)), Onward::Bytes(_)));
        }
        let next = || publish(1, &[]).remove(0);
        assert!(matches!(hit.asked(next()), Onward::Bytes(_)), "nobody has said so");
        stall.set(Some("log.3.owner".to_owned()));
        assert!(matches!(hit.asked(next()), Onward::Later(_)));
        assert!(matches!(other.asked(next()), Onward::Bytes(_)));
        stall.set(None);
        assert!(matches!(hit.asked(next()), Onward::Bytes(_)));
    }
}
