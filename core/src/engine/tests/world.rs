//! A partition with its log, its tables and its router in one: the engine decides, the model says what was to be decided, and the
//! tables are as late as chance has them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::model::{Listed, Model};
use super::projection::Projection;
use super::steps::{LATE_MS, Operation, Paying, Pick, Step};
use super::support::*;
use crate::domain::{Attempt, CommodityId, Order, OrderId, OrderStatus, PaymentId, RequestFingerprint, Sequence, Terms, Timestamp};
use crate::engine::{Answer, Command, Engine, Outcome, Place, Recalled, Refusal, Snapshot};
use crate::event::{Batch, Event};

/// Commodities that steps are about: the last ones listed.
const LIVELY: i64 = 4;

pub(crate) struct World {
    engine: Engine,
    model: Model,
    pub(crate) tables: Projection,
    pub(crate) now: Timestamp,
    /// Batches that are not in the tables yet.
    log: VecDeque<Batch>,
    /// Batches that came into the tables in this step.
    applied: Vec<Batch>,
    gathered: Vec<Event>,
    sequence: Sequence,
    /// How many steps more go into the same batch.
    together: usize,
    /// How many batches the tables may be behind.
    lag: usize,
    given: Vec<OrderId>,
    last_commodity: i64,
    rows_in_hand: BTreeMap<OrderId, Box<Recalled>>,
}

impl World {
    /// Something to sell from the first step on, so that most steps do something.
    pub(crate) fn opened() -> Self {
        let engine = Engine::restore(partition(), epoch(1), Snapshot::default(), log_version(false)).unwrap();
        let now = at(5_000);
        let model = Model { epoch: epoch(1), next_number: 0, with_older_releases: false, latest: now, commodities: vec![], orders: vec![] };
        // One id of this engine's first epoch that is never given: the number is right and the time is not.
        let forged = OrderId::new(at(77), partition(), epoch(1), 0);
        let mut world = Self {
            engine,
            model,
            tables: Projection::new(),
            now,
            log: VecDeque::new(),
            applied: Vec::new(),
            gathered: Vec::new(),
            sequence: Sequence(1),
            together: 1,
            lag: 0,
            given: vec![forged],
            last_commodity: 0,
            rows_in_hand: BTreeMap::new(),
        };
        let held = Terms { hold_seconds: Some(2), limit_per_user: Some(4), starts_at: at(0), ends_at: at(LATE_MS), ..terms() };
        let free = Terms { starts_at: at(0), ends_at: at(LATE_MS), ..terms() };
        let mut applied = vec![Batch::fence(partition(), epoch(1))];
        for terms in [held, free] {
            applied.extend(world.step(Step::List { is_new: true, terms: Box::new(terms), total: 12 }));
        }
        // With the next step's.
        world.applied = applied;
        world
    }

    /// Does a step and compares everything. Returns the batches that came into the tables with it.
    pub(crate) fn step(&mut self, step: Step) -> Vec<Batch> {
        match step {
            Step::Place { commodity, user: by, count, key: pick, fingerprint } => {
                let place = Place {
                    commodity: self.commodity(commodity),
                    user: user(by),
                    quantity: quantity(count),
                    key: pick.map(|pick| key(["a", "b", "c"][pick])),
                    fingerprint: RequestFingerprint(fingerprint),
                    unit_price: None,
                };
                self.run(Command::Place(place), false);
            }
            Step::List { is_new, terms, total } => {
                let on_list = self.engine.commodities().map(|commodity| commodity.id).min();
                let id = on_list.filter(|_| !is_new).unwrap_or_else(|| {
                    self.last_commodity += 1;
                    commodity(self.last_commodity)
                });
                self.run(Command::List { commodity: id, terms, total: units(total) }, false);
            }
            Step::Operate(pick, operation) => self.run(operation.on(self.commodity(pick)), false),
            Step::CloseEnded { before, at_most } => {
                let before = at((self.now.millis() + before).max(0));
                self.run(Command::CloseEnded { before, at_most }, false);
            }
            Step::ConfirmPayment(pick) => self.run(payment(self.order(pick)), pick.with_row_in_hand),
            Step::ConfirmRefund(pick) => self.run(refund(self.order(pick)), pick.with_row_in_hand),
            Step::Pay(pick, paying) => self.run(self.paying(self.order(pick), paying), pick.with_row_in_hand),
            Step::Cancel { order: pick, user: by } => {
                let command = Command::Cancel { order: self.order(pick), user: by.map(buyer), reason: None, row: None };
                self.run(command, pick.with_row_in_hand);
            }
            Step::Expire(at_most) => self.run(Command::Expire { at_most }, false),
            Step::Time(millis) => {
                self.now = at((self.now.millis() + millis).max(1));
                self.model.latest = self.model.latest.max(self.now);
            }
            Step::Together(more) => self.together += more,
            Step::Lag(lag) => self.lag = lag,
            Step::Read => {
                self.rows_in_hand = self.tables.orders.keys().map(|id| (*id, self.tables.recalled(*id).unwrap())).collect();
            }
            Step::Forget { behind, at_most } => {
                let (in_epoch, sequence) = self.tables.position;
                assert_eq!(in_epoch, self.engine.epoch());
                self.engine.forget(Sequence(sequence.0.saturating_sub(behind)), at_most);
            }
            Step::Restore { with_older_releases } => self.restore(with_older_releases),
        }
        self.send();
        self.compare();
        std::mem::take(&mut self.applied)
    }

