//! What a node has of one partition: its connection, its claim or its term, and who waits. A shell around the ownership protocol and the
//! term, as the cluster's ownership and the partition task are; it decides nothing that they decide.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::broker::Frame;
use super::call::{Ask, CallId, Said};
use super::env::Env;
use super::tables::SYSTEM;
use crate::breaks::{self, Break};
use crate::domain::{Epoch, PartitionId, Sequence, Timestamp};
use crate::engine::Snapshot;
use crate::event::{self, Batch, Event, LogVersion};
use crate::ownership::Confirmed;
use crate::ownership::protocol::{Action, Input, Protocol};
use crate::partition::{Bounds, Busy, Hear, RecentOrders, Reply, Term};

pub(super) type Outbox = Rc<RefCell<Vec<(CallId, Said)>>>;

/// Whoever waits for a call.
pub(super) struct Ear {
    call: CallId,
    outbox: Outbox,
}

impl Hear<Reply> for Ear {
    fn hear(self, reply: Reply) {
        self.outbox.borrow_mut().push((self.call, Said::Reply(reply)));
    }
}

pub(super) struct Request {
    pub(super) call: CallId,
    pub(super) ask: Ask,
    pub(super) arrived: Timestamp,
    pub(super) waiting_since: u64,
}

pub(super) enum Stage {
    Idle,
    Claiming {
        protocol: Protocol,
        todo: Action,
        /// In which version it will write, as was read when it began.
        version: LogVersion,
        /// What was loaded, until the look back.
        loaded: Option<Snapshot>,
        /// When the broker was asked for something that it has not answered yet.
        asked_at: Option<u64>,
        /// How often it has looked whether the projection is there.
        looks: u32,
    },
    Serving {
        term: Box<Term<Ear>>,
        version: LogVersion,
        sent_at: u64,
        /// Whoever waits for the batch in flight was told that it is late.
        is_late: bool,
    },
}

/// What a node has of one partition.
pub(super) struct Seat {
    pub(super) partition: PartitionId,
    /// The connection that its lock is on, and that it appends on.
    pub(super) session: Option<usize>,
    /// Another one, for appends that go wrong on purpose.
    pub(super) astray: Option<usize>,
    /// The batch that was confirmed, while the lock is asked whether it is still there.
    pub(super) confirmed: Option<(Epoch, Sequence)>,
    pub(super) stage: Stage,
    pub(super) inbox: VecDeque<Request>,
    pub(super) retry_at: u64,
    #[cfg(test)]
    pub(super) kept: Option<Box<Term<Ear>>>,
}

impl Seat {
    pub(super) fn new(partition: PartitionId) -> Self {
        Self {
            partition,
            session: None,
            astray: None,
            confirmed: None,
            stage: Stage::Idle,
            inbox: VecDeque::new(),
            retry_at: 0,
            #[cfg(test)]
            kept: None,
        }
    }

    pub(super) fn waiting_since(&self) -> Option<u64> {
        match &self.stage {
            Stage::Idle => None,
            Stage::Claiming { asked_at, .. } => *asked_at,
            Stage::Serving { term, sent_at, .. } => term.is_waiting().then_some(*sent_at),
        }
    }

    pub(super) fn tell_late(&mut self) {
        if let Stage::Serving { term, is_late, .. } = &mut self.stage
            && !std::mem::replace(is_late, true)
        {
            term.late();
        }
    }

    /// Answers calls that waited too long to be taken up; all of them, if there is no task for them any more.
    pub(super) fn turn_away(&mut self, env: &Env, outbox: &Outbox, all: bool) {
        while let Some(request) = self.inbox.pop_front_if(|request| all || env.now > request.waiting_since + env.weather.command_timeout_ms)
        {
            decline(request, outbox, if all { Busy::Unavailable } else { Busy::Overloaded });
        }
        while self.inbox.len() > env.weather.inbox_depth_max {
            let request = self.inbox.pop_back().expect("there are more than the bound");
            decline(request, outbox, Busy::Overloaded);
        }
    }

    pub(super) fn give_up(&mut self, session: usize, env: &mut Env) {
        env.broker.send(session, Frame::Unlock(self.partition));
        (self.stage, self.retry_at) = (Stage::Idle, env.now + env.weather.step_ms_max * 20);
    }

