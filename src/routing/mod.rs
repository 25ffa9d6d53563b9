//! From a request to the engine that decides it. Never decides anything itself and never keeps a request waiting
//! without a bound.

use std::time::Duration;

use crate::domain::{CommodityId, Order, OrderId};
use crate::engine::{Answer, Command, Refusal};

/// What a command sent through the router came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Carried out, and on stable storage.
    Done(Answer),
    /// Refused; nothing changed.
    Refused(Refusal),
    /// Not known yet (R2). The order's id, where there is one, is what to ask again with.
    Pending(Option<OrderId>),
    /// Certainly not carried out: try again after that time.
    Busy(Busy),
}

/// Why a command was not even tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The partition's inbox is full, or the command's deadline passed while it waited there: `503 overloaded`.
    Overloaded,
    /// Nobody serves the partition right now (starting, stopping, or its log is away): `503 unavailable`.
    Unavailable,
}

impl Busy {
    /// What to put into `Retry-After`.
    #[must_use]
    pub const fn retry_after(self) -> Duration {
        Duration::from_secs(1)
    }
}

/// What is known of an order id.
#[derive(Clone, Debug, PartialEq)]
pub enum OrderLookup {
    /// The order as it stands, on stable storage.
    Known(Order),
    /// The id is of an order that never was (its epoch is over), for ever: status `refused`.
    Refused,
    /// Not known yet: status `pending`.
    Pending,
    /// The id was never given: a partition or an epoch that does not exist, or a number not reached yet.
    NotFound,
    /// The database was needed and is away.
    Unavailable,
}

/// The way of commands to their engines.
#[derive(Debug)]
pub struct Router {
    board: std::sync::Arc<crate::partition::Board>,
}

impl Router {
    /// What may be read without asking an engine.
    #[must_use]
    pub fn board(&self) -> &crate::partition::Board {
        &self.board
    }

    /// Sends a command about a commodity to its partition and waits for what it came to.
    pub async fn about_commodity(&self, _commodity: CommodityId, _command: Command) -> Reply {
        todo!()
    }

    /// Sends a command about an order to its partition and waits for what it came to.
    pub async fn about_order(&self, _order: OrderId, _command: Command) -> Reply {
        todo!()
    }

    /// What is known of an order, the same from every process.
    pub async fn order(&self, _id: OrderId) -> OrderLookup {
        todo!()
    }

    /// Whether every partition this process is to serve is served: what `/readyz` says.
    #[must_use]
    pub fn ready(&self) -> bool {
        todo!()
    }
}
