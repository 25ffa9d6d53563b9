//! Version 7 of the peer link, frozen: as version 6, and orders have payments, a grace and a discount; who cancels says why. How a node stands is
//! told as in version 5; all else is its own.

mod asked;
mod bulletin;
mod change;
mod codes;
mod told;

use serde::{Deserialize, Serialize};

pub(super) use bulletin::Bulletin;

use super::v3::{Context, Restock};
use crate::form::sale::{self, Terms};
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
    #[serde(borrow)]
    Cancel(Cancel<'a>),
    StartPayment([u8; 16], Option<u128>, #[serde(borrow)] Option<Box<Recalled<'a>>>),
    #[serde(borrow)]
    PaymentSucceeded(PaymentSucceeded<'a>),
    #[serde(borrow)]
    PaymentEnded(PaymentEnded<'a>),
    #[serde(borrow)]
    Refund(Refund<'a>),
}

#[derive(Serialize, Deserialize)]
struct Cancel<'a> {
    order: [u8; 16],
    user: Option<u128>,
    reason: Option<&'a str>,
    #[serde(borrow)]
    row: Option<Box<Recalled<'a>>>,
}

#[derive(Serialize, Deserialize)]
struct PaymentSucceeded<'a> {
    order: [u8; 16],
    attempt: u8,
    amount: i64,
    currency: [u8; 3],
    is_captured: bool,
    #[serde(borrow)]
    row: Option<Box<Recalled<'a>>>,
}

#[derive(Serialize, Deserialize)]
struct PaymentEnded<'a> {
    order: [u8; 16],
    attempt: u8,
    how: u32,
    #[serde(borrow)]
    row: Option<Box<Recalled<'a>>>,
}

#[derive(Serialize, Deserialize)]
struct Refund<'a> {
    order: [u8; 16],
    reason: Option<&'a str>,
    restock: bool,
    #[serde(borrow)]
    row: Option<Box<Recalled<'a>>>,
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
    payments: Vec<Payment>,
    applied_epoch: u32,
    applied_sequence: u64,
    #[serde(borrow)]
    commodity: Option<Commodity<'a>>,
}

/// A payment of an order, as far as an engine must know.
#[derive(Serialize, Deserialize)]
struct Payment {
    attempt: u8,
    state: u32,
    pays: bool,
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
    grace_seconds: u32,
    discount: Option<Discount>,
}

#[derive(Serialize, Deserialize)]
struct Discount {
    coupon: i64,
    amount: i64,
}

/// A commodity, which may be closed.
#[derive(Serialize, Deserialize)]
pub(super) struct Commodity<'a> {
    #[serde(borrow)]
    listed: sale::Commodity<'a>,
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
    /// With the number of a payment where the refusal has one, else 0.
    Refused(u32, u8),
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
    Payment {
        order: Order,
        attempt: u8,
        is_new: bool,
    },
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
