//! A spike node: one connection to the broker and a seat for each partition. A shell around the ownership protocol and the
//! term, as the cluster's ownership and the partition task are; it decides nothing that they decide.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::broker::{Frame, Notice};
use super::network::{Ask, CallId, Said};
use super::world::Env;
use crate::breaks::{self, Break};
use crate::domain::{Epoch, PartitionId, Sequence, Timestamp};
use crate::engine::Snapshot;
use crate::event::{self, Batch, Event, LogVersion};
use crate::ownership::protocol::{Action, Input, Protocol};
use crate::partition::{Bounds, Busy, Hear, RecentOrders, Reply, Term};

/// The start of simulated time, in Unix milliseconds.
const DAWN_MS: i64 = 1_800_000_000_000;

type Outbox = Rc<RefCell<Vec<(CallId, Said)>>>;

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

struct Request {
    call: CallId,
    ask: Ask,
    arrived: Timestamp,
    waiting_since: u64,
}

enum Stage {
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
    },
    Serving {
        term: Box<Term<Ear>>,
        version: LogVersion,
        sent_at: u64,
    },
}

/// What a node has of one partition.
struct Seat {
    partition: PartitionId,
    stage: Stage,
    inbox: VecDeque<Request>,
    retry_at: u64,
    #[cfg(test)]
    kept: Option<Box<Term<Ear>>>,
}

/// A process.
pub(super) struct Node {
    pub(super) index: usize,
    pub(super) up: bool,
    /// Stopped by the system: it does nothing, and will go on as if nothing had been.
    pub(super) paused: bool,
    /// Cut off from broker and database, and not from buyers and other nodes.
    pub(super) isolated: bool,
    /// Told to leave.
    pub(super) draining: bool,
    /// How far its clock is off, in milliseconds.
    pub(super) clock_error: i64,
    /// By how many parts in a million its clock runs fast.
    pub(super) clock_drift: i64,
    /// The members it knows of, one bit each.
    pub(super) view: usize,
    session: Option<usize>,
    seats: Vec<Seat>,
    outbox: Outbox,
}

impl Node {
    pub(super) fn new(index: usize, partitions: impl Iterator<Item = PartitionId>) -> Self {
        let seats = partitions.map(Seat::new).collect();
        let outbox = Outbox::default();
        Self {
            index,
            up: true,
            paused: false,
            isolated: false,
            draining: false,
            clock_error: 0,
            clock_drift: 0,
            view: 0,
            session: None,
            seats,
            outbox,
        }
    }

    /// Does some of what there is to do.
    pub(super) fn act(&mut self, env: &mut Env) -> Result<(), String> {
        if env.dice.percent(15) && !self.isolated && !env.tables.is_away() {
            self.view = env.members;
        }
        if self.session.is_none() && !self.isolated && env.dice.percent(40) {
            self.session = env.broker.connect(self.index);
        }
        // What has arrived is not always what is looked at first: a node that slept acts on what it knew.
        if env.dice.percent(60) {
            self.listen(env);
            self.watch_the_time(env);
        }
        for seat in 0..self.seats.len() {
            if env.dice.percent(60) {
                self.attend(seat, env)?;
            }
        }
        for (call, said) in self.outbox.borrow_mut().drain(..) {
            env.network.said(call, said);
        }
        Ok(())
    }

    /// The process is killed: all that it had in memory is gone.
    pub(super) fn kill(&mut self, env: &mut Env) {
        self.outbox.borrow_mut().clear();
        (self.up, self.paused, self.session) = (false, false, None);
        self.seats.iter_mut().for_each(|seat| *seat = Seat::new(seat.partition));
        env.broker.deafen(self.index);
    }

    /// Takes a call in, unless there is no task for it here or its inbox is full.
    pub(super) fn receive(&mut self, call: CallId, partition: PartitionId, ask: Ask, now: u64) -> Result<(), ()> {
        let (arrived, wanted) = (self.clock(now), self.wants(partition));
        let seat = &mut self.seats[usize::from(partition.get())];
        if !wanted {
            return Err(());
        }
        seat.inbox.push_back(Request { call, ask, arrived, waiting_since: now });
        Ok(())
    }

    /// Its connection to the broker, as far as it knows.
    pub(super) const fn session(&self) -> Option<usize> {
        self.session
    }

    /// Whether an engine takes up calls here.
    pub(super) fn serves(&self, partition: PartitionId) -> bool {
        matches!(self.seats[usize::from(partition.get())].stage, Stage::Serving { .. })
    }

    /// The engine that serves a partition here.
    pub(super) fn term(&self, partition: PartitionId) -> Option<&Term<Ear>> {
        match &self.seats[usize::from(partition.get())].stage {
            Stage::Serving { term, .. } => Some(term),
            Stage::Idle | Stage::Claiming { .. } => None,
        }
    }

