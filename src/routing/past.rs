//! What is said of a commodity whose owner has forgotten it: what is closed lies in the tables, with the keys of its orders. Pure:
//! whoever asks does the reading.

use crate::domain::{Commodity, CommodityId, IdempotencyKey, OrderId, RequestFingerprint};
use crate::engine::{Answer, Command, Place, Refusal};
use crate::partition::Reply;

/// What is needed to go on from an owner's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: this is what is told.
    Tell(Reply),
    /// The commodity's row, if that is closed.
    Commodity(CommodityId),
    /// The order of that buyer and commodity under that key, if there is one; of several the latest.
    Key(Place, IdempotencyKey),
    /// The order as it stands: the request is a repetition of its own.
    Order(OrderId),
}

/// Begins with what the owner said.
pub(crate) fn after_refusal(command: &Command, refusal: Refusal) -> Step {
    match (refusal, command.commodity()) {
        (Refusal::CommodityNotFound, Some(commodity)) => Step::Commodity(commodity),
        // It may have forgotten keys; who comes without one has asked for something new.
        (Refusal::Closed, Some(_)) => match command {
            Command::Place(Place { key: None, .. }) => tell(Refusal::Ended),
            Command::Place(place) => Step::Commodity(place.commodity),
            _ => tell(refusal),
        },
        _ => tell(refusal),
    }
}

/// Goes on with the row of a closed commodity, or that there is none.
pub(crate) fn with_commodity(command: &Command, refusal: Refusal, closed: Option<Commodity>) -> Step {
    match (command, closed) {
        (Command::Expecting { version, .. }, Some(closed)) if closed.version != *version => tell(Refusal::VersionMismatch),
        (Command::Expecting { command, .. } | Command::Keyed { command, .. }, closed) => with_commodity(command, refusal, closed),
        (Command::Place(place), Some(_)) => place.key.map_or(tell(Refusal::Ended), |key| Step::Key(place.clone(), key)),
        // The tables do not have it yet that it is closed: until then its owner knows every key.
        (Command::Place(_), None) if refusal == Refusal::Closed => tell(Refusal::Ended),
        (Command::Close(_), Some(closed)) => Step::Tell(Reply::Done(Answer::Commodity(Box::new(closed)))),
        (_, Some(_)) => tell(Refusal::Closed),
        (_, None) => tell(refusal),
    }
}

/// Goes on with the order that was found under the key.
pub(crate) fn with_key(place: &Place, found: Option<(OrderId, RequestFingerprint)>) -> Step {
    match found {
        Some((order, fingerprint)) if fingerprint == place.fingerprint => Step::Order(order),
        Some(_) => tell(Refusal::IdempotencyMismatch),
        None => tell(Refusal::Ended),
    }
}

