//! What the database would hold: events folded in the plainest way, and what an engine is given from that. Knows nothing of
//! the engine but its events, and nothing of checkpoints.

use std::collections::BTreeMap;

use super::support::{epoch, partition};
use crate::domain::{
    Commodity, CommodityId, Epoch, Foreign, IdempotencyKey, Operation, OperationKey, Order, OrderId, OrderStatus, PaymentFact, PaymentId,
    PaymentStatus, Payments, PrincipalKey, RequestFingerprint, Sequence, Stock, Subject, Timestamp, Units,
};
use crate::engine::{BuyerUnits, KnownCommodity, KnownKey, KnownOperation, KnownOrder, OPERATIONS_KEPT_MS, Place, Recalled, Snapshot};
use crate::event::Event;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// A row of the orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) order: Order,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) fingerprint: RequestFingerprint,
    pub(crate) changed_at: Timestamp,
}

/// A row of the commodities. Its stock is counted when somebody asks.
#[derive(Clone, Debug)]
struct Listed {
    commodity: Commodity,
    removed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Projection {
    commodities: BTreeMap<CommodityId, Listed>,
    pub(crate) orders: BTreeMap<OrderId, Row>,
    /// How each payment stands, and whether it pays.
    pub(crate) payments: BTreeMap<PaymentId, (PaymentStatus, bool)>,
    /// Changes of commodities under a key, the last one under each.
    operations: BTreeMap<OperationKey, KnownOperation>,
    /// Orders that were cancelled under a key.
    pub(crate) cancelled: BTreeMap<OperationKey, (Operation, OrderId)>,
    /// The last batch that is in it, and its epoch.
    pub(crate) position: (Epoch, Sequence),
}

impl Projection {
    pub(crate) fn new() -> Self {
        Self {
            commodities: BTreeMap::new(),
            orders: BTreeMap::new(),
            payments: BTreeMap::new(),
            operations: BTreeMap::new(),
            cancelled: BTreeMap::new(),
            position: (epoch(1), Sequence::FENCE),
        }
    }

    /// Takes in a whole batch.
    pub(crate) fn apply(&mut self, position: (Epoch, Sequence), events: &[Event]) {
        events.iter().for_each(|event| self.fold(event));
        self.position = position;
    }

    fn fold(&mut self, event: &Event) {
        match event.clone() {
            Event::Listed(commodity) => {
                let before = self.commodities.insert(commodity.id, Listed { commodity: *commodity, removed: false });
                assert!(before.is_none(), "an id is listed once, for ever");
            }
            Event::Changed { commodity, terms, version } => {
                let row = self.row(commodity);
                (row.terms, row.version) = (*terms, version);
            }
            Event::Restocked { commodity, total, version } => {
                // What is given back of a closed one may be written off.
                let row = &mut self.commodities.get_mut(&commodity).expect("events are about rows that are there").commodity;
                (row.stock.total, row.version) = (total, version);
            }
            Event::Paused { commodity, paused, version } => {
                let row = self.row(commodity);
                (row.paused, row.version) = (paused, version);
            }
            Event::Ended { commodity, at, version } => {
                let row = self.row(commodity);
                (row.ended_at, row.version) = (Some(at), version);
            }
            Event::Closed { commodity, at, version } => {
                let row = self.row(commodity);
                assert_eq!(row.closed_at, None, "a commodity is closed once");
                (row.closed_at, row.version) = (Some(at), version);
            }
            Event::Removed { commodity, .. } => {
                self.row(commodity);
                self.commodities.get_mut(&commodity).unwrap().removed = true;
            }
            Event::Placed { order, foreign, key, fingerprint } => {
                assert_eq!(foreign.as_ref().map(Foreign::key), Some(order.user).filter(|user| user.account().is_none()));
                assert_eq!(order.id.partition(), partition());
                self.row(order.commodity);
                let before = self.orders.insert(order.id, Row { order, key, fingerprint, changed_at: order.id.placed_at() });
                assert_eq!(before, None, "an order is placed once");
            }
            Event::Moved { order, commodity, buyer, quantity, from, to, at, cause } => {
                let row = self.orders.get_mut(&order).expect("events are about rows that are there");
                assert_eq!((row.order.commodity, row.order.quantity, row.order.status), (commodity, quantity, from));
                assert_eq!(buyer, Some(row.order.user));
                assert_ne!(from, to);
                (row.order.status, row.changed_at) = (to, at);
                if let Some(PaymentFact { attempt, status }) = cause.payment {
                    let payment = self.payments.get_mut(&PaymentId { order, attempt }).expect("what pays was started");
                    *payment = (status, true);
                }
            }
            Event::PaymentStarted { payment, amount, .. } => {
                assert_eq!(amount, self.orders[&payment.order].order.amount());
                assert_eq!(self.payments.insert(payment, (PaymentStatus::Open, false)), None, "a payment is started once");
            }
            Event::PaymentChanged { payment, status, .. } => {
                self.payments.get_mut(&payment).expect("what changes was started").0 = status;
            }
            Event::Operated { operation, subject: Subject::Commodity(commodity), at } => {
                self.operations.insert(operation.key, KnownOperation { operation, commodity, at });
            }
            Event::Operated { operation, subject: Subject::Order(order), .. } => {
                assert!(self.orders.contains_key(&order), "events are about rows that are there");
                self.cancelled.insert(operation.key, (operation, order));
            }
            Event::KeyForgotten { order } => panic!("only older releases forget a key by an event: {order}"),
        }
    }

