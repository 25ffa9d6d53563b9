//! Parts that statements are put together from. Never runs one.

use sea_orm::Value;

use crate::domain::OrderId;

macro_rules! own_order_columns {
    () => {
        "id, commodity_id, user_id, quantity, unit_price, currency, status, pay_by, idempotency_key, fingerprint, changed_at, run"
    };
}

/// The columns of a plain order that an account of our own placed: the others have their defaults.
pub(super) const OWN_ORDER_COLUMNS: &str = own_order_columns!();

/// Those that an order without a hold and a discount is written with: the others have defaults.
pub(super) const PLAIN_ORDER_COLUMNS: &str = concat!(own_order_columns!(), ", user_high, user_text");

/// Every column of an order, in the order of the tables.
pub(super) const ORDER_COLUMNS: &str = concat!(own_order_columns!(), ", user_high, user_text, grace_seconds, discount, coupon_id");

/// The most ids in one list. Lists are filled up to a power of two with their last id, which changes nothing and keeps
/// the number of different statements small.
pub(super) const LIST_MAX: usize = 256;

pub(super) fn padded(length: usize) -> usize {
    length.next_power_of_two()
}

pub(super) fn pad(mut values: Vec<Value>) -> Vec<Value> {
    if let Some(last) = values.last().cloned() {
        values.resize(padded(values.len()), last);
    }
    values
}

pub(super) fn ids(orders: &[OrderId]) -> Vec<Value> {
    pad(orders.iter().map(|order| Value::from(order.uuid())).collect())
}

pub(super) fn places(count: usize) -> String {
    vec!["?"; count].join(",")
}
