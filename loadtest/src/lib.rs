//! The load generator: races of many buyers for few units, and an audit that holds every answer against the database.
//!
//! It only ever talks to loopback addresses, starts and stops only processes of its own, and every wait has a bound.
//! It never touches the server's state other than through HTTP, and merely reads the database; only [`volume`] fills one, before a
//! server works on it.

pub mod answer;
pub mod audit;
pub mod bare;
pub mod chaos;
pub mod child;
pub mod client;
pub mod cluster;
pub mod compare;
pub mod crash;
pub mod drain;
pub mod files;
pub mod ledger;
pub mod loopback;
pub mod machine;
pub mod meters;
pub mod outcome;
pub mod plan;
pub mod ports;
pub mod race;
pub mod report;
pub mod rotate;
pub mod sale;
pub mod server;
pub mod shares;
pub mod tally;
pub mod tokens;
pub mod volley;
pub mod volume;
