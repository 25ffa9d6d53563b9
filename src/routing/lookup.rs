//! What is to be said of an order id, from what its owner and the projection know. Pure: whoever asks does the reading.

use crate::domain::{Epoch, NamedOrder, OrderId, PrincipalKey};
use crate::engine::{Command, Refusal};
use crate::partition::{Busy, Reply, Sighting};
use crate::store::Epochs;

/// What is known of an order id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderLookup {
    /// The order as it stands, on stable storage.
    Known(NamedOrder),
    /// The id is of an order that never was (its epoch is over), for ever: status `refused`.
    Refused,
    /// Not known yet: status `pending`.
    Pending,
    /// The id was never given: a partition or an epoch that does not exist, or a number not reached yet.
    NotFound,
    /// Nobody can tell right now.
    Unavailable,
}

/// One question about an order, as far as it is answered.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    id: OrderId,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    Answered(OrderLookup),
    /// The owner does not know the order. It serves that epoch.
    ForgottenBy {
        epoch: Epoch,
        /// Whether the tables have what it does not know.
        in_tables: bool,
    },
    /// No owner can tell; the epochs come first, so that a row that is missing after them says something.
    Epochs,
    /// As above, with the epoch the projection was in.
    WithoutOwner(Epoch),
}

/// What is needed to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: this is the answer.
    Answer(OrderLookup),
    /// The epochs of the order's partition.
    Epochs,
    /// The order's row.
    Row,
}

impl Lookup {
    /// Begins with what the owner said, or that none could be asked.
    pub(crate) fn of(id: OrderId, sighting: Result<Sighting, Busy>) -> Self {
        let step = match sighting {
            // No owner ever was in it.
            _ if id.epoch() == Epoch::default() => Step::Answered(OrderLookup::NotFound),
            Ok(Sighting::Known(named)) => Step::Answered(OrderLookup::Known(named)),
            Ok(Sighting::InDoubt) => Step::Answered(OrderLookup::Pending),
            // Where the tables have what the owner does not know, they may also have what it has not heard the confirm of yet.
            Ok(Sighting::Unknown { epoch, next_number, in_tables: false }) if id.epoch() == epoch && id.number() >= next_number => {
                Step::Answered(OrderLookup::NotFound)
            }
            Ok(Sighting::Unknown { epoch, in_tables, .. }) if id.epoch() <= epoch => Step::ForgottenBy { epoch, in_tables },
            // An epoch the owner has not heard of: made up, or this owner is one no longer and does not know it yet.
            Ok(Sighting::Unknown { .. }) | Err(_) => Step::Epochs,
        };
        Self { id, step }
    }

    pub(crate) const fn id(&self) -> OrderId {
        self.id
    }

    /// The answer, or what to read next.
    pub(crate) fn next(&self) -> Next {
        match &self.step {
            Step::Answered(answer) => Next::Answer(answer.clone()),
            Step::Epochs => Next::Epochs,
            Step::ForgottenBy { .. } | Step::WithoutOwner(_) => Next::Row,
        }
    }

    /// Goes on with the epochs as they are now.
    pub(crate) fn with_epochs(self, epochs: Epochs) -> Self {
        let made_up = self.id.epoch() > epochs.claimed;
        let step = if made_up { Step::Answered(OrderLookup::NotFound) } else { Step::WithoutOwner(epochs.applied) };
        Self { step, ..self }
    }

    /// Goes on with the row as it is now, or that there is none.
    pub(crate) fn with_row(self, row: Option<NamedOrder>) -> Self {
        let answer = match self.step {
            Step::Answered(answer) => answer,
            Step::ForgottenBy { epoch, in_tables } => forgotten_by_engine(row, self.id.epoch() < epoch, in_tables),
            Step::Epochs => without_owner(row, false),
            Step::WithoutOwner(applied) => without_owner(row, self.id.epoch() < applied),
        };
        Self { step: Step::Answered(answer), ..self }
    }
}

/// What a command of that buyer's, or of nobody's in particular, comes to about an order that its owner does not know and that has no row to
/// send along.
pub(crate) fn without_row(id: OrderId, buyer: Option<PrincipalKey>, known: &OrderLookup) -> Reply {
    match known {
        // Its owner knows it, and said so because it is another's: to this one there is no such order.
        OrderLookup::Known(named) if buyer.is_some_and(|buyer| buyer != named.order.user) => Reply::Refused(Refusal::OrderNotFound),
        // There is a row by now: whoever asks again finds it.
        OrderLookup::Known(_) | OrderLookup::Unavailable => Reply::Busy(Busy::Unavailable),
        OrderLookup::Pending => Reply::Pending(Some(id)),
        OrderLookup::Refused | OrderLookup::NotFound => Reply::Refused(Refusal::OrderNotFound),
    }
}

