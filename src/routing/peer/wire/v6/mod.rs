//! Version 6 of the peer link, frozen: buyers may be other issuers' accounts, and say what they saw that a unit costs; a command may be asked
//! for under a key; commodities have article numbers. How a node stands is told as in version 5; all else is its own.

mod asked;
mod bulletin;
mod change;
mod told;

use serde::{Deserialize, Serialize};

pub(super) use bulletin::Bulletin;

use super::v3::{Context, Restock};
use crate::form::offer::{self, Terms};
use change::Change;

/// A request in a batch.
#[derive(Serialize, Deserialize)]
pub(super) struct Item<'a> {
    budget_ms: u32,
    /// Of which version the commodity must be.
    expecting: Option<u32>,
    /// Under which key it is asked for.
    keyed: Option<Keyed>,
    #[serde(borrow)]
    ask: Ask<'a>,
    trace: Option<Context>,
}

#[derive(Serialize, Deserialize)]
struct Keyed {
    key: [u8; 16],
    fingerprint: i64,
}

#[derive(Serialize, Deserialize)]
enum Ask<'a> {
    #[serde(borrow)]
    Command(Command<'a>),
    Lookup([u8; 16]),
    OrdersOf(u16, u128),
}

#[derive(Serialize, Deserialize)]
enum Command<'a> {
    #[serde(borrow)]
    List(List<'a>),
    #[serde(borrow)]
    Change(Change<'a>),
    Restock(Restock),
    Pause(i64),
    Resume(i64),
    End(i64),
    Close(i64),
    Remove(i64),
    #[serde(borrow)]
    Place(Place<'a>),
    ConfirmPayment([u8; 16], #[serde(borrow)] Option<Box<Recalled<'a>>>),
    ConfirmRefund([u8; 16], #[serde(borrow)] Option<Box<Recalled<'a>>>),
    Cancel([u8; 16], Option<u128>, #[serde(borrow)] Option<Box<Recalled<'a>>>),
}

#[derive(Serialize, Deserialize)]
struct List<'a> {
    commodity: i64,
    #[serde(borrow)]
    terms: Terms<'a>,
    total: i64,
    /// Epoch and sequence of the last batch in the tables that had no row of it, where it may have been listed before.
    absent_at: Option<(u32, u64)>,
}

#[derive(Serialize, Deserialize)]
struct Place<'a> {
    commodity: i64,
    #[serde(borrow)]
    buyer: Buyer<'a>,
    quantity: i64,
    key: Option<[u8; 16]>,
    fingerprint: i64,
    /// What the buyer saw that one unit costs.
    unit_price: Option<i64>,
}

#[derive(Serialize, Deserialize)]
enum Buyer<'a> {
    Own(i64),
    /// `<issuer's name>:<subject>`.
    Foreign(&'a str),
}

/// The row of an order that its engine has forgotten.
#[derive(Serialize, Deserialize)]
struct Recalled<'a> {
    order: Order,
    key: Option<[u8; 16]>,
    applied_epoch: u32,
    applied_sequence: u64,
    #[serde(borrow)]
    commodity: Option<Commodity<'a>>,
}

/// An order.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    id: [u8; 16],
    commodity: i64,
    /// The buyer's key.
    buyer: u128,
    quantity: i64,
    unit_price: i64,
    currency: [u8; 3],
    status: u32,
    pay_by: Option<i64>,
}

/// A commodity, which may be closed.
#[derive(Serialize, Deserialize)]
pub(super) struct Commodity<'a> {
    #[serde(borrow)]
    listed: offer::Commodity<'a>,
    closed_at: Option<i64>,
}

/// What became of a request.
#[derive(Serialize, Deserialize)]
pub(super) enum Told<'a> {
    #[serde(borrow)]
    Reply(Reply<'a>),
    #[serde(borrow)]
    Sighting(Result<Sighting<'a>, u32>),
    Orders(Result<Vec<Order>, u32>),
    Misdirected,
}

/// What a command came to.
#[derive(Serialize, Deserialize)]
pub(super) enum Reply<'a> {
    #[serde(borrow)]
    Done(Answer<'a>),
    Refused(u32),
    Pending(Option<[u8; 16]>),
    Busy(u32),
}

/// A command was carried out.
#[derive(Serialize, Deserialize)]
pub(super) enum Answer<'a> {
    Placed(Order),
    Replayed(Order),
    PlacedBefore([u8; 16]),
    Order(Order),
    #[serde(borrow)]
    Commodity(Commodity<'a>),
    Removed,
    DoneBefore(i64, #[serde(borrow)] Option<Commodity<'a>>),
}

/// What an owner says of an order.
#[derive(Serialize, Deserialize)]
pub(super) enum Sighting<'a> {
    /// With who ordered it, if they are another issuer's account and the owner knows who they are.
    Known(Order, Option<&'a str>),
    Unknown {
        epoch: u32,
        next_number: u64,
        in_tables: bool,
    },
    InDoubt,
}
