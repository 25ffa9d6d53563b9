//! What may happen next, and what comes of it.

use std::collections::{BTreeSet, VecDeque};

use super::state::{Connection, Entry, Flight, Frame, NODES, Node, Notice, PARTITION, Stage, Todo, World, batch, epoch, position};
use crate::breaks::{self, Break};
use crate::ownership::protocol::{Action, Input, Protocol};
use crate::projection::{Outcome, verdict};
use crate::simulation::seat::asks_for_the_lock;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// A node connects, asks for the lock, and is told.
    Claim(usize),
    /// The broker handles the next frame of a node's connection.
    Handle(usize),
    /// A node hears the next notice.
    Hear(usize),
    /// A node that claims does its next step in the database.
    Ask(usize),
    /// An owner writes a batch.
    Append(usize),
    /// An owner leaves: somebody else is to have the partition.
    Leave(usize),
    /// The broker handles the next frame of a connection that its node has left, or ends it.
    HandleLeft(usize),
    /// What was read from a connection that is gone enters the log.
    EnterLate(usize),
    /// It never does.
    DropLate(usize),
    /// The consumer takes the next batch.
    Apply,
    /// It dies between the commit and the acknowledgement.
    ApplyAndDie,
    /// A connection is lost; so many of the frames under way were read before.
    Cut(usize, usize),
    /// A process is killed.
    Kill(usize),
    /// Somebody deletes the lock queue.
    DeleteLock,
    /// The log loses everything that is in it.
    LoseLog,
    /// A claim whose fence is lost begins anew.
    GiveUp(usize),
}

impl World {
    /// Everything that may happen next.
    pub(super) fn steps(&self, steps: &mut Vec<Step>) {
        for index in 0..NODES {
            let node = &self.nodes[index];
            match &node.stage {
                Stage::Idle if node.connection.is_none() && self.claimed < self.bound.epochs => steps.push(Step::Claim(index)),
                Stage::Claiming { todo: Todo::TakeEpoch, .. } if self.claimed >= self.bound.epochs => {}
                Stage::Claiming { todo: Todo::TakeEpoch | Todo::ReadApplied | Todo::Load, .. } => steps.push(Step::Ask(index)),
                Stage::Serving { in_flight, .. } => {
                    if in_flight.is_none() {
                        steps.push(Step::Leave(index));
                    }
                    if in_flight.is_none() && self.written < self.bound.batches {
                        steps.push(Step::Append(index));
                    }
                }
                _ => {}
            }
            if let Stage::Claiming { todo: Todo::ReadApplied, .. } = &node.stage
                && self.log.is_empty()
                && self.lost.iter().any(|place| place.1 == 0)
            {
                steps.push(Step::GiveUp(index));
            }
            let Some(connection) = &node.connection else { continue };
            if connection.open && !connection.frames.is_empty() {
                steps.push(Step::Handle(index));
            }
            if !connection.notices.is_empty() {
                steps.push(Step::Hear(index));
            }
            if self.faults > 0 {
                steps.push(Step::Kill(index));
                if connection.open {
                    steps.extend((0..=connection.frames.len()).map(|read| Step::Cut(index, read)));
                }
            }
        }
        steps.extend((0..self.left.len()).map(Step::HandleLeft));
        for index in 0..self.late.len() {
            steps.extend([Step::EnterLate(index), Step::DropLate(index)]);
        }
        if !self.log.is_empty() && !self.stopped {
            steps.push(Step::Apply);
            if self.faults > 0 {
                steps.push(Step::ApplyAndDie);
            }
        }
        if self.faults > 0 && !self.log.is_empty() {
            steps.push(Step::LoseLog);
        }
        if self.faults > 0 && self.is_locked() {
            steps.push(Step::DeleteLock);
        }
    }

    /// Lets it happen.
    pub(super) fn take(&mut self, step: Step, broken: Option<Break>) {
        match step {
            Step::Claim(index) => self.claim(index, broken),
            Step::Handle(index) => {
                let mut connection = self.nodes[index].connection.take().expect("it is connected");
                self.handle(&mut connection);
                self.nodes[index].connection = Some(connection);
            }
            Step::Hear(index) => self.hear(index, broken),
            Step::Ask(index) => self.ask(index, broken),
            Step::Append(index) => self.append(index, broken),
            Step::Leave(index) => {
                self.told = self.told.max(self.nodes[index].known);
                self.leave(index);
            }
            Step::GiveUp(index) => self.leave(index),
            Step::HandleLeft(index) => {
                let mut connection = self.left.remove(index);
                if !connection.frames.is_empty() {
                    self.handle(&mut connection);
                    connection.notices.clear();
                    self.left.insert(index, connection);
                }
            }
            Step::EnterLate(index) => {
                let entry = self.late[index].pop_front().expect("none is empty");
                self.log.push_back(entry);
                self.late.retain(|late| !late.is_empty());
            }
            Step::DropLate(index) => drop(self.late.remove(index)),
            Step::Apply => self.apply(broken, true),
            Step::ApplyAndDie => {
                self.faults -= 1;
                self.apply(broken, false);
            }
            Step::Cut(index, read) => self.cut(index, read, broken),
            Step::Kill(index) => {
                self.faults -= 1;
                self.nodes[index].known = (0, 0);
                self.leave(index);
            }
            Step::LoseLog => {
                self.faults -= 1;
                self.lost.extend(self.log.drain(..).map(|entry| entry.at));
            }
            Step::DeleteLock => {
                self.faults -= 1;
                let nodes = self.nodes.iter_mut().filter_map(|node| node.connection.as_mut());
                nodes.chain(&mut self.left).for_each(|connection| connection.locks = false);
            }
        }
    }

