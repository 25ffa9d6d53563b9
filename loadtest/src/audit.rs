//! Holds what the server told the buyers against what the database has. Pure: rows and answers come from outside.

use std::collections::{BTreeMap, BTreeSet};

use doorbuster::domain::{OrderId, PrincipalKey, UserId};

use crate::answer::{Acceptance, Verdict};
use crate::plan::Buyer;
use crate::tally::Shot;

/// The status of an answer that is not known yet.
const PENDING: u16 = 202;

/// The sale that was raced for.
#[derive(Clone, Copy, Debug)]
pub struct Sale {
    /// Units put on sale.
    pub stock: i64,
    /// Units of one order.
    pub quantity: i64,
}

/// What the buyers know.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Orders that were accepted.
    pub accepted: Vec<Acceptance>,
    /// Answers to another buyer than the one who asked: who asked, and whose order it was.
    pub misdirected: Vec<(UserId, Acceptance)>,
    /// Buyers who do not know: no answer, or `202`.
    pub unknown: BTreeSet<UserId>,
    /// Buyers who were told that nothing is left.
    pub sold_out: u64,
    /// Requests that were pending and came to be refused. While they were, others may have been told that nothing is left.
    pub undone: u64,
}

impl Told {
    /// What the shots of a volley told its buyers.
    #[must_use]
    pub fn by(shots: &[Shot], buyers: &[Buyer]) -> Self {
        let mut told = Self::default();
        for shot in shots {
            let user = buyers[shot.buyer].user;
            if let Ok(answer) = &shot.result {
                match &answer.verdict {
                    Verdict::Accepted(acceptance) if acceptance.user == user => told.accepted.push(*acceptance),
                    Verdict::Accepted(acceptance) => told.misdirected.push((user, *acceptance)),
                    Verdict::Refused if answer.code == "sold_out" => told.sold_out += 1,
                    Verdict::Refused if answer.status == PENDING => told.undone += 1,
                    Verdict::Refused => {}
                    Verdict::Pending(_) | Verdict::Malformed(_) => drop(told.unknown.insert(user)),
                }
            }
            if shot.in_doubt {
                told.unknown.insert(user);
            }
        }
        told
    }
}

/// An order row of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub order: OrderId,
    /// Whose.
    pub user: PrincipalKey,
    /// Units.
    pub quantity: i64,
    /// Whether its units are held or sold.
    pub live: bool,
}

/// The counters of the commodity's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// All units.
    pub total: i64,
    /// On sale.
    pub available: i64,
    /// In reserved orders.
    pub held: i64,
    /// In confirmed and paid orders.
    pub sold: i64,
}

/// What the audit found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Audit {
    /// Orders accepted by HTTP.
    pub accepted: u64,
    /// Live order rows.
    pub rows: u64,
    /// Rows of buyers who got no answer: neither right nor wrong.
    pub rows_in_doubt: u64,
    /// Units sold or held beyond the stock.
    pub oversold: i64,
    /// Units that should have been sold and were not.
    pub undersold: i64,
    /// Buyers with two orders, and ids given twice.
    pub duplicates: u64,
    /// Accepted orders without a row of the same buyer.
    pub missing: u64,
    /// The commodity's counters.
    pub counters: Counters,
    /// Every fault in words; empty = clean. At most [`Audit::FAULTS_MAX`].
    pub faults: Vec<String>,
}

impl Audit {
    /// How many faults are put into words.
    pub const FAULTS_MAX: usize = 20;

