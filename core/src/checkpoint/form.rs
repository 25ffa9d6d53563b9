//! The form in which parts of a checkpoint lie in the tables, frozen: a version byte, then commodities in postcard's format. A reader
//! that does not know a version says so, and the rows are read instead.

use serde::{Deserialize, Serialize};

use super::{Known, KnownByCommodity};
use crate::domain::{
    Attempt, CommodityId, CouponId, Currency, Discount, IdempotencyKey, Invalid, Order, OrderId, OrderStatus, PaymentStatus, Payments,
    Price, PrincipalKey, Quantity, RequestFingerprint, Terms, Timestamp, UserId,
};
use crate::engine::{BuyerUnits, KnownCommodity, KnownKey, KnownOrder, Snapshot};
use crate::form::says_all_of_order;

/// What is written as long as every buyer is an account of our own: the release before this one reads it too.
const OWN: u8 = 1;
/// What is written where one of them is not, as long as nothing of [`MONEY`] is to be said.
const ALL: u8 = 2;
/// What is written where a hold has a grace, an order a discount, or a payment.
const MONEY: u8 = 3;
/// Bytes of one part after which the next begins.
const PART_BYTES: usize = 512 * 1_024;
/// Entries of one list in one part: a commodity with more of them stands in several.
const LIST_MAX: usize = 32_768;

/// A part or a delta that this release cannot use. Nothing is lost: the rows have it all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// What one commodity has in one part. `U` is a buyer: the number of an account in version 1, a principal's key in versions from 2 on; `M` what
/// versions from 3 on say of an order beside the rest.
#[derive(Serialize, Deserialize)]
struct Piece<U, M> {
    id: i64,
    buyers: Vec<(U, u32)>,
    keys: Vec<Key<U>>,
    orders: Vec<OrderForm<U, M>>,
}

#[derive(Serialize, Deserialize)]
struct Key<U> {
    user: U,
    key: [u8; 16],
    fingerprint: i64,
    order: [u8; 16],
    ended_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct OrderForm<U, M> {
    id: [u8; 16],
    user: U,
    quantity: i64,
    unit_price: i64,
    currency: [u8; 3],
    status: i16,
    pay_by: Option<i64>,
    key: Option<[u8; 16]>,
    more: M,
}

/// What versions before 3 say beside the rest: nothing, in no bytes.
#[derive(Serialize, Deserialize)]
struct Nothing;

#[derive(Serialize, Deserialize)]
struct Money {
    grace_seconds: u32,
    /// The coupon and the amount.
    discount: Option<(i64, i64)>,
    /// Number, `PaymentStatus::code`, whether it pays: as far as an engine must know.
    payments: Vec<(u8, u8, bool)>,
}

/// What a version says of an order beside the rest.
trait More: Sized + Serialize + for<'de> Deserialize<'de> {
    fn of(known: &KnownOrder) -> Self;
    fn onto(self, known: KnownOrder) -> Result<KnownOrder, Invalid>;
}

impl More for Nothing {
    fn of(_: &KnownOrder) -> Self {
        Self
    }

    fn onto(self, known: KnownOrder) -> Result<KnownOrder, Invalid> {
        Ok(known)
    }
}

impl More for Money {
    fn of(known: &KnownOrder) -> Self {
        let payments = known.payments;
        // The others are over: how, no engine must know.
        let status = |attempt| match () {
            () if payments.open() == Some(attempt) => PaymentStatus::Open,
            () if payments.is_unwanted(attempt) => PaymentStatus::RefundDue,
            () => PaymentStatus::Failed,
        };
        let told = |number| {
            let attempt = Attempt::new(number).expect("one that was started");
            (number, status(attempt).code(), payments.paid_by() == Some(attempt))
        };
        Self {
            grace_seconds: known.order.grace_seconds,
            discount: known.order.discount.map(|discount| (discount.coupon.get(), discount.amount)),
            payments: (1..=payments.last().map_or(0, Attempt::get)).map(told).collect(),
        }
    }

