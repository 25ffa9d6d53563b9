//! What a buyer repeats an order under whose outcome was not known: their own key, or one that names the order, or one that was made for
//! the request. It never remembers anything: the text says all.

use std::cell::OnceCell;

use crate::domain::OrderId;
use crate::routing::SpareKey;

/// Before the id of an order: nothing but the id has to be kept of such an order.
const OF_ORDER: &str = "order-";

/// The key of one request to place an order.
#[derive(Debug)]
pub(super) struct RetryKey {
    own: Option<String>,
    spare: OnceCell<SpareKey>,
}

impl RetryKey {
    /// Of a request with this `Idempotency-Key`, or without one.
    pub(super) const fn of(own: Option<String>) -> Self {
        Self { own, spare: OnceCell::new() }
    }

    /// The order it names, if it is a key that [`RetryKey::text_for`] made of an order's id.
    pub(super) fn order(&self) -> Option<OrderId> {
        self.own.as_deref()?.strip_prefix(OF_ORDER)?.parse().ok()
    }

    /// What the order is placed under where nobody may come back with its id; none for one that has a key of its own.
    pub(super) fn spare(&self) -> Option<SpareKey> {
        self.own.is_none().then(|| self.made().clone())
    }

    /// Whether an order of which not even an id is known was sent under [`Self::text_for`].
    pub(super) fn leads_to_it(&self) -> bool {
        self.own.is_some() || self.spare.get().is_some_and(SpareKey::was_used)
    }

    /// What the buyer is to repeat the request under: their own key; else the order's id, if it is known, because the order may have been
    /// placed without a key.
    pub(super) fn text_for(&self, order: Option<OrderId>) -> String {
        match (&self.own, order) {
            (None, Some(order)) => format!("{OF_ORDER}{order}"),
            (Some(own), _) => own.clone(),
            (None, None) => self.made().text(),
        }
    }

    fn made(&self) -> &SpareKey {
        self.spare.get_or_init(|| SpareKey::new(rand::random()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = "01234567-89ab-8abc-9555-555123456789";

    #[test]
    fn a_buyers_own_key_is_what_they_repeat_the_request_under() {
        let key = RetryKey::of(Some("mine".to_owned()));
        assert_eq!((key.text_for(None), key.text_for(Some(ORDER.parse().unwrap()))), ("mine".to_owned(), "mine".to_owned()));
        assert!(key.spare().is_none() && key.order().is_none() && key.leads_to_it());
    }

    #[test]
    fn without_one_it_is_the_orders_id_or_one_that_stays_the_same_and_is_nobody_elses() {
        let (key, other) = (RetryKey::of(None), RetryKey::of(None));
        let made = key.text_for(None);
        assert_eq!(key.text_for(None), made);
        assert!(key.spare().is_some() && !key.leads_to_it(), "nothing was sent");
        assert_ne!(made, other.text_for(None));
        let named = key.text_for(Some(ORDER.parse().unwrap()));
        assert_eq!(RetryKey::of(Some(named)).order(), Some(ORDER.parse().unwrap()));
        for other in ["order-", "order-7", "Order-01234567-89ab-8abc-9555-555123456789", ORDER] {
            assert_eq!(RetryKey::of(Some(other.to_owned())).order(), None, "{other}");
        }
    }
}
