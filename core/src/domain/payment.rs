//! Payments of orders: their ids, how they stand, what an engine must know of them, and who moved an order. Never talks to a provider.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Invalid, OrderId};

/// The number of a payment among those of its order: 1 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(u8);

impl Attempt {
    /// The first.
    pub const FIRST: Attempt = Attempt(1);
    /// The last that an order can have.
    pub const LAST: Attempt = Attempt(32);

    /// The one of that number.
    ///
    /// # Errors
    /// [`Invalid`] outside of 1 to 32.
    pub const fn new(number: u8) -> Result<Self, Invalid> {
        if number < Self::FIRST.0 || number > Self::LAST.0 {
            return Err(Invalid("the number of a payment must be from 1 to 32"));
        }
        Ok(Self(number))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    const fn bit(self) -> u32 {
        1 << (self.0 - 1)
    }
}

/// One try to pay an order. Whoever has the id knows the order, and so the partition that decides about it. It is what a provider is told to
/// know the payment by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentId {
    /// The order.
    pub order: OrderId,
    /// Which of its payments.
    pub attempt: Attempt,
}

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.order, self.attempt.get())
    }
}

impl FromStr for PaymentId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("a payment id must be an order id, a dash and a number from 1 to 32");
        let (order, number) = text.rsplit_once('-').ok_or(WRONG)?;
        let is_plain = !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|_| is_plain).ok_or(WRONG)?;
        Ok(Self { order: order.parse().map_err(|_| WRONG)?, attempt: Attempt::new(number).map_err(|_| WRONG)? })
    }
}

impl Serialize for PaymentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PaymentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Nobody has paid yet.
    Open,
    /// The provider is at it: it can't be cancelled, and has not succeeded. Only providers say so; no engine knows it.
    Processing,
    /// The money is set aside for us, and not taken.
    Authorized,
    /// The money is taken.
    Captured,
    /// It came to nothing.
    Failed,
    /// It was called off, or what was set aside was let go.
    Cancelled,
    /// Its money has to go back, or must not be taken.
    RefundDue,
    /// Its money went back.
    Refunded,
}

impl PaymentStatus {
    /// Every one, by its code.
    pub const ALL: [PaymentStatus; 8] =
        [Self::Open, Self::Processing, Self::Authorized, Self::Captured, Self::Failed, Self::Cancelled, Self::RefundDue, Self::Refunded];

    /// The word used in JSON and in filters of lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Processing => "processing",
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::RefundDue => "refund_due",
            Self::Refunded => "refunded",
        }
    }

    /// The number in tables and logs. Append-only.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The one with that number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// How money is there that a provider tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taken {
    /// Set aside for us, and not taken.
    Authorized,
    /// Taken.
    Captured,
}

impl Taken {
    /// The same, of a payment that it is the last word of.
    #[must_use]
    pub const fn status(self) -> PaymentStatus {
        match self {
            Self::Authorized => PaymentStatus::Authorized,
            Self::Captured => PaymentStatus::Captured,
        }
    }
}

/// How it came that a provider has no money of a payment, and never will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PaymentEnd {
    /// It came to nothing.
    Failed,
    /// It was called off, or what was set aside was let go.
    Cancelled,
    /// What was taken went back.
    Refunded,
}

impl PaymentEnd {
    /// The same, as how the payment stands.
    #[must_use]
    pub const fn status(self) -> PaymentStatus {
        match self {
            Self::Failed => PaymentStatus::Failed,
            Self::Cancelled => PaymentStatus::Cancelled,
            Self::Refunded => PaymentStatus::Refunded,
        }
    }
}

/// One of an order's payments, and how it stands after what is told of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PaymentFact {
    /// Which.
    pub attempt: Attempt,
    /// How it stands.
    pub status: PaymentStatus,
}

/// What an engine must know of an order's payments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payments {
    started: u8,
    is_open: bool,
    paid_by: u8,
    /// A bit for each that must go back though it pays nothing.
    unwanted: u32,
}