    /// Compares. Each buyer has sent one request for [`Sale::quantity`] units, and may have at most one order.
    #[must_use]
    pub fn of(sale: Sale, told: &Told, rows: &[Row], counters: Counters) -> Self {
        let live: Vec<&Row> = rows.iter().filter(|row| row.live).collect();
        let mut faults = Faults::default();
        let duplicates = duplicates(told, rows, &mut faults);
        let missing = missing(told, &live, &mut faults);
        let rows_in_doubt = strangers(told, &live, &mut faults);
        let units: i64 = live.iter().map(|row| row.quantity).sum();
        let off_sale = counters.held + counters.sold;
        let oversold = (units.max(off_sale) - sale.stock).max(0);
        faults.check(oversold == 0, || format!("oversold: {units} units in order rows, {off_sale} held and sold, of {}", sale.stock));
        faults.check(counters.total == sale.stock, || format!("the total is {}, not the {} put on sale", counters.total, sale.stock));
        faults.check(counters.total == counters.available + off_sale, || format!("the equation does not hold: {counters:?}"));
        faults.check(units == off_sale, || format!("{units} units in live order rows, but {off_sale} held and sold"));
        // Whoever was accepted or sent away with nothing left could have bought: so many units must be off sale.
        let decided = told.accepted.len() as i64 + told.sold_out as i64;
        // Units of requests that were undone came back, and nobody may have asked for them since.
        let came_back = told.undone as i64 * sale.quantity;
        let undersold = ((sale.stock / sale.quantity).min(decided) * sale.quantity - off_sale - came_back).max(0);
        faults.check(undersold == 0, || format!("undersold: {undersold} units left, {} buyers were told sold_out", told.sold_out));
        Self {
            accepted: told.accepted.len() as u64,
            rows: live.len() as u64,
            rows_in_doubt,
            oversold,
            undersold,
            duplicates,
            missing,
            counters,
            faults: faults.0,
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Faults in words, bounded.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn check(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds && self.0.len() < Audit::FAULTS_MAX {
            self.0.push(fault());
        }
    }
}

fn duplicates(told: &Told, rows: &[Row], faults: &mut Faults) -> u64 {
    let mut count = 0;
    let mut repeated = |what: &str, ids: Vec<String>| {
        let mut seen = BTreeSet::new();
        for id in ids {
            if seen.contains(&id) {
                count += 1;
                faults.check(false, || format!("{what} {id} twice"));
            }
            seen.insert(id);
        }
    };
    repeated("two rows have the order id", rows.iter().map(|row| row.order.to_string()).collect());
    repeated("two live rows are of", rows.iter().filter(|row| row.live).map(|row| row.user.to_string()).collect());
    repeated("two buyers were given the order id", told.accepted.iter().map(|acceptance| acceptance.order.to_string()).collect());
    count
}

fn missing(told: &Told, live: &[&Row], faults: &mut Faults) -> u64 {
    let rows: BTreeMap<OrderId, &Row> = live.iter().map(|row| (row.order, *row)).collect();
    let mut missing = 0;
    for acceptance in &told.accepted {
        let row = rows.get(&acceptance.order);
        let found = row.is_some_and(|row| row.user == acceptance.user.into() && row.quantity == acceptance.quantity);
        missing += u64::from(!found);
        faults.check(found, || format!("accepted order {} of buyer {} against {row:?}", acceptance.order, acceptance.user));
    }
    for (user, acceptance) in &told.misdirected {
        faults.check(false, || format!("buyer {user} was given order {} of buyer {}", acceptance.order, acceptance.user));
    }
    missing
}

/// Live rows of buyers who were not told so. Those without an answer are counted; for all others it is a fault.
fn strangers(told: &Told, live: &[&Row], faults: &mut Faults) -> u64 {
    let accepted: BTreeSet<OrderId> = told.accepted.iter().map(|acceptance| acceptance.order).collect();
    let mut in_doubt = 0;
    for row in live.iter().filter(|row| !accepted.contains(&row.order)) {
        let unknown = row.user.account().is_some_and(|user| told.unknown.contains(&user));
        in_doubt += u64::from(unknown);
        faults.check(unknown, || format!("order {} of {} is in the database and nobody was told", row.order, row.user));
    }
    in_doubt
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster::domain::{Epoch, OrderStatus, PartitionId, Timestamp};

    const SALE: Sale = Sale { stock: 2, quantity: 1 };
    const SOLD: Counters = Counters { total: 2, available: 0, held: 0, sold: 2 };

    fn id(number: u64) -> OrderId {
        OrderId::new(Timestamp::ZERO, PartitionId::new(3).unwrap(), Epoch::MAX, number)
    }

    fn row(number: u64, user: i64) -> Row {
        Row { order: id(number), user: UserId::new(user).unwrap().into(), quantity: 1, live: true }
    }

    fn told(orders: &[(u64, i64)], sold_out: u64) -> Told {
        let accept = |&(number, user): &(u64, i64)| Acceptance {
            order: id(number),
            user: UserId::new(user).unwrap(),
            quantity: 1,
            status: OrderStatus::Confirmed,
        };
        Told { accepted: orders.iter().map(accept).collect(), sold_out, ..Told::default() }
    }

    #[test]
    fn a_sale_that_went_right_is_clean() {
        let audit = Audit::of(SALE, &told(&[(1, 10), (2, 20)], 5), &[row(1, 10), row(2, 20)], SOLD);
        assert!(audit.is_clean(), "{audit:?}");
        assert_eq!((audit.accepted, audit.rows), (2, 2));
    }

    #[test]
    fn selling_more_than_there_is_shows_as_oversold() {
        let rows = [row(1, 10), row(2, 20), row(3, 30)];
        let audit = Audit::of(SALE, &told(&[(1, 10), (2, 20), (3, 30)], 0), &rows, Counters { total: 2, available: -1, held: 0, sold: 3 });
        assert_eq!(audit.oversold, 1);
        assert!(!audit.is_clean());
    }

    #[test]
    fn a_unit_left_while_buyers_were_sent_away_shows_as_undersold() {
        let audit = Audit::of(SALE, &told(&[(1, 10)], 1), &[row(1, 10)], Counters { total: 2, available: 1, held: 0, sold: 1 });
        assert_eq!(audit.undersold, 1);
        assert!(!audit.is_clean());
        let few_buyers = Audit::of(SALE, &told(&[(1, 10)], 0), &[row(1, 10)], Counters { total: 2, available: 1, held: 0, sold: 1 });
        assert!(few_buyers.is_clean(), "{few_buyers:?}");
    }

    #[test]
    fn a_unit_that_came_back_when_a_pending_request_was_refused_is_not_undersold() {
        let undone = Told { undone: 1, ..told(&[(1, 10)], 1) };
        let audit = Audit::of(SALE, &undone, &[row(1, 10)], Counters { total: 2, available: 1, held: 0, sold: 1 });
        assert!(audit.is_clean(), "{audit:?}");
        let audit = Audit::of(
            SALE,
            &Told { sold_out: 2, accepted: Vec::new(), ..undone },
            &[],
            Counters { total: 2, available: 2, held: 0, sold: 0 },
        );
        assert_eq!(audit.undersold, 1, "one more than came back");
    }

    #[test]
    fn a_remainder_smaller_than_an_order_is_not_undersold() {
        let sale = Sale { stock: 5, quantity: 2 };
        let pair = |number, user| Row { quantity: 2, ..row(number, user) };
        let mut told = told(&[(1, 10), (2, 20)], 3);
        told.accepted.iter_mut().for_each(|acceptance| acceptance.quantity = 2);
        let audit = Audit::of(sale, &told, &[pair(1, 10), pair(2, 20)], Counters { total: 5, available: 1, held: 4, sold: 0 });
        assert!(audit.is_clean(), "{audit:?}");
    }

    #[test]
    fn a_buyer_with_two_orders_is_a_duplicate() {
        let audit = Audit::of(SALE, &told(&[(1, 10), (2, 10)], 0), &[row(1, 10), row(2, 10)], SOLD);
        assert_eq!(audit.duplicates, 1);
        assert!(!audit.is_clean());
    }

    #[test]
    fn an_order_id_given_twice_is_a_duplicate() {
        let audit = Audit::of(SALE, &told(&[(1, 10), (1, 20)], 0), &[row(1, 10), row(2, 20)], SOLD);
        assert_eq!(audit.duplicates, 1);
        assert!(audit.missing == 1 && !audit.is_clean());
    }

    #[test]
    fn an_accepted_order_without_its_row_is_missing() {
        let counters = Counters { total: 2, available: 1, held: 0, sold: 1 };
        let audit = Audit::of(SALE, &told(&[(1, 10), (2, 20)], 0), &[row(1, 10)], counters);
        assert_eq!(audit.missing, 1);
        let other_buyer = Audit::of(SALE, &told(&[(1, 10), (2, 20)], 0), &[row(1, 10), row(2, 99)], SOLD);
        assert_eq!(other_buyer.missing, 1);
        assert!(!audit.is_clean() && !other_buyer.is_clean());
    }

    #[test]
    fn a_row_nobody_was_told_of_is_a_fault_unless_its_buyer_had_no_answer() {
        let rows = [row(1, 10), row(2, 20)];
        assert!(!Audit::of(SALE, &told(&[(1, 10)], 0), &rows, SOLD).is_clean());
        let mut unknowing = told(&[(1, 10)], 0);
        unknowing.unknown.insert(UserId::new(20).unwrap());
        let audit = Audit::of(SALE, &unknowing, &rows, SOLD);
        assert!(audit.is_clean(), "{audit:?}");
        assert_eq!(audit.rows_in_doubt, 1);
    }

    #[test]
    fn counters_that_disagree_with_the_rows_are_a_fault() {
        let audit = Audit::of(SALE, &told(&[(1, 10)], 0), &[row(1, 10)], SOLD);
        assert!(!audit.is_clean());
        let audit = Audit::of(SALE, &told(&[], 0), &[], Counters { total: 2, available: 1, held: 0, sold: 0 });
        assert!(!audit.is_clean());
    }
}