    /// Whether nothing is under way here, and it owns what it should and nothing else.
    pub(super) fn is_quiet(&self) -> bool {
        self.seats.iter().all(|seat| {
            seat.inbox.is_empty()
                && match &seat.stage {
                    Stage::Idle => !self.wants(seat.partition),
                    Stage::Claiming { .. } => false,
                    Stage::Serving { term, .. } => self.wants(seat.partition) && !term.is_waiting() && term.gathered().is_empty(),
                }
        })
    }

    /// Its wall clock.
    pub(super) fn clock(&self, now: u64) -> Timestamp {
        let now = now as i64;
        let millis = DAWN_MS + now + self.clock_error + now * self.clock_drift / 1_000_000;
        Timestamp::from_millis(millis).expect("a run lasts minutes")
    }

    fn wants(&self, partition: PartitionId) -> bool {
        !self.draining && super::world::placed_on(self.seats.len(), self.view, partition) == Some(self.index)
    }

    fn listen(&mut self, env: &mut Env) {
        for _ in 0..4 {
            let Some(notice) = self.session.and_then(|session| env.broker.hear(session)) else { return };
            match notice {
                Notice::Locked(partition) => self.answered(partition, Input::LockGranted, env),
                Notice::LockRefused(partition) => self.answered(partition, Input::LockRefused, env),
                Notice::Confirmed(partition, epoch, sequence) => self.confirmed(partition, epoch, sequence, env),
                Notice::Closed => self.end_session(env),
            }
        }
    }

    /// The broker has done what a claim asked it to.
    fn answered(&mut self, partition: PartitionId, input: Input, env: &Env) {
        let retry_at = env.now + env.weather.step_ms_max * 20;
        let seat = &mut self.seats[usize::from(partition.get())];
        let Stage::Claiming { protocol, todo, asked_at, .. } = &mut seat.stage else { return };
        if asked_at.take().is_none() {
            return;
        }
        *todo = protocol.step(input);
        if *todo == Action::Taken {
            (seat.stage, seat.retry_at) = (Stage::Idle, retry_at);
        }
    }

    fn confirmed(&mut self, partition: PartitionId, epoch: Epoch, sequence: Sequence, env: &mut Env) {
        match &mut self.seats[usize::from(partition.get())].stage {
            Stage::Serving { term, .. } if sequence != Sequence::FENCE => {
                term.confirmed();
                env.trail.note(env.now, || format!("node {}: {partition}/{epoch}/{sequence} is confirmed", self.index));
            }
            Stage::Claiming { .. } => self.answered(partition, Input::FenceConfirmed, env),
            Stage::Serving { .. } | Stage::Idle => {}
        }
    }

    /// What takes too long is in doubt, and with it the whole connection.
    fn watch_the_time(&mut self, env: &mut Env) {
        let since = self.seats.iter().filter_map(Seat::waiting_since).min();
        if self.session.is_some() && since.is_some_and(|since| env.now > since + env.weather.append_timeout_ms) {
            self.end_session(env);
        }
    }

    /// The connection is used no longer: every claim on it is over, and what was in flight is in doubt (R2).
    fn end_session(&mut self, env: &mut Env) {
        env.trail.note(env.now, || format!("node {}: the session is over", self.index));
        if let Some(session) = self.session.take() {
            env.broker.leave(session);
        }
        for seat in &mut self.seats {
            match std::mem::replace(&mut seat.stage, Stage::Idle) {
                #[cfg(test)]
                Stage::Serving { term, .. } if breaks::is_broken(Break::StartOver) => seat.kept = Some(term),
                Stage::Serving { mut term, .. } => term.end(),
                Stage::Claiming { .. } | Stage::Idle => {}
            }
        }
    }

    fn attend(&mut self, index: usize, env: &mut Env) -> Result<(), String> {
        let (wanted, clock) = (self.wants(self.seats[index].partition), self.clock(env.now));
        let Some(session) = self.session else {
            self.seats[index].turn_away(env, &self.outbox, !wanted);
            return Ok(());
        };
        let seat = &mut self.seats[index];
        match seat.stage {
            Stage::Idle if wanted && env.now >= seat.retry_at => {
                env.broker.send(session, Frame::Lock(seat.partition));
                let (protocol, todo, version) = (Protocol::new(seat.partition), Action::Lock, env.tables.log_version());
                seat.stage = Stage::Claiming { protocol, todo, version, loaded: None, asked_at: Some(env.now) };
            }
            Stage::Idle => seat.turn_away(env, &self.outbox, !wanted),
            Stage::Claiming { asked_at: Some(_), .. } if !wanted => self.end_session(env),
            Stage::Claiming { .. } if !wanted => seat.give_up(session, env),
            Stage::Claiming { asked_at: Some(_), .. } => seat.turn_away(env, &self.outbox, false),
            // Nothing can be read or counted up from here.
            Stage::Claiming { .. } if self.isolated => seat.give_up(session, env),
            Stage::Claiming { .. } => seat.climb(self.index, session, env)?,
            Stage::Serving { .. } => {
                if !self.isolated {
                    seat.do_chores(clock, env);
                }
                seat.serve(self.index, session, clock, wanted, env, &self.outbox)?;
            }
        }
        Ok(())
    }
}

