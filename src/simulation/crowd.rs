//! Buyers and operators. Buyers are impatient: they click twice, retry under the same key, change their minds, and ask any
//! process about any order. Operators list, restock, change terms, pause and end sales while everything burns.

use super::call::{Ask, CallId};
use super::delivery::believed_owner;
use super::env::Env;
use super::node::Node;
use crate::domain::{
    Cancellation, CommodityId, IdempotencyKey, Operation, OperationKey, OrderId, PartitionId, Price, Principal, Quantity,
    RequestFingerprint, Terms, TermsChange, Timestamp, Units, UserId,
};
use crate::engine::{Command, Place};
use crate::history::Asked;
use crate::ring::partition_of;

/// A placing somebody may repeat.
#[derive(Clone, Debug)]
struct Try {
    commodity: CommodityId,
    user: Principal,
    quantity: i64,
    key: Option<IdempotencyKey>,
}

/// Everyone outside.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    tries: Vec<Try>,
    /// What operators asked for under a key.
    changes: Vec<(CommodityId, Command, Asked)>,
    keys: u32,
    last_commodity: i64,
    operations: u32,
}

impl Crowd {
    /// One buyer does something.
    pub(super) fn buy(&mut self, env: &mut Env, nodes: &[Node]) {
        let Some(commodity) = env.dice.pick(&env.network.listed).copied() else {
            self.list(env, nodes);
            return;
        };
        if env.dice.percent(env.weather.lookers_percent) {
            return about_some_order(env, nodes, |order, _| (Ask::Lookup(order), Asked::Look(order)));
        }
        match env.dice.below(100) {
            0..50 => {
                let attempt = self.attempt(commodity, env);
                place(attempt.clone(), env, nodes);
                if env.dice.percent(25) {
                    place(attempt, env, nodes);
                }
            }
            50..65 => {
                let Some(mut attempt) = env.dice.pick(&self.tries).cloned() else { return };
                if env.dice.percent(10) {
                    attempt.quantity += 1;
                }
                place(attempt, env, nodes);
            }
            65..80 => about_some_order(env, nodes, |order, _| (Ask::Lookup(order), Asked::Look(order))),
            80..90 => about_some_order(env, nodes, |order, user| {
                (Ask::Command(Command::Cancel { order, user: Some(user.key()), reason: None, row: None }), Asked::Cancel(order))
            }),
            90.. if env.payments.is_on => about_some_order(env, nodes, |order, user| {
                (Ask::Command(Command::StartPayment { order, user: Some(user.key()), row: None }), Asked::Money(order))
            }),
            90..97 => {
                about_some_order(env, nodes, |order, _| (Ask::Command(Command::ConfirmPayment { order, row: None }), Asked::Money(order)));
            }
            _ => about_some_order(env, nodes, |order, _| (Ask::Command(Command::ConfirmRefund { order, row: None }), Asked::Money(order))),
        }
    }

    /// Everyone who placed under a key asks once more.
    pub(super) fn repeat(&self, env: &mut Env, nodes: &[Node]) {
        for attempt in self.tries.iter().filter(|attempt| attempt.key.is_some()) {
            place(attempt.clone(), env, nodes);
        }
        for (id, command, asked) in &self.changes {
            tell(*id, command.clone(), asked.clone(), env, nodes);
        }
    }

    /// One operator does something.
    pub(super) fn operate(&mut self, env: &mut Env, nodes: &[Node]) {
        if (env.network.listed.len() as i64) < env.weather.commodities {
            return self.list(env, nodes);
        }
        if env.dice.percent(25)
            && let Some((id, command, asked)) = env.dice.pick(&self.changes).cloned()
        {
            tell(id, command, asked, env, nodes);
            return;
        }
        let Some(id) = env.dice.pick(&env.network.listed).copied() else { return };
        let (command, asked) = match env.dice.below(100) {
            0..40 => {
                let units = env.dice.between(1, 5) as u32;
                let command = Command::Restock { commodity: id, units: count(i64::from(units)) };
                (command, Asked::Restock { commodity: id, units, key: None })
            }
            40..60 => (Command::Pause(id), Asked::Operate),
            60..85 => (Command::Resume(id), Asked::Operate),
            85..96 => {
                let (change, asked) = self.change(id, env);
                (Command::Change { commodity: id, change: Box::new(change) }, asked)
            }
            96..98 => (Command::End(id), Asked::Operate),
            98..99 => (Command::Close(id), Asked::Operate),
            _ => (Command::Remove(id), Asked::Operate),
        };
        self.operations += 1;
        // Some operators mean the commodity as they saw it last.
        let command = match env.network.versions.get(&id) {
            Some(version) if self.operations.is_multiple_of(3) => Command::Expecting { version: *version, command: Box::new(command) },
            _ => command,
        };
        self.tell_under_key((id, command, asked), env, nodes);
    }

