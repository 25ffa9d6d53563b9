//! A buyer's own list: the rows of the tables, with what the owners of partitions got confirmed and the tables may not have yet laid over
//! them. An order that was answered is in the list at once, whatever the consumer's lag. Pure: whoever asks does the reading.

use std::collections::BTreeMap;

use crate::domain::{Order, OrderId};
use crate::store::OrderFilter;

/// How many rows to read for a page of so many items: each order that is laid over them may take the place of one.
pub(super) fn rows_needed(items: u64, recent: &[Order]) -> u64 {
    items + recent.len() as u64
}

/// The first `items` orders that fit the filter, newest first, older than `before`. `rows` were read after `recent` was told, and are
/// [`rows_needed`] of the same filter.
pub(super) fn lay_over(recent: &[Order], rows: Vec<Order>, filter: &OrderFilter, before: Option<OrderId>, items: u64) -> Vec<Order> {
    let fits = |order: &Order| {
        filter.commodity.is_none_or(|commodity| commodity == order.commodity)
            && filter.status.is_none_or(|status| status == order.status)
            && before.is_none_or(|before| order.id < before)
    };
    // Where rows end early there may be more behind the last of them, which is not to be overtaken.
    let last = rows.last().map(|order| order.id).filter(|_| rows.len() as u64 >= rows_needed(items, recent));
    let mut orders: BTreeMap<OrderId, Order> = rows.into_iter().map(|order| (order.id, order)).collect();
    for order in recent {
        orders.remove(&order.id);
        if fits(order) && last.is_none_or(|last| order.id >= last) {
            orders.insert(order.id, *order);
        }
    }
    orders.into_values().rev().take(items as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CommodityId, Epoch, OrderStatus, PartitionId, Price, Quantity, Timestamp, UserId};

    fn order(number: i64, status: OrderStatus) -> Order {
        let at = Timestamp::from_millis(number).unwrap();
        Order {
            id: OrderId::new(at, PartitionId::new(1).unwrap(), Epoch::new(1).unwrap(), number as u64),
            commodity: CommodityId::new(1 + number % 2).unwrap(),
            user: UserId::new(9).unwrap().into(),
            quantity: Quantity::ONE,
            unit_price: Price::new(1).unwrap(),
            currency: "EUR".parse().unwrap(),
            status,
            pay_by: None,
            grace_seconds: 0,
            discount: None,
        }
    }

    /// What the tables give for that page.
    fn rows(tables: &[Order], filter: &OrderFilter, before: Option<OrderId>, limit: u64) -> Vec<Order> {
        let mut rows: Vec<Order> = tables.to_vec();
        rows.sort_unstable_by_key(|order| std::cmp::Reverse(order.id));
        rows.retain(|order| {
            filter.status.is_none_or(|status| status == order.status)
                && filter.commodity.is_none_or(|commodity| commodity == order.commodity)
                && before.is_none_or(|before| order.id < before)
        });
        rows.truncate(limit as usize);
        rows
    }

    /// Page by page, as a client reads them.
    fn pages(tables: &[Order], recent: &[Order], filter: &OrderFilter, limit: u64) -> Vec<Order> {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let found = rows(tables, filter, before, rows_needed(limit + 1, recent));
            let mut page = lay_over(recent, found, filter, before, limit + 1);
            let more = page.len() as u64 > limit;
            page.truncate(limit as usize);
            before = page.last().map(|order| order.id);
            all.extend(page);
            if !more {
                return all;
            }
        }
    }

    #[test]
    fn every_page_size_and_filter_gives_each_order_once_as_its_owner_has_it() {
        use OrderStatus::{Cancelled, Confirmed};
        // Of 20 orders the tables have all but the newest three, and the owner has cancelled every third.
        let tables: Vec<Order> = (0..17).map(|number| order(number, Confirmed)).collect();
        let status = |number: i64| if number % 3 == 0 { Cancelled } else { Confirmed };
        let recent: Vec<Order> =
            (0..20).filter(|number| *number >= 17 || number % 3 == 0).map(|number| order(number, status(number))).collect();
        let truth: Vec<Order> = (0..20).rev().map(|number| order(number, status(number))).collect();
        for limit in 1..=21 {
            assert_eq!(pages(&tables, &recent, &OrderFilter::default(), limit), truth);
            for wanted in [Confirmed, Cancelled] {
                let filter = OrderFilter { status: Some(wanted), ..OrderFilter::default() };
                let expected: Vec<Order> = truth.iter().filter(|order| order.status == wanted).copied().collect();
                assert_eq!(pages(&tables, &recent, &filter, limit), expected, "{wanted:?} by {limit}");
            }
            let of_two = OrderFilter { commodity: CommodityId::new(2).ok(), ..OrderFilter::default() };
            let expected: Vec<Order> = truth.iter().filter(|order| order.commodity.get() == 2).copied().collect();
            assert_eq!(pages(&tables, &recent, &of_two, limit), expected);
        }
    }
}
