//! What the subcommands do, as functions. Never changes stock; what arguments mean is said here, reading them is `bin/`'s.

pub mod archive;
pub mod audit;
pub mod certs;
pub mod dead;
mod letters;
pub mod log;
pub mod nodes;
pub mod simulate;
pub mod token;
pub mod upgrade;