    /// Tells it under a key, half of the time; some say it twice at once.
    fn tell_under_key(&mut self, (id, command, asked): (CommodityId, Command, Asked), env: &mut Env, nodes: &[Node]) {
        const REMEMBERED_MAX: usize = 8;
        if env.dice.percent(50) {
            tell(id, command, asked, env, nodes);
            return;
        }
        self.keys += 1;
        let text = self.keys.to_string();
        let operation = Operation { key: OperationKey::of("operator", "", &text), fingerprint: RequestFingerprint(0) };
        let command = Command::Keyed { operation, command: Box::new(command) };
        let asked = match asked {
            Asked::Restock { commodity, units, .. } => Asked::Restock { commodity, units, key: IdempotencyKey::from_text(&text).ok() },
            asked => asked,
        };
        if self.changes.len() == REMEMBERED_MAX {
            let oldest = env.dice.below(REMEMBERED_MAX);
            self.changes.swap_remove(oldest);
        }
        self.changes.push((id, command.clone(), asked.clone()));
        if env.dice.percent(25) {
            tell(id, command.clone(), asked.clone(), env, nodes);
        }
        tell(id, command, asked, env, nodes);
    }

    /// Lists a commodity under an id nobody used before: one that was tried and not answered is tried again under the same key, or not at
    /// all.
    fn list(&mut self, env: &mut Env, nodes: &[Node]) {
        self.last_commodity += 1;
        let id = CommodityId::new(self.last_commodity).expect("counted from one");
        let most = *env.dice.pick(&[3, 25, 400]).unwrap_or(&25);
        let total = env.dice.between(1, most) as i64;
        env.network.totals.insert(id, total);
        let command = Command::List { commodity: id, terms: Box::new(terms(env, nodes)), total: count(total) };
        self.tell_under_key((id, command, Asked::Operate), env, nodes);
    }

    fn attempt(&mut self, commodity: CommodityId, env: &mut Env) -> Try {
        let user = buyer(env.dice.below(env.weather.users as usize));
        let key = env.dice.percent(70).then(|| {
            self.keys += 1;
            // Others come upon the same words.
            IdempotencyKey::of(&user, &(self.keys / 3).to_string()).expect("digits")
        });
        let attempt = Try { commodity, user, quantity: *env.dice.pick(&[1, 1, 1, 2, 3]).unwrap_or(&1), key };
        if self.tries.len() < 12 {
            self.tries.push(attempt.clone());
        } else {
            let oldest = env.dice.below(12);
            self.tries[oldest] = attempt.clone();
        }
        attempt
    }

    fn change(&self, id: CommodityId, env: &mut Env) -> (TermsChange, Asked) {
        let mut change = TermsChange::default();
        match env.dice.below(4) {
            0 => change.limit_per_user = Some(limit(env)),
            1 => change.hold_seconds = Some(hold(env)),
            2 => change.price = Some(Price::new(env.dice.between(1, 9) as i64).expect("a small price")),
            _ => {
                change.total = Some(count(env.dice.between(1, 25) as i64));
                return (change, Asked::SetTotal(id));
            }
        }
        (change, Asked::Operate)
    }
}

/// An operator's command about a commodity.
pub(super) fn tell(id: CommodityId, command: Command, asked: Asked, env: &mut Env, nodes: &[Node]) -> Option<CallId> {
    ask(partition_of(id, env.partitions), Ask::Command(command), asked, env, nodes)
}

/// A command about an order, from whoever sends it.
pub(super) fn ask_about(order: OrderId, command: Command, asked: Asked, env: &mut Env, nodes: &[Node]) {
    ask(order.partition(), Ask::Command(command), asked, env, nodes);
}

/// A placing, by a user, of so many units.
pub(super) fn place_units(commodity: CommodityId, user: i64, quantity: i64, env: &mut Env, nodes: &[Node]) -> Option<CallId> {
    place(Try { commodity, user: own(user), quantity, key: None }, env, nodes)
}

