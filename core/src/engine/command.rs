//! What an engine can be asked for, and what it answers. Refusals are values: nothing here is an error.

use crate::domain::{
    Attempt, Commodity, CommodityId, Currency, Epoch, IdempotencyKey, Operation, Order, OrderId, PaymentEnd, PaymentId, Payments, Price,
    Principal, PrincipalKey, Quantity, Reason, RequestFingerprint, Sequence, Taken, Terms, TermsChange, Timestamp, Units,
};

/// A request to the state machine of one partition. Whoever sends one has checked that the partition is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Put a commodity on the list, with all of its units available.
    List {
        /// An id nobody used before.
        commodity: CommodityId,
        /// Terms without faults.
        terms: Box<Terms>,
        /// Units to sell.
        total: Units,
    },
    /// As [`Command::List`], of what may have been listed before, by whoever else was to. Where it was, that is what is refused, even if it
    /// is closed or removed by now.
    ListOnce {
        /// The id that was given for it.
        commodity: CommodityId,
        /// Terms without faults.
        terms: Box<Terms>,
        /// Units to sell.
        total: Units,
        /// The last batch in the tables, and its epoch, when they had no row of it yet, or before.
        absent_at: (Epoch, Sequence),
    },
    /// Change terms, or the total.
    Change {
        /// Which commodity.
        commodity: CommodityId,
        /// What changes.
        change: Box<TermsChange>,
    },
    /// Another command about a commodity, if that is of the version its caller has seen (If-Match).
    Expecting {
        /// The version.
        version: u32,
        /// What is asked then.
        command: Box<Command>,
    },
    /// Another command, unless it was carried out under this key before: then that is the answer. Beside older releases a cancellation
    /// is carried out and its key not kept, and everything else refused.
    Keyed {
        /// Whose key, and what the request asked for.
        operation: Operation,
        /// What is asked. Of an order that is placed the key is in the placing.
        command: Box<Command>,
    },
    /// Add units.
    Restock {
        /// Which commodity.
        commodity: CommodityId,
        /// How many more, at least one.
        units: Units,
    },
    /// Stop the sale for now. Pausing what is paused changes nothing and is no refusal.
    Pause(CommodityId),
    /// Go on with the sale. Resuming what is not paused changes nothing and is no refusal.
    Resume(CommodityId),
    /// End the sale for good. Ending what was ended changes nothing and is no refusal.
    End(CommodityId),
    /// Make a commodity history whose sale is over, of which nothing is held, no payment is open and no refund is due. Closing what was closed changes
    /// nothing and is no refusal, as long as it is known here.
    Close(CommodityId),
    /// Close what ended before a time and can be closed.
    CloseEnded {
        /// The time.
        before: Timestamp,
        /// The bound, at least 1.
        at_most: usize,
    },
    /// Take a commodity off the list that nobody holds or bought units of, and of which no refund is due.
    Remove(CommodityId),
    /// Claim units for a buyer.
    Place(Place),
    /// Try to pay an order. One payment of it is open at a time: while there is one, that is the answer.
    StartPayment {
        /// Which order.
        order: OrderId,
        /// The buyer who asks; none = whoever it is. An order of another buyer is not found.
        user: Option<PrincipalKey>,
        /// Its row, for an engine that has forgotten it: without, such an order is [`Refusal::OrderNotFound`].
        row: Option<Box<Recalled>>,
    },
    /// The money of a payment is there, the provider says. A reserved order is paid. One that has expired is paid if its units are left, and
    /// else due a refund; one that was cancelled is due a refund; and what pays no order has to go back. Told again, it changes nothing and
    /// is no refusal.
    PaymentSucceeded {
        /// Which payment.
        payment: PaymentId,
        /// How much, in minor units.
        amount: i64,
        /// Of that currency.
        currency: Currency,
        /// Whether it is taken.
        taken: Taken,
        /// As above.
        row: Option<Box<Recalled>>,
    },
    /// There is no money of a payment and never will be, the provider says: it came to nothing, or it went back. Told again, it changes
    /// nothing and is no refusal.
    PaymentEnded {
        /// Which payment.
        payment: PaymentId,
        /// How.
        how: PaymentEnd,
        /// As above.
        row: Option<Box<Recalled>>,
    },
    /// Give the money of a paid order back.
    Refund {
        /// Which order.
        order: OrderId,
        /// Why.
        reason: Option<Reason>,
        /// Whether its units go on sale again; else they are written off.
        restock: bool,
        /// As above.
        row: Option<Box<Recalled>>,
    },
    /// The payment of an order arrived, by another way than a payment that was started here. A reserved order is paid, even after its `pay_by` while its hold was not ended yet;
    /// an expired or cancelled one is due a refund. Told again, it changes nothing and is no refusal.
    ConfirmPayment {
        /// Which order.
        order: OrderId,
        /// Its row, for an engine that has forgotten it: without, such an order is [`Refusal::OrderNotFound`].
        row: Option<Box<Recalled>>,
    },
    /// The money of an order that was due a refund went back, by whatever way. Told again, it changes nothing and is no refusal.
    ConfirmRefund {
        /// Which order.
        order: OrderId,
        /// As above.
        row: Option<Box<Recalled>>,
    },
    /// Call an order off.
    Cancel {
        /// Which order.
        order: OrderId,
        /// The buyer who asks; none = an operator. An order of another buyer is not found.
        user: Option<PrincipalKey>,
        /// Why.
        reason: Option<Reason>,
        /// As above.
        row: Option<Box<Recalled>>,
    },
    /// End the holds whose time is over, at most so many, earliest `pay_by` first.
    Expire {
        /// The bound, at least 1.
        at_most: usize,
    },
}

