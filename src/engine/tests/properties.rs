//! The engine against the model: random commands over few ids, while time goes on, stands still and goes back, and while
//! the engine is now and then built anew from what its events left.

use proptest::option;
use proptest::prelude::*;

use super::model::{Model, has_ended};
use super::projection::Projection;
use super::support::*;
use crate::domain::{OrderId, Price, RequestFingerprint, Terms, TermsChange, Timestamp};
use crate::engine::{Command, Engine, Place, Snapshot};
use crate::event::Event;

/// What happens next. Orders are picked among all ids ever given, so that a step means something wherever it stands.
#[derive(Clone, Debug)]
enum Step {
    Command(Command),
    ConfirmPayment(usize),
    ConfirmRefund(usize),
    Cancel { pick: usize, user: Option<i64> },
    Time(i64),
    Restore { ended_orders_max: usize, with_unkeyed: bool },
}

struct World {
    engine: Engine,
    model: Model,
    projection: Projection,
    given: Vec<OrderId>,
    now: Timestamp,
}

impl World {
    fn new(ended_orders_max: usize) -> Self {
        let engine = Engine::restore(partition(), epoch(1), Snapshot::default(), ended_orders_max).unwrap();
        let model = Model { epoch: epoch(1), next_number: 0, ended_orders_max, commodities: Vec::new(), orders: Vec::new() };
        // One id of this engine's first epoch that is never given: the number is right and the time is not.
        let forged = OrderId::new(at(77), partition(), epoch(1), 0);
        Self { engine, model, projection: Projection::default(), given: vec![forged], now: at(5_000) }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Command(command) => self.run(command),
            Step::ConfirmPayment(pick) => self.run(Command::ConfirmPayment(self.pick(pick))),
            Step::ConfirmRefund(pick) => self.run(Command::ConfirmRefund(self.pick(pick))),
            Step::Cancel { pick, user: by } => self.run(Command::Cancel { order: self.pick(pick), user: by.map(user) }),
            Step::Time(millis) => self.now = at((self.now.millis() + millis).max(1)),
            Step::Restore { ended_orders_max, with_unkeyed } => self.restore(ended_orders_max, with_unkeyed),
        }
        self.compare();
    }

    fn run(&mut self, command: Command) {
        let mut events = Vec::new();
        let outcome = self.engine.apply(self.now, command.clone(), &mut events);
        assert_eq!(outcome, self.model.apply(self.now, command.clone()), "{command:?} at {}", self.now);
        assert!(outcome.is_ok() || events.is_empty(), "a refusal has no events");
        for event in events {
            if let Event::Placed { order, .. } = event {
                self.given.push(order.id);
            }
            self.projection.fold(event);
        }
    }

    fn restore(&mut self, ended_orders_max: usize, with_unkeyed: bool) {
        if !with_unkeyed {
            self.model.orders.retain(|known| known.key.is_some() || !has_ended(known.order.status));
        }
        let remembered: Vec<OrderId> = self.model.orders.iter().map(|known| known.order.id).collect();
        let snapshot = self.projection.snapshot(|id| remembered.contains(&id));
        let next = epoch(self.model.epoch.get() + 1);
        (self.model.epoch, self.model.next_number, self.model.ended_orders_max) = (next, 0, ended_orders_max);
        self.engine = Engine::restore(partition(), next, snapshot, ended_orders_max).unwrap();
    }

    /// Everything that can be asked gets the model's answer, and the projection has it too.
    fn compare(&self) {
        let sorted = |mut all: Vec<_>| {
            all.sort_by_key(|commodity: &crate::domain::Commodity| commodity.id);
            all
        };
        let commodities = sorted(self.model.commodities.clone());
        assert_eq!(sorted(self.engine.commodities().cloned().collect()), commodities);
        assert_eq!(sorted(self.projection.commodities.clone()), commodities);
        for commodity in &commodities {
            assert_eq!(self.engine.commodity(commodity.id), Some(commodity));
        }
        for id in &self.given {
            let known = self.model.orders.iter().find(|known| known.order.id == *id).map(|known| known.order);
            assert_eq!(self.engine.order(*id), known);
        }
        for known in &self.model.orders {
            assert!(self.projection.orders.contains(known), "the projection has {known:?}");
        }
        assert_eq!(self.engine.orders_len(), self.model.orders.len());
        assert_eq!(self.engine.next_expiry(), self.model.next_expiry());
        assert_eq!((self.engine.epoch(), self.engine.next_number()), (self.model.epoch, self.model.next_number));
    }

    fn pick(&self, pick: usize) -> OrderId {
        self.given[pick % self.given.len()]
    }
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => a_place_of_any_kind().prop_map(|place| Step::Command(Command::Place(place))),
        8 => any::<usize>().prop_map(Step::ConfirmPayment),
        4 => any::<usize>().prop_map(Step::ConfirmRefund),
        12 => (any::<usize>(), option::weighted(0.5, 1..=3i64)).prop_map(|(pick, user)| Step::Cancel { pick, user }),
        6 => (0..=3usize).prop_map(|at_most| Step::Command(Command::Expire { at_most })),
        6 => (-900..2_500i64).prop_map(Step::Time),
        3 => ((0..=6usize), any::<bool>()).prop_map(|(ended_orders_max, with_unkeyed)| Step::Restore { ended_orders_max, with_unkeyed }),
        16 => an_operators_command().prop_map(Step::Command),
    ]
}

