//! Orders of one partition that its owner got confirmed and that the tables may not have yet: read by everybody without asking the
//! partition's task, so that no reading stands in a queue of placings. It never shows what is not confirmed (R1).
//!
//! Whoever looks here first and then into the tables sees every order as it stands: what is not here, the tables have.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::Sighting;
use crate::domain::{Epoch, NamedOrder, Order, OrderId, PartitionId, PrincipalKey, Sequence, Timestamp};

/// The orders, and in which epoch somebody vouches for them.
#[derive(Debug, Default)]
pub struct RecentOrders {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    epoch: Option<Epoch>,
    /// The number that no confirmed order of this epoch has reached.
    next_number: u64,
    /// The number that no order of this epoch has reached that somebody was told of: more than the above if a confirm is late.
    told_number: u64,
    keep_live: bool,
    orders: HashMap<OrderId, (NamedOrder, Sequence)>,
    /// The same, by buyer: of one who has very many, each goes as easily as of one who has few.
    by_user: BTreeSet<(PrincipalKey, OrderId)>,
    /// Changes, oldest first.
    changes: VecDeque<(Sequence, OrderId)>,
}

impl RecentOrders {
    /// An owner serves in that epoch from now on. With `keep_live`, what is live stays here for as long as it is (older releases take
    /// it for unknown if its owner does not know it); `known` are the orders it begins with then.
    pub(crate) fn begin(&self, epoch: Epoch, keep_live: bool, known: impl Iterator<Item = Order>) {
        let mut begun = Inner { epoch: Some(epoch), keep_live, ..Inner::default() };
        if keep_live {
            known.for_each(|order| begun.put(NamedOrder { order, foreign: None }, Sequence::FENCE));
        }
        self.replace(begun);
    }

    /// Nobody vouches for anything any more.
    pub(crate) fn end(&self) {
        self.replace(Inner::default());
    }

    /// These orders stand so from that batch on, which is confirmed; in order.
    pub(crate) fn confirmed(&self, sequence: Sequence, orders: Vec<NamedOrder>, next_number: u64) {
        let mut inner = self.lock();
        inner.next_number = next_number;
        for order in orders {
            inner.put(order, sequence);
        }
    }

    /// Orders below that number were told to be pending: whether they are will be known when a batch is confirmed, or never.
    pub(crate) fn late(&self, next_number: u64) {
        let mut inner = self.lock();
        inner.told_number = next_number;
    }

    /// The tables have everything up to that batch: drops it, at most so many changes of it. Returns whether there may be more.
    pub(crate) fn applied(&self, applied: Sequence, at_most: usize) -> bool {
        let mut inner = self.lock();
        for _ in 0..at_most {
            let Some((sequence, id)) = inner.changes.front().copied().filter(|(sequence, _)| *sequence <= applied) else { return false };
            inner.changes.pop_front();
            inner.drop_if_last(id, sequence);
        }
        true
    }

    /// What is known of an order; none if nobody serves the partition here.
    #[must_use]
    pub fn look_up(&self, id: OrderId) -> Option<Sighting> {
        let inner = self.lock();
        let epoch = inner.epoch?;
        Some(match inner.orders.get(&id) {
            Some((order, _)) => Sighting::Known(order.clone()),
            None if id.epoch() == epoch && (inner.next_number..inner.told_number).contains(&id.number()) => Sighting::InDoubt,
            None => Sighting::Unknown { epoch, next_number: inner.next_number, in_tables: true },
        })
    }

    /// A buyer's orders that the tables may not have yet, or not as they stand; none if nobody serves the partition here.
    #[must_use]
    pub fn of_user(&self, user: PrincipalKey) -> Option<Vec<Order>> {
        let inner = self.lock();
        inner.epoch?;
        let ids = inner.by_user.range((user, lowest_id())..).take_while(|(other, _)| *other == user);
        Some(ids.filter_map(|(_, id)| Some(inner.orders.get(id)?.0.order)).collect())
    }