/// Whose order a command has to be about to be carried out; none if it may be anybody's.
pub(crate) fn buyer_of(command: &Command) -> Option<PrincipalKey> {
    match command {
        Command::Keyed { command, .. } | Command::Expecting { command, .. } => buyer_of(command),
        Command::Cancel { user, .. } | Command::StartPayment { user, .. } => *user,
        Command::Place(place) => Some(place.user.key()),
        Command::PaymentSucceeded { .. }
        | Command::PaymentEnded { .. }
        | Command::Refund { .. }
        | Command::ConfirmPayment { .. }
        | Command::ConfirmRefund { .. }
        | Command::List { .. }
        | Command::ListOnce { .. }
        | Command::Change { .. }
        | Command::Restock { .. }
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::End(_)
        | Command::Close(_)
        | Command::CloseEnded { .. }
        | Command::Remove(_)
        | Command::Expire { .. } => None,
    }
}

/// What a row, or its absence, means for an order the engine of a later or the same epoch does not know. Every earlier epoch is
/// in the projection as a whole (`drained`), or the later one would not serve.
fn forgotten_by_engine(row: Option<NamedOrder>, drained: bool, in_tables: bool) -> OrderLookup {
    match row {
        Some(named) if in_tables => OrderLookup::Known(named),
        // An engine of an older release knows every live order: that this one ended is confirmed and still on its way to the projection.
        Some(named) if named.order.status.is_live() => OrderLookup::Pending,
        Some(named) => OrderLookup::Known(named),
        None if drained => OrderLookup::Refused,
        // Its number is another order's.
        None if in_tables => OrderLookup::NotFound,
        None => OrderLookup::Pending,
    }
}