impl Command {
    /// The commodity it is about; none for a command about an order or about many commodities.
    #[must_use]
    pub fn commodity(&self) -> Option<CommodityId> {
        match self {
            Self::List { commodity, .. }
            | Self::ListOnce { commodity, .. }
            | Self::Change { commodity, .. }
            | Self::Restock { commodity, .. } => Some(*commodity),
            Self::Pause(id) | Self::Resume(id) | Self::End(id) | Self::Close(id) | Self::Remove(id) => Some(*id),
            Self::Place(place) => Some(place.commodity),
            Self::Expecting { command, .. } | Self::Keyed { command, .. } => command.commodity(),
            Self::CloseEnded { .. }
            | Self::StartPayment { .. }
            | Self::PaymentSucceeded { .. }
            | Self::PaymentEnded { .. }
            | Self::Refund { .. }
            | Self::ConfirmPayment { .. }
            | Self::ConfirmRefund { .. }
            | Self::Cancel { .. }
            | Self::Expire { .. } => None,
        }
    }

    /// The order it is about; none for a command about a commodity or about many orders.
    #[must_use]
    pub fn order(&self) -> Option<OrderId> {
        match self {
            Self::ConfirmPayment { order, .. }
            | Self::ConfirmRefund { order, .. }
            | Self::Cancel { order, .. }
            | Self::StartPayment { order, .. }
            | Self::Refund { order, .. } => Some(*order),
            Self::PaymentSucceeded { payment, .. } | Self::PaymentEnded { payment, .. } => Some(payment.order),
            Self::Expecting { command, .. } | Self::Keyed { command, .. } => command.order(),
            Self::List { .. }
            | Self::ListOnce { .. }
            | Self::Change { .. }
            | Self::Restock { .. }
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::End(_)
            | Self::Close(_)
            | Self::CloseEnded { .. }
            | Self::Remove(_)
            | Self::Place(_)
            | Self::Expire { .. } => None,
        }
    }

    /// Where the row goes of the order that it is about; none for a command about something else.
    pub const fn row_mut(&mut self) -> Option<&mut Option<Box<Recalled>>> {
        match self {
            Self::Keyed { command, .. } | Self::Expecting { command, .. } => command.row_mut(),
            Self::Cancel { row, .. }
            | Self::ConfirmPayment { row, .. }
            | Self::ConfirmRefund { row, .. }
            | Self::StartPayment { row, .. }
            | Self::PaymentSucceeded { row, .. }
            | Self::PaymentEnded { row, .. }
            | Self::Refund { row, .. } => Some(row),
            Self::List { .. }
            | Self::ListOnce { .. }
            | Self::Change { .. }
            | Self::Restock { .. }
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::End(_)
            | Self::Close(_)
            | Self::CloseEnded { .. }
            | Self::Remove(_)
            | Self::Place(_)
            | Self::Expire { .. } => None,
        }
    }
}

