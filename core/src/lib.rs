//! The sale logic of Doorbuster: what decides, what is decided, and the forms in which it outlives a process.
//!
//! Pure: nothing here awaits, reads a clock, draws a random number, logs, or does I/O. Time and ids arrive as arguments.

pub mod breaks;
pub mod checkpoint;
pub mod domain;
pub mod engine;
pub mod event;
pub mod form;
pub mod ring;
#[cfg(feature = "schema")]
pub mod schema;
