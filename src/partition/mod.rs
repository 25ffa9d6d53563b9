//! The single-writer task around an engine, and the board. Never knows HTTP and never writes SQL.

mod board;

pub use board::{Board, Listing};