impl Payments {
    /// As they were told: how many were started, the one that paid, the ones that are open or must go back.
    ///
    /// # Errors
    /// [`Invalid`] where that can't be.
    pub fn of(told: impl IntoIterator<Item = (Attempt, PaymentStatus, bool)>) -> Result<Self, Invalid> {
        const TWICE: Invalid = Invalid("an order is paid by one payment, and its last one alone is open");
        let (mut payments, mut open) = (Self::default(), None);
        for (attempt, status, pays) in told {
            payments.started = payments.started.max(attempt.0);
            if pays && std::mem::replace(&mut payments.paid_by, attempt.0) != 0 {
                return Err(TWICE);
            }
            match status {
                PaymentStatus::Open | PaymentStatus::Processing if open.replace(attempt).is_some() => return Err(TWICE),
                PaymentStatus::RefundDue if !pays => payments.unwanted |= attempt.bit(),
                _ => {}
            }
        }
        payments.is_open = open.is_some();
        if open.is_some_and(|open| open.0 != payments.started) { Err(TWICE) } else { Ok(payments) }
    }

    /// The last that was started.
    #[must_use]
    pub const fn last(self) -> Option<Attempt> {
        if self.started == 0 { None } else { Some(Attempt(self.started)) }
    }

    /// The number of the next one.
    #[must_use]
    pub const fn next(self) -> Option<Attempt> {
        if self.started < Attempt::LAST.0 { Some(Attempt(self.started + 1)) } else { None }
    }

    /// The one that nobody knows the end of.
    #[must_use]
    pub const fn open(self) -> Option<Attempt> {
        if self.is_open { self.last() } else { None }
    }

    /// The one that the order was paid by, or came too late by.
    #[must_use]
    pub const fn paid_by(self) -> Option<Attempt> {
        if self.paid_by == 0 { None } else { Some(Attempt(self.paid_by)) }
    }

    /// Whether that one must go back though it pays nothing.
    #[must_use]
    pub const fn is_unwanted(self, attempt: Attempt) -> bool {
        self.unwanted & attempt.bit() != 0
    }

    /// Those that must go back though they pay nothing.
    pub fn unwanted(self) -> impl Iterator<Item = Attempt> {
        (Attempt::FIRST.0..=Attempt::LAST.0).map(Attempt).filter(move |attempt| self.is_unwanted(*attempt))
    }

    /// Whether somebody has still to do something about one of them, whatever the order's status.
    #[must_use]
    pub const fn owe(self) -> bool {
        self.is_open || self.unwanted != 0
    }

    /// After one was started.
    #[must_use]
    pub const fn with_started(self, attempt: Attempt) -> Self {
        Self { started: attempt.0, is_open: true, ..self }
    }

    /// After the order was paid by one, or came too late by it.
    #[must_use]
    pub const fn with_paid_by(self, attempt: Attempt) -> Self {
        let unwanted = self.unwanted & !attempt.bit();
        Self { paid_by: attempt.0, unwanted, ..self.with_closed(attempt) }
    }

    /// After it came to be known how one that does not pay the order stands.
    #[must_use]
    pub const fn with(self, fact: PaymentFact) -> Self {
        let PaymentFact { attempt, status } = fact;
        let unwanted = match status {
            PaymentStatus::RefundDue => self.unwanted | attempt.bit(),
            PaymentStatus::Open | PaymentStatus::Processing => return self,
            PaymentStatus::Authorized
            | PaymentStatus::Captured
            | PaymentStatus::Failed
            | PaymentStatus::Cancelled
            | PaymentStatus::Refunded => self.unwanted & !attempt.bit(),
        };
        Self { unwanted, ..self.with_closed(attempt) }
    }

    const fn with_closed(self, attempt: Attempt) -> Self {
        Self { is_open: self.is_open && self.started != attempt.0, ..self }
    }
}

/// Who moved an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Who placed it.
    Buyer,
    /// Somebody who runs the sale.
    Operator,
    /// Nobody: its time was over.
    Expiry,
    /// What was heard of a payment.
    Provider,
    /// What else happens by itself; and whoever it was in logs that don't say.
    System,
}

impl Actor {
    /// Every one, by its code.
    pub const ALL: [Actor; 5] = [Self::Buyer, Self::Operator, Self::Expiry, Self::Provider, Self::System];