    /// Everything that was decided comes into the tables. Returns these batches.
    pub(crate) fn catch_up(&mut self) -> Vec<Batch> {
        self.together = 0;
        self.send();
        while self.apply_one() {}
        self.compare();
        std::mem::take(&mut self.applied)
    }

    /// Everything that was decided comes into the tables, and everything that may be forgotten is.
    pub(crate) fn come_to_rest(&mut self) {
        self.catch_up();
        assert!(!self.engine.forget(self.tables.position.1, usize::MAX) && !self.engine.has_unsettled());
        let is_owed = |id: &&OrderId| self.model.order(**id).is_some_and(|order| self.is_kept(order));
        assert_eq!(self.engine.orders_len(), self.given.iter().filter(is_owed).count());
        let of_engine = self.model.commodities.iter().filter(|listed| self.engine.commodities.find(listed.commodity.id).is_some());
        for listed in of_engine.filter(|listed| listed.is_over()) {
            assert!(self.engine.orders().any(|order| order.commodity == listed.commodity.id), "nothing is owed of {listed:?}");
        }
        self.compare();
    }

    fn paying(&self, order: OrderId, paying: Paying) -> Command {
        let (amount, currency) = self.model.order(order).map_or((1, terms().currency), |order| (order.amount(), order.currency));
        let payment = |number| PaymentId { order, attempt: Attempt::new(number).unwrap() };
        match paying {
            Paying::Start { user } => Command::StartPayment { order, user: user.map(buyer), row: None },
            Paying::Succeed { attempt, too_much, taken } => {
                Command::PaymentSucceeded { payment: payment(attempt), amount: amount + too_much, currency, taken, row: None }
            }
            Paying::End { attempt, how } => Command::PaymentEnded { payment: payment(attempt), how, row: None },
            Paying::GiveBack { restock } => Command::Refund { order, reason: None, restock, row: None },
        }
    }

    /// Whether an order is known whatever the tables have.
    fn is_kept(&self, order: Order) -> bool {
        let is_live = order.status.is_live() && self.engine.commodity(order.commodity).is_some();
        let is_owed = matches!(order.status, OrderStatus::Reserved | OrderStatus::RefundDue) || self.model.owes_payment(order.id);
        is_owed || self.model.with_older_releases && is_live
    }

    /// What was gathered becomes a batch, unless more is to go into it; the tables get what they are to have.
    fn send(&mut self) {
        self.together = self.together.saturating_sub(1);
        if self.together == 0 && !self.gathered.is_empty() {
            let events = std::mem::take(&mut self.gathered);
            self.log.push_back(Batch::new(partition(), self.engine.epoch(), self.sequence, events));
            self.sequence = self.sequence.next();
            self.engine.gather_into(self.sequence);
        }
        while self.log.len() > self.lag {
            self.apply_one();
        }
    }

    fn apply_one(&mut self) -> bool {
        let Some(batch) = self.log.pop_front() else { return false };
        self.tables.apply((batch.epoch, batch.sequence), &batch.events);
        self.applied.push(batch);
        true
    }