    /// What is on the list, and what is over with whether it was removed.
    pub(crate) fn listed_and_over(&self) -> (Vec<Commodity>, Vec<(Commodity, bool)>) {
        let (over, listed): (Vec<&Listed>, Vec<&Listed>) =
            self.commodities.values().partition(|row| row.removed || row.commodity.closed_at.is_some());
        let listed = listed.into_iter().map(|row| self.counted(row)).collect();
        (listed, over.into_iter().map(|row| (self.counted(row), row.removed)).collect())
    }

    /// Every commodity there ever was.
    pub(crate) fn commodities(&self) -> impl Iterator<Item = Commodity> {
        self.commodities.values().map(|row| self.counted(row))
    }

    /// A closed commodity.
    pub(crate) fn closed(&self, id: CommodityId) -> Option<Commodity> {
        let listed = self.commodities.get(&id).filter(|row| !row.removed && row.commodity.closed_at.is_some())?;
        Some(self.counted(listed))
    }

    /// The last order under a key.
    pub(crate) fn under_key(&self, place: &Place) -> Option<&Row> {
        let rows = self.of(place.commodity).filter(|row| row.order.user == place.user.key() && place.key.is_some() && row.key == place.key);
        rows.max_by_key(|row| (row.order.id.epoch(), row.order.id.number()))
    }

    /// An order's row, as it comes along with a command.
    pub(crate) fn recalled(&self, id: OrderId) -> Option<Box<Recalled>> {
        let row = self.orders.get(&id)?;
        let listed = &self.commodities[&row.order.commodity];
        let is_over = listed.removed || listed.commodity.closed_at.is_some();
        let commodity = is_over.then(|| Box::new(self.counted(listed)));
        let payments = self.payments_of(id);
        Some(Box::new(Recalled { order: row.order, key: row.key, payments, applied: self.position, commodity }))
    }

    /// What an engine must know of an order's payments.
    pub(crate) fn payments_of(&self, order: OrderId) -> Payments {
        let of_it = self.payments.iter().filter(|(id, _)| id.order == order);
        Payments::of(of_it.map(|(id, (status, pays))| (id.attempt, *status, *pays))).expect("an engine has said so")
    }

    /// The same of all orders that have some.
    pub(crate) fn all_payments(&self) -> BTreeMap<OrderId, Payments> {
        self.payments.keys().map(|id| (id.order, self.payments_of(id.order))).collect()
    }