/// A question to one node, which passes it on to the owner as it sees it.
pub(super) fn look_via(via: usize, order: OrderId, env: &mut Env, nodes: &[Node]) -> CallId {
    let to = believed_owner(nodes, order.partition(), env.network.stale_news_percent, &mut env.dice);
    env.network.ask(env.now, via, to, order.partition(), Ask::Lookup(order), Asked::Look(order))
}

/// Accounts of our own and of two other issuers, which know many of the same subjects.
fn buyer(index: usize) -> Principal {
    let number = 1 + (index / 3) as i64;
    match index % 3 {
        0 => own(number),
        1 => format!("a:{number}").parse().expect("a principal"),
        _ => format!("b:{number}").parse().expect("a principal"),
    }
}

fn own(user: i64) -> Principal {
    UserId::new(user).expect("counted from one").into()
}

fn place(attempt: Try, env: &mut Env, nodes: &[Node]) -> Option<CallId> {
    let Try { commodity, user, quantity, key } = attempt;
    let quantity = Quantity::new(quantity).expect("a small quantity");
    let fingerprint = RequestFingerprint::of(quantity, None);
    let command = Command::Place(Place { commodity, user: user.clone(), quantity, key, fingerprint, unit_price: None });
    tell(commodity, command, Asked::Place { commodity, user, quantity, key }, env, nodes)
}

fn about_some_order(env: &mut Env, nodes: &[Node], what: impl FnOnce(OrderId, &Principal) -> (Ask, Asked)) {
    // News are talked about most.
    let known = &env.network.known;
    let recent = if env.dice.percent(60) { known.len().saturating_sub(3) } else { 0 };
    let Some((order, user)) = env.dice.pick(&known[recent..]).cloned() else { return };
    let (sent, asked) = what(order, &user);
    // Buyers click twice, and so do providers.
    if env.dice.percent(25) {
        ask(order.partition(), sent.clone(), asked.clone(), env, nodes);
    }
    ask(order.partition(), sent, asked, env, nodes);
}

/// Sends to some node that runs; a buyer who meets a closed door has not asked.
fn ask(partition: PartitionId, sent: Ask, asked: Asked, env: &mut Env, nodes: &[Node]) -> Option<CallId> {
    let via = env.dice.below(nodes.len());
    if !nodes[via].up {
        return None;
    }
    if let Ask::Command(Command::Place(place)) = &sent
        && let Some(refusal) = env.boards.refusal(via, place, nodes[via].clock(env.now))
    {
        env.trail.note(env.now, || format!("refused by the board of node {via}, {refusal:?}: {sent:?}"));
        return Some(env.network.refused(env.now, via, partition, sent, asked));
    }
    let to = believed_owner(nodes, partition, env.network.stale_news_percent, &mut env.dice);
    env.trail.note(env.now, || format!("asked via node {via}, of node {to}: {sent:?}"));
    Some(env.network.ask(env.now, via, to, partition, sent, asked))
}

fn terms(env: &mut Env, nodes: &[Node]) -> Terms {
    let now = nodes[0].clock(env.now).millis();
    let step = env.weather.step_ms_max as i64;
    let starts_at = now + env.dice.between(0, 100) as i64 * step;
    let length = *env.dice.pick(&[300, 3_000, 10_000_000, 10_000_000]).unwrap_or(&3_000) * step;
    Terms {
        sku: None,
        name: "lamp".into(),
        description: String::new(),
        image_url: None,
        price: Price::new(100).expect("a small price"),
        currency: "EUR".parse().expect("a currency"),
        limit_per_user: limit(env),
        hold_seconds: hold(env),
        // Beside older releases there is no other.
        grace_seconds: if env.weather.mixed_until_ms > 0 { Terms::GRACE_SECONDS } else { env.payments.grace() },
        cancellation: if env.weather.mixed_until_ms > 0 { Cancellation::Unpaid } else { Cancellation::Any },
        starts_at: time(starts_at),
        ends_at: time(starts_at + length),
    }
}

fn limit(env: &mut Env) -> Option<u32> {
    *env.dice.pick(&[None, Some(1), Some(2), Some(4)]).unwrap_or(&None)
}

fn hold(env: &mut Env) -> Option<u32> {
    *env.dice.pick(&[None, None, Some(1), Some(5), Some(20)]).unwrap_or(&None)
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).expect("a run is in this century")
}

fn count(units: i64) -> Units {
    Units::new(units).expect("a small count")
}
