//! Traces of single requests, from HTTP to the transaction that writes their rows. A step of a traced request is a [`Span`];
//! what is not traced is `None` and costs a branch.
//!
//! It never decides about an order, never makes anybody wait, and is the only module that knows OpenTelemetry. A trace
//! travels beside a command or a batch, never in it: engine and events know nothing of it.

mod context;
mod export;
mod recorder;
mod span;
mod tracer;

pub use context::{Context, TRACEPARENT};
pub use span::{BATCH, ORDER_ID, Span, Step, Trace};
pub use tracer::Tracer;
