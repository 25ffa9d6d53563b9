//! A spike node: a seat for each partition, and what it hears from the broker. It decides nothing that protocol and term decide.

use super::broker::{Frame, Notice};
use super::call::{Ask, CallId};
use super::env::Env;
use super::seat::{Ear, Outbox, Request, Seat, Stage, asks_for_the_lock};
use crate::domain::{Epoch, PartitionId, Partitions, Sequence, Timestamp};
use crate::ownership::Confirmed;
use crate::ownership::protocol::{Action, Input, Protocol};
use crate::partition::Term;

/// The start of simulated time, in Unix milliseconds.
const DAWN_MS: i64 = 1_800_000_000_000;

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
    /// Connections that a seat has given back, for whichever wants one next.
    spares: Vec<usize>,
    /// What it knows to be confirmed.
    confirmed: Confirmed,
    seats: Vec<Seat>,
    outbox: Outbox,
}

impl Node {
    pub(super) fn new(index: usize, partitions: impl Iterator<Item = PartitionId>) -> Self {
        let seats: Vec<Seat> = partitions.map(Seat::new).collect();
        let confirmed = knows_nothing(&seats);
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
            spares: Vec::new(),
            confirmed,
            seats,
            outbox,
        }
    }

    /// Does some of what there is to do.
    pub(super) fn act(&mut self, env: &mut Env) -> Result<(), String> {
        if env.dice.percent(15) && !self.isolated && !env.tables.is_away() {
            self.view = env.members;
        }
        self.connect(env);
        // What has arrived is not always what is looked at first: a node that slept acts on what it knew.
        if env.dice.percent(60) {
            self.listen(env)?;
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
        (self.up, self.paused) = (false, false);
        self.spares.clear();
        self.confirmed = knows_nothing(&self.seats);
        self.seats.iter_mut().for_each(|seat| *seat = Seat::new(seat.partition));
        env.broker.deafen(self.index);
        env.boards.forget(self.index);
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

    /// Its connections to the broker, as far as it knows.
    pub(super) fn sessions(&self) -> Vec<usize> {
        self.seats.iter().flat_map(|seat| [seat.session, seat.astray]).flatten().chain(self.spares.iter().copied()).collect()
    }

    /// Whether an engine takes up calls here.
    pub(super) fn serves(&self, partition: PartitionId) -> bool {
        matches!(self.seats[usize::from(partition.get())].stage, Stage::Serving { .. })
    }

    /// Whether a claim is about to read its snapshot here.
    #[cfg(test)]
    pub(super) fn is_loading(&self, partition: PartitionId) -> bool {
        matches!(self.seats[usize::from(partition.get())].stage, Stage::Claiming { todo: Action::Load, .. })
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
        !self.draining && super::env::placed_on(self.seats.len(), self.view, partition) == Some(self.index)
    }

    /// Sees to it that each partition it is to own has a connection.
    fn connect(&mut self, env: &mut Env) {
        self.spares.retain(|spare| {
            let is_there = env.broker.hear(*spare).is_none();
            if !is_there {
                env.broker.leave(*spare);
            }
            is_there
        });
        for index in 0..self.seats.len() {
            if self.seats[index].session.is_some() || !self.wants(self.seats[index].partition) {
                continue;
            }
            self.seats[index].session = self.spares.pop();
            if self.seats[index].session.is_none() && !self.isolated && env.dice.percent(40) {
                self.seats[index].session = env.broker.connect(self.index);
            }
        }
    }

    fn listen(&mut self, env: &mut Env) -> Result<(), String> {
        for index in 0..self.seats.len() {
            for _ in 0..4 {
                let Seat { session, astray, .. } = self.seats[index];
                let heard = session.and_then(|session| env.broker.hear(session));
                match heard.or_else(|| astray.and_then(|astray| env.broker.hear(astray))) {
                    Some(Notice::Locked(partition)) => self.answered(partition, Input::LockGranted, env),
                    Some(Notice::LockRefused(partition)) => self.answered(partition, Input::LockRefused, env),
                    Some(Notice::Confirmed(partition, epoch, sequence)) => self.confirmed(partition, (epoch, sequence), env)?,
                    Some(Notice::StillLocked(partition, true)) => self.still_locked(partition, env)?,
                    Some(Notice::StillLocked(..) | Notice::LockGone(_) | Notice::Closed) => self.end_session(index, env),
                    None => break,
                }
            }
        }
        Ok(())
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

    /// What was sent is in the log. It counts if the lock was there until now: what the broker says of a lock that is lost may come late.
    fn confirmed(&mut self, partition: PartitionId, batch: (Epoch, Sequence), env: &mut Env) -> Result<(), String> {
        let seat = &mut self.seats[usize::from(partition.get())];
        let Some(session) = seat.session else { return Ok(()) };
        seat.confirmed = Some(batch);
        if !asks_for_the_lock() {
            return self.still_locked(partition, env);
        }
        env.broker.send(session, Frame::AskLock(partition));
        Ok(())
    }

    fn still_locked(&mut self, partition: PartitionId, env: &mut Env) -> Result<(), String> {
        let seat = &mut self.seats[usize::from(partition.get())];
        if let Stage::Claiming { todo: Action::CheckLock, .. } = &seat.stage {
            self.answered(partition, Input::LockHeld, env);
            return Ok(());
        }
        let Some((epoch, sequence)) = seat.confirmed.take() else { return Ok(()) };
        match &mut seat.stage {
            Stage::Serving { term, .. } if sequence != Sequence::FENCE => {
                env.auditor.believed(self.index, (partition, epoch, sequence))?;
                self.confirmed.note(partition, epoch, sequence);
                term.confirmed();
                env.trail.note(env.now, || format!("node {}: {partition}/{epoch}/{sequence} is confirmed", self.index));
            }
            Stage::Claiming { .. } => {
                env.auditor.believed(self.index, (partition, epoch, sequence))?;
                self.confirmed.note(partition, epoch, sequence);
                self.answered(partition, Input::FenceConfirmed, env);
            }
            Stage::Serving { .. } | Stage::Idle => {}
        }
        Ok(())
    }

    /// What takes too long is told to whoever waits; it is in doubt when the broker answers others, or has had time enough.
    fn watch_the_time(&mut self, env: &mut Env) {
        for index in 0..self.seats.len() {
            let Some(since) = self.seats[index].waiting_since() else { continue };
            let (waited, bound) = (env.now.saturating_sub(since), env.weather.append_timeout_ms);
            if waited > bound {
                self.seats[index].tell_late();
                if waited > bound * 3 || env.dice.percent(30) {
                    self.end_session(index, env);
                }
            }
        }
    }

    /// The connection of a partition is used no longer: the claim on it is over, and what was in flight is in doubt (R2).
    fn end_session(&mut self, index: usize, env: &mut Env) {
        let seat = &mut self.seats[index];
        env.trail.note(env.now, || format!("node {}: the session of partition {} is over", self.index, seat.partition));
        seat.confirmed = None;
        seat.session.take().into_iter().chain(seat.astray.take()).for_each(|session| env.broker.leave(session));
        match std::mem::replace(&mut seat.stage, Stage::Idle) {
            #[cfg(test)]
            Stage::Serving { term, .. } if crate::breaks::is_broken(crate::breaks::Break::StartOver) => seat.kept = Some(term),
            Stage::Serving { mut term, .. } => term.end(),
            Stage::Claiming { .. } | Stage::Idle => {}
        }
    }

    fn attend(&mut self, index: usize, env: &mut Env) -> Result<(), String> {
        let (wanted, clock) = (self.wants(self.seats[index].partition), self.clock(env.now));
        let Some(session) = self.seats[index].session else {
            self.seats[index].turn_away(env, &self.outbox, !wanted);
            return Ok(());
        };
        let seat = &mut self.seats[index];
        match seat.stage {
            Stage::Idle if wanted && !self.isolated && env.tables.gap(seat.partition).is_some() => seat.turn_away(env, &self.outbox, true),
            Stage::Idle if wanted && env.now >= seat.retry_at => {
                env.broker.send(session, Frame::Lock(seat.partition));
                let (protocol, todo, version) = (Protocol::new(seat.partition), Action::Lock, env.tables.log_version());
                seat.stage = Stage::Claiming { protocol, todo, version, loaded: None, asked_at: Some(env.now), looks: 0 };
            }
            Stage::Idle => seat.turn_away(env, &self.outbox, !wanted),
            Stage::Claiming { asked_at: Some(_), .. } if !wanted => self.end_session(index, env),
            Stage::Claiming { .. } if !wanted => seat.give_up(session, env),
            Stage::Claiming { asked_at: Some(_), .. } => seat.turn_away(env, &self.outbox, false),
            // Nothing can be read or counted up from here.
            Stage::Claiming { .. } if self.isolated => seat.give_up(session, env),
            Stage::Claiming { .. } => seat.climb(self.index, session, &self.confirmed, env)?,
            Stage::Serving { .. } => {
                if !self.isolated {
                    seat.do_chores(clock, env);
                    if env.losses.dice.percent(10) {
                        tell(&self.confirmed, seat.partition, env);
                    }
                }
                seat.serve(self.index, session, clock, wanted, env, &self.outbox)?;
            }
        }
        if matches!(self.seats[index].stage, Stage::Idle) {
            if !self.isolated {
                tell(&self.confirmed, self.seats[index].partition, env);
            }
            self.spares.extend(self.seats[index].session.take());
        }
        Ok(())
    }
}

fn knows_nothing(seats: &[Seat]) -> Confirmed {
    let count = u16::try_from(seats.len()).expect("a few");
    Confirmed::new(Partitions::new(count).expect("at least one"))
}

/// Tells the tables what is known to be confirmed.
fn tell(confirmed: &Confirmed, partition: PartitionId, env: &Env) {
    if !env.tables.is_away() {
        env.tables.note_confirmed(partition, confirmed.of(partition));
    }
}
