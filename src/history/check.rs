//! The check of a history against the rows. Its rules are the promises of the interface, written down a second time.

use std::collections::{BTreeMap, BTreeSet};

use super::{Asked, Call, CommodityRow, History, OrderRow, Rows, Told};
use crate::domain::{CommodityId, IdempotencyKey, OrderId, OrderStatus, Principal};

/// An answer that cannot be true, or rows that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Accepted means sold.
    #[error("order {0} was accepted and has no row")]
    AcceptedWithoutRow(OrderId),
    /// Exactly once.
    #[error("order {0} has two rows")]
    TwoRows(OrderId),
    /// One acceptance is one order.
    #[error("order {0} was given to two requests as new")]
    AcceptedTwice(OrderId),
    /// The row is another order than the one that was asked for.
    #[error("order {0} is not what was asked for")]
    NotAsAsked(OrderId),
    /// Refused, or not carried out, means that nothing happened.
    #[error("order {0} has a row, and everyone who may have placed it was told that nothing happened")]
    Unexplained(OrderId),
    /// Refused once is refused for ever.
    #[error("order {0} has a row, and somebody was told that it never was")]
    RefusedWithRow(OrderId),
    /// Known once is known for ever.
    #[error("order {0} was shown as {1:?} and has no row")]
    ShownWithoutRow(OrderId, OrderStatus),
    /// A status that cannot become what the row says.
    #[error("order {0} was shown as {1:?} and ended as {2:?}")]
    ImpossibleStatus(OrderId, OrderStatus, OrderStatus),
    /// The id was given to somebody.
    #[error("order {0} was given to somebody, and somebody else was told that there is no such id")]
    GivenAndNotFound(OrderId),
    /// A key is one order, for as long as that lives.
    #[error("orders {0} and {1} live under one key of one buyer")]
    KeyUsedTwice(OrderId, OrderId),
    /// A key is answered with its order, for as long as that lives.
    #[error("order {0} lives, and its request was refused when it was repeated under its key")]
    RefusedAgain(OrderId),
    /// Everything resolves, and the same way everywhere.
    #[error("order {order}: process {via} says {told:?} after all has come to rest, and its row is {row:?}")]
    Unresolved {
        /// Which order.
        order: OrderId,
        /// Who says so.
        via: u32,
        /// What it says.
        told: Told,
        /// The row's status; none if there is no row.
        row: Option<OrderStatus>,
    },
    /// The equation.
    #[error("commodity {id}: {what}")]
    Unbalanced {
        /// Which commodity.
        id: CommodityId,
        /// What does not add up.
        what: String,
    },
}

/// What the check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Everything that is wrong.
    pub violations: Vec<Violation>,
    /// Answers with a status that was over already when they were asked for: told by an owner that did not know yet that
    /// it was one no longer. True once, and late; not counted as wrong.
    pub stale: usize,
}

/// Holds a history against the rows. What was asked from `rest` on was asked after all had come to rest: it must be definite.
#[must_use]
pub fn check(history: &History, rows: &Rows, rest: u64) -> Verdict {
    let mut check = Check { rows: BTreeMap::new(), verdict: Verdict::default() };
    check.collect(rows);
    check.placings(history);
    check.answers(history, rest);
    check.repeats(history, rest);
    check.keys(rows);
    check.stock(history, rows);
    check.verdict.stale = stale(history);
    check.verdict
}

struct Check<'a> {
    rows: BTreeMap<OrderId, &'a OrderRow>,
    verdict: Verdict,
}

impl<'a> Check<'a> {
    fn fault(&mut self, violation: Violation) {
        self.verdict.violations.push(violation);
    }

    fn collect(&mut self, rows: &'a Rows) {
        for row in &rows.orders {
            if self.rows.insert(row.id, row).is_some() {
                self.fault(Violation::TwoRows(row.id));
            }
        }
    }

    /// Every row is somebody's who may have placed it.
    fn placings(&mut self, history: &History) {
        let mut given = BTreeSet::new();
        let mut accepted = BTreeSet::new();
        let mut uncertain: BTreeMap<(Principal, CommodityId), Vec<Option<IdempotencyKey>>> = BTreeMap::new();
        for call in &history.calls {
            let Asked::Place { commodity, user, quantity, key } = &call.asked else { continue };
            let id = match call.told {
                Told::Accepted { order, .. } | Told::Order { order, .. } | Told::Pending(Some(order)) => order,
                Told::Nothing | Told::Pending(None) => {
                    uncertain.entry((user.clone(), *commodity)).or_default().push(*key);
                    continue;
                }
                Told::Done | Told::Refused | Told::NotFound | Told::Busy => continue,
            };
            given.insert(id);
            if matches!(call.told, Told::Accepted { .. }) && !accepted.insert(id) {
                self.fault(Violation::AcceptedTwice(id));
            }
            match self.rows.get(&id) {
                Some(row) if (row.commodity, &row.user, row.quantity) != (*commodity, user, *quantity) => {
                    self.fault(Violation::NotAsAsked(id));
                }
                Some(_) => {}
                None if accepted.contains(&id) => self.fault(Violation::AcceptedWithoutRow(id)),
                None => {}
            }
        }
        // Rows whose keys are known first: a row whose key is forgotten may be any placing's that is left.
        let mut rows: Vec<&OrderRow> = self.rows.values().copied().collect();
        rows.sort_by_key(|row| row.key.is_none());
        for row in rows {
            if !given.contains(&row.id) && !explain(&mut uncertain, row) {
                self.fault(Violation::Unexplained(row.id));
            }
        }
    }

