//! Rows of the sandbox's file and what they stand for. Never begins or ends a transaction.

use sea_orm::{DbErr, QueryResult, Value};
use serde_json::json;

use super::{Open, all, execute, one};
use crate::domain::{Currency, Timestamp};

const PAYMENT_COLUMNS: &str = "id, token, reference, order_name, description, amount, currency, state, authorized, captured, refunded, \
                               return_url, created_at, expires_at, succeeds_at";
pub(super) const REFUND_COLUMNS: &str = "id, payment_id, reference, amount, created_at";

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Payment {
    pub(in crate::sandbox) id: String,
    /// The secret part of its page's address.
    pub(in crate::sandbox) token: String,
    pub(in crate::sandbox) reference: Option<String>,
    pub(in crate::sandbox) order: Option<String>,
    pub(in crate::sandbox) description: String,
    pub(in crate::sandbox) amount: i64,
    pub(in crate::sandbox) currency: Currency,
    pub(in crate::sandbox) state: State,
    pub(in crate::sandbox) authorized: i64,
    pub(in crate::sandbox) captured: i64,
    pub(in crate::sandbox) refunded: i64,
    pub(in crate::sandbox) return_url: Option<String>,
    pub(in crate::sandbox) created_at: Timestamp,
    /// When whoever sells says that it will be too late. The sandbox ends nothing by itself.
    pub(in crate::sandbox) expires_at: Option<Timestamp>,
    /// When it succeeds, while it is not known yet.
    pub(in crate::sandbox) succeeds_at: Option<Timestamp>,
}

/// How a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum State {
    Open,
    Processing,
    Authorized,
    Captured,
    Failed,
    Cancelled,
}

impl State {
    const ALL: [Self; 6] = [Self::Open, Self::Processing, Self::Authorized, Self::Captured, Self::Failed, Self::Cancelled];

    /// The word in rows and answers.
    pub(in crate::sandbox) const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Processing => "processing",
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Refund {
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) payment: String,
    pub(in crate::sandbox) reference: Option<String>,
    pub(in crate::sandbox) amount: i64,
    pub(in crate::sandbox) created_at: Timestamp,
}