/// An order as its row has it, for an engine that has forgotten it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// The order.
    pub order: Order,
    /// The key it was placed under, if it had one.
    pub key: Option<IdempotencyKey>,
    /// Its payments.
    pub payments: Payments,
    /// The last batch in the tables, and its epoch, when the row was read or before.
    pub applied: (Epoch, Sequence),
    /// Its commodity, if that is closed or removed.
    pub commodity: Option<Box<Commodity>>,
}

/// A buyer's claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What.
    pub commodity: CommodityId,
    /// Who.
    pub user: Principal,
    /// How many.
    pub quantity: Quantity,
    /// The key under which a retry finds the same order.
    pub key: Option<IdempotencyKey>,
    /// What a retry under that key must ask for.
    pub fingerprint: RequestFingerprint,
    /// What the buyer saw that one unit costs: at any other price nothing is claimed. None = at any.
    pub unit_price: Option<Price>,
}

/// What a command led to.
pub type Outcome = Result<Answer, Refusal>;

/// The command was carried out (or had been already).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A new order.
    Placed(Order),
    /// The order that was placed under this key before, as it stands now.
    Replayed(Order),
    /// The id of the order that was placed, or changed, under this key before: the tables have it, as it stands now.
    PlacedBefore(OrderId),
    /// An order after it was paid, cancelled, refunded; or as it was, where that had happened before.
    Order(Order),
    /// The payment of an order that is open now.
    Payment {
        /// The order.
        order: Order,
        /// Which of its payments.
        attempt: Attempt,
        /// Whether it was started just now.
        is_new: bool,
    },
    /// A commodity after the change.
    Commodity(Box<Commodity>),
    /// What was asked was done to that commodity before, under this key: the commodity as it stands now; none if it is closed or removed
    /// and forgotten here: the tables have it.
    DoneBefore(CommodityId, Option<Box<Commodity>>),
    /// The commodity is off the list.
    Removed,
    /// So many holds ended.
    Expired(usize),
    /// So many commodities were closed.
    Closed(usize),
}

/// Why a command changed nothing. The codes are part of the HTTP contract and append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No such commodity.
    CommodityNotFound,
    /// No such order, or one of another buyer, or one that the engine has forgotten and whose row did not come along.
    OrderNotFound,
    /// The id was used before.
    CommodityExists,
    /// The sale begins later.
    NotStarted,
    /// The sale is over.
    Ended,
    /// An operator paused the sale.
    Paused,
    /// Fewer units are available than the order claims.
    SoldOut,
    /// The buyer would have more units than one buyer may.
    LimitReached,
    /// The key was used by this buyer for a request that asked for something else.
    IdempotencyMismatch,
    /// The order's status does not allow it.
    NotCancellable,
    /// The order's status does not allow it.
    NotPayable,
    /// The order's status does not allow it.
    NotRefundable,
    /// The total cannot go below what is held and sold.
    TotalTooLow,
    /// The total would exceed [`Units::MAX`].
    TotalTooHigh,
    /// The window would end before it starts, or another pair of terms would contradict.
    TermsConflict,
    /// The commodity was changed since the caller saw it.
    VersionMismatch,
    /// A commodity with held or sold units, or with a refund due, cannot be removed.
    HasOrders,
    /// The epoch has numbered all the orders it can; a new epoch begins at the next claim.
    EpochExhausted,
    /// The sale is not over.
    NotEnded,
    /// Units are held, a payment is open, or a refund is due.
    HasOpenOrders,
    /// The commodity is closed: nothing of it changes any more. A placing under a key may have its order in the tables.
    Closed,
    /// The row that came along is older than what the engine has forgotten: read it again.
    StaleRow,
    /// Older releases still take part, which would not understand what this leads to.
    UpgradeUnfinished,
    /// One unit costs something else than the buyer saw.
    PriceChanged,
    /// So many keys of operators are remembered that there is no room for another.
    TooManyKeys,
    /// A payment of the order is open: it has to be called off at its provider first, or found to have succeeded.
    PaymentOpen(Attempt),
    /// No such payment was started.
    PaymentNotFound,
}
