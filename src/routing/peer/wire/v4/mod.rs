//! Version 4 of the peer link, frozen: what version 3 says, and what this release adds. What it did not change is version 3's.

mod asked;
pub(super) mod codes;
mod told;

use serde::{Deserialize, Serialize};

use super::v3::{Change, Context, List, Place, Restock};
use crate::form::{self, Id, Order};

/// A request in a batch.
#[derive(Serialize, Deserialize)]
pub(super) struct Item<'a> {
    budget_ms: u32,
    #[serde(borrow)]
    ask: Ask<'a>,
    trace: Option<Context>,
}

#[derive(Serialize, Deserialize)]
enum Ask<'a> {
    #[serde(borrow)]
    Command(Command<'a>),
    Lookup(Id),
    OrdersOf(u16, i64),
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
    Place(Place),
    ConfirmPayment(Id, #[serde(borrow)] Option<Box<Recalled<'a>>>),
    ConfirmRefund(Id, #[serde(borrow)] Option<Box<Recalled<'a>>>),
    Cancel(Id, Option<i64>, #[serde(borrow)] Option<Box<Recalled<'a>>>),
}

/// The row of an order that its engine has forgotten.
#[derive(Serialize, Deserialize)]
struct Recalled<'a> {
    #[serde(borrow)]
    order: Order<'a>,
    key: Option<u128>,
    applied_epoch: u32,
    applied_sequence: u64,
    #[serde(borrow)]
    commodity: Option<Commodity<'a>>,
}

/// A commodity, which may be closed.
#[derive(Serialize, Deserialize)]
pub(super) struct Commodity<'a> {
    #[serde(borrow)]
    listed: form::Commodity<'a>,
    closed_at: Option<i64>,
}

/// What became of a request.
#[derive(Serialize, Deserialize)]
pub(super) enum Told<'a> {
    #[serde(borrow)]
    Reply(Reply<'a>),
    #[serde(borrow)]
    Sighting(Result<Sighting<'a>, u32>),
    #[serde(borrow)]
    Orders(Result<Vec<Order<'a>>, u32>),
    Misdirected,
}

/// What a command came to.
#[derive(Serialize, Deserialize)]
pub(super) enum Reply<'a> {
    #[serde(borrow)]
    Done(Answer<'a>),
    Refused(u32),
    Pending(Option<Id>),
    Busy(u32),
}

/// A command was carried out.
#[derive(Serialize, Deserialize)]
pub(super) enum Answer<'a> {
    #[serde(borrow)]
    Placed(Order<'a>),
    #[serde(borrow)]
    Replayed(Order<'a>),
    PlacedBefore(Id),
    #[serde(borrow)]
    Order(Order<'a>),
    #[serde(borrow)]
    Commodity(Commodity<'a>),
    Removed,
}

/// What an owner says of an order.
#[derive(Serialize, Deserialize)]
pub(super) enum Sighting<'a> {
    #[serde(borrow)]
    Known(Order<'a>),
    Unknown {
        epoch: u32,
        next_number: u64,
        in_tables: bool,
    },
    InDoubt,
}

/// What a node says of itself.
#[derive(Serialize, Deserialize)]
pub(super) struct Bulletin<'a> {
    leaving: bool,
    broker: u32,
    serving: Vec<(u16, u32)>,
    confirmed: Vec<(u16, u64)>,
    claiming: Vec<u16>,
    stopped: Vec<(u16, u32)>,
    #[serde(borrow)]
    shown: Vec<(u16, Commodity<'a>)>,
    hidden: Vec<i64>,
}