    fn onto(self, known: KnownOrder) -> Result<KnownOrder, Invalid> {
        let told = |(number, status, pays)| {
            let status = PaymentStatus::from_code(status).ok_or(Invalid("a payment status that no release writes"))?;
            Ok((Attempt::new(number)?, status, pays))
        };
        let payments = self.payments.into_iter().map(told).collect::<Result<Vec<_>, Invalid>>()?;
        let discount =
            self.discount.map(|(coupon, amount)| Ok::<_, Invalid>(Discount { coupon: CouponId::new(coupon)?, amount })).transpose()?;
        if self.grace_seconds > Terms::GRACE_SECONDS_MAX || discount.is_some_and(|discount| discount.amount < 0) {
            return Err(Invalid("a grace or a discount that no release writes"));
        }
        let order = Order { grace_seconds: self.grace_seconds, discount, ..known.order };
        Ok(KnownOrder { order, payments: Payments::of(payments)?, ..known })
    }
}

/// A buyer as a version has it.
trait Buyer: Sized + Serialize + for<'de> Deserialize<'de> {
    fn of(key: PrincipalKey) -> Self;
    fn key(self) -> Result<PrincipalKey, Invalid>;
}

impl Buyer for i64 {
    fn of(key: PrincipalKey) -> Self {
        key.halves().1
    }

    fn key(self) -> Result<PrincipalKey, Invalid> {
        UserId::new(self).map(PrincipalKey::own)
    }
}

impl Buyer for u128 {
    fn of(key: PrincipalKey) -> Self {
        key.get()
    }

