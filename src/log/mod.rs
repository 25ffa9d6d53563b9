//! The log of a partition: append and await the confirm. Never decides what is in a batch, never answers a buyer.

pub mod embedded;
mod rabbitmq;
pub(crate) mod traceparents;

pub(crate) use rabbitmq::SENT_AT_HEADER;
pub use rabbitmq::{Patience, RabbitLog, Writing};

use futures_util::future::BoxFuture;

use crate::event::Batch;
use crate::trace::Context;

/// One owner's way to append to the log of one partition.
pub trait Log: Send + Sync {
    /// Makes a batch durable. `Ok` is the confirm: from then on its events are facts, whatever crashes.
    ///
    /// Callers append one batch at a time, in sequence, starting behind the fence. Each implementation bounds the wait.
    fn append(&self, batch: Batch) -> BoxFuture<'_, Result<(), InDoubt>>;

    /// Whether this owner still has its lock, where that can go before the log does.
    fn check_lock(&self) -> BoxFuture<'_, Result<(), InDoubt>> {
        Box::pin(async { Ok(()) })
    }

    /// As [`append`](Self::append). Where somebody else reads the log, they are told the traces that the batch belongs to.
    fn append_traced(&self, batch: Batch, traces: Vec<Context>) -> BoxFuture<'_, Result<(), InDoubt>> {
        drop(traces);
        self.append(batch)
    }
}

/// The append was not confirmed. The batch may have become durable or not: the owner starts over (R2) and never repeats it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("append in doubt: {0}")]
pub struct InDoubt(pub String);
