//! What the subcommands do, as functions. Never reads arguments: `bin/` does.

pub mod token;