const fn tell(refusal: Refusal) -> Step {
    Step::Tell(Reply::Refused(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Cancellation, CommodityId, Epoch, PartitionId, Price, Quantity, Stock, Terms, Timestamp, UserId};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn commodity(id: i64) -> CommodityId {
        CommodityId::new(id).unwrap()
    }

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::from_text(text).unwrap()
    }

    fn terms() -> Terms {
        Terms {
            sku: None,
            name: "Lamp".into(),
            description: String::new(),
            image_url: None,
            price: Price::new(1_999).unwrap(),
            currency: "EUR".parse().unwrap(),
            limit_per_user: None,
            hold_seconds: None,
            grace_seconds: Terms::GRACE_SECONDS,
            cancellation: Cancellation::Unpaid,
            starts_at: at(1_000),
            ends_at: at(9_000),
        }
    }

    fn closed() -> Option<Commodity> {
        let (terms, stock) = (terms(), Stock::default());
        Some(Commodity { id: commodity(7), terms, stock, paused: false, ended_at: None, closed_at: Some(at(1)), version: 2 })
    }

    fn place(of: Option<&str>) -> Command {
        Command::Place(Place {
            commodity: commodity(7),
            user: UserId::new(1).unwrap().into(),
            quantity: Quantity::ONE,
            key: of.map(key),
            fingerprint: RequestFingerprint(1),
            unit_price: None,
        })
    }

    /// What is told in the end, and how often the tables are read for it.
    fn told(command: &Command, refusal: Refusal, row: Option<Commodity>, key: Option<(OrderId, RequestFingerprint)>) -> (Step, u8) {
        match after_refusal(command, refusal) {
            Step::Commodity(_) => match with_commodity(command, refusal, row) {
                Step::Key(place, _) => (with_key(&place, key), 2),
                step => (step, 1),
            },
            step => (step, 0),
        }
    }

    #[test]
    fn what_no_owner_and_no_table_knows_is_not_found() {
        for command in [place(None), place(Some("a")), Command::Close(commodity(7)), Command::Pause(commodity(7))] {
            assert_eq!(told(&command, Refusal::CommodityNotFound, None, None), (tell(Refusal::CommodityNotFound), 1));
        }
    }

    #[test]
    fn whatever_would_change_what_is_closed_is_refused_and_closing_it_again_is_not() {
        for refusal in [Refusal::CommodityNotFound, Refusal::Closed] {
            assert_eq!(told(&Command::Pause(commodity(7)), refusal, closed(), None).0, tell(Refusal::Closed));
        }
        let again = told(&Command::Close(commodity(7)), Refusal::CommodityNotFound, closed(), None);
        assert_eq!(again, (Step::Tell(Reply::Done(Answer::Commodity(Box::new(closed().unwrap())))), 1));
    }

    #[test]
    fn what_is_closed_has_a_version_too() {
        let expecting = |version, command| Command::Expecting { version, command: Box::new(command) };
        for (version, command, expected) in [
            (1, Command::Close(commodity(7)), tell(Refusal::VersionMismatch)),
            (2, Command::Close(commodity(7)), Step::Tell(Reply::Done(Answer::Commodity(Box::new(closed().unwrap()))))),
            (2, Command::Pause(commodity(7)), tell(Refusal::Closed)),
        ] {
            assert_eq!(told(&expecting(version, command), Refusal::CommodityNotFound, closed(), None), (expected, 1));
        }
        let unknown = told(&expecting(1, Command::Pause(commodity(7))), Refusal::CommodityNotFound, None, None);
        assert_eq!(unknown, (tell(Refusal::CommodityNotFound), 1));
    }

    #[test]
    fn an_order_of_what_is_closed_is_too_late_unless_it_was_placed_under_its_key_before() {
        let order = OrderId::new(at(1), PartitionId::new(3).unwrap(), Epoch::new(1).unwrap(), 0);
        let (same, other) = (Some((order, RequestFingerprint(1))), Some((order, RequestFingerprint(2))));
        for refusal in [Refusal::CommodityNotFound, Refusal::Closed] {
            assert_eq!(told(&place(None), refusal, closed(), same).0, tell(Refusal::Ended));
            assert_eq!(told(&place(Some("a")), refusal, closed(), None), (tell(Refusal::Ended), 2));
            assert_eq!(told(&place(Some("a")), refusal, closed(), same), (Step::Order(order), 2));
            assert_eq!(told(&place(Some("a")), refusal, closed(), other), (tell(Refusal::IdempotencyMismatch), 2));
        }
        assert_eq!(told(&place(None), Refusal::Closed, None, None), (tell(Refusal::Ended), 0));
        assert_eq!(told(&place(Some("a")), Refusal::Closed, None, None), (tell(Refusal::Ended), 1), "its owner knew no such key");
    }

    #[test]
    fn every_other_refusal_stands_as_it_is() {
        for refusal in [Refusal::Ended, Refusal::SoldOut, Refusal::NotEnded, Refusal::VersionMismatch] {
            assert_eq!(told(&place(Some("a")), refusal, closed(), None), (tell(refusal), 0));
        }
        let cancel =
            Command::Cancel { order: "01234567-89ab-8abc-9555-555123456789".parse().unwrap(), user: None, reason: None, row: None };
        assert_eq!(told(&cancel, Refusal::Closed, closed(), None), (tell(Refusal::Closed), 0));
    }
}
