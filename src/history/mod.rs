//! What buyers and operators asked and were told, and whether it can all be true. Pure.
//!
//! The check knows the contract and nothing of the engine: it reads answers and the rows of the tables, and shares no rule
//! with the code that gave them. The simulator and the runs against real processes record the same history.

mod check;
#[cfg(test)]
mod tests;

pub use check::{Verdict, Violation, check};

use serde::{Deserialize, Serialize};

use crate::domain::{CommodityId, IdempotencyKey, OrderId, OrderStatus, Principal, Quantity};

/// A question, as the one who asked it knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// Claim units.
    Place {
        /// Of what.
        commodity: CommodityId,
        /// For whom.
        user: Principal,
        /// How many.
        quantity: Quantity,
        /// Under which key.
        key: Option<IdempotencyKey>,
    },
    /// What is known of an order?
    Look(OrderId),
    /// Call an order off.
    Cancel(OrderId),
    /// The payment of an order arrived, or its refund went out.
    Money(OrderId),
    /// Add units.
    Restock {
        /// To what.
        commodity: CommodityId,
        /// How many.
        units: u32,
        /// Under which key.
        #[serde(default)]
        key: Option<IdempotencyKey>,
    },
    /// Set the total of a commodity.
    SetTotal(CommodityId),
    /// Anything else an operator does.
    Operate,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// None: the caller gave up, or the connection broke.
    Nothing,
    /// A new order: `201`.
    Accepted {
        /// Its id.
        order: OrderId,
        /// Its status.
        status: OrderStatus,
    },
    /// An order as it stands: a replay, a look, a cancellation, a payment.
    Order {
        /// Its id.
        order: OrderId,
        /// Its status.
        status: OrderStatus,
    },
    /// A change was made that is no order's.
    Done,
    /// Refused, for ever: `409` and the like; the status `refused` of an id.
    Refused,
    /// There is no such thing: `404`.
    NotFound,
    /// Not known yet: ask again, with the id if there is one.
    Pending(Option<OrderId>),
    /// Certainly not carried out: `503`.
    Busy,
}

/// A question and its answer. Times are of one clock that all callers share, in any unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// When it was asked.
    pub asked_at: u64,
    /// When the answer was there; of no matter for [`Told::Nothing`].
    pub told_at: u64,
    /// Which process was asked.
    pub via: u32,
    /// What was asked.
    pub asked: Asked,
    /// What was told.
    pub told: Told,
}

/// All calls of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// In the order they were asked.
    pub calls: Vec<Call>,
}

impl History {
    /// Notes a question; until it is answered, the answer is [`Told::Nothing`].
    pub fn asked(&mut self, at: u64, via: u32, asked: Asked) -> usize {
        self.calls.push(Call { asked_at: at, told_at: at, via, asked, told: Told::Nothing });
        self.calls.len() - 1
    }

    /// Notes the answer to the question with that index.
    pub fn told(&mut self, call: usize, at: u64, told: Told) {
        let call = &mut self.calls[call];
        (call.told_at, call.told) = (at, told);
    }
}

/// A row of the orders, after all has come to rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    /// The id.
    pub id: OrderId,
    /// What was ordered.
    pub commodity: CommodityId,
    /// By whom.
    pub user: Principal,
    /// How many units.
    pub quantity: Quantity,
    /// The key it was placed under, unless it is forgotten.
    pub key: Option<IdempotencyKey>,
    /// Where it stands.
    pub status: OrderStatus,
}

/// A row of the commodities, after all has come to rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommodityRow {
    /// The id.
    pub id: CommodityId,
    /// Units it was listed with.
    pub listed: i64,
    /// All units.
    pub total: i64,
    /// On sale.
    pub available: i64,
    /// Held.
    pub held: i64,
    /// Sold.
    pub sold: i64,
}

/// The tables, after all has come to rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Every order.
    pub orders: Vec<OrderRow>,
    /// Every commodity.
    pub commodities: Vec<CommodityRow>,
}