    fn is_locked(&self) -> bool {
        let nodes = self.nodes.iter().filter_map(|node| node.connection.as_ref());
        nodes.chain(&self.left).any(|connection| connection.locks)
    }

    fn claim(&mut self, index: usize, broken: Option<Break>) {
        let granted = !self.is_locked();
        let node = &mut self.nodes[index];
        node.connection = Some(Connection { open: true, locks: granted, ..Connection::default() });
        node.stage = Stage::Claiming { protocol: Protocol::new(PARTITION), todo: Todo::TakeEpoch, loaded: BTreeSet::new() };
        self.go_on(index, if granted { Input::LockGranted } else { Input::LockRefused }, broken);
    }

    /// The broker's part. The connection is out of its place meanwhile.
    fn handle(&mut self, connection: &mut Connection) {
        let Some(frame) = connection.frames.pop_front() else { return };
        let notice = match frame {
            Frame::Publish(entry) => {
                self.log.push_back(entry);
                Notice::Confirmed(entry.at)
            }
            Frame::AskLock => Notice::StillLocked(connection.locks),
        };
        connection.notices.push_back(notice);
    }

    /// The node uses its connection no longer, and begins anew.
    fn leave(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.stage = Stage::Idle;
        // One that holds nothing and has nothing under way is nobody's business any more.
        let matters = |connection: &Connection| connection.open && (connection.locks || !connection.frames.is_empty());
        if let Some(connection) = node.connection.take().filter(matters) {
            self.left.push(Connection { notices: VecDeque::new(), ..connection });
        }
    }

    fn cut(&mut self, index: usize, read: usize, broken: Option<Break>) {
        self.faults -= 1;
        let Some(connection) = &mut self.nodes[index].connection else { return };
        connection.locks = false;
        if broken == Some(Break::ConnectionOfTheLock) {
            // What it appends over lives on.
            return;
        }
        let published = connection.frames.drain(..).take(read).filter_map(|frame| match frame {
            Frame::Publish(entry) => Some(entry),
            Frame::AskLock => None,
        });
        let late: VecDeque<Entry> = published.collect();
        connection.open = false;
        connection.notices.push_back(Notice::Closed);
        if !late.is_empty() {
            self.late.push(late);
        }
    }

    fn hear(&mut self, index: usize, broken: Option<Break>) {
        let node = &mut self.nodes[index];
        let Some(notice) = node.connection.as_mut().and_then(|connection| connection.notices.pop_front()) else { return };
        match (&mut node.stage, notice) {
            (Stage::Claiming { todo, .. }, Notice::Confirmed(place)) if *todo == Todo::AwaitFence(place) => {
                if with(broken, asks_for_the_lock) {
                    *todo = Todo::AwaitFenceLock(place);
                    self.send(index, Frame::AskLock);
                } else {
                    self.go_on(index, Input::FenceConfirmed, broken);
                }
            }
            (Stage::Claiming { todo: Todo::AwaitFenceLock(_), .. }, Notice::StillLocked(true)) => {
                self.go_on(index, Input::FenceConfirmed, broken);
            }
            (Stage::Claiming { todo: Todo::AwaitLock, .. }, Notice::StillLocked(true)) => {
                self.go_on(index, Input::LockHeld, broken);
            }
            (Stage::Serving { epoch, in_flight, .. }, Notice::Confirmed((of, sequence)))
                if *in_flight == Some(Flight::Sent(sequence)) && *epoch == of =>
            {
                if with(broken, asks_for_the_lock) {
                    *in_flight = Some(Flight::Asked(sequence));
                    self.send(index, Frame::AskLock);
                } else {
                    self.believe(index);
                }
            }
            (Stage::Serving { in_flight: Some(Flight::Asked(_)), .. }, Notice::StillLocked(true)) => self.believe(index),
            (_, Notice::StillLocked(false) | Notice::Closed) => self.leave(index),
            // Of something that it does not wait for any more.
            _ => {}
        }
    }