fn a_place_of_any_kind() -> impl Strategy<Value = Place> {
    (1..=3i64, 1..=3i64, 1..=4i64, option::of(0..=2usize), 0..=1i64).prop_map(|(commodity_id, user_id, count, key_pick, fingerprint)| {
        Place {
            commodity: commodity(commodity_id),
            user: user(user_id),
            quantity: quantity(count),
            key: key_pick.map(|pick| key(["a", "b", "c"][pick])),
            fingerprint: RequestFingerprint(fingerprint),
        }
    })
}

fn an_operators_command() -> impl Strategy<Value = Command> {
    let id = || (1..=3i64).prop_map(commodity);
    prop_oneof![
        6 => (id(), some_terms(), 0..=12i64).prop_map(|(commodity, terms, total)| Command::List {
            commodity,
            terms: Box::new(terms),
            total: units(total)
        }),
        4 => (id(), a_change(), option::weighted(0.3, 1..=4u32)).prop_map(|(commodity, change, expected_version)| Command::Change {
            commodity,
            change: Box::new(change),
            expected_version
        }),
        2 => (id(), prop_oneof![0..=4i64, Just(1_000_000_000)]).prop_map(|(commodity, more)| Command::Restock { commodity, units: units(more) }),
        1 => id().prop_map(Command::Pause),
        2 => id().prop_map(Command::Resume),
        1 => id().prop_map(Command::End),
        2 => id().prop_map(Command::Remove),
    ]
}

fn some_terms() -> impl Strategy<Value = Terms> {
    (option::of(1..=5u32), option::weighted(0.7, 1..=3u32), 0..9_000i64, 0..40_000i64).prop_map(
        |(limit_per_user, hold_seconds, starts_at, ends_at)| Terms {
            limit_per_user,
            hold_seconds,
            starts_at: at(starts_at),
            ends_at: at(ends_at),
            ..terms()
        },
    )
}

fn a_change() -> impl Strategy<Value = TermsChange> {
    let price = option::weighted(0.3, (0..=2i64).prop_map(|minor| Price::new(minor).unwrap()));
    let limit = option::weighted(0.3, option::of(0..=4u32));
    let hold = option::weighted(0.3, option::of(1..=3u32));
    let total = option::weighted(0.5, (0..=12i64).prop_map(units));
    let ends_at = option::weighted(0.2, (0..40_000i64).prop_map(at));
    (price, limit, hold, total, ends_at).prop_map(|(price, limit_per_user, hold_seconds, total, ends_at)| TermsChange {
        price,
        limit_per_user,
        hold_seconds,
        total,
        ends_at,
        ..TermsChange::default()
    })
}

/// Something to sell from the first step on, so that most steps do something.
fn opened(ended_orders_max: usize) -> World {
    let mut world = World::new(ended_orders_max);
    let held = Terms { hold_seconds: Some(2), limit_per_user: Some(4), starts_at: at(0), ends_at: at(60_000), ..terms() };
    let free = Terms { starts_at: at(0), ends_at: at(60_000), ..terms() };
    for (id, terms) in [(1, held), (2, free)] {
        world.step(Step::Command(Command::List { commodity: commodity(id), terms: Box::new(terms), total: units(12) }));
    }
    world
}

proptest! {
    #[test]
    fn the_engine_decides_as_the_model_does_and_restored_it_goes_on_alike(
        ended_orders_max in 0..=6usize,
        steps in prop::collection::vec(a_step(), 1..150),
    ) {
        let mut world = opened(ended_orders_max);
        for step in steps {
            world.step(step);
        }
    }
}
