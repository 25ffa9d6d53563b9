//! The last step of a traced order: from the delivery of its batch to the commit of its row. Never changes what is written.

use lapin::message::Delivery;

use super::round::Round;
use crate::event::Batch;
use crate::log::traceparents;
use crate::projection::{Outcome, Report};
use crate::trace::{BATCH, Context, Step, Tracer};

/// The traces of orders in a batch, from the headers of its message.
pub(super) fn contexts(tracer: &Tracer, delivery: &Delivery) -> Vec<Context> {
    match delivery.properties.headers() {
        Some(headers) if tracer.is_on() => traceparents::read(headers),
        _ => Vec::new(),
    }
}

/// Begins the spans of the batch that goes into the round next.
pub(super) fn begin(tracer: &Tracer, contexts: &[Context], batch: &Batch, round: &mut Round) {
    let index = round.batches.len();
    for trace in contexts.iter().filter_map(|context| tracer.follow(*context)) {
        let mut span = trace.begin(Step::Project);
        span.note_shown(BATCH, batch.name());
        round.spans.push((index, span));
    }
}

/// Ends them: the transaction is over. No report: it is not known how.
pub(super) fn end(round: &mut Round, report: Option<&Report>) {
    let (batches, events) = (round.batches.len() as i64, round.events as i64);
    for (index, mut span) in round.spans.drain(..) {
        span.note("doorbuster.transaction.batches", batches);
        span.note("doorbuster.transaction.events", events);
        match report.map(|report| report.outcomes.get(index)) {
            Some(Some(Outcome::Applied)) => {}
            Some(Some(Outcome::Skipped)) => span.fail("skipped: the epoch is over"),
            Some(Some(Outcome::Stopped) | None) => span.fail("the partition is stopped"),
            None => span.fail("the consumer stopped, or lost the broker"),
        }
    }
}
