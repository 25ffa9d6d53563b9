//! The HTTP layer: the buyers' API, and what it shares with the operators' API. Turns requests into commands and outcomes into answers;
//! never decides about stock, never writes SQL. What is served where: [`server`](crate::server).

pub(crate) mod accounts;
mod body;
mod client_address;
pub(crate) mod commodities;
pub(crate) mod connections;
pub(crate) mod cors;
mod cursor;
pub(crate) mod etag;
mod extract;
pub(crate) mod fields;
pub(crate) mod health;
mod json;
pub(crate) mod key;
pub(crate) mod metrics;
pub(crate) mod middleware;
pub(crate) mod orders;
mod own_orders;
pub mod problem;
mod query;
mod request_id;
mod retry_key;
pub(crate) mod routes;
pub(crate) mod schema;
pub(crate) mod skus;
mod state;
mod traces;

pub use body::{Body, CSV_BYTES_MAX, CsvBody};
pub use client_address::ClientAddress;
pub use connections::Connections;
pub use cursor::{Cursor, Page, PageRequest};
pub use extract::{Admin, Caller, CountedCaller, Id, Operator, PathId};
pub use fields::Fields;
pub use query::Query;
pub use request_id::{RequestId, RequestIds};
pub use state::{AppState, Cluster, Costly};