    /// The word used in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Operator => "operator",
            Self::Expiry => "expiry",
            Self::Provider => "provider",
            Self::System => "system",
        }
    }

    /// The number in tables and logs. Append-only.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The one with that number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// Why somebody did something, in their words: 1 to 500 characters without controls. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reason(Arc<str>);

impl Reason {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reason {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_right = (1..=500).contains(&text.chars().count()) && !text.trim().is_empty() && !text.chars().any(char::is_control);
        if is_right { Ok(Self(text.into())) } else { Err(Invalid("a reason must have 1 to 500 characters and no control characters")) }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Who moved an order and why, and which of its payments stands otherwise for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Who.
    pub by: Actor,
    /// Why, if they said so.
    pub reason: Option<Reason>,
    /// The payment that the order is paid by, comes too late by, or is given back by.
    pub payment: Option<PaymentFact>,
}

impl Cause {
    /// That one alone.
    #[must_use]
    pub const fn by(by: Actor) -> Self {
        Self { by, reason: None, payment: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Epoch, PartitionId, Timestamp};

    fn attempt(number: u8) -> Attempt {
        Attempt::new(number).unwrap()
    }

    #[test]
    fn a_payments_id_is_its_orders_and_a_number() {
        let order = OrderId::new(Timestamp::ZERO, PartitionId::new(1).unwrap(), Epoch::new(2).unwrap(), 3);
        for number in [1, 9, 32] {
            let id = PaymentId { order, attempt: attempt(number) };
            assert_eq!(id.to_string(), format!("{order}-{number}"));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for wrong in [
            "",
            "1",
            "-1",
            &format!("{order}"),
            &format!("{order}-0"),
            &format!("{order}-33"),
            &format!("{order}-01"),
            &format!("{order}-+1"),
        ] {
            assert!(wrong.parse::<PaymentId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn codes_and_words_are_each_ones_own() {
        for status in PaymentStatus::ALL {
            assert_eq!(PaymentStatus::from_code(status.code()), Some(status));
        }
        for actor in Actor::ALL {
            assert_eq!(Actor::from_code(actor.code()), Some(actor));
        }
        assert_eq!((PaymentStatus::from_code(8), Actor::from_code(5)), (None, None));
    }

    #[test]
    fn what_is_known_of_payments_follows_from_what_was_told_in_whatever_way() {
        let fact = |number, status| PaymentFact { attempt: attempt(number), status };
        let payments = Payments::default().with_started(attempt(1));
        assert_eq!((payments.open(), payments.next(), payments.owe()), (Some(attempt(1)), Some(attempt(2)), true));
        let payments = payments.with(fact(1, PaymentStatus::Failed)).with_started(attempt(2)).with_paid_by(attempt(2));
        assert_eq!((payments.open(), payments.paid_by(), payments.owe()), (None, Some(attempt(2)), false));
        let payments = payments.with(fact(1, PaymentStatus::RefundDue));
        assert_eq!(payments.unwanted().collect::<Vec<_>>(), [attempt(1)]);
        let told = [(attempt(1), PaymentStatus::RefundDue, false), (attempt(2), PaymentStatus::Captured, true)];
        assert_eq!(Payments::of(told), Ok(payments));
        assert!(!payments.with(fact(1, PaymentStatus::Refunded)).owe());
        assert!(Payments::of(told.map(|(attempt, status, _)| (attempt, status, true))).is_err(), "paid by two");
        let two_open = [1, 2].map(|number| (attempt(number), PaymentStatus::Open, false));
        assert!(Payments::of(two_open).is_err() && Payments::of([two_open[1], (attempt(3), PaymentStatus::Failed, false)]).is_err());
        assert_eq!(Payments::default().with_started(Attempt::LAST).next(), None);
    }

    #[test]
    fn a_reason_is_a_line_of_text() {
        assert_eq!("broken in transit".parse::<Reason>().unwrap().as_str(), "broken in transit");
        for wrong in ["", "  ", "a\nb", &"x".repeat(501)] {
            assert!(wrong.parse::<Reason>().is_err(), "{wrong:?}");
        }
    }
}
