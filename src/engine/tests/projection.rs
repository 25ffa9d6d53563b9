//! What the database would hold: events folded in the plainest way, and the snapshot taken from that. Knows nothing of
//! the engine but its events.

use super::support::partition;
use crate::domain::{Commodity, CommodityId, Order, OrderId, OrderStatus, Stock, Units};
use crate::engine::{KnownOrder, Snapshot};
use crate::event::Event;

#[derive(Default)]
pub(super) struct Projection {
    pub(super) commodities: Vec<Commodity>,
    pub(super) orders: Vec<KnownOrder>,
}

impl Projection {
    pub(super) fn fold(&mut self, event: Event) {
        match event {
            Event::Listed(commodity) => self.commodities.push(*commodity),
            Event::Changed { commodity, terms, version } => {
                let row = self.commodity(commodity);
                (row.terms, row.version) = (*terms, version);
            }
            Event::Restocked { commodity, total, version } => {
                let row = self.commodity(commodity);
                (row.stock.total, row.version) = (total, version);
                self.count(commodity);
            }
            Event::Paused { commodity, paused, version } => {
                let row = self.commodity(commodity);
                (row.paused, row.version) = (paused, version);
            }
            Event::Ended { commodity, at, version } => {
                let row = self.commodity(commodity);
                (row.ended_at, row.version) = (Some(at), version);
            }
            Event::Removed { commodity, .. } => {
                self.commodities.retain(|row| row.id != commodity);
                self.orders.iter_mut().filter(|row| row.order.commodity == commodity).for_each(|row| row.key = None);
            }
            Event::Placed { order, key, fingerprint } => {
                assert_eq!(order.id.partition(), partition());
                assert!(!self.orders.iter().any(|row| same_key(row, &order, key)), "the UNIQUE guard over keys");
                self.orders.push(KnownOrder { order, key, fingerprint, changed_at: order.id.placed_at() });
                self.count(order.commodity);
            }
            Event::Moved { order, commodity, buyer, quantity, from, to, at } => {
                let row = self.order(order);
                assert_eq!((row.order.commodity, row.order.quantity, row.order.status), (commodity, quantity, from));
                assert_eq!(buyer, Some(row.order.user));
                assert_ne!(from, to);
                (row.order.status, row.changed_at) = (to, at);
                self.count(commodity);
            }
            Event::Closed { commodity, .. } => panic!("commodity {commodity} is closed"),
            Event::KeyForgotten { order } => {
                let forgotten = self.order(order).key.take();
                assert!(forgotten.is_some(), "a key is forgotten once, and only if there was one");
            }
        }
    }

    /// What a loader gives: live orders, refunds due, ended orders with a key; and of the rest those it likes to.
    pub(super) fn snapshot(&self, and_also: impl Fn(OrderId) -> bool) -> Snapshot {
        let needed = |row: &&KnownOrder| {
            row.order.status.is_live() || row.order.status == OrderStatus::RefundDue || row.key.is_some() || and_also(row.order.id)
        };
        let mut orders: Vec<KnownOrder> = self.orders.iter().filter(needed).copied().collect();
        orders.reverse();
        Snapshot { commodities: self.commodities.clone(), orders }
    }

    fn commodity(&mut self, id: CommodityId) -> &mut Commodity {
        self.commodities.iter_mut().find(|row| row.id == id).expect("events are about rows that are there")
    }

    fn order(&mut self, id: OrderId) -> &mut KnownOrder {
        self.orders.iter_mut().find(|row| row.order.id == id).expect("events are about rows that are there")
    }

    /// Counts the stock anew from the rows of orders.
    fn count(&mut self, id: CommodityId) {
        let units = |statuses: &[OrderStatus]| -> i64 {
            let rows = self.orders.iter().filter(|row| row.order.commodity == id && statuses.contains(&row.order.status));
            rows.map(|row| i64::from(row.order.quantity)).sum()
        };
        let held = units(&[OrderStatus::Reserved]);
        let sold = units(&[OrderStatus::Confirmed, OrderStatus::Paid]);
        let row = self.commodity(id);
        let total = row.stock.total;
        let available = Units::new(i64::from(total) - held - sold).unwrap();
        row.stock = Stock { total, available, held: Units::new(held).unwrap(), sold: Units::new(sold).unwrap() };
    }
}

fn same_key(row: &KnownOrder, order: &Order, key: Option<crate::domain::IdempotencyKey>) -> bool {
    key.is_some() && row.key == key && row.order.user == order.user && row.order.commodity == order.commodity
}