    /// Does the next thing on the way to becoming the owner.
    pub(super) fn climb(&mut self, node: usize, session: usize, confirmed: &Confirmed, env: &mut Env) -> Result<(), String> {
        let partition = self.partition;
        let Stage::Claiming { protocol, todo, version: read, loaded, asked_at, looks } = &mut self.stage else { return Ok(()) };
        let version = *read;
        if *todo == Action::CollectKnown && !env.tables.is_away() {
            *todo = collect(protocol, partition, confirmed, env);
        }
        let fails = env.tables.is_away() || env.weather.weights.fault > 0 && env.dice.one_in(60);
        match todo.clone() {
            Action::Lock | Action::Taken => {}
            Action::TakeEpoch => {
                // Even if nobody hears of it.
                let epoch = (!env.tables.is_away()).then(|| env.tables.claim_epoch(partition));
                // By now the lock is there: whoever had it before has read it before.
                *read = env.tables.log_version();
                match epoch.filter(|_| !fails) {
                    Some(epoch) => *todo = protocol.step(Input::EpochTaken(epoch)),
                    None => self.give_up(session, env),
                }
            }
            Action::CheckLock if !asks_for_the_lock() => *todo = protocol.step(Input::LockHeld),
            Action::CheckLock => {
                env.broker.send(session, Frame::AskLock(partition));
                *asked_at = Some(env.now);
            }
            Action::Fence(fence) => {
                env.broker.send(session, Frame::Publish(partition, bytes(&fence, version)));
                *asked_at = Some(env.now);
            }
            Action::CollectKnown => self.give_up(session, env),
            Action::ReadApplied | Action::ReadAppliedLater | Action::Load if fails => self.give_up(session, env),
            // A consumer has found something missing; or nothing comes any more, and it may be the fence that is.
            Action::ReadAppliedLater if env.tables.gap(partition).is_some() => self.give_up(session, env),
            Action::ReadAppliedLater if env.losses.happen && *looks > LOOKS_MAX => self.give_up(session, env),
            Action::ReadApplied | Action::ReadAppliedLater => {
                *looks += 1;
                *todo = protocol.step(Input::Applied(env.tables.position(partition).0));
            }
            Action::Overtaken { .. } | Action::Behind { .. } => self.give_up(session, env),
            Action::Load => {
                *loaded = Some(env.tables.snapshot(partition, version < LogVersion::V2)?);
                *todo = protocol.step(Input::Loaded);
            }
            Action::Serve(epoch) => {
                let snapshot = loaded.take().ok_or("what is served is loaded")?;
                if breaks::is_broken(Break::Fence) {
                    env.tables.force_position(partition, epoch);
                    env.auditor.forced(partition, epoch);
                }
                let term = self.begin((epoch, version), snapshot, env)?;
                self.stage = Stage::Serving { term, version, sent_at: 0, is_late: false };
                env.epochs += 1;
                env.trail.note(env.now, || format!("node {node}: serves partition {partition} in epoch {epoch}"));
            }
        }
        Ok(())
    }

    fn begin(&mut self, (epoch, version): (Epoch, LogVersion), snapshot: Snapshot, env: &Env) -> Result<Box<Term<Ear>>, String> {
        #[cfg(test)]
        if let Some(kept) = self.kept.take() {
            return Ok(Box::new(kept.carry_on(epoch)));
        }
        let bounds = Bounds { batch_commands_max: env.weather.batch_commands_max, log_version: version, confirm_is_applied: false };
        let recent = Arc::<RecentOrders>::default();
        Term::begin((self.partition, epoch), snapshot, bounds, recent).map(Box::new).map_err(|error| error.to_string())
    }

    /// Hears how far the tables are, forgets what they have, closes what is over.
    pub(super) fn do_chores(&mut self, clock: Timestamp, env: &mut Env) {
        let Stage::Serving { term, .. } = &mut self.stage else { return };
        if env.tables.is_away() || !env.dice.percent(env.weather.chores_percent) {
            return;
        }
        let (epoch, sequence) = env.tables.position(self.partition);
        if epoch == term.engine().epoch() {
            term.applied(sequence);
        }
        let at_most = *env.dice.pick(&[1, 3, 1_000]).unwrap_or(&3);
        while term.drop_applied(at_most) {}
        term.forget(at_most);
        if term.room() > 0 && env.dice.percent(20) {
            term.close_ended(clock, clock.minus_millis(env.weather.retention_ms), 1);
        }
    }

