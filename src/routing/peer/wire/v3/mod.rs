//! Version 3 of the peer link, frozen: the forms of the first release. Numbers, texts and other frozen forms, no type of the domain.

mod asked;
pub(super) mod codes;
mod told;

use std::num::{NonZeroU64, NonZeroU128};

use serde::{Deserialize, Serialize};

pub(super) use self::asked::{account_of, key_of};
use crate::form::{Commodity, Id, Order, Terms};

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
    Remove(i64),
    Place(Place),
    ConfirmPayment(Id),
    ConfirmRefund(Id),
    Cancel(Cancel),
    Expire(u64),
}

/// A command, apart.
#[derive(Serialize, Deserialize)]
pub(super) struct List<'a> {
    commodity: i64,
    #[serde(borrow)]
    terms: Terms<'a>,
    total: i64,
}

/// A command, apart. What is there changes; in the inner options is the new value.
#[derive(Serialize, Deserialize)]
pub(super) struct Change<'a> {
    commodity: i64,
    name: Option<&'a str>,
    description: Option<&'a str>,
    image_url: Option<Option<&'a str>>,
    price: Option<i64>,
    currency: Option<&'a str>,
    limit_per_user: Option<Option<u32>>,
    hold_seconds: Option<Option<u32>>,
    starts_at: Option<i64>,
    ends_at: Option<i64>,
    total: Option<i64>,
    expected_version: Option<u32>,
}

/// A command, apart.
#[derive(Serialize, Deserialize)]
pub(super) struct Restock {
    commodity: i64,
    units: i64,
}

/// A command, apart.
#[derive(Serialize, Deserialize)]
pub(super) struct Place {
    commodity: i64,
    user: i64,
    quantity: i64,
    key: Option<u128>,
    fingerprint: i64,
}

#[derive(Serialize, Deserialize)]
struct Cancel {
    order: Id,
    user: Option<i64>,
}

/// A place in a trace.
#[derive(Serialize, Deserialize)]
pub(super) struct Context {
    trace: NonZeroU128,
    span: NonZeroU64,
}

/// What became of a request.
#[derive(Serialize, Deserialize)]
pub(super) enum Told<'a> {
    #[serde(borrow)]
    Reply(Reply<'a>),
    #[serde(borrow)]
    Sighting(Result<Sighting<'a>, u32>),
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
    #[serde(borrow)]
    Order(Order<'a>),
    #[serde(borrow)]
    Commodity(Commodity<'a>),
    Removed,
    Expired(u64),
}

/// What an owner says of an order.
#[derive(Serialize, Deserialize)]
pub(super) enum Sighting<'a> {
    #[serde(borrow)]
    Known(Order<'a>),
    Unknown {
        epoch: u32,
        next_number: u64,
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

/// What a node says of itself when it is greeted.
#[derive(Serialize, Deserialize)]
pub(super) struct Introduction {
    instance: u64,
    partitions: u16,
}