    /// Has engine and model decide alike.
    fn run(&mut self, command: Command, with_row_in_hand: bool) {
        let outcome = self.route(command.clone(), with_row_in_hand);
        let (outcome, events) = outcome;
        let expected = match command {
            Command::CloseEnded { before, at_most } => {
                let closed = |event: &Event| if let Event::Closed { commodity, .. } = event { Some(*commodity) } else { None };
                let closed: Vec<CommodityId> = events.iter().filter_map(closed).collect();
                self.model.close_ended(self.now, before, at_most, &closed)
            }
            _ => self.model.apply(self.now, command.clone(), &outcome),
        };
        assert_eq!(outcome, expected, "{command:?} at {}", self.now);
        self.given.extend(events.iter().filter_map(|event| if let Event::Placed { order, .. } = event { Some(order.id) } else { None }));
        self.gathered.extend(events);
    }

    /// What the router does with a command and with the engine's answer.
    fn route(&mut self, mut command: Command, with_row_in_hand: bool) -> (Outcome, Vec<Event>) {
        let about = order_of(&command);
        let mut row = about.filter(|_| with_row_in_hand).and_then(|id| self.rows_in_hand.get(&id).cloned());
        loop {
            let (has_row, is_newest) = (row.is_some(), row.as_ref().is_some_and(|row| row.applied == self.tables.position));
            if let Some(row) = row.take() {
                command = with_row(command, row);
            }
            let mut events = Vec::new();
            let outcome = self.engine.apply(self.now, command.clone(), &mut events);
            assert!(outcome.is_ok() || events.is_empty(), "a refusal has no events");
            match (outcome, about) {
                (Err(Refusal::OrderNotFound), Some(id)) if !has_row => row = self.tables.recalled(id),
                (Err(Refusal::StaleRow), Some(id)) => {
                    assert!(!is_newest, "the newest row of order {id} is refused");
                    row = self.tables.recalled(id);
                }
                (outcome, _) => return (self.translated(&command, outcome), events),
            }
            if row.is_none() {
                return (Err(Refusal::OrderNotFound), Vec::new());
            }
        }
    }

    /// Where the engine has only a key, or nothing, the tables have the answer.
    fn translated(&mut self, command: &Command, outcome: Outcome) -> Outcome {
        match outcome {
            Ok(Answer::PlacedBefore(id)) => Ok(Answer::Replayed(self.tables.orders[&id].order)),
            Err(refusal @ (Refusal::CommodityNotFound | Refusal::Closed)) => {
                let Some(about) = command.commodity() else { return Err(refusal) };
                let closed = self.tables.closed(about);
                let is_closed = self.model.listed(about).is_some_and(|listed| listed.commodity.closed_at.is_some());
                assert!(refusal == Refusal::Closed || closed.is_some() == is_closed, "what is forgotten is in the tables");
                let (expected, command) = match command {
                    Command::Expecting { version, command } => (Some(*version), command.as_ref()),
                    command => (None, command),
                };
                match (closed, command) {
                    (Some(closed), _) if expected.is_some_and(|version| version != closed.version) => Err(Refusal::VersionMismatch),
                    (Some(_), Command::Place(place)) => self.under_key(place).unwrap_or(Err(Refusal::Ended)),
                    (None, Command::Place(_)) if refusal == Refusal::Closed => Err(Refusal::Ended),
                    (Some(closed), Command::Close(_)) => Ok(Answer::Commodity(Box::new(closed))),
                    (Some(_), _) => Err(Refusal::Closed),
                    (None, _) => Err(refusal),
                }
            }
            outcome => outcome,
        }
    }

    /// What the tables say of a key of what is closed.
    fn under_key(&self, place: &Place) -> Option<Outcome> {
        let row = self.tables.under_key(place)?;
        let order = self.engine.order(row.order.id).unwrap_or(row.order);
        Some(if row.fingerprint == place.fingerprint { Ok(Answer::Replayed(order)) } else { Err(Refusal::IdempotencyMismatch) })
    }

    fn restore(&mut self, with_older_releases: bool) {
        let applied = std::mem::take(&mut self.applied);
        let rest = self.catch_up();
        self.applied = applied.into_iter().chain(rest).collect();
        let next = epoch(self.model.epoch.get() + 1);
        let fence = Batch::fence(partition(), next);
        self.tables.apply((next, fence.sequence), &fence.events);
        self.applied.push(fence);
        let snapshot = self.tables.snapshot(self.now, with_older_releases);
        self.engine = Engine::restore(partition(), next, snapshot, log_version(with_older_releases)).unwrap();
        (self.model.epoch, self.model.next_number, self.model.with_older_releases) = (next, 0, with_older_releases);
        self.sequence = Sequence(1);
    }