    /// The append under way is confirmed: now buyers are told.
    fn believe(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Stage::Serving { epoch, confirmed, in_flight } = &mut node.stage else { return };
        *confirmed += 1;
        *in_flight = None;
        node.known = node.known.max((*epoch, *confirmed));
        self.accepted.insert((*epoch, *confirmed));
    }

    fn append(&mut self, index: usize, broken: Option<Break>) {
        let Stage::Serving { epoch, confirmed, in_flight } = &mut self.nodes[index].stage else { return };
        let at = (*epoch, *confirmed + 1);
        *in_flight = Some(Flight::Sent(at.1));
        self.written += 1;
        self.send(index, Frame::Publish(Entry { at, known: None }));
        if broken == Some(Break::ConfirmBeforeReply) {
            self.accepted.insert(at);
        }
    }

    fn send(&mut self, index: usize, frame: Frame) {
        // Into a connection that is gone it vanishes.
        if let Some(connection) = self.nodes[index].connection.as_mut().filter(|connection| connection.open) {
            connection.frames.push_back(frame);
        }
    }

    /// A step of a claim in the database.
    fn ask(&mut self, index: usize, broken: Option<Break>) {
        let Stage::Claiming { todo, loaded, .. } = &mut self.nodes[index].stage else { return };
        let input = match todo {
            Todo::TakeEpoch => return self.take_epoch(index, broken),
            Todo::ReadApplied => Input::Applied(epoch(self.applied.0)),
            Todo::Load => {
                loaded.clone_from(&self.rows);
                Input::Loaded
            }
            Todo::AwaitLock | Todo::AwaitFence(_) | Todo::AwaitFenceLock(_) => return,
        };
        self.go_on(index, input, broken);
    }

    fn take_epoch(&mut self, index: usize, broken: Option<Break>) {
        self.claimed += 1;
        if broken == Some(Break::Fence) {
            self.applied = (self.claimed, 0);
        }
        self.go_on(index, Input::EpochTaken(epoch(self.claimed)), broken);
    }

    /// The protocol is told what came of its last action, and says what to do next.
    fn go_on(&mut self, index: usize, input: Input, broken: Option<Break>) {
        let Node { stage: Stage::Claiming { protocol, todo, loaded }, known, .. } = &mut self.nodes[index] else { return };
        if let (Input::FenceConfirmed, Todo::AwaitFence(fence) | Todo::AwaitFenceLock(fence)) = (input, *todo) {
            *known = fence.max(*known);
        }
        let action = with(broken, || protocol.step(input));
        *todo = match action {
            Action::Lock | Action::TakeEpoch => Todo::TakeEpoch,
            Action::CheckLock if !with(broken, asks_for_the_lock) => return self.go_on(index, Input::LockHeld, broken),
            Action::CheckLock => {
                *todo = Todo::AwaitLock;
                return self.send(index, Frame::AskLock);
            }
            Action::CollectKnown => {
                *known = self.told.max(*known);
                self.told = *known;
                let collected = position(*known);
                return self.go_on(index, Input::Known(Some((collected.epoch, collected.sequence))), broken);
            }
            Action::Fence(fence) => {
                self.knew.insert(fence.epoch.get(), *known);
                let known = fence.known.map(|(epoch, sequence)| (epoch.get(), sequence.0));
                let entry = Entry { at: (fence.epoch.get(), 0), known };
                *todo = Todo::AwaitFence(entry.at);
                return self.send(index, Frame::Publish(entry));
            }
            Action::ReadApplied | Action::ReadAppliedLater => Todo::ReadApplied,
            Action::Load => Todo::Load,
            Action::Serve(epoch) => {
                self.began_with.insert(epoch.get(), std::mem::take(loaded));
                self.nodes[index].stage = Stage::Serving { epoch: epoch.get(), confirmed: 0, in_flight: None };
                return;
            }
            Action::Taken | Action::Overtaken { .. } | Action::Behind { .. } => return self.leave(index),
        };
    }

    fn apply(&mut self, broken: Option<Break>, acknowledge: bool) {
        let Some(entry) = self.log.front().copied() else { return };
        match with(broken, || verdict(position(self.applied), &batch(entry))) {
            Ok(Outcome::Applied) => {
                self.applied = entry.at;
                if entry.at.1 > 0 {
                    self.rows.insert(entry.at);
                }
            }
            Ok(_) => {}
            Err(_) => {
                self.stopped = true;
                return;
            }
        }
        if acknowledge {
            self.log.pop_front();
        }
    }
}

fn with<T>(broken: Option<Break>, run: impl FnOnce() -> T) -> T {
    match broken {
        Some(rule) => breaks::with(rule, run),
        None => run(),
    }
}
