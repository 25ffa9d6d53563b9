//! The lists that are asked for, and what must be on their pages: known beforehand, because every order was made by us. Sends
//! nothing.

use doorbuster::domain::{CommodityId, OrderId, OrderStatus, Timestamp};

use super::Filled;

/// Items of a page.
pub(super) const LIMIT: usize = 50;

/// An order, as far as a list selects it.
#[derive(Clone, Copy, Debug)]
struct Row {
    id: OrderId,
    commodity: CommodityId,
    is_regular: bool,
    status: OrderStatus,
}

/// Every order of a filled database, newest first.
pub(super) struct Rows {
    rows: Vec<Row>,
    commodity: CommodityId,
    /// The middle half of the orders by time.
    times: [Timestamp; 2],
}

/// Whose list it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// An operator.
    Operator,
    /// The regular buyer.
    Buyer,
}

impl Reader {
    const fn path(self) -> &'static str {
        match self {
            Self::Operator => "/admin/v1/orders",
            Self::Buyer => "/v1/orders",
        }
    }
}

/// A list: who asks for it, and what it selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) reader: Reader,
    commodity: bool,
    buyer: bool,
    status: Option<OrderStatus>,
    time: bool,
}

/// A page of a list.
pub(super) struct Page {
    /// The path and query that ask for it.
    pub(super) path: String,
    /// What is on it, in order.
    pub(super) ids: Vec<OrderId>,
    /// Whether another one follows.
    pub(super) has_next: bool,
}

/// Nearly all orders, few, and none: whoever looks for what is not there may look through everything.
const STATUSES: [Option<OrderStatus>; 4] = [None, Some(OrderStatus::Confirmed), Some(OrderStatus::Cancelled), Some(OrderStatus::Refunded)];

/// All combinations of filters.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (reader, buyers, times) in [(Reader::Operator, &[false, true][..], &[false, true][..]), (Reader::Buyer, &[true], &[false])] {
        for (commodity, buyer) in [false, true].into_iter().flat_map(|commodity| buyers.iter().map(move |buyer| (commodity, *buyer))) {
            for (status, time) in STATUSES.into_iter().flat_map(|status| times.iter().map(move |time| (status, *time))) {
                cases.push(Case { reader, commodity, buyer, status, time });
            }
        }
    }
    cases
}

impl Rows {
    pub(super) fn of(filled: &Filled) -> Self {
        let regular = Filled::regular().into();
        let row = |made: super::Made| {
            let order = made.order;
            Row { id: order.id, commodity: order.commodity, is_regular: order.user == regular, status: order.status }
        };
        let mut rows: Vec<Row> = filled.orders().map(row).collect();
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
        let at = |place: usize| rows.get(place).map_or(Timestamp::ZERO, |row| row.id.placed_at());
        let times = [at(rows.len() * 3 / 4), at(rows.len() / 4)];
        Self { rows, commodity: filled.on_sale()[0].id, times }
    }

    /// The commodity that lists are of.
    pub(super) const fn commodity(&self) -> CommodityId {
        self.commodity
    }

    /// The orders of a list, newest first.
    pub(super) fn matching(&self, case: Case) -> Vec<OrderId> {
        let [from, until] = self.times;
        let selected = |row: &&Row| {
            (!case.commodity || row.commodity == self.commodity)
                && (!case.buyer || row.is_regular)
                && case.status.is_none_or(|status| row.status == status)
                && (!case.time || (from..until).contains(&row.id.placed_at()))
        };
        self.rows.iter().filter(selected).map(|row| row.id).collect()
    }

    /// The first page, one in the middle and the last one.
    pub(super) fn pages(&self, case: Case, matching: &[OrderId]) -> [Page; 3] {
        [0, matching.len() / 2, matching.len().saturating_sub(LIMIT)].map(|begin| {
            let end = (begin + LIMIT).min(matching.len());
            let cursor = begin.checked_sub(1).map(|last| format!("&cursor=o{:032x}", matching[last].uuid().as_u128()));
            Page {
                path: format!("{}?limit={LIMIT}{}{}", case.reader.path(), self.query(case), cursor.unwrap_or_default()),
                ids: matching[begin..end].to_vec(),
                has_next: end < matching.len(),
            }
        })
    }

    fn query(&self, case: Case) -> String {
        let mut query = String::new();
        let mut add = |name: &str, value: String| query += &format!("&{name}={value}");
        if case.commodity {
            add("commodity_id", self.commodity.to_string());
        }
        if case.buyer && case.reader == Reader::Operator {
            add("user_id", Filled::regular().to_string());
        }
        if let Some(status) = case.status {
            add("status", status.word().to_owned());
        }
        if case.time {
            add("placed_from", self.times[0].to_string());
            add("placed_until", self.times[1].to_string());
        }
        query
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let buyer = self.buyer && self.reader == Reader::Operator;
        let filters = [self.commodity.then_some("commodity"), buyer.then_some("buyer"), self.status.map(OrderStatus::word)];
        let named: Vec<&str> = filters.into_iter().chain([self.time.then_some("time")]).flatten().collect();
        f.write_str(match self.reader {
            Reader::Operator => "operators: ",
            Reader::Buyer => "own: ",
        })?;
        f.write_str(&if named.is_empty() { "all".to_owned() } else { named.join(" + ") })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use doorbuster::domain::{Epoch, PartitionId};

    use super::super::{Fill, Place};
    use super::*;

    fn rows() -> Rows {
        let fill = Fill {
            live: 400,
            commodities: 2,
            over: 0,
            over_commodities: 1,
            partition: None,
            keyed_percent: 0,
            cancelled_percent: 20,
            regular: 130,
        };
        let place = |id: i64| Place {
            id: CommodityId::new(id).unwrap(),
            partition: PartitionId::new(id as u16).unwrap(),
            epoch: Epoch::new(1).unwrap(),
        };
        Rows::of(&Filled::new(fill, (1..=2).map(place).collect(), Timestamp::from_millis(1_795_600_000_000).unwrap()))
    }

    #[test]
    fn no_list_is_asked_for_twice() {
        let names: BTreeSet<String> = cases().iter().map(Case::to_string).collect();
        assert_eq!((names.len(), cases().len()), (40, 40));
    }

    #[test]
    fn pages_are_the_first_one_in_the_middle_and_the_last() {
        let rows = rows();
        let case = Case { reader: Reader::Operator, commodity: false, buyer: true, status: None, time: false };
        let matching = rows.matching(case);
        let [first, middle, last] = rows.pages(case, &matching);
        assert_eq!([&first.ids[..], &middle.ids, &last.ids], [&matching[..50], &matching[65..115], &matching[80..]]);
        assert_eq!([first.has_next, middle.has_next, last.has_next], [true, true, false]);
        assert_eq!(first.path, "/admin/v1/orders?limit=50&user_id=1999999999");
        assert_eq!(last.path, format!("{}&cursor=o{}", first.path, matching[79].uuid().simple()));
    }

    #[test]
    fn a_list_with_less_than_a_page_begins_at_its_first_order() {
        let rows = rows();
        let none = Case { reader: Reader::Buyer, commodity: true, buyer: true, status: Some(OrderStatus::Refunded), time: false };
        let matching = rows.matching(none);
        let pages = rows.pages(none, &matching);
        assert!(pages.iter().all(|page| page.ids.is_empty() && !page.has_next && !page.path.contains("cursor")));
    }
}