/// What the projection alone can say: only what can no longer change.
fn without_owner(row: Option<NamedOrder>, drained: bool) -> OrderLookup {
    match row {
        Some(named) if named.order.status.is_live() => OrderLookup::Unavailable,
        Some(named) => OrderLookup::Known(named),
        None if drained => OrderLookup::Refused,
        None => OrderLookup::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CommodityId, Order, OrderStatus, PartitionId, Price, Quantity, Timestamp, UserId};

    fn epoch(value: u32) -> Epoch {
        Epoch::new(value).unwrap()
    }

    fn id(of_epoch: u32, number: u64) -> OrderId {
        OrderId::new(Timestamp::ZERO, PartitionId::new(1).unwrap(), epoch(of_epoch), number)
    }

    fn order(status: OrderStatus) -> NamedOrder {
        let order = Order {
            id: id(5, 0),
            commodity: CommodityId::new(1).unwrap(),
            user: UserId::new(9).unwrap().into(),
            quantity: Quantity::ONE,
            unit_price: Price::new(1).unwrap(),
            currency: "EUR".parse().unwrap(),
            status,
            pay_by: None,
            grace_seconds: 0,
            discount: None,
        };
        NamedOrder { order, foreign: None }
    }

    /// What an owner in epoch 5 with three orders leads to.
    fn unknown_to_owner(id: OrderId) -> Lookup {
        Lookup::of(id, Ok(Sighting::Unknown { epoch: epoch(5), next_number: 3, in_tables: true }))
    }

    /// The same from an owner of an older release.
    fn unknown_to_older_owner(id: OrderId) -> Lookup {
        Lookup::of(id, Ok(Sighting::Unknown { epoch: epoch(5), next_number: 3, in_tables: false }))
    }

    fn answer(lookup: &Lookup) -> OrderLookup {
        match lookup.next() {
            Next::Answer(answer) => answer,
            other => panic!("no answer yet: {other:?}"),
        }
    }

    #[test]
    fn a_number_the_owner_has_not_reached_was_never_given() {
        assert_eq!(answer(&unknown_to_older_owner(id(5, 3))), OrderLookup::NotFound);
        assert_eq!(answer(&unknown_to_owner(id(5, 3)).with_row(None)), OrderLookup::NotFound);
    }

    /// The consumer was faster than the confirm.
    #[test]
    fn a_number_the_owner_has_not_reached_may_be_in_the_tables_already() {
        let mut early = order(OrderStatus::Confirmed);
        early.order.id = id(5, 3);
        assert_eq!(answer(&unknown_to_owner(early.order.id).with_row(Some(early.clone()))), OrderLookup::Known(early));
    }

    #[test]
    fn an_order_of_a_drained_epoch_without_a_row_is_refused() {
        assert_eq!(answer(&unknown_to_owner(id(4, 0)).with_row(None)), OrderLookup::Refused);
        assert_eq!(answer(&unknown_to_older_owner(id(4, 0)).with_row(None)), OrderLookup::Refused);
    }

    /// One's own id with another time in it, say: the number is an order's, and the id is not.
    #[test]
    fn an_id_of_this_epoch_without_a_row_is_no_orders_id() {
        assert_eq!(answer(&unknown_to_owner(id(5, 2)).with_row(None)), OrderLookup::NotFound);
        assert_eq!(answer(&unknown_to_older_owner(id(5, 2)).with_row(None)), OrderLookup::Pending);
    }

    #[test]
    fn what_the_owner_has_forgotten_is_as_its_row_says() {
        let live = order(OrderStatus::Confirmed);
        assert_eq!(answer(&unknown_to_owner(live.order.id).with_row(Some(live.clone()))), OrderLookup::Known(live.clone()));
        assert_eq!(answer(&unknown_to_older_owner(live.order.id).with_row(Some(live))), OrderLookup::Pending);
        let ended = order(OrderStatus::Cancelled);
        assert_eq!(answer(&unknown_to_older_owner(ended.order.id).with_row(Some(ended.clone()))), OrderLookup::Known(ended));
    }

    /// An owner that was stopped for a while, and superseded, answers before it hears of that.
    #[test]
    fn a_superseded_owner_never_says_that_a_later_owners_order_does_not_exist() {
        let lookup = unknown_to_owner(id(7, 0));
        assert_eq!(lookup.next(), Next::Epochs);
        let lookup = lookup.with_epochs(Epochs { claimed: epoch(7), applied: epoch(7) });
        assert_eq!(lookup.next(), Next::Row);
        assert_eq!(answer(&lookup.clone().with_row(None)), OrderLookup::Pending);
        assert_eq!(answer(&lookup.with_row(Some(order(OrderStatus::Confirmed)))), OrderLookup::Unavailable);
    }

    #[test]
    fn the_epoch_before_the_first_has_no_orders() {
        assert_eq!(answer(&unknown_to_owner(id(0, 0))), OrderLookup::NotFound);
        assert_eq!(answer(&Lookup::of(id(0, 0), Err(Busy::Unavailable))), OrderLookup::NotFound);
    }

    #[test]
    fn an_epoch_nobody_claimed_has_no_orders() {
        let lookup = unknown_to_owner(id(8, 0)).with_epochs(Epochs { claimed: epoch(7), applied: epoch(6) });
        assert_eq!(answer(&lookup), OrderLookup::NotFound);
    }

    #[test]
    fn without_an_owner_only_what_can_no_longer_change_is_said() {
        let asked = |row| {
            let lookup = Lookup::of(id(5, 0), Err(Busy::Unavailable));
            answer(&lookup.with_epochs(Epochs { claimed: epoch(6), applied: epoch(6) }).with_row(row))
        };
        assert_eq!(asked(None), OrderLookup::Refused);
        assert_eq!(asked(Some(order(OrderStatus::Reserved))), OrderLookup::Unavailable);
        assert_eq!(asked(Some(order(OrderStatus::Expired))), OrderLookup::Known(order(OrderStatus::Expired)));
    }

    #[test]
    fn a_command_about_an_order_without_a_row_says_what_is_known_of_its_id() {
        let id = id(5, 0);
        let paid = order(OrderStatus::Paid);
        let owner = paid.order.user;
        for buyer in [None, Some(owner)] {
            assert_eq!(without_row(id, buyer, &OrderLookup::NotFound), Reply::Refused(Refusal::OrderNotFound));
            assert_eq!(without_row(id, buyer, &OrderLookup::Refused), Reply::Refused(Refusal::OrderNotFound));
            assert_eq!(without_row(id, buyer, &OrderLookup::Pending), Reply::Pending(Some(id)));
            assert_eq!(without_row(id, buyer, &OrderLookup::Known(paid.clone())), Reply::Busy(Busy::Unavailable));
        }
        // It is in no table yet, and another's: as if it were none.
        let stranger = Some(UserId::new(4_711).unwrap().into()).filter(|stranger| *stranger != owner);
        assert!(stranger.is_some());
        assert_eq!(without_row(id, stranger, &OrderLookup::Known(paid)), Reply::Refused(Refusal::OrderNotFound));
        assert_eq!(without_row(id, stranger, &OrderLookup::Pending), Reply::Pending(Some(id)), "whose it is nobody can say");
    }
}
