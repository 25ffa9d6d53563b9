//! Tests of the engine through its public face.

mod basics;
mod cancelling;
mod closing;
mod forgetting;
mod keys;
mod listing;
mod model;
mod operations;
mod paying;
mod principals;
pub(crate) mod projection;
mod properties;
mod refunding;
mod refusals;
mod restoring;
pub(crate) mod steps;
pub(crate) mod support;
mod transitions;
pub(crate) mod world;