    /// What a loader gives an engine, each list from its last row to its first.
    pub(crate) fn snapshot(&self, now: Timestamp, with_live_orders: bool) -> Snapshot {
        let (listed, over) = self.listed_and_over();
        let mut commodities = Vec::new();
        for commodity in listed {
            let buyers = self.buyers(commodity.id);
            // Older releases load the keys of all orders that are there.
            let keys = self.keys(commodity.id, if with_live_orders { Timestamp::ZERO } else { now });
            let is_known = |status: OrderStatus| {
                matches!(status, OrderStatus::Reserved | OrderStatus::RefundDue) || with_live_orders && status.is_live()
            };
            let orders = self.known(commodity.id, is_known);
            commodities.push(KnownCommodity { commodity, removed: false, buyers, keys, orders });
        }
        for (commodity, removed) in over {
            let orders = self.known(commodity.id, |status| status == OrderStatus::RefundDue);
            if !orders.is_empty() {
                commodities.push(KnownCommodity { removed, orders, ..KnownCommodity::fresh(commodity) });
            }
        }
        commodities.reverse();
        let is_kept = |known: &KnownOperation| now.millis() - known.at.millis() <= OPERATIONS_KEPT_MS.cast_signed();
        Snapshot { commodities, operations: self.operations.values().copied().filter(is_kept).collect() }
    }

    fn buyers(&self, id: CommodityId) -> Vec<BuyerUnits> {
        let mut units: BTreeMap<PrincipalKey, u32> = BTreeMap::new();
        for row in self.of(id).filter(|row| row.order.status.is_live()) {
            *units.entry(row.order.user).or_default() += row.order.quantity.get();
        }
        units.into_iter().rev().map(|(user, units)| BuyerUnits { user, units }).collect()
    }

    fn keys(&self, id: CommodityId, now: Timestamp) -> Vec<KnownKey> {
        // The last one under a key stays: ids of one partition rise by epoch and number.
        let mut keys: BTreeMap<(PrincipalKey, IdempotencyKey), KnownKey> = BTreeMap::new();
        let mut rows: Vec<&Row> = self.of(id).collect();
        rows.sort_by_key(|row| (row.order.id.epoch(), row.order.id.number()));
        for row in rows {
            let Some(key) = row.key else { continue };
            let has_ended = !row.order.status.is_live() && row.order.status != OrderStatus::RefundDue;
            if has_ended && now.millis() - row.changed_at.millis() > DAY_MS {
                continue;
            }
            let ended_at = has_ended.then_some(row.changed_at);
            let (user, fingerprint, order) = (row.order.user, row.fingerprint, row.order.id);
            keys.insert((user, key), KnownKey { user, key, fingerprint, order, ended_at });
        }
        keys.into_values().rev().collect()
    }

    fn known(&self, id: CommodityId, is_known: impl Fn(OrderStatus) -> bool) -> Vec<KnownOrder> {
        let rows = self.of(id).map(|row| KnownOrder { order: row.order, key: row.key, payments: self.payments_of(row.order.id) });
        let mut known: Vec<KnownOrder> = rows.filter(|known| is_known(known.order.status) || known.payments.owe()).collect();
        known.reverse();
        known
    }

    fn of(&self, id: CommodityId) -> impl Iterator<Item = &Row> {
        self.orders.values().filter(move |row| row.order.commodity == id)
    }

    /// A commodity that is still on the list: nothing that is over is changed.
    fn row(&mut self, id: CommodityId) -> &mut Commodity {
        let row = self.commodities.get_mut(&id).expect("events are about rows that are there");
        assert!(!row.removed && row.commodity.closed_at.is_none(), "what is over does not change");
        &mut row.commodity
    }

    /// A commodity with its stock counted from the rows of its orders.
    fn counted(&self, listed: &Listed) -> Commodity {
        let commodity = &listed.commodity;
        let units = |statuses: &[OrderStatus]| -> i64 {
            let rows = self.of(commodity.id).filter(|row| statuses.contains(&row.order.status));
            rows.map(|row| i64::from(row.order.quantity)).sum()
        };
        let held = units(&[OrderStatus::Reserved]);
        let sold = units(&[OrderStatus::Confirmed, OrderStatus::Paid]);
        let total = commodity.stock.total;
        let units = |count| Units::new(count).unwrap();
        let stock = Stock { total, available: units(i64::from(total) - held - sold), held: units(held), sold: units(sold) };
        Commodity { stock, ..commodity.clone() }
    }
}
