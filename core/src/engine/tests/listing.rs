//! Listing what may have been listed before.

use super::support::*;
use crate::domain::{Cancellation, Epoch, Sequence, Terms, TermsChange};
use crate::engine::{Answer, Command, Refusal};

fn once(id: i64, absent_at: (Epoch, Sequence)) -> Command {
    Command::ListOnce { commodity: commodity(id), terms: Box::new(terms()), total: units(5), absent_at }
}

#[test]
fn however_often_it_is_asked_for_it_is_listed_once() {
    let mut sale = Sale::of(terms(), 10);
    let absent_at = sale.tables.position;
    assert!(matches!(sale.run(once(2, absent_at)), Ok(Answer::Commodity(listed)) if listed.version == 1));
    assert_eq!(sale.refused(once(2, absent_at)), Refusal::CommodityExists);
    sale.forget();
    assert_eq!(sale.refused(once(2, absent_at)), Refusal::CommodityExists);
}

/// Whoever was slow has seen that there is no row, and meanwhile it was listed, removed and forgotten.
#[test]
fn what_was_removed_is_not_listed_again_by_whoever_was_slow() {
    let mut sale = Sale::of(terms(), 10);
    sale.apply();
    let absent_at = sale.tables.position;
    sale.run(once(2, absent_at)).unwrap();
    sale.run(Command::Remove(commodity(2))).unwrap();
    assert_eq!(sale.refused(once(2, absent_at)), Refusal::CommodityExists, "it is known until the tables have it");
    sale.forget();
    assert_eq!(sale.engine.commodities.find(commodity(2)), None);
    assert_eq!(sale.refused(once(2, absent_at)), Refusal::StaleRow);
    let now = sale.tables.position;
    assert!(sale.run(once(3, now)).is_ok(), "of another there is no row even now");
    sale.restart(false);
    assert_eq!(sale.refused(once(2, absent_at)), Refusal::StaleRow, "it was read in another epoch");
}

#[test]
fn what_was_closed_is_not_listed_again_either() {
    let mut sale = Sale::of(terms(), 10);
    sale.apply();
    let absent_at = sale.tables.position;
    sale.run(once(2, absent_at)).unwrap();
    sale.run(Command::End(commodity(2))).unwrap();
    sale.run(Command::Close(commodity(2))).unwrap();
    sale.forget();
    assert_eq!(sale.refused(once(2, absent_at)), Refusal::StaleRow);
}

#[test]
fn beside_older_releases_nothing_is_listed_that_they_have_no_words_for() {
    let mut sale = Sale::with_older_releases(terms(), 10);
    let numbered = Terms { sku: "KB-75".parse().ok(), ..terms() };
    let list = |terms| Command::List { commodity: commodity(2), terms: Box::new(terms), total: units(1) };
    let change = |change| Command::Change { commodity: commodity(1), change: Box::new(change) };
    assert_eq!(sale.refused(list(numbered.clone())), Refusal::UpgradeUnfinished);
    let never = TermsChange { cancellation: Some(Cancellation::None), ..TermsChange::default() };
    assert_eq!(sale.refused(change(never)), Refusal::UpgradeUnfinished);
    let none = TermsChange { sku: Some(None), cancellation: Some(Cancellation::Unpaid), ..TermsChange::default() };
    assert!(sale.run(change(none)).is_ok(), "as it is");
    sale.restart(false);
    assert!(sale.run(list(numbered)).is_ok());
}
