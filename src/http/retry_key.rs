//! What a buyer repeats an order under whose outcome was not known: their own key, or one that names the order, or one that was made for
//! the request. It never remembers anything: the text says all.

use std::cell::OnceCell;

use uuid::Uuid;

use crate::domain::{IdempotencyKey, OrderId, Principal};

/// Before the id of an order: nothing but the id has to be kept of such an order.
const OF_ORDER: &str = "order-";

/// The key of one request to place an order.
#[derive(Debug)]
pub(super) struct RetryKey {
    buyer: Principal,
    own: Option<String>,
    made: OnceCell<String>,
}

impl RetryKey {
    /// Of that buyer's request with this `Idempotency-Key`, or without one.
    pub(super) fn of(buyer: &Principal, own: Option<String>) -> Self {
        Self { buyer: buyer.clone(), own, made: OnceCell::new() }
    }

    /// The order it names, if it is a key that [`RetryKey::text_for`] made of an order's id.
    pub(super) fn order(&self) -> Option<OrderId> {
        self.own.as_deref()?.strip_prefix(OF_ORDER)?.parse().ok()
    }

    /// What the order is placed under where nobody may come back with its id.
    pub(super) fn key(&self) -> IdempotencyKey {
        IdempotencyKey::of(&self.buyer, self.text()).expect("visible, and not long")
    }

    /// What the buyer is to repeat the request under: their own key; else the order's id, if it is known, because the order may have been
    /// placed without a key.
    pub(super) fn text_for(&self, order: Option<OrderId>) -> String {
        match (&self.own, order) {
            (None, Some(order)) => format!("{OF_ORDER}{order}"),
            (Some(_) | None, _) => self.text().to_owned(),
        }
    }

    fn text(&self) -> &str {
        self.own.as_deref().unwrap_or_else(|| self.made.get_or_init(|| format!("retry-{}", Uuid::from_u128(rand::random()).simple())))
    }
}

/// The text of a key that may be given as a quoted string, as `draft-ietf-httpapi-idempotency-key-header` has it: `"a"` and `a` are one key.
pub(super) fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return text.to_owned() };
    let mut unescaped = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('\\', Some(escaped @ ('"' | '\\'))) => {
                unescaped.push(escaped);
                letters.next();
            }
            _ => unescaped.push(letter),
        }
    }
    unescaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buyer() -> Principal {
        "42".parse().unwrap()
    }

    const ORDER: &str = "01234567-89ab-8abc-9555-555123456789";

    #[test]
    fn a_buyers_own_key_is_what_they_repeat_the_request_under() {
        let key = RetryKey::of(&buyer(), Some("mine".to_owned()));
        assert_eq!((key.text_for(None), key.text_for(Some(ORDER.parse().unwrap()))), ("mine".to_owned(), "mine".to_owned()));
        assert_eq!((key.key(), key.order()), (IdempotencyKey::from_text("mine").unwrap(), None));
    }

    #[test]
    fn without_one_it_is_the_orders_id_or_one_that_stays_the_same_and_is_nobody_elses() {
        let (key, other) = (RetryKey::of(&buyer(), None), RetryKey::of(&buyer(), None));
        let made = key.text_for(None);
        assert_eq!((key.text_for(None), key.key()), (made.clone(), IdempotencyKey::from_text(&made).unwrap()));
        assert_ne!(made, other.text_for(None));
        let named = key.text_for(Some(ORDER.parse().unwrap()));
        assert_eq!(RetryKey::of(&buyer(), Some(named)).order(), Some(ORDER.parse().unwrap()));
        for other in ["order-", "order-7", "Order-01234567-89ab-8abc-9555-555123456789", ORDER] {
            assert_eq!(RetryKey::of(&buyer(), Some(other.to_owned())).order(), None, "{other}");
        }
    }

    #[test]
    fn a_quoted_key_is_the_one_inside_and_all_else_is_as_it_is() {
        for (given, meant) in [("\"a\"", "a"), ("a", "a"), ("\"a", "\"a"), ("\"", "\""), (r#""a\"b\\c\d""#, r#"a"b\c\d"#), ("\"\"", "")] {
            assert_eq!(unquoted(given), meant, "{given}");
        }
    }
}
