//! The table of steps: the picture is drawn from it, and every other step is refused, however it is asked for.

use super::support::*;
use crate::domain::{Cancellation, Order, OrderStatus, PaymentEnd, Taken, Terms};
use crate::engine::{Command, STARTS, TRANSITIONS, diagram};
use crate::event::Event;

#[test]
fn the_picture_in_the_docs_is_the_table() {
    let page = include_str!("../../../../docs/orders.md");
    let (_, rest) = page.split_once("```mermaid\n").expect("there is a picture");
    let (picture, _) = rest.split_once("```").expect("it ends");
    assert_eq!(picture, diagram());
}

#[test]
fn the_table_begins_with_what_is_live_and_every_way_through_it_ends() {
    assert!(STARTS.iter().all(|(status, _)| status.is_live()));
    let next = |from: OrderStatus| TRANSITIONS.iter().filter(move |step| step.from == from).map(|step| step.to);
    assert_eq!(next(OrderStatus::Refunded).count(), 0, "terminal is terminal");
    // No way is longer than all steps once: there is no circle.
    for (start, _) in STARTS {
        let mut at = vec![start];
        for _ in 0..TRANSITIONS.len() {
            at = at.into_iter().flat_map(next).collect();
        }
        assert!(at.is_empty(), "{at:?}");
    }
}

/// A commodity that allows everything, and an order of it in that status, with a payment where it had one.
fn in_status(status: OrderStatus) -> (Sale, Order) {
    let terms = Terms { cancellation: Cancellation::Any, ..if status == OrderStatus::Confirmed { terms() } else { with_hold() } };
    let mut sale = Sale::of(terms, 10);
    let order = sale.placed(a_place(7, 2));
    if status == OrderStatus::Confirmed {
        return (sale, order);
    }
    assert_eq!(sale.started(&order), 1);
    match status {
        OrderStatus::Reserved => {}
        OrderStatus::Paid | OrderStatus::RefundDue | OrderStatus::Refunded => {
            sale.moved(succeeded(&order, 1, Taken::Captured));
            if status != OrderStatus::Paid {
                sale.moved(Command::Refund { order: order.id, reason: None, restock: true, row: None });
            }
            if status == OrderStatus::Refunded {
                sale.moved(payment_ended(&order, 1, PaymentEnd::Refunded));
            }
        }
        OrderStatus::Cancelled => {
            sale.moved(payment_ended(&order, 1, PaymentEnd::Failed));
            sale.cancel(order.id);
        }
        OrderStatus::Expired => {
            sale.now = at(3_000);
            sale.expire();
        }
        OrderStatus::Confirmed => unreachable!("returned before"),
    }
    let order = sale.engine.order(order.id).unwrap();
    assert_eq!(order.status, status);
    (sale, order)
}

/// Everything that can be asked of an order.
fn commands(order: &Order) -> Vec<Command> {
    let mut all = vec![Command::Expire { at_most: 9 }, payment(order.id), refund(order.id), cancellation(order.id)];
    all.push(Command::Cancel { order: order.id, user: Some(order.user), reason: None, row: None });
    all.push(Command::StartPayment { order: order.id, user: None, row: None });
    all.extend([true, false].map(|restock| Command::Refund { order: order.id, reason: None, restock, row: None }));
    all.extend([Taken::Authorized, Taken::Captured].map(|taken| succeeded(order, 1, taken)));
    all.extend([PaymentEnd::Failed, PaymentEnd::Cancelled, PaymentEnd::Refunded].map(|how| payment_ended(order, 1, how)));
    all
}

#[test]
fn whatever_is_asked_of_an_order_in_any_status_it_takes_a_step_of_the_table_or_none() {
    let mut taken = Vec::new();
    for status in OrderStatus::ALL {
        let count = commands(&in_status(status).1).len();
        for which in 0..count {
            for (late, is_open) in [(false, true), (true, true), (false, false), (true, false)] {
                let (mut sale, order) = in_status(status);
                if status == OrderStatus::Reserved && !is_open {
                    sale.run(payment_ended(&order, 1, PaymentEnd::Failed)).unwrap();
                }
                if late {
                    sale.now = at(3_000);
                }
                sale.events.clear();
                let command = commands(&order).swap_remove(which);
                let _ = sale.run(command.clone());
                let mut at = status;
                for event in &sale.events {
                    if let Event::Moved { from, to, .. } = event {
                        assert_eq!(*from, at, "{command:?}");
                        assert!(TRANSITIONS.iter().any(|step| (step.from, step.to) == (*from, *to)), "{command:?}: {from:?} to {to:?}");
                        taken.push((*from, *to));
                        at = *to;
                    }
                }
                assert_eq!(sale.engine.order(order.id).map(|order| order.status), Some(at), "{command:?}");
                // Asked again it changes nothing, whatever it is.
                let before = sale.events.len();
                let _ = sale.run(command);
                assert!(!sale.events[before..].iter().any(|event| matches!(event, Event::Moved { .. })));
            }
        }
    }
    for step in TRANSITIONS {
        // Paid late and nothing left is a sale of its own.
        let is_seen = taken.contains(&(step.from, step.to)) || (step.from, step.to) == (OrderStatus::Expired, OrderStatus::RefundDue);
        assert!(is_seen, "nothing leads to {step:?}");
    }
}
