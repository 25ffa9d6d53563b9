//! The form in which parts of a checkpoint lie in the tables, frozen: a version byte, then commodities in postcard's format. A reader
//! that does not know a version says so, and the rows are read instead.

use serde::{Deserialize, Serialize};

use super::{Known, KnownByCommodity};
use crate::domain::{
    CommodityId, Currency, IdempotencyKey, Order, OrderId, OrderStatus, Price, Quantity, RequestFingerprint, Timestamp, UserId,
};
use crate::engine::{BuyerUnits, KnownKey, KnownOrder, Snapshot};

/// The version that is written.
const VERSION: u8 = 1;
/// Bytes of one part after which the next begins.
const PART_BYTES: usize = 512 * 1_024;
/// Entries of one list in one part: a commodity with more of them stands in several.
const LIST_MAX: usize = 32_768;

/// A part or a delta that this release cannot use. Nothing is lost: the rows have it all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// What one commodity has in one part.
#[derive(Default, Serialize, Deserialize)]
struct CommodityV1 {
    id: i64,
    buyers: Vec<(i64, u32)>,
    keys: Vec<KeyV1>,
    orders: Vec<OrderV1>,
}

#[derive(Serialize, Deserialize)]
struct KeyV1 {
    user: i64,
    key: [u8; 16],
    fingerprint: i64,
    order: [u8; 16],
    ended_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct OrderV1 {
    id: [u8; 16],
    user: i64,
    quantity: i64,
    unit_price: i64,
    currency: [u8; 3],
    status: i16,
    pay_by: Option<i64>,
    key: Option<[u8; 16]>,
}

/// What a claim would begin with, in parts for the tables.
#[must_use]
pub fn parts_of(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let mut parts = vec![vec![VERSION]];
    let mut put = |piece: &CommodityV1| {
        let last = parts.pop().expect("there is always one");
        let full = postcard::to_extend(piece, last).expect("numbers and lists can be written");
        let is_full = full.len() >= PART_BYTES;
        parts.push(full);
        if is_full {
            parts.push(vec![VERSION]);
        }
    };
    for known in &snapshot.commodities {
        let id = known.commodity.id.get();
        for buyers in known.buyers.chunks(LIST_MAX) {
            put(&CommodityV1 {
                id,
                buyers: buyers.iter().map(|buyer| (buyer.user.get(), buyer.units)).collect(),
                ..CommodityV1::default()
            });
        }
        for keys in known.keys.chunks(LIST_MAX / 4) {
            put(&CommodityV1 { id, keys: keys.iter().map(KeyV1::from).collect(), ..CommodityV1::default() });
        }
        for orders in known.orders.chunks(LIST_MAX / 4) {
            put(&CommodityV1 { id, orders: orders.iter().map(OrderV1::from).collect(), ..CommodityV1::default() });
        }
    }
    if parts.last().is_some_and(|part| part.len() == 1) {
        parts.pop();
    }
    parts
}

/// Reads one part into what is known.
pub(super) fn decode(part: &[u8], known: &mut KnownByCommodity) -> Result<(), Unreadable> {
    let mut rest = match part {
        [VERSION, rest @ ..] => rest,
        [version, ..] => return Err(Unreadable(format!("a checkpoint of version {version}"))),
        [] => return Err(Unreadable("an empty part of a checkpoint".into())),
    };
    while !rest.is_empty() {
        let (piece, after) = postcard::take_from_bytes::<CommodityV1>(rest).map_err(|error| Unreadable(error.to_string()))?;
        take(piece, known).map_err(|invalid| Unreadable(invalid.to_string()))?;
        rest = after;
    }
    Ok(())
}

fn take(piece: CommodityV1, known: &mut KnownByCommodity) -> Result<(), crate::domain::Invalid> {
    let commodity = CommodityId::new(piece.id)?;
    let Known { buyers, keys, orders } = known.entry(commodity).or_default();
    buyers.reserve(piece.buyers.len());
    for (user, units) in piece.buyers {
        buyers.push(BuyerUnits { user: UserId::new(user)?, units });
    }
    keys.reserve(piece.keys.len());
    for key in piece.keys {
        keys.push(KnownKey {
            user: UserId::new(key.user)?,
            key: IdempotencyKey::from_bytes(key.key),
            fingerprint: RequestFingerprint(key.fingerprint),
            order: OrderId::from_uuid(uuid::Uuid::from_bytes(key.order))?,
            ended_at: key.ended_at.map(Timestamp::from_millis).transpose()?,
        });
    }
    for row in piece.orders {
        let currency = std::str::from_utf8(&row.currency).map_err(|_| crate::domain::Invalid("a currency that is no text"))?;
        let order = Order {
            id: OrderId::from_uuid(uuid::Uuid::from_bytes(row.id))?,
            commodity,
            user: UserId::new(row.user)?,
            quantity: Quantity::new(row.quantity)?,
            unit_price: Price::new(row.unit_price)?,
            currency: currency.parse::<Currency>()?,
            status: OrderStatus::from_code(row.status).ok_or(crate::domain::Invalid("a status that no release writes"))?,
            pay_by: row.pay_by.map(Timestamp::from_millis).transpose()?,
        };
        orders.push(KnownOrder { order, key: row.key.map(IdempotencyKey::from_bytes) });
    }
    Ok(())
}

impl From<&KnownKey> for KeyV1 {
    fn from(key: &KnownKey) -> Self {
        Self {
            user: key.user.get(),
            key: key.key.to_bytes(),
            fingerprint: key.fingerprint.0,
            order: *key.order.uuid().as_bytes(),
            ended_at: key.ended_at.map(Timestamp::millis),
        }
    }
}

impl From<&KnownOrder> for OrderV1 {
    fn from(known: &KnownOrder) -> Self {
        let order = &known.order;
        let mut currency = [0; 3];
        currency.copy_from_slice(order.currency.code().as_bytes());
        Self {
            id: *order.id.uuid().as_bytes(),
            user: order.user.get(),
            quantity: i64::from(order.quantity),
            unit_price: order.unit_price.minor(),
            currency,
            status: order.status.code(),
            pay_by: order.pay_by.map(Timestamp::millis),
            key: known.key.map(IdempotencyKey::to_bytes),
        }
    }
}
