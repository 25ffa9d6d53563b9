//! A provider that loses answers, is late and forgets keys, whoever pays there, and workers that die between any two steps. What is done
//! about a payment is `settlement`'s to say, as the servers have it. All by dice of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::crowd;
use super::dice::Dice;
use super::env::Env;
use super::node::Node;
use super::tables::Memory;
use crate::domain::{CommodityId, OrderId, OrderStatus, PaymentId, PaymentStatus};
use crate::engine::Command;
use crate::history::Asked;
use crate::settlement::{self, Seen, Step};

/// Workers at a time.
const JOBS_MAX: usize = 6;
/// Payments that providers tell of again, the newest ones.
const TOLD_AGAIN: usize = 8;

/// A payment as the provider has it.
#[derive(Clone, Copy, Debug)]
struct Object {
    amount: i64,
    state: Seen,
    /// How often money was taken, and went back.
    taken: u32,
    returned: u32,
}

/// What somebody is doing about a payment.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Look,
    Act(Step),
    Tell(Step),
}

#[derive(Clone, Copy, Debug)]
struct Job {
    payment: PaymentId,
    /// What the tables had when it was taken up.
    status: PaymentStatus,
    /// Whether it is to be called off.
    is_over: bool,
    stage: Stage,
}

/// The provider, its customers and our workers.
#[derive(Debug)]
pub(super) struct Payments {
    dice: Dice,
    /// Whether there is a provider in this world at all.
    pub(super) is_on: bool,
    /// Whether money is set aside before it is taken.
    sets_aside: bool,
    fault_percent: u64,
    objects: BTreeMap<PaymentId, Object>,
    /// Refunds whose keys the provider remembers.
    refunded: BTreeSet<PaymentId>,
    jobs: Vec<Job>,
}

