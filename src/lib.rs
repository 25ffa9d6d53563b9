//! Doorbuster: a flash-sale engine. Accepted means sold; neither oversold nor undersold; whatever is killed.

// What the tests of modules share with those beside the crate names it.
#[cfg(test)]
extern crate self as doorbuster;

use doorbuster_core::{breaks, form};
pub use doorbuster_core::{checkpoint, domain, engine, event, ring};

pub mod account_changes;
pub mod admin;
pub mod auth;
pub mod broker;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod consumer;
pub mod datadir;
pub mod drift;
pub mod embedded;
pub mod history;
pub mod http;
pub mod limits;
pub mod log;
pub mod logins;
pub mod membership;
pub mod ownership;
mod panics;
pub mod partition;
pub mod payments;
pub mod process;
pub mod projection;
pub mod role;
pub mod routing;
pub mod sandbox;
pub mod server;
pub mod settlement;
pub mod shutdown;
pub mod simulation;
pub mod single_flight;
pub mod store;
pub mod telemetry;
#[cfg(test)]
mod tidy;
pub mod tls;
pub mod tools;
pub mod trace;
mod upkeep;