/// An idempotency key of a request.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Key {
    pub(in crate::sandbox) text: String,
    /// Of the request.
    pub(in crate::sandbox) fingerprint: String,
    pub(in crate::sandbox) used_at: Timestamp,
    /// Keys that were used then or before are forgotten.
    pub(in crate::sandbox) forgotten_until: Timestamp,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Event {
    pub(in crate::sandbox) number: i64,
    /// The message, as it is sent.
    pub(in crate::sandbox) body: String,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Delivery {
    pub(in crate::sandbox) id: i64,
    pub(in crate::sandbox) attempts: u32,
    pub(in crate::sandbox) event: i64,
    pub(in crate::sandbox) body: String,
}

impl Payment {
    /// The money is set aside: the word for that.
    pub(super) fn authorize(&mut self) -> &'static str {
        self.authorized = self.amount;
        self.succeeds_at = None;
        self.turn(State::Authorized, "payment.authorized")
    }

    pub(super) fn turn(&mut self, state: State, kind: &'static str) -> &'static str {
        self.state = state;
        kind
    }

    /// What everybody may know of it: all but where it is paid.
    pub(in crate::sandbox) fn facts(&self) -> serde_json::Value {
        json!({
            "id": self.id,
            "reference": self.reference,
            "order": self.order,
            "state": self.state.word(),
            "amount": self.amount,
            "currency": self.currency,
            "authorized": self.authorized,
            "captured": self.captured,
            "refunded": self.refunded,
            "description": self.description,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "succeeds_at": self.succeeds_at,
        })
    }
}

pub(super) async fn payment_where(books: &Open, condition: &str, value: String) -> Result<Option<Payment>, DbErr> {
    let sql = format!("SELECT {PAYMENT_COLUMNS} FROM payments WHERE {condition}");
    one(books, &sql, [value.into()]).await?.map(|row| payment(&row)).transpose()
}

pub(super) async fn payments_where(books: &Open, condition: &str, values: impl IntoIterator<Item = Value>) -> Result<Vec<Payment>, DbErr> {
    let sql = format!("SELECT {PAYMENT_COLUMNS} FROM payments WHERE {condition}");
    all(books, &sql, values).await?.iter().map(payment).collect()
}

pub(super) async fn insert(books: &Open, payment: &Payment) -> Result<(), DbErr> {
    let sql = format!("INSERT INTO payments ({PAYMENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
    let values: [Value; 15] = [
        payment.id.clone().into(),
        payment.token.clone().into(),
        payment.reference.clone().into(),
        payment.order.clone().into(),
        payment.description.clone().into(),
        payment.amount.into(),
        payment.currency.code().into(),
        payment.state.word().into(),
        payment.authorized.into(),
        payment.captured.into(),
        payment.refunded.into(),
        payment.return_url.clone().into(),
        payment.created_at.millis().into(),
        millis(payment.expires_at).into(),
        millis(payment.succeeds_at).into(),
    ];
    execute(books, &sql, values).await
}

pub(super) async fn update(books: &Open, payment: &Payment) -> Result<(), DbErr> {
    let sql = "UPDATE payments SET state = ?, authorized = ?, captured = ?, refunded = ?, succeeds_at = ? WHERE id = ?";
    let values = [
        payment.state.word().into(),
        payment.authorized.into(),
        payment.captured.into(),
        payment.refunded.into(),
        payment.succeeds_at.map(Timestamp::millis).into(),
        payment.id.clone().into(),
    ];
    execute(books, sql, values).await
}

pub(super) async fn insert_refund(books: &Open, refund: &Refund) -> Result<(), DbErr> {
    let sql = format!("INSERT INTO refunds ({REFUND_COLUMNS}) VALUES (?, ?, ?, ?, ?)");
    let values = [
        refund.id.clone().into(),
        refund.payment.clone().into(),
        refund.reference.clone().into(),
        refund.amount.into(),
        refund.created_at.millis().into(),
    ];
    execute(books, &sql, values).await
}

fn payment(row: &QueryResult) -> Result<Payment, DbErr> {
    let corrupt = |what: &str| DbErr::Custom(format!("a payment has no {what}"));
    let (state, currency): (String, String) = (row.try_get_by_index(7)?, row.try_get_by_index(6)?);
    Ok(Payment {
        id: row.try_get_by_index(0)?,
        token: row.try_get_by_index(1)?,
        reference: row.try_get_by_index(2)?,
        order: row.try_get_by_index(3)?,
        description: row.try_get_by_index(4)?,
        amount: row.try_get_by_index(5)?,
        currency: currency.parse().map_err(|_| corrupt("currency"))?,
        state: State::ALL.into_iter().find(|known| known.word() == state).ok_or_else(|| corrupt("state"))?,
        authorized: row.try_get_by_index(8)?,
        captured: row.try_get_by_index(9)?,
        refunded: row.try_get_by_index(10)?,
        return_url: row.try_get_by_index(11)?,
        created_at: timestamp(row.try_get_by_index(12)?)?,
        expires_at: row.try_get_by_index::<Option<i64>>(13)?.map(timestamp).transpose()?,
        succeeds_at: row.try_get_by_index::<Option<i64>>(14)?.map(timestamp).transpose()?,
    })
}

pub(super) fn refund(row: &QueryResult) -> Result<Refund, DbErr> {
    Ok(Refund {
        id: row.try_get_by_index(0)?,
        payment: row.try_get_by_index(1)?,
        reference: row.try_get_by_index(2)?,
        amount: row.try_get_by_index(3)?,
        created_at: timestamp(row.try_get_by_index(4)?)?,
    })
}

pub(super) fn event(row: &QueryResult) -> Result<Event, DbErr> {
    Ok(Event { number: row.try_get_by_index(0)?, body: row.try_get_by_index(2)? })
}

pub(super) fn delivery(row: &QueryResult) -> Result<Delivery, DbErr> {
    Ok(Delivery {
        id: row.try_get_by_index(0)?,
        attempts: u32::try_from(row.try_get_by_index::<i64>(1)?).unwrap_or(u32::MAX),
        event: row.try_get_by_index(2)?,
        body: row.try_get_by_index(3)?,
    })
}

fn timestamp(millis: i64) -> Result<Timestamp, DbErr> {
    Timestamp::from_millis(millis).map_err(|_| DbErr::Custom("a time out of range".to_owned()))
}