impl Payments {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed.rotate_left(16) ^ 0x0070_6179);
        let (is_on, sets_aside) = (dice.percent(80), dice.percent(70));
        let fault_percent = *dice.pick(&[0, 5, 30]).unwrap_or(&5);
        Self { dice, is_on, sets_aside, fault_percent, objects: BTreeMap::new(), refunded: BTreeSet::new(), jobs: Vec::new() }
    }

    /// One of the graces that commodities have here, in seconds.
    pub(super) fn grace(&mut self) -> u32 {
        *self.dice.pick(&[0, 0, 2, 30]).unwrap_or(&0)
    }

    /// What was started is made payable, unless whoever was to do it dies; what is to be called off is taken up.
    fn hear(&mut self, env: &mut Env) {
        for (payment, amount) in std::mem::take(&mut env.network.payments_started) {
            if !self.dice.percent(self.fault_percent) {
                self.create(payment, amount);
            }
        }
        for payment in std::mem::take(&mut env.network.payments_in_the_way) {
            self.jobs.push(Job { payment, status: PaymentStatus::Open, is_over: true, stage: Stage::Look });
        }
    }

    /// Something happens around payments; while it is calm all that is left comes to its end.
    pub(super) fn work(env: &mut Env, nodes: &[Node]) {
        let mut payments = std::mem::replace(&mut env.payments, Self::new(0));
        payments.hear(env);
        if payments.is_on {
            payments.happen(env, nodes);
        }
        env.payments = payments;
    }

    fn happen(&mut self, env: &mut Env, nodes: &[Node]) {
        let is_calm = env.weather.weights.buyer == 0;
        match self.dice.below(10) {
            0 | 1 => self.pay(is_calm),
            2 | 3 if self.jobs.len() < JOBS_MAX => self.take_up(env, is_calm),
            // Once in a while it forgets; who was to repeat something by then has looked again first.
            4 if !is_calm && self.dice.one_in(40) => {
                self.refunded.clear();
                self.jobs.clear();
            }
            4 if !is_calm && self.dice.one_in(10) => self.give_back(env, nodes),
            _ => self.step(env, nodes, is_calm),
        }
    }

    /// A buyer does something at the provider.
    fn pay(&mut self, is_calm: bool) {
        let sets_aside = self.sets_aside;
        let paid = if sets_aside { Seen::Authorized } else { Seen::Captured };
        let under_way: Vec<PaymentId> =
            self.objects.iter().filter(|(_, object)| matches!(object.state, Seen::Open | Seen::Processing)).map(|(id, _)| *id).collect();
        let Some(id) = self.dice.pick(&under_way).copied() else { return };
        let (draw, object) = (self.dice.below(10), self.objects.get_mut(&id).expect("it was just found"));
        let becomes = match (object.state, draw) {
            (Seen::Processing, 0..2) => Seen::Failed,
            (Seen::Processing, 2..5) => paid,
            (Seen::Processing, _) if is_calm => paid,
            (Seen::Open, 0..4) if !is_calm => paid,
            (Seen::Open, 4) if !is_calm => Seen::Failed,
            (Seen::Open, 5..7) if !is_calm => Seen::Processing,
            _ => return,
        };
        object.state = becomes;
        object.taken += u32::from(becomes == Seen::Captured);
    }

    /// A worker takes up what is due; or somebody was told of a payment, once more, in whatever order.
    fn take_up(&mut self, env: &Env, is_calm: bool) {
        let due: Vec<(PaymentId, PaymentStatus)> = env
            .tables
            .payments()
            .into_iter()
            // Of what a log has lost nobody knows the order: there is nothing to tell.
            .filter(|(id, status, commodity)| self.is_due(*id, *status) && !env.auditor.touched.contains(commodity))
            .map(|(id, status, _)| (id, status))
            .collect();
        if let Some((payment, status)) = self.dice.pick(&due).copied().filter(|_| is_calm || self.dice.percent(60)) {
            let is_over = is_calm || self.dice.percent(20);
            return self.jobs.push(Job { payment, status, is_over, stage: Stage::Look });
        }
        if is_calm {
            return;
        }
        if is_calm {
            return;
        }
        let told: Vec<PaymentId> = self.objects.keys().rev().take(TOLD_AGAIN).copied().collect();
        if let Some(payment) = self.dice.pick(&told).copied() {
            // Whoever hears of it knows no row.
            self.jobs.push(Job { payment, status: PaymentStatus::Open, is_over: false, stage: Stage::Look });
        }
    }

    fn is_due(&self, id: PaymentId, status: PaymentStatus) -> bool {
        match status {
            PaymentStatus::Open | PaymentStatus::RefundDue => true,
            PaymentStatus::Authorized => self.seen(id) != Seen::Captured,
            _ => false,
        }
    }

    /// An operator gives the money of some paid order back.
    fn give_back(&mut self, env: &mut Env, nodes: &[Node]) {
        let paid: Vec<(OrderId, CommodityId)> = env
            .tables
            .orders()
            .iter()
            .filter(|row| row.order.status == OrderStatus::Paid)
            .map(|row| (row.order.id, row.order.commodity))
            .collect();
        let Some((order, commodity)) = self.dice.pick(&paid).copied() else { return };
        let restock = self.dice.percent(70);
        let asked = if restock { Asked::Money(order) } else { Asked::SetTotal(commodity) };
        crowd::ask_about(order, Command::Refund { order, reason: None, restock, row: None }, asked, env, nodes);
    }

    /// One worker does its next step, or dies.
    fn step(&mut self, env: &mut Env, nodes: &[Node], is_calm: bool) {
        if self.jobs.is_empty() {
            return;
        }
        let which = self.dice.below(self.jobs.len());
        let job = self.jobs[which];
        let is_lost = !is_calm && self.dice.percent(self.fault_percent);
        let next = match job.stage {
            Stage::Look => match settlement::next(job.status, job.is_over, self.seen(job.payment)) {
                Step::Done | Step::Wait => None,
                tell @ (Step::Succeeded(_) | Step::Ended(_)) => Some(Stage::Tell(tell)),
                act => Some(Stage::Act(act)),
            },
            Stage::Act(act) => {
                self.act(job.payment, act);
                // Whoever hears no answer doesn't know; somebody looks later.
                Some(Stage::Look)
            }
            Stage::Tell(news) => {
                self.tell(job.payment, news, env, nodes);
                // Some say it twice, and some of those much later.
                (!is_calm && self.dice.percent(20)).then_some(job.stage)
            }
        };
        match next.filter(|_| !is_lost) {
            Some(stage) => self.jobs[which].stage = stage,
            None => drop(self.jobs.swap_remove(which)),
        }
    }

    fn seen(&self, id: PaymentId) -> Seen {
        self.objects.get(&id).map_or(Seen::Missing, |object| object.state)
    }

    fn create(&mut self, id: PaymentId, amount: i64) {
        self.objects.entry(id).or_insert(Object { amount, state: Seen::Open, taken: 0, returned: 0 });
    }

    /// What the provider makes of what it is asked, as things stand now.
    fn act(&mut self, id: PaymentId, act: Step) {
        if act == Step::Create {
            return self.create(id, 0);
        }
        let remembers = self.refunded.contains(&id);
        let Some(object) = self.objects.get_mut(&id) else { return };
        match (act, object.state) {
            (Step::Cancel, Seen::Open) | (Step::Void, Seen::Authorized) => object.state = Seen::Cancelled,
            (Step::Capture, Seen::Authorized) => {
                object.state = Seen::Captured;
                object.taken += 1;
            }
            // It gives back whatever it is asked for, unless it remembers that it was asked before.
            (Step::Refund, Seen::Captured | Seen::Refunded) if !remembers => {
                object.state = Seen::Refunded;
                object.returned += 1;
                self.refunded.insert(id);
            }
            _ => {}
        }
    }

    fn tell(&self, payment: PaymentId, news: Step, env: &mut Env, nodes: &[Node]) {
        let amount = self.objects.get(&payment).map_or(0, |object| object.amount);
        let currency = "EUR".parse().expect("a currency");
        let command = match news {
            Step::Succeeded(taken) => Command::PaymentSucceeded { payment, amount, currency, taken, row: None },
            Step::Ended(how) => Command::PaymentEnded { payment, how, row: None },
            _ => unreachable!("only news are told"),
        };
        crowd::ask_about(payment.order, command, Asked::Money(payment.order), env, nodes);
    }

    /// Whether nothing is under way, and nothing is left to do.
    pub(super) fn is_quiet(&self, tables: &Memory, touched: &BTreeSet<CommodityId>) -> bool {
        let is_over =
            |(id, status, commodity): (PaymentId, PaymentStatus, CommodityId)| touched.contains(&commodity) || !self.is_due(id, status);
        !self.is_on || self.jobs.is_empty() && tables.payments().into_iter().all(is_over)
    }

    /// The provider's books against the orders: nothing charged twice or given back twice, money where an order is paid, and nowhere else.
    pub(super) fn audit(&self, tables: &Memory, touched: &BTreeSet<CommodityId>) -> Result<(), String> {
        if !self.is_on {
            return Ok(());
        }
        let mut kept: BTreeMap<OrderId, Vec<PaymentId>> = BTreeMap::new();
        for (id, object) in &self.objects {
            if object.taken > 1 || object.returned > object.taken {
                return Err(format!("payment {id} was taken {} times and given back {} times", object.taken, object.returned));
            }
            if object.taken > object.returned {
                kept.entry(id.order).or_default().push(*id);
            }
        }
        for row in tables.orders().iter().filter(|row| !touched.contains(&row.order.commodity)) {
            let order = row.order;
            let of_it = kept.remove(&order.id).unwrap_or_default();
            let wanted = usize::from(order.status == OrderStatus::Paid);
            if of_it.len() != wanted {
                return Err(format!("order {} is {}, and the provider keeps the money of {of_it:?}", order.id, order.status.word()));
            }
            if of_it.iter().any(|id| self.objects[id].amount != order.amount()) {
                return Err(format!("order {} costs {}, and another amount was paid", order.id, order.amount()));
            }
        }
        Ok(())
    }
}