    /// Everything that can be asked gets the model's answer, and the tables have it too when they have caught up.
    fn compare(&self) {
        let listed = |listed: &&Listed| !listed.is_over();
        let commodities: Vec<_> = self.model.commodities.iter().filter(listed).map(|listed| listed.commodity.clone()).collect();
        let mut of_engine: Vec<_> = self.engine.commodities().cloned().collect();
        of_engine.sort_by_key(|commodity| commodity.id);
        assert_eq!(of_engine, commodities);
        for listed in &self.model.commodities {
            assert_eq!(self.engine.commodity(listed.commodity.id), Some(&listed.commodity).filter(|_| !listed.is_over()));
        }
        self.compare_buyers();
        self.compare_orders();
        assert_eq!(self.engine.next_expiry(), self.model.next_expiry());
        assert_eq!((self.engine.epoch(), self.engine.next_number()), (self.model.epoch, self.model.next_number));
        if self.log.is_empty() && self.gathered.is_empty() {
            assert!(self.tables.commodities().eq(self.model.commodities.iter().map(|listed| listed.commodity.clone())));
            for known in &self.model.orders {
                assert_eq!(self.tables.orders.get(&known.row.order.id), Some(&known.row));
                for (number, pay) in (1..).zip(&known.payments) {
                    let id = PaymentId { order: known.row.order.id, attempt: Attempt::new(number).unwrap() };
                    assert_eq!(self.tables.payments.get(&id), Some(&(pay.status, pay.pays)), "payment {id}");
                }
            }
        }
    }

    /// Limits are counted by the engine as by the model; of what is over nobody is remembered.
    fn compare_buyers(&self) {
        for listed in &self.model.commodities {
            let id = listed.commodity.id;
            let Some(slot) = self.engine.commodities.find(id) else {
                assert!(listed.is_over());
                continue;
            };
            let buyers = &self.engine.commodities.listing(slot).buyers;
            for by in 1..=3 {
                let expected = if listed.is_over() { 0 } else { self.model.units_of_buyer(id, buyer(by)) };
                assert_eq!(i64::from(buyers.units(buyer(by))), expected, "user {by} of commodity {id}");
            }
        }
    }

    /// What the engine knows of orders is right, and what it must know it knows.
    fn compare_orders(&self) {
        let unsettled: BTreeSet<OrderId> =
            self.log.iter().flat_map(|batch| &batch.events).chain(&self.gathered).filter_map(order_in).collect();
        let mut known = 0;
        for id in &self.given {
            let (found, expected) = (self.engine.order(*id), self.model.order(*id));
            let Some(order) = expected else {
                assert_eq!(found, None);
                continue;
            };
            let is_needed = self.is_kept(order) || unsettled.contains(id);
            assert!(found == expected || found.is_none() && !is_needed, "the engine has {found:?}, it is {expected:?}");
            known += usize::from(found.is_some());
        }
        assert_eq!(self.engine.orders_len(), known);
    }

    /// One of the last commodities, or now and then one that was never listed.
    fn commodity(&self, pick: usize) -> CommodityId {
        let lively = LIVELY.min(self.last_commodity);
        if pick.is_multiple_of(37) { commodity(1_000) } else { commodity(self.last_commodity - pick as i64 % lively) }
    }

    fn order(&self, pick: Pick) -> OrderId {
        self.given[pick.order % self.given.len()]
    }
}

impl Operation {
    fn on(self, commodity: CommodityId) -> Command {
        match self {
            Self::Change { change } => Command::Change { commodity, change },
            Self::Expecting { version, operation } => Command::Expecting { version, command: Box::new(operation.on(commodity)) },
            Self::Restock(more) => Command::Restock { commodity, units: units(more) },
            Self::Pause => Command::Pause(commodity),
            Self::Resume => Command::Resume(commodity),
            Self::End => Command::End(commodity),
            Self::Close => Command::Close(commodity),
            Self::Remove => Command::Remove(commodity),
        }
    }
}

fn order_of(command: &Command) -> Option<OrderId> {
    command.order()
}

fn order_in(event: &Event) -> Option<OrderId> {
    match event {
        Event::Placed { order, .. } => Some(order.id),
        Event::Moved { order, .. } => Some(*order),
        Event::PaymentStarted { payment, .. } | Event::PaymentChanged { payment, .. } => Some(payment.order),
        _ => None,
    }
}
