//! Short ways to say a sale in a test. No rules are written down here.

use super::projection::Projection;
use crate::domain::{
    Attempt, Cancellation, CommodityId, Epoch, IdempotencyKey, Order, OrderId, PartitionId, PaymentEnd, PaymentId, Price, Principal,
    PrincipalKey, Quantity, RequestFingerprint, Sequence, Stock, Taken, Terms, Timestamp, Units, UserId,
};
use crate::engine::{Answer, Command, Engine, Outcome, Place, Recalled, Refusal, Snapshot};
use crate::event::{Event, LogVersion};

/// A little more than a key is kept after its order has ended.
pub(crate) const A_DAY_AND_MORE_MS: u64 = 24 * 60 * 60 * 1_000 + 1;

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub(crate) fn commodity(id: i64) -> CommodityId {
    CommodityId::new(id).unwrap()
}

/// An account of our own; but the second and the third, which are two issuers' with the subject of the first.
pub(crate) fn user(id: i64) -> Principal {
    match id {
        2 => "a:1".parse().unwrap(),
        3 => "b:1".parse().unwrap(),
        id => UserId::new(id).unwrap().into(),
    }
}

/// What the engine knows them by.
pub(crate) fn buyer(id: i64) -> PrincipalKey {
    user(id).key()
}

/// The version that a log is written in while older releases take part, or when they don't.
pub(super) fn log_version(with_older_releases: bool) -> LogVersion {
    if with_older_releases { LogVersion::V1 } else { LogVersion::NEWEST }
}

pub(crate) fn quantity(count: i64) -> Quantity {
    Quantity::new(count).unwrap()
}

pub(crate) fn units(count: i64) -> Units {
    Units::new(count).unwrap()
}

pub(crate) fn partition() -> PartitionId {
    PartitionId::new(3).unwrap()
}

pub(crate) fn epoch(value: u32) -> Epoch {
    Epoch::new(value).unwrap()
}

pub(crate) fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::from_text(text).unwrap()
}

/// On sale from 1,000 to 9,000 ms, no limit, no hold.
pub(crate) fn terms() -> Terms {
    Terms {
        sku: None,
        name: "Lamp".into(),
        description: String::new(),
        image_url: None,
        price: Price::new(1_999).unwrap(),
        currency: "EUR".parse().unwrap(),
        limit_per_user: None,
        hold_seconds: None,
        grace_seconds: 0,
        cancellation: Cancellation::Unpaid,
        starts_at: at(1_000),
        ends_at: at(9_000),
    }
}

/// The same with a hold of two seconds.
pub(super) fn with_hold() -> Terms {
    Terms { hold_seconds: Some(2), ..terms() }
}

pub(super) fn a_place(user_id: i64, count: i64) -> Place {
    let quantity = quantity(count);
    Place {
        commodity: commodity(1),
        user: user(user_id),
        quantity,
        key: None,
        fingerprint: RequestFingerprint::of(quantity, None),
        unit_price: None,
    }
}

pub(super) fn payment(order: OrderId) -> Command {
    Command::ConfirmPayment { order, row: None }
}

pub(super) fn refund(order: OrderId) -> Command {
    Command::ConfirmRefund { order, row: None }
}

/// A payment of an order, by its number.
pub(super) fn payment_of(order: &Order, number: u8) -> PaymentId {
    PaymentId { order: order.id, attempt: Attempt::new(number).unwrap() }
}

/// All of an order's money is there, by the payment of that number.
pub(super) fn succeeded(order: &Order, number: u8, taken: Taken) -> Command {
    let (payment, amount, currency) = (payment_of(order, number), order.amount(), order.currency);
    Command::PaymentSucceeded { payment, amount, currency, taken, row: None }
}

pub(super) fn payment_ended(order: &Order, number: u8, how: PaymentEnd) -> Command {
    Command::PaymentEnded { payment: payment_of(order, number), how, row: None }
}

/// An operator's.
pub(super) fn cancellation(order: OrderId) -> Command {
    Command::Cancel { order, user: None, reason: None, row: None }
}

/// The same command with a row.
pub(crate) fn with_row(mut command: Command, recalled: Box<Recalled>) -> Command {
    *command.row_mut().expect("it is about an order") = Some(recalled);
    command
}

/// An engine, its clock, its tables, and all events so far.
pub(super) struct Sale {
    pub(super) engine: Engine,
    pub(super) now: Timestamp,
    pub(super) events: Vec<Event>,
    pub(super) tables: Projection,
    sequence: Sequence,
    /// What is not in the tables yet.
    gathered: Vec<Event>,
}

impl Sale {
    /// Commodity 1 with these terms and so many units, at 1,000 ms.
    pub(super) fn of(terms: Terms, total: i64) -> Self {
        Self::begun(terms, total, false)
    }