    /// What was there before is dropped when nobody waits for it any more.
    fn replace(&self, inner: Inner) {
        let before = std::mem::replace(&mut *self.lock(), inner);
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lowest_id() -> OrderId {
    OrderId::new(Timestamp::ZERO, PartitionId::new(0).expect("0 is in range"), Epoch::default(), 0)
}

impl Inner {
    /// Of an order that changes, only its placing says who ordered it.
    fn put(&mut self, named: NamedOrder, sequence: Sequence) {
        let (id, user) = (named.order.id, named.order.user);
        match self.orders.entry(id) {
            Entry::Occupied(mut entry) => {
                let (known, changed_in) = entry.get_mut();
                (known.order, *changed_in) = (named.order, sequence);
            }
            Entry::Vacant(entry) => {
                entry.insert((named, sequence));
                self.by_user.insert((user, id));
            }
        }
        self.changes.push_back((sequence, id));
    }

    /// Drops an order, unless a later batch has changed it again.
    fn drop_if_last(&mut self, id: OrderId, sequence: Sequence) {
        let Some((NamedOrder { order, .. }, changed_in)) = self.orders.get(&id) else { return };
        if *changed_in != sequence || self.keep_live && order.status.is_live() {
            return;
        }
        self.by_user.remove(&(order.user, id));
        self.orders.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CommodityId, Foreign, OrderStatus, Price, Quantity, UserId};

    fn epoch() -> Epoch {
        Epoch::new(3).unwrap()
    }

    fn order(number: u64, user: i64, status: OrderStatus) -> Order {
        Order {
            id: OrderId::new(Timestamp::ZERO, PartitionId::new(1).unwrap(), epoch(), number),
            commodity: CommodityId::new(1).unwrap(),
            user: UserId::new(user).unwrap().into(),
            quantity: Quantity::ONE,
            unit_price: Price::new(1).unwrap(),
            currency: "EUR".parse().unwrap(),
            status,
            pay_by: None,
            grace_seconds: 0,
            discount: None,
        }
    }

    fn named(order: &Order) -> NamedOrder {
        NamedOrder { order: *order, foreign: None }
    }

    fn is_known(recent: &RecentOrders, order: &Order) -> bool {
        recent.look_up(order.id) == Some(Sighting::Known(named(order)))
    }

    #[test]
    fn an_order_is_here_from_its_confirm_until_the_tables_have_its_last_change() {
        let recent = RecentOrders::default();
        let (placed, other) = (order(0, 7, OrderStatus::Confirmed), order(1, 8, OrderStatus::Confirmed));
        assert_eq!((recent.look_up(placed.id), recent.of_user(placed.user)), (None, None), "nobody serves");
        recent.begin(epoch(), false, std::iter::empty());
        recent.confirmed(Sequence(1), [placed, other].iter().map(named).collect(), 2);
        let cancelled = Order { status: OrderStatus::Cancelled, ..placed };
        recent.confirmed(Sequence(2), vec![named(&cancelled)], 2);
        assert!(!recent.applied(Sequence(1), 10));
        assert!(is_known(&recent, &cancelled) && !is_known(&recent, &other));
        assert_eq!(recent.of_user(placed.user), Some(vec![cancelled]));
        assert!(!recent.applied(Sequence(2), 10));
        assert_eq!(recent.look_up(placed.id), Some(Sighting::Unknown { epoch: epoch(), next_number: 2, in_tables: true }));
        assert_eq!(recent.of_user(placed.user), Some(Vec::new()));
        recent.end();
        assert_eq!(recent.look_up(placed.id), None);
    }

    #[test]
    fn what_the_tables_have_goes_piece_by_piece_oldest_first() {
        let recent = RecentOrders::default();
        recent.begin(epoch(), false, std::iter::empty());
        let orders: Vec<Order> = (0..5).map(|number| order(number, 7, OrderStatus::Confirmed)).collect();
        recent.confirmed(Sequence(1), orders.iter().map(named).collect(), 5);
        for left in [3, 1] {
            assert!(recent.applied(Sequence(1), 2));
            assert_eq!(recent.of_user(orders[0].user), Some(orders[5 - left..].to_vec()));
        }
        assert!(!recent.applied(Sequence(1), 2));
        assert_eq!(recent.of_user(orders[0].user), Some(Vec::new()));
    }

    #[test]
    fn an_order_that_was_told_to_be_pending_is_in_doubt_until_its_batch_is_confirmed() {
        let recent = RecentOrders::default();
        let (placed, gathered, never) = (order(0, 7, OrderStatus::Paid), order(1, 8, OrderStatus::Paid), order(2, 9, OrderStatus::Paid));
        recent.begin(epoch(), false, std::iter::empty());
        recent.late(2);
        assert!([placed, gathered].iter().all(|order| recent.look_up(order.id) == Some(Sighting::InDoubt)));
        assert!(matches!(recent.look_up(never.id), Some(Sighting::Unknown { next_number: 0, .. })), "nobody was told of it");
        recent.confirmed(Sequence(1), vec![named(&placed)], 1);
        assert!(is_known(&recent, &placed) && recent.look_up(gathered.id) == Some(Sighting::InDoubt));
        recent.confirmed(Sequence(2), vec![named(&gathered)], 2);
        assert!(is_known(&recent, &gathered));
    }

    #[test]
    fn who_placed_an_order_is_known_as_long_as_it_is_here() {
        let foreign: Foreign = "a:42".parse().unwrap();
        let placed = Order { user: foreign.key(), ..order(0, 7, OrderStatus::Confirmed) };
        let recent = RecentOrders::default();
        recent.begin(epoch(), false, std::iter::empty());
        recent.confirmed(Sequence(1), vec![NamedOrder { order: placed, foreign: Some(foreign.clone()) }], 1);
        let cancelled = Order { status: OrderStatus::Cancelled, ..placed };
        recent.confirmed(Sequence(2), vec![named(&cancelled)], 1);
        let known = NamedOrder { order: cancelled, foreign: Some(foreign) };
        assert_eq!(recent.look_up(placed.id), Some(Sighting::Known(known)));
        let other: Foreign = "b:42".parse().unwrap();
        assert_eq!((recent.of_user(placed.user), recent.of_user(other.key())), (Some(vec![cancelled]), Some(Vec::new())));
    }

    #[test]
    fn with_older_releases_live_orders_stay() {
        let recent = RecentOrders::default();
        let (before, ended) = (order(0, 7, OrderStatus::Paid), order(1, 7, OrderStatus::Expired));
        recent.begin(epoch(), true, [before].into_iter());
        recent.confirmed(Sequence(1), vec![named(&ended)], 2);
        recent.applied(Sequence(1), 10);
        assert!(is_known(&recent, &before) && !is_known(&recent, &ended));
    }
}
