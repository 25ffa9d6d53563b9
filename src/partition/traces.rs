//! The traced orders of one batch, beside it: their decisions end with it being gathered, their appends with its confirm. Most
//! batches have none, and then nothing is made here. Never changes what is decided or sent.

use crate::domain::OrderId;
use crate::event::{Batch, Event};
use crate::log::InDoubt;
use crate::trace::{BATCH, Context, ORDER_ID, Span, Step, Trace};

/// Traces that one batch carries on, at most: the others end with the decision.
const TRACES_MAX: usize = 16;

/// Traces that go on with the batch being gathered.
#[derive(Default)]
pub(super) struct Traces(Vec<(Trace, OrderId)>);

impl Traces {
    /// A traced command was decided, and these events are what came of it.
    pub(super) fn decided(&mut self, mut span: Span, events: &[Event]) {
        let Some(order) = events.iter().find_map(order_of) else { return };
        span.note_shown(ORDER_ID, order);
        if self.0.len() < TRACES_MAX {
            self.0.push((span.trace(), order));
        }
    }

    /// What was gathered is sent now, in that batch.
    pub(super) fn sent(&mut self, batch: &Batch) -> Sent {
        let append = |(trace, order): (Trace, OrderId)| {
            let mut span = trace.begin(Step::Append);
            span.note_shown(ORDER_ID, order);
            span.note_shown(BATCH, batch.name());
            span
        };
        Sent(self.0.drain(..).map(append).collect())
    }
}

/// The appends of traced orders under way. Dropped before they ended, they were given up.
pub(super) struct Sent(Vec<Span>);

impl Sent {
    /// What whoever reads the batch goes on from.
    pub(super) fn contexts(&self) -> Vec<Context> {
        self.0.iter().map(Span::context).collect()
    }

    /// What became of the batch.
    pub(super) fn ended(mut self, result: &Result<(), InDoubt>) {
        match result {
            Ok(()) => self.0.clear(),
            Err(InDoubt(why)) => self.fail(why),
        }
    }

    fn fail(&mut self, why: &str) {
        self.0.drain(..).for_each(|mut span| span.fail(why));
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.fail("nobody waited for the confirm");
    }
}

/// The order an event is about.
fn order_of(event: &Event) -> Option<OrderId> {
    match event {
        Event::Placed { order, .. } => Some(order.id),
        Event::Moved { order, .. } => Some(*order),
        Event::PaymentStarted { payment, .. } | Event::PaymentChanged { payment, .. } => Some(payment.order),
        Event::Listed(_)
        | Event::Changed { .. }
        | Event::Restocked { .. }
        | Event::Paused { .. }
        | Event::Ended { .. }
        | Event::Operated { .. }
        | Event::Closed { .. }
        | Event::Removed { .. }
        | Event::KeyForgotten { .. } => None,
    }
}
