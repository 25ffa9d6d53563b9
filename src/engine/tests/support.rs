//! Short ways to say a sale in a test. No rules are written down here.

use super::projection::Projection;
use crate::domain::{
    Cancellation, CommodityId, Epoch, IdempotencyKey, Order, OrderId, PartitionId, Price, Principal, PrincipalKey, Quantity,
    RequestFingerprint, Sequence, Stock, Terms, Timestamp, Units, UserId,
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

/// An operator's.
pub(super) fn cancellation(order: OrderId) -> Command {
    Command::Cancel { order, user: None, row: None }
}

/// The same command with a row.
pub(crate) fn with_row(mut command: Command, recalled: Box<Recalled>) -> Command {
    match &mut command {
        Command::Cancel { row, .. } | Command::ConfirmPayment { row, .. } | Command::ConfirmRefund { row, .. } => *row = Some(recalled),
        Command::Keyed { operation, command } => {
            let command = Box::new(with_row((**command).clone(), recalled));
            return Command::Keyed { operation: *operation, command };
        }
        other => panic!("{other:?} is not about an order"),
    }
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