    fn key(self) -> Result<PrincipalKey, Invalid> {
        PrincipalKey::new(self)
    }
}

/// What a claim would begin with, in parts for the tables.
#[must_use]
pub fn parts_of(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let is_own = |user: PrincipalKey| user.account().is_some();
    // Whoever has a key or an order that is known may have no units.
    let are_own = |known: &KnownCommodity| {
        known.buyers.iter().all(|buyer| is_own(buyer.user))
            && known.keys.iter().all(|key| is_own(key.user))
            && known.orders.iter().all(|known| is_own(known.order.user))
    };
    let is_plain = |known: &KnownOrder| says_all_of_order(&known.order) && known.payments == Payments::default();
    if !snapshot.commodities.iter().all(|known| known.orders.iter().all(is_plain)) {
        parts::<u128, Money>(MONEY, snapshot)
    } else if snapshot.commodities.iter().all(are_own) {
        parts::<i64, Nothing>(OWN, snapshot)
    } else {
        parts::<u128, Nothing>(ALL, snapshot)
    }
}

fn parts<U: Buyer, M: More>(version: u8, snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let mut parts = vec![vec![version]];
    let mut put = |piece: &Piece<U, M>| {
        let last = parts.pop().expect("there is always one");
        let full = postcard::to_extend(piece, last).expect("numbers and lists can be written");
        let is_full = full.len() >= PART_BYTES;
        parts.push(full);
        if is_full {
            parts.push(vec![version]);
        }
    };
    for known in &snapshot.commodities {
        let id = known.commodity.id.get();
        let empty = || Piece { id, buyers: Vec::new(), keys: Vec::new(), orders: Vec::new() };
        for buyers in known.buyers.chunks(LIST_MAX) {
            put(&Piece { buyers: buyers.iter().map(|buyer| (U::of(buyer.user), buyer.units)).collect(), ..empty() });
        }
        for keys in known.keys.chunks(LIST_MAX / 4) {
            put(&Piece { keys: keys.iter().map(Key::from).collect(), ..empty() });
        }
        for orders in known.orders.chunks(LIST_MAX / 4) {
            put(&Piece { orders: orders.iter().map(OrderForm::from).collect(), ..empty() });
        }
    }
    if parts.last().is_some_and(|part| part.len() == 1) {
        parts.pop();
    }
    parts
}

/// Reads one part into what is known.
pub(super) fn decode(part: &[u8], known: &mut KnownByCommodity) -> Result<(), Unreadable> {
    match part {
        [OWN, rest @ ..] => pieces::<i64, Nothing>(rest, known),
        [ALL, rest @ ..] => pieces::<u128, Nothing>(rest, known),
        [MONEY, rest @ ..] => pieces::<u128, Money>(rest, known),
        [version, ..] => Err(Unreadable(format!("a checkpoint of version {version}"))),
        [] => Err(Unreadable("an empty part of a checkpoint".into())),
    }
}

fn pieces<U: Buyer, M: More>(mut rest: &[u8], known: &mut KnownByCommodity) -> Result<(), Unreadable> {
    while !rest.is_empty() {
        let (piece, after) = postcard::take_from_bytes::<Piece<U, M>>(rest).map_err(|error| Unreadable(error.to_string()))?;
        take(piece, known).map_err(|invalid| Unreadable(invalid.to_string()))?;
        rest = after;
    }
    Ok(())
}

fn take<U: Buyer, M: More>(piece: Piece<U, M>, known: &mut KnownByCommodity) -> Result<(), Invalid> {
    let commodity = CommodityId::new(piece.id)?;
    let Known { buyers, keys, orders } = known.entry(commodity).or_default();
    buyers.reserve(piece.buyers.len());
    for (user, units) in piece.buyers {
        buyers.push(BuyerUnits { user: user.key()?, units });
    }
    keys.reserve(piece.keys.len());
    for key in piece.keys {
        keys.push(KnownKey {
            user: key.user.key()?,
            key: IdempotencyKey::from_bytes(key.key),
            fingerprint: RequestFingerprint(key.fingerprint),
            order: OrderId::from_uuid(uuid::Uuid::from_bytes(key.order))?,
            ended_at: key.ended_at.map(Timestamp::from_millis).transpose()?,
        });
    }
    for row in piece.orders {
        let currency = std::str::from_utf8(&row.currency).map_err(|_| Invalid("a currency that is no text"))?;
        let order = Order {
            id: OrderId::from_uuid(uuid::Uuid::from_bytes(row.id))?,
            commodity,
            user: row.user.key()?,
            quantity: Quantity::new(row.quantity)?,
            unit_price: Price::new(row.unit_price)?,
            currency: currency.parse::<Currency>()?,
            status: OrderStatus::from_code(row.status).ok_or(Invalid("a status that no release writes"))?,
            pay_by: row.pay_by.map(Timestamp::from_millis).transpose()?,
            grace_seconds: 0,
            discount: None,
        };
        let known = KnownOrder { order, key: row.key.map(IdempotencyKey::from_bytes), payments: Payments::default() };
        orders.push(row.more.onto(known)?);
    }
    Ok(())
}

impl<U: Buyer> From<&KnownKey> for Key<U> {
    fn from(key: &KnownKey) -> Self {
        Self {
            user: U::of(key.user),
            key: key.key.to_bytes(),
            fingerprint: key.fingerprint.0,
            order: *key.order.uuid().as_bytes(),
            ended_at: key.ended_at.map(Timestamp::millis),
        }
    }
}

impl<U: Buyer, M: More> From<&KnownOrder> for OrderForm<U, M> {
    fn from(known: &KnownOrder) -> Self {
        let order = &known.order;
        let mut currency = [0; 3];
        currency.copy_from_slice(order.currency.code().as_bytes());
        Self {
            id: *order.id.uuid().as_bytes(),
            user: U::of(order.user),
            quantity: i64::from(order.quantity),
            unit_price: order.unit_price.minor(),
            currency,
            status: order.status.code(),
            pay_by: order.pay_by.map(Timestamp::millis),
            key: known.key.map(IdempotencyKey::to_bytes),
            more: M::of(known),
        }
    }
}