    /// Takes calls up, ends holds, sends what was gathered; or leaves, when it has nothing left to do.
    pub(super) fn serve(
        &mut self,
        node: usize,
        session: usize,
        clock: Timestamp,
        wanted: bool,
        env: &mut Env,
        outbox: &Outbox,
    ) -> Result<(), String> {
        self.turn_away(env, outbox, false);
        let Stage::Serving { term, version, sent_at, is_late } = &mut self.stage else { return Ok(()) };
        let first = term.gathered().len();
        for _ in 0..env.dice.below(term.room() + 1) {
            let Some(Request { call, ask, arrived, .. }) = self.inbox.pop_front() else { break };
            let ear = Ear { call, outbox: Rc::clone(outbox) };
            let now = if breaks::is_broken(Break::WindowWithDecrement) { arrived } else { clock };
            match ask {
                Ask::Command(command) => term.command(now, command, ear),
                Ask::Lookup(order) => {
                    let sighting = term.look_up(order).ok_or(Busy::Unavailable);
                    outbox.borrow_mut().push((ear.call, Said::Sighting(sighting)));
                }
            }
        }
        decided_at(&term.gathered()[first..], clock)?;
        if term.room() > 0 && term.engine().next_expiry().is_some_and(|at| at <= clock) && env.dice.percent(50) {
            term.expire(clock, env.weather.batch_commands_max);
        }
        if let Some(batch) = term.next_batch() {
            env.trail.note(env.now, || sends(node, &batch));
            let via = if breaks::is_broken(Break::ConnectionOfTheLock) { astray(&mut self.astray, node, env) } else { Some(session) };
            if let Some(via) = via {
                env.broker.send(via, Frame::Publish(self.partition, bytes(&batch, *version)));
            }
            (*sent_at, *is_late) = (env.now, false);
        }
        if !wanted && self.inbox.is_empty() && !term.is_waiting() {
            // What was gathered is sent and confirmed: nobody waits any more.
            self.give_up(session, env);
        }
        Ok(())
    }
}

/// How often a claim looks whether the projection is there before it begins anew, where logs lose something.
const LOOKS_MAX: u32 = 150;

/// What is known to be confirmed goes into the fence.
fn collect(protocol: &mut Protocol, partition: PartitionId, confirmed: &Confirmed, env: &mut Env) -> Action {
    let known = confirmed.of(partition).max(env.tables.confirmed(partition));
    env.tables.note_confirmed(partition, known);
    let todo = protocol.step(Input::Known(Some(known).filter(|(epoch, _)| *epoch > Epoch::default())));
    if let Action::Fence(fence) = &todo {
        env.auditor.could_know(partition, fence.epoch, known);
    }
    todo
}

/// A connection that no lock is on.
fn astray(connection: &mut Option<usize>, node: usize, env: &mut Env) -> Option<usize> {
    if connection.is_none() {
        *connection = env.broker.connect(node);
    }
    *connection
}

fn sends(node: usize, batch: &Batch) -> String {
    format!("node {node}: sends {}/{}/{}: {:?}", batch.partition, batch.epoch, batch.sequence, batch.events)
}

/// A batch on the wire.
fn bytes(batch: &Batch, version: LogVersion) -> Vec<u8> {
    event::encode(&batch.clone().of_system(SYSTEM), version).expect("nothing is decided that the version cannot hold")
}

/// R4: an order is placed at the time it is decided, on the clock of the one who decides it.
fn decided_at(events: &[Event], clock: Timestamp) -> Result<(), String> {
    let strange = events.iter().find_map(|event| match event {
        Event::Placed { order, .. } if order.id.placed_at() != clock => Some(order.id),
        _ => None,
    });
    strange.map_or(Ok(()), |id| Err(format!("order {id} is decided at {clock} and placed at {}", id.placed_at())))
}

fn decline(request: Request, outbox: &Outbox, busy: Busy) {
    let ear = Ear { call: request.call, outbox: Rc::clone(outbox) };
    match request.ask {
        Ask::Command(_) => ear.hear(Reply::Busy(busy)),
        Ask::Lookup(_) => outbox.borrow_mut().push((ear.call, Said::Sighting(Err(busy)))),
    }
}

/// Asking after the lock makes up for other rules about it: where one of those is broken, nobody asks.
pub(super) fn asks_for_the_lock() -> bool {
    ![Break::LockAtConfirm, Break::Lock, Break::ConnectionOfTheLock].into_iter().any(breaks::is_broken)
}