    /// What was said about ids.
    fn answers(&mut self, history: &History, rest: u64) {
        let given: BTreeSet<OrderId> = history.calls.iter().filter_map(|call| id_in(call.told)).collect();
        for call in &history.calls {
            let about = match &call.asked {
                Asked::Look(order) | Asked::Cancel(order) => Some(*order),
                Asked::Place { .. } | Asked::Money(_) | Asked::Restock { .. } | Asked::SetTotal(_) | Asked::Operate => None,
            };
            match call.told {
                Told::Accepted { order, status } | Told::Order { order, status } => match self.rows.get(&order).map(|row| row.status) {
                    None if matches!(call.told, Told::Order { .. }) => self.fault(Violation::ShownWithoutRow(order, status)),
                    None => {}
                    Some(last) if !leads_to(status, last) => self.fault(Violation::ImpossibleStatus(order, status, last)),
                    Some(_) => {}
                },
                Told::Refused => self.refused(&call.asked),
                Told::NotFound => {
                    let Some(order) = about else { continue };
                    let looked = matches!(call.asked, Asked::Look(_));
                    if self.rows.contains_key(&order) || looked && given.contains(&order) {
                        self.fault(Violation::GivenAndNotFound(order));
                    }
                }
                Told::Nothing | Told::Done | Told::Pending(_) | Told::Busy => {}
            }
            if let Asked::Look(order) = call.asked
                && call.asked_at >= rest
            {
                self.at_rest(order, call);
            }
        }
    }

    fn refused(&mut self, asked: &Asked) {
        // A cancellation is refused for what is; a look only for what never was.
        if let Asked::Look(order) = asked
            && self.rows.contains_key(order)
        {
            self.fault(Violation::RefusedWithRow(*order));
        }
    }

    /// Who was accepted and asks again under the key is not refused. Held only against what was asked at rest: until then, an owner
    /// that does not know yet that it is one no longer knows nothing of its successor's orders.
    fn repeats(&mut self, history: &History, rest: u64) {
        let mut accepted: BTreeMap<(&Principal, IdempotencyKey), OrderId> = BTreeMap::new();
        for call in &history.calls {
            let Asked::Place { commodity, user, quantity, key: Some(key) } = &call.asked else { continue };
            match call.told {
                Told::Accepted { order, .. } => drop(accepted.insert((user, *key), order)),
                Told::Refused if call.asked_at >= rest => {
                    let Some(row) = accepted.get(&(user, *key)).and_then(|order| self.rows.get(order)) else { continue };
                    // A key is forgotten with its order, and refused to another request.
                    let same = (row.commodity, row.quantity, row.key) == (*commodity, *quantity, Some(*key));
                    if same && row.status.is_live() {
                        self.fault(Violation::RefusedAgain(row.id));
                    }
                }
                _ => {}
            }
        }
    }

    fn at_rest(&mut self, order: OrderId, call: &Call) {
        let row = self.rows.get(&order).map(|row| row.status);
        let right = match (call.told, row) {
            (Told::Order { status, .. }, Some(row)) => status == row,
            (Told::Refused, None) => true,
            _ => false,
        };
        if !right {
            self.fault(Violation::Unresolved { order, via: call.via, told: call.told, row });
        }
    }

    /// Rows keep their keys for as long as they live.
    fn keys(&mut self, rows: &Rows) {
        let mut live: BTreeMap<(&Principal, CommodityId, IdempotencyKey), OrderId> = BTreeMap::new();
        for row in rows.orders.iter().filter(|row| row.status.is_live()) {
            let Some(key) = row.key else { continue };
            if let Some(other) = live.insert((&row.user, row.commodity, key), row.id) {
                self.fault(Violation::KeyUsedTwice(other, row.id));
            }
        }
    }

    fn stock(&mut self, history: &History, rows: &Rows) {
        for commodity in &rows.commodities {
            for what in faults(commodity, rows).into_iter().chain(restocks(commodity, history)) {
                self.fault(Violation::Unbalanced { id: commodity.id, what });
            }
        }
    }
}

