//! The same from the rows of the orders, one after the other: for a partition without a checkpoint, or with one that cannot be used.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::{CommodityRows, Known, KnownByCommodity, is_kept, keys_since};
use crate::domain::{CommodityId, Order, OrderId, OrderStatus, Payments, PrincipalKey, RequestFingerprint, Timestamp};
use crate::engine::{BuyerUnits, KnownCommodity, KnownKey, KnownOrder, Snapshot};

/// Rows as they come together.
#[derive(Debug)]
pub struct FromRows {
    keys_since: Timestamp,
    with_live_orders: bool,
    units: HashMap<(CommodityId, PrincipalKey), u64>,
    known: KnownByCommodity,
    payments: BTreeMap<OrderId, Payments>,
}

impl FromRows {
    /// With the payments of all orders that are reserved, whose refund is due, or of which a payment is open or must go back. With `with_live_orders`, every live order is known by itself, as older releases have it.
    #[must_use]
    pub fn new(now: Timestamp, with_live_orders: bool, payments: BTreeMap<OrderId, Payments>) -> Self {
        // Older releases know every key that is there.
        let keys_since = if with_live_orders { Timestamp::ZERO } else { keys_since(now) };
        Self { keys_since, with_live_orders, units: HashMap::new(), known: KnownByCommodity::new(), payments }
    }

    /// Takes in a row of an order: all live ones, all whose refund is due, and those with a key that ended in the last 24 hours must
    /// come, in any order; others are passed over.
    pub fn row(&mut self, order: Order, key: Option<(crate::domain::IdempotencyKey, RequestFingerprint)>, changed_at: Timestamp) {
        let status = order.status;
        if status.is_live() {
            *self.units.entry((order.commodity, order.user)).or_default() += u64::from(order.quantity.get());
        }
        let is_due = status == OrderStatus::RefundDue;
        let payments = self.payments_of(order.id);
        let known = self.known.entry(order.commodity).or_default();
        if let Some((key, fingerprint)) = key {
            let ended_at = (!status.is_live() && !is_due).then_some(changed_at);
            let key = KnownKey { user: order.user, key, fingerprint, order: order.id, ended_at };
            known.keys.extend(is_kept(&key, self.keys_since).then_some(key));
        }
        if status == OrderStatus::Reserved || is_due || self.with_live_orders && status.is_live() {
            known.orders.push(KnownOrder { order, key: key.map(|(key, _)| key), payments });
        }
    }

    /// Takes in the row of an order that must be known for its payments, whatever its status: as another row of it, or the only one.
    pub fn owing(&mut self, order: Order, key: Option<crate::domain::IdempotencyKey>) {
        let payments = self.payments_of(order.id);
        let known = self.known.entry(order.commodity).or_default();
        if payments.owe() && !known.orders.iter().any(|known| known.order.id == order.id) {
            known.orders.push(KnownOrder { order, key, payments });
        }
    }

    /// The orders that must be known for their payments, whatever their status.
    pub fn owing_ids(&self) -> impl Iterator<Item = OrderId> {
        self.payments.iter().filter(|(_, payments)| payments.owe()).map(|(order, _)| *order)
    }

    fn payments_of(&self, order: OrderId) -> Payments {
        self.payments.get(&order).copied().unwrap_or_default()
    }

    /// What a claim begins with, together with the rows of the commodities. Orders of a commodity without a row are left to the
    /// engine's own check of the stock.
    #[must_use]
    pub fn snapshot(mut self, rows: CommodityRows) -> Snapshot {
        for ((commodity, user), units) in self.units {
            let units = u32::try_from(units).unwrap_or(u32::MAX);
            self.known.entry(commodity).or_default().buyers.push(BuyerUnits { user, units });
        }
        let mut commodities = Vec::with_capacity(rows.listed.len());
        for commodity in rows.listed {
            let Known { buyers, mut keys, orders } = self.known.remove(&commodity.id).unwrap_or_default();
            super::deltas::keep_later(&mut keys);
            commodities.push(KnownCommodity { commodity, removed: false, buyers, keys, orders });
        }
        for (commodity, removed) in rows.over {
            let orders = self.known.remove(&commodity.id).unwrap_or_default().orders;
            let is_due = |known: &KnownOrder| known.order.status == OrderStatus::RefundDue || known.payments.owe();
            let orders: Vec<_> = orders.into_iter().filter(is_due).collect();
            if !orders.is_empty() {
                commodities.push(KnownCommodity { orders, removed, ..KnownCommodity::fresh(commodity) });
            }
        }
        Snapshot { commodities, ..Snapshot::default() }
    }
}