    /// The same while older releases take part.
    pub(super) fn with_older_releases(terms: Terms, total: i64) -> Self {
        Self::begun(terms, total, true)
    }

    fn begun(terms: Terms, total: i64, with_older_releases: bool) -> Self {
        // Beside older releases there is no other grace.
        let grace_seconds = if with_older_releases { Terms::GRACE_SECONDS } else { terms.grace_seconds };
        let terms = Terms { grace_seconds, ..terms };
        let engine = Engine::restore(partition(), epoch(5), Snapshot::default(), log_version(with_older_releases)).unwrap();
        let mut tables = Projection::new();
        tables.position = (epoch(5), Sequence::FENCE);
        let mut sale = Self { engine, now: at(1_000), events: Vec::new(), tables, sequence: Sequence(1), gathered: Vec::new() };
        sale.run(Command::List { commodity: commodity(1), terms: Box::new(terms), total: units(total) }).unwrap();
        sale.events.clear();
        sale
    }

    pub(super) fn run(&mut self, command: Command) -> Outcome {
        let mut events = Vec::new();
        let outcome = self.engine.apply(self.now, command, &mut events);
        self.gathered.extend(events.iter().cloned());
        self.events.append(&mut events);
        outcome
    }

    pub(super) fn refused(&mut self, command: Command) -> Refusal {
        let before = self.events.len();
        let refusal = self.run(command).unwrap_err();
        assert_eq!(self.events.len(), before, "a refusal has no events");
        refusal
    }

    pub(super) fn placed(&mut self, place: Place) -> Order {
        match self.run(Command::Place(place)).unwrap() {
            Answer::Placed(order) => order,
            other => panic!("not placed: {other:?}"),
        }
    }

    /// The number of the payment that is open now.
    pub(super) fn started(&mut self, order: &Order) -> u8 {
        match self.run(Command::StartPayment { order: order.id, user: Some(order.user), row: None }).unwrap() {
            Answer::Payment { attempt, .. } => attempt.get(),
            other => panic!("no payment: {other:?}"),
        }
    }

    /// An order of so many units of commodity 1 that is paid by its first payment.
    pub(super) fn paid(&mut self, user_id: i64, count: i64) -> Order {
        let order = self.placed(a_place(user_id, count));
        assert_eq!(self.started(&order), 1);
        self.moved(succeeded(&order, 1, Taken::Authorized))
    }

    /// What became of payments and orders in the events so far, each in a word.
    pub(super) fn story(&mut self) -> Vec<&'static str> {
        let told = |event: &Event| match event {
            Event::PaymentStarted { .. } => Some("started"),
            Event::PaymentChanged { status, .. } => Some(status.word()),
            Event::Moved { to, .. } => Some(to.word()),
            _ => None,
        };
        std::mem::take(&mut self.events).iter().filter_map(told).collect()
    }

    /// The order a command on an order led to.
    pub(super) fn moved(&mut self, command: Command) -> Order {
        match self.run(command).unwrap() {
            Answer::Order(order) => order,
            other => panic!("no order: {other:?}"),
        }
    }

    pub(super) fn cancel(&mut self, order: OrderId) -> Order {
        self.moved(cancellation(order))
    }

    /// Ends the holds whose time is over.
    pub(super) fn expire(&mut self) {
        self.run(Command::Expire { at_most: usize::MAX }).unwrap();
    }

    /// What was gathered is a batch that is in the tables now.
    pub(super) fn apply(&mut self) {
        let events = std::mem::take(&mut self.gathered);
        self.tables.apply((self.engine.epoch(), self.sequence), &events);
        self.sequence = self.sequence.next();
        self.engine.gather_into(self.sequence);
    }

    /// The same, and the engine forgets what it may.
    pub(super) fn forget(&mut self) {
        self.apply();
        assert!(!self.engine.forget(self.tables.position.1, usize::MAX));
    }

    /// An order's row as it is in the tables.
    pub(super) fn row(&self, order: OrderId) -> Box<Recalled> {
        self.tables.recalled(order).expect("it is in the tables")
    }

    /// The next owner begins with what is in the tables.
    pub(super) fn restart(&mut self, with_older_releases: bool) {
        self.apply();
        let next = epoch(self.engine.epoch().get() + 1);
        let snapshot = self.tables.snapshot(self.now, with_older_releases);
        self.engine = Engine::restore(partition(), next, snapshot, log_version(with_older_releases)).unwrap();
        (self.sequence, self.tables.position) = (Sequence(1), (next, Sequence::FENCE));
    }

    /// available, held, sold of commodity 1.
    pub(super) fn stock(&self) -> (u32, u32, u32) {
        let Stock { available, held, sold, .. } = self.engine.commodity(commodity(1)).unwrap().stock;
        (available.get(), held.get(), sold.get())
    }
}