/// Uses up one placing of unknown outcome for the row.
fn explain(uncertain: &mut BTreeMap<(Principal, CommodityId), Vec<Option<IdempotencyKey>>>, row: &OrderRow) -> bool {
    let Some(keys) = uncertain.get_mut(&(row.user.clone(), row.commodity)) else { return false };
    // A row without a key may have had one that is forgotten.
    let Some(found) = keys.iter().position(|key| row.key.is_none() || *key == row.key) else { return false };
    keys.swap_remove(found);
    true
}

fn id_in(told: Told) -> Option<OrderId> {
    match told {
        Told::Accepted { order, .. } | Told::Order { order, .. } => Some(order),
        Told::Pending(order) => order,
        Told::Nothing | Told::Done | Told::Refused | Told::NotFound | Told::Busy => None,
    }
}

/// How far along an order is: a status can only become one that is further, or stay.
const fn rank(status: OrderStatus) -> u8 {
    match status {
        OrderStatus::Reserved | OrderStatus::Confirmed => 0,
        OrderStatus::Paid | OrderStatus::Cancelled | OrderStatus::Expired => 1,
        OrderStatus::RefundDue => 2,
        OrderStatus::Refunded => 3,
    }
}

fn leads_to(from: OrderStatus, to: OrderStatus) -> bool {
    use OrderStatus::{Cancelled, Confirmed, Expired, Paid, RefundDue, Refunded, Reserved};
    from == to
        || match from {
            Reserved => to != Confirmed,
            Confirmed => matches!(to, Cancelled | RefundDue | Refunded),
            Refunded => false,
            Paid | Cancelled => matches!(to, RefundDue | Refunded),
            // Paid late, while units were left.
            Expired => matches!(to, Paid | RefundDue | Refunded),
            RefundDue => to == Refunded,
        }
}

fn faults(commodity: &CommodityRow, rows: &Rows) -> Vec<String> {
    let CommodityRow { id, total, available, held, sold, .. } = commodity;
    let units = |wanted: fn(OrderStatus) -> bool| -> i64 {
        let of_it = rows.orders.iter().filter(|row| row.commodity == *id && wanted(row.status));
        of_it.map(|row| i64::from(row.quantity)).sum()
    };
    let by_orders =
        (units(|status| status == OrderStatus::Reserved), units(|status| matches!(status, OrderStatus::Confirmed | OrderStatus::Paid)));
    let mut faults = Vec::new();
    if *total != available + held + sold || *available < 0 || *held < 0 || *sold < 0 {
        faults.push(format!("{total} in all are not {available} available, {held} held and {sold} sold"));
    }
    if (*held, *sold) != by_orders {
        faults.push(format!("{held} held and {sold} sold, and its orders say {} and {}", by_orders.0, by_orders.1));
    }
    faults
}

/// Units are added once for each time an operator was told so, and at most once more for each time the outcome was open; once for each
/// key, however often it was asked for under that.
fn restocks(commodity: &CommodityRow, history: &History) -> Option<String> {
    let (mut least, mut most) = (commodity.listed, commodity.listed);
    let mut under_key: BTreeMap<IdempotencyKey, (i64, bool)> = BTreeMap::new();
    for call in &history.calls {
        match (&call.asked, call.told) {
            (Asked::SetTotal(id), _) if *id == commodity.id => return None,
            (Asked::Restock { commodity: id, units, key: Some(key) }, told) if *id == commodity.id => match told {
                Told::Done => drop(under_key.insert(*key, (i64::from(*units), true))),
                Told::Nothing | Told::Pending(_) => drop(under_key.entry(*key).or_insert((i64::from(*units), false))),
                Told::Accepted { .. } | Told::Order { .. } | Told::Refused | Told::NotFound | Told::Busy => {}
            },
            (Asked::Restock { commodity: id, units, key: None }, told) if *id == commodity.id => match told {
                Told::Done => {
                    least += i64::from(*units);
                    most += i64::from(*units);
                }
                Told::Nothing | Told::Pending(_) => most += i64::from(*units),
                Told::Accepted { .. } | Told::Order { .. } | Told::Refused | Told::NotFound | Told::Busy => {}
            },
            _ => {}
        }
    }
    for (units, is_done) in under_key.into_values() {
        least += if is_done { units } else { 0 };
        most += units;
    }
    let total = commodity.total;
    (total < least || total > most).then(|| format!("the total is {total}, and the restocks come to {least} to {most}"))
}

/// How many answers showed a status that another answer had shown to be over before they were asked for.
fn stale(history: &History) -> usize {
    let mut shown: BTreeMap<OrderId, Vec<(u64, u64, u8)>> = BTreeMap::new();
    for call in &history.calls {
        if let Told::Accepted { order, status } | Told::Order { order, status } = call.told {
            shown.entry(order).or_default().push((call.asked_at, call.told_at, rank(status)));
        }
    }
    let overtaken =
        |all: &[(u64, u64, u8)], (asked, _, rank): (u64, u64, u8)| all.iter().any(|(_, told, other)| *told < asked && *other > rank);
    shown.values().map(|all| all.iter().filter(|one| overtaken(all, **one)).count()).sum()
}
