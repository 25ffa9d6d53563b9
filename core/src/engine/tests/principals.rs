//! Buyers of other issuers: no two of them, and none of them and an account of our own, are one.

use super::support::*;
use crate::domain::{IdempotencyKey, Terms};
use crate::engine::{Answer, Command, Engine, Place, Refusal};
use crate::event::LogVersion;

/// What would come of it, older releases could not read.
#[test]
fn while_older_releases_take_part_nobody_buys_but_accounts_of_our_own() {
    let mut sale = Sale::of(terms(), 5);
    sale.apply();
    for version in [LogVersion::V1, LogVersion::V2, LogVersion::V3] {
        let snapshot = sale.tables.snapshot(sale.now, version == LogVersion::V1);
        sale.engine = Engine::restore(partition(), epoch(6), snapshot, version).unwrap();
        assert_eq!(sale.refused(Command::Place(a_place(2, 1))), Refusal::UpgradeUnfinished, "version {version}");
    }
    sale.placed(a_place(1, 1));
    sale.restart(false);
    sale.placed(a_place(2, 1));
}

/// Account 1 of our own, and that subject of two issuers.
#[test]
fn equal_subjects_of_two_issuers_have_limits_keys_and_orders_of_their_own() {
    let mut sale = Sale::of(Terms { limit_per_user: Some(2), ..with_hold() }, 10);
    let place = |id, count| Place { key: Some(IdempotencyKey::of(&user(id), "k").unwrap()), ..a_place(id, count) };
    let orders = [1, 2, 3].map(|id| (id, sale.placed(place(id, 2))));
    for forgotten in [false, true] {
        for (id, order) in orders {
            assert_eq!(order.user, buyer(id));
            assert_eq!(sale.run(Command::Place(place(id, 2))), Ok(Answer::Replayed(order)));
            assert_eq!(sale.refused(Command::Place(a_place(id, 1))), Refusal::LimitReached);
            for other in (1..=3).filter(|other| *other != id) {
                let cancel = Command::Cancel { order: order.id, user: Some(buyer(other)), reason: None, row: None };
                assert_eq!(sale.refused(cancel), Refusal::OrderNotFound);
            }
        }
        if !forgotten {
            sale.restart(false);
        }
    }
    let (_, theirs) = orders[1];
    sale.moved(Command::Cancel { order: theirs.id, user: Some(buyer(2)), reason: None, row: None });
    sale.placed(Place { key: None, ..place(2, 2) });
    assert_eq!(sale.refused(Command::Place(a_place(3, 1))), Refusal::LimitReached, "the units are the other one's");
}