impl Seat {
    fn new(partition: PartitionId) -> Self {
        Self {
            partition,
            stage: Stage::Idle,
            inbox: VecDeque::new(),
            retry_at: 0,
            #[cfg(test)]
            kept: None,
        }
    }

    fn waiting_since(&self) -> Option<u64> {
        match &self.stage {
            Stage::Idle => None,
            Stage::Claiming { asked_at, .. } => *asked_at,
            Stage::Serving { term, sent_at, .. } => term.is_waiting().then_some(*sent_at),
        }
    }

    /// Answers calls that waited too long to be taken up; all of them, if there is no task for them any more.
    fn turn_away(&mut self, env: &Env, outbox: &Outbox, all: bool) {
        while let Some(request) = self.inbox.pop_front_if(|request| all || env.now > request.waiting_since + env.weather.command_timeout_ms)
        {
            decline(request, outbox, if all { Busy::Unavailable } else { Busy::Overloaded });
        }
        while self.inbox.len() > env.weather.inbox_depth_max {
            let request = self.inbox.pop_back().expect("there are more than the bound");
            decline(request, outbox, Busy::Overloaded);
        }
    }

    fn give_up(&mut self, session: usize, env: &mut Env) {
        env.broker.send(session, Frame::Unlock(self.partition));
        (self.stage, self.retry_at) = (Stage::Idle, env.now + env.weather.step_ms_max * 20);
    }

    /// Does the next thing on the way to becoming the owner.
    fn climb(&mut self, node: usize, session: usize, env: &mut Env) -> Result<(), String> {
        let partition = self.partition;
        let Stage::Claiming { protocol, todo, version, loaded, asked_at } = &mut self.stage else { return Ok(()) };
        let version = *version;
        let fails = env.tables.is_away() || env.weather.weights.fault > 0 && env.dice.one_in(60);
        match todo.clone() {
            Action::Lock | Action::Taken => {}
            Action::TakeEpoch => {
                // Even if nobody hears of it.
                let epoch = (!env.tables.is_away()).then(|| env.tables.claim_epoch(partition));
                match epoch.filter(|_| !fails) {
                    Some(epoch) => *todo = protocol.step(Input::EpochTaken(epoch)),
                    None => self.give_up(session, env),
                }
            }
            Action::Fence(fence) => {
                env.broker.send(session, Frame::Publish(partition, bytes(&fence, version)));
                *asked_at = Some(env.now);
            }
            Action::ReadApplied | Action::ReadAppliedLater | Action::Load if fails => self.give_up(session, env),
            Action::ReadApplied | Action::ReadAppliedLater => {
                *todo = protocol.step(Input::Applied(env.tables.position(partition).0));
            }
            Action::Overtaken { .. } => self.give_up(session, env),
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
                self.stage = Stage::Serving { term, version, sent_at: 0 };
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
        let bounds = Bounds {
            batch_commands_max: env.weather.batch_commands_max,
            with_older_releases: version < LogVersion::V2,
            confirm_is_applied: false,
        };
        let recent = Arc::<RecentOrders>::default();
        Term::begin((self.partition, epoch), snapshot, bounds, recent).map(Box::new).map_err(|error| error.to_string())
    }

    /// Hears how far the tables are, forgets what they have, closes what is over.
    fn do_chores(&mut self, clock: Timestamp, env: &mut Env) {
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
    fn serve(&mut self, node: usize, session: usize, clock: Timestamp, wanted: bool, env: &mut Env, outbox: &Outbox) -> Result<(), String> {
        self.turn_away(env, outbox, false);
        let Stage::Serving { term, version, sent_at } = &mut self.stage else { return Ok(()) };
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
            term.expire(clock);
        }
        if let Some(batch) = term.next_batch() {
            env.trail.note(env.now, || sends(node, &batch));
            env.broker.send(session, Frame::Publish(self.partition, bytes(&batch, *version)));
            *sent_at = env.now;
        }
        if !wanted && self.inbox.is_empty() && !term.is_waiting() {
            // What was gathered is sent and confirmed: nobody waits any more.
            self.give_up(session, env);
        }
        Ok(())
    }
}

fn sends(node: usize, batch: &Batch) -> String {
    format!("node {node}: sends {}/{}/{}: {:?}", batch.partition, batch.epoch, batch.sequence, batch.events)
}

/// A batch on the wire.
fn bytes(batch: &Batch, version: LogVersion) -> Vec<u8> {
    event::encode(batch, version).expect("nothing is decided that the version cannot hold")
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
