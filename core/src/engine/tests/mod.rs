//! Tests of the engine through its public face.

mod basics;
mod cancelling;
mod closing;
mod forgetting;
mod keys;
mod listing;
mod model;
mod operations;
mod principals;
pub(crate) mod projection;
mod properties;
mod refusals;
mod restoring;
pub(crate) mod steps;
pub(crate) mod support;
pub(crate) mod world;
