//! Every refusal is reached, and changes nothing.

use super::support::*;
use crate::domain::{Attempt, Operation, OperationKey, OrderId, OrderStatus, PaymentEnd, Price, RequestFingerprint, Terms, TermsChange};
use crate::engine::operations::KEPT_MAX;
use crate::engine::{Command, Place, Refusal};

fn reserved() -> (Sale, OrderId) {
    let mut sale = Sale::of(Terms { hold_seconds: Some(2), limit_per_user: Some(3), ..terms() }, 5);
    let order = sale.placed(Place { key: Some(key("a")), ..a_place(7, 2) });
    (sale, order.id)
}

fn change(change: TermsChange) -> Command {
    Command::Change { commodity: commodity(1), change: Box::new(change) }
}

/// A sale and a command it refuses for this reason. A new refusal does not compile until it has a line here.
fn scenario(refusal: Refusal) -> (Sale, Command) {
    let (mut sale, order) = reserved();
    let place = Command::Place(a_place(8, 1));
    let command = match refusal {
        Refusal::CommodityNotFound => Command::Place(Place { commodity: commodity(9), ..a_place(8, 1) }),
        Refusal::OrderNotFound => Command::Cancel { order, user: Some(buyer(8)), reason: None, row: None },
        Refusal::CommodityExists => Command::List { commodity: commodity(1), terms: Box::new(terms()), total: units(1) },
        Refusal::NotStarted => {
            sale.now = at(999);
            place
        }
        Refusal::Ended => {
            sale.run(Command::End(commodity(1))).unwrap();
            place
        }
        Refusal::Paused => {
            sale.run(Command::Pause(commodity(1))).unwrap();
            place
        }
        Refusal::SoldOut => {
            sale.placed(a_place(9, 3));
            place
        }
        Refusal::LimitReached => Command::Place(a_place(7, 2)),
        Refusal::IdempotencyMismatch => Command::Place(Place { key: Some(key("a")), ..a_place(7, 1) }),
        Refusal::NotCancellable => {
            sale.run(payment(order)).unwrap();
            cancellation(order)
        }
        Refusal::NotPayable => {
            sale.run(change(TermsChange { hold_seconds: Some(None), ..TermsChange::default() })).unwrap();
            let confirmed = sale.placed(a_place(8, 1));
            assert_eq!(confirmed.status, OrderStatus::Confirmed);
            payment(confirmed.id)
        }
        Refusal::NotRefundable => refund(order),
        Refusal::TotalTooLow => change(TermsChange { total: Some(units(1)), ..TermsChange::default() }),
        Refusal::TotalTooHigh => Command::Restock { commodity: commodity(1), units: units(999_999_996) },
        Refusal::TermsConflict => change(TermsChange { ends_at: Some(at(1_000)), ..TermsChange::default() }),
        Refusal::VersionMismatch => Command::Expecting { version: 2, command: Box::new(change(TermsChange::default())) },
        Refusal::HasOrders => Command::Remove(commodity(1)),
        Refusal::EpochExhausted => {
            sale.engine.next_number = OrderId::NUMBER_MAX;
            sale.placed(a_place(9, 1));
            place
        }
        Refusal::NotEnded => Command::Close(commodity(1)),
        Refusal::HasOpenOrders => {
            sale.now = at(9_000);
            Command::Close(commodity(1))
        }
        Refusal::Closed => {
            sale.run(payment(order)).unwrap();
            sale.now = at(9_000);
            sale.run(Command::Close(commodity(1))).unwrap();
            Command::Restock { commodity: commodity(1), units: units(1) }
        }
        Refusal::StaleRow => {
            sale.apply();
            let while_held = sale.row(order);
            sale.cancel(order);
            sale.forget();
            with_row(payment(order), while_held)
        }
        Refusal::PriceChanged => Command::Place(Place { unit_price: Price::new(99).ok(), ..a_place(8, 1) }),
        Refusal::TooManyKeys => {
            let keyed = |number: usize| Command::Keyed {
                operation: Operation { key: OperationKey::of("", "", &number.to_string()), fingerprint: RequestFingerprint(0) },
                command: Box::new(Command::Resume(commodity(1))),
            };
            (0..KEPT_MAX).for_each(|number| drop(sale.run(keyed(number))));
            keyed(KEPT_MAX)
        }
        Refusal::PaymentOpen(_) => {
            let order = sale.engine.order(order).unwrap();
            sale.started(&order);
            cancellation(order.id)
        }
        Refusal::PaymentNotFound => {
            let order = sale.engine.order(order).unwrap();
            payment_ended(&order, 1, PaymentEnd::Failed)
        }
        Refusal::UpgradeUnfinished => {
            sale = Sale::with_older_releases(terms(), 5);
            sale.now = at(9_000);
            Command::Close(commodity(1))
        }
    };
    (sale, command)
}

fn is_reached(refusal: Refusal) {
    let (mut sale, command) = scenario(refusal);
    let visible = |sale: &Sale| {
        let commodity = sale.engine.commodity(commodity(1)).cloned();
        (commodity, sale.engine.next_expiry(), sale.engine.orders_len(), sale.engine.next_number())
    };
    let before = visible(&sale);
    assert_eq!(sale.refused(command), refusal);
    assert_eq!(visible(&sale), before, "a refusal changes nothing");
}

macro_rules! reached {
    ($($name:ident: $refusal:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            is_reached(Refusal::$refusal);
        }
    )*};
}

#[test]
fn cancelling_an_order_that_is_being_paid_is_refused() {
    is_reached(Refusal::PaymentOpen(Attempt::FIRST));
}

reached! {
    a_payment_that_was_never_started_is_refused: PaymentNotFound,
    an_order_of_an_unknown_commodity_is_refused: CommodityNotFound,
    cancelling_the_order_of_another_buyer_is_not_found: OrderNotFound,
    listing_an_id_twice_is_refused: CommodityExists,
    an_order_before_the_window_is_refused: NotStarted,
    an_order_after_an_operator_ended_the_sale_is_refused: Ended,
    an_order_while_the_sale_is_paused_is_refused: Paused,
    an_order_of_more_than_is_available_is_refused: SoldOut,
    an_order_over_the_limit_per_user_is_refused: LimitReached,
    a_key_used_for_another_request_is_refused: IdempotencyMismatch,
    cancelling_a_paid_order_is_refused: NotCancellable,
    paying_an_order_that_needs_no_payment_is_refused: NotPayable,
    refunding_an_order_no_refund_is_due_for_is_refused: NotRefundable,
    a_total_below_held_and_sold_is_refused: TotalTooLow,
    restocking_beyond_the_highest_total_is_refused: TotalTooHigh,
    a_window_that_would_end_before_it_starts_is_refused: TermsConflict,
    a_change_of_a_version_that_is_gone_is_refused: VersionMismatch,
    removing_a_commodity_with_held_units_is_refused: HasOrders,
    an_order_after_the_last_number_of_the_epoch_is_refused: EpochExhausted,
    closing_a_sale_that_goes_on_is_refused: NotEnded,
    closing_while_units_are_held_is_refused: HasOpenOrders,
    changing_what_is_closed_is_refused: Closed,
    a_row_that_is_older_than_what_was_forgotten_is_refused: StaleRow,
    closing_while_older_releases_take_part_is_refused: UpgradeUnfinished,
    an_order_at_another_price_than_its_buyer_saw_is_refused: PriceChanged,
    a_change_under_one_key_more_than_there_is_room_for_is_refused: TooManyKeys,
}
