//! Tests of the engine through its public face.

mod basics;
mod model;
mod projection;
mod properties;
mod refusals;
mod restoring;
mod support;
