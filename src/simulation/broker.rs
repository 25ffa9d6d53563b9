//! The broker: connections with frames under way in both directions, one exclusive queue a partition, and durable logs.
//!
//! It keeps to what the real one promises: the frames of a connection are handled in order; a lock goes with its connection; a
//! confirm is sent only for what is in the log. And to what it does not: what it had read of a connection that died may enter
//! a log long after, confirms may be lost on their way, and a log that readers have come to and left stands in any order.

use std::collections::{BTreeMap, VecDeque};

use super::auditor::Auditor;
use super::dice::Dice;
use crate::domain::{Epoch, PartitionId, Sequence};
use crate::event::{self, Batch};

/// What a node sends.
#[derive(Debug)]
pub(super) enum Frame {
    Lock(PartitionId),
    Unlock(PartitionId),
    /// Is the lock still there, and this connection's?
    AskLock(PartitionId),
    Publish(PartitionId, Vec<u8>),
}

/// What a node hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Locked(PartitionId),
    LockRefused(PartitionId),
    Confirmed(PartitionId, Epoch, Sequence),
    StillLocked(PartitionId, bool),
    /// The lock has been deleted by somebody else. Comes late, and behind confirms of what was written without it.
    LockGone(PartitionId),
    Closed,
}

#[derive(Debug)]
struct Connection {
    node: usize,
    /// As the broker sees it.
    open: bool,
    /// The node uses it no longer.
    left: bool,
    /// Nothing passes, in either direction.
    cut: bool,
    frames: VecDeque<Frame>,
    notices: VecDeque<Notice>,
}

/// One partition's queue. What was given back is sent again before what was never sent, in the order in which it came back.
#[derive(Debug, Default)]
pub(super) struct Queue {
    fresh: VecDeque<Vec<u8>>,
    given_back: VecDeque<Vec<u8>>,
    /// What is with the active consumer, by tag.
    delivered: BTreeMap<u64, Vec<u8>>,
    last_tag: u64,
    /// The single active consumer, and the how-manieth subscription this is.
    active: Option<usize>,
    generation: u64,
}

/// A message on its way to a consumer.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) tag: u64,
    pub(super) body: Vec<u8>,
    /// It was sent before.
    pub(super) again: bool,
}

#[derive(Debug)]
pub(super) struct Broker {
    connections: Vec<Connection>,
    locks: Vec<Option<usize>>,
    queues: Vec<Queue>,
    /// Read from connections that are gone, each in its order.
    late: Vec<VecDeque<(PartitionId, Vec<u8>)>>,
    /// Whose lock was deleted, and who has not been told yet.
    bereft: Vec<(usize, PartitionId)>,
    pub(super) away: bool,
    pub(super) blocked: bool,
}

impl Broker {
    pub(super) fn new(partitions: u16) -> Self {
        let partitions = usize::from(partitions);
        Self {
            connections: Vec::new(),
            locks: vec![None; partitions],
            queues: (0..partitions).map(|_| Queue::default()).collect(),
            late: Vec::new(),
            bereft: Vec::new(),
            away: false,
            blocked: false,
        }
    }

    /// Opens a connection, if the broker takes any.
    pub(super) fn connect(&mut self, node: usize) -> Option<usize> {
        if self.away || self.blocked {
            return None;
        }
        let (frames, notices) = (VecDeque::new(), VecDeque::new());
        self.connections.push(Connection { node, open: true, left: false, cut: false, frames, notices });
        Some(self.connections.len() - 1)
    }

    /// Sends a frame. Into a connection that is gone it vanishes.
    pub(super) fn send(&mut self, connection: usize, frame: Frame) {
        let connection = &mut self.connections[connection];
        if connection.open {
            connection.frames.push_back(frame);
        }
    }

    /// The next thing the node hears on that connection.
    pub(super) fn hear(&mut self, connection: usize) -> Option<Notice> {
        let connection = &mut self.connections[connection];
        if connection.cut { None } else { connection.notices.pop_front() }
    }

    /// The node uses the connection no longer; the broker learns of it behind the frames that were sent before.
    pub(super) fn leave(&mut self, connection: usize) {
        self.connections[connection].left = true;
    }

    /// Somebody deletes a lock while its connection lives.
    pub(super) fn delete_lock(&mut self, partition: PartitionId) {
        self.bereft.extend(self.locks[usize::from(partition.get())].take().map(|holder| (holder, partition)));
    }

    /// Handles one frame of some connection, or the end of one.
    pub(super) fn work(&mut self, dice: &mut Dice, auditor: &mut Auditor) -> Result<(), String> {
        if self.away || self.blocked {
            return Ok(());
        }
        if !self.bereft.is_empty() && dice.one_in(20) {
            let (holder, partition) = self.bereft.swap_remove(0);
            self.connections[holder].notices.push_back(Notice::LockGone(partition));
        }
        let ready = |connection: &Connection| connection.open && !connection.cut && (connection.left || !connection.frames.is_empty());
        let busy: Vec<usize> = (0..self.connections.len()).filter(|index| ready(&self.connections[*index])).collect();
        let Some(index) = dice.pick(&busy).copied() else { return Ok(()) };
        match self.connections[index].frames.pop_front() {
            Some(frame) => self.handle(index, frame, auditor),
            None => {
                self.close(index);
                Ok(())
            }
        }
    }

    /// Puts something into a log that was read from a connection that is gone by now.
    pub(super) fn enqueue_late(&mut self, dice: &mut Dice, auditor: &mut Auditor) -> Result<(), String> {
        if self.late.is_empty() {
            return Ok(());
        }
        let which = dice.below(self.late.len());
        if let Some((partition, bytes)) = self.late[which].pop_front() {
            self.enqueue(partition, bytes, auditor)?;
        }
        if self.late[which].is_empty() {
            self.late.swap_remove(which);
        }
        Ok(())
    }

    /// Ends a connection from the broker's side: what it had read may be in the log, come later, or never.
    pub(super) fn kill(&mut self, index: usize, dice: &mut Dice, auditor: &mut Auditor) -> Result<(), String> {
        if !self.connections[index].open {
            return Ok(());
        }
        let frames = std::mem::take(&mut self.connections[index].frames);
        let read = dice.below(frames.len() + 1);
        let mut read: VecDeque<Frame> = frames.into_iter().take(read).collect();
        if dice.percent(40) {
            while let Some(frame) = read.pop_front() {
                self.handle(index, frame, auditor)?;
            }
        } else {
            let publish = |frame| match frame {
                Frame::Publish(partition, bytes) => Some((partition, bytes)),
                Frame::Lock(_) | Frame::Unlock(_) | Frame::AskLock(_) => None,
            };
            let late: VecDeque<_> = read.into_iter().filter_map(publish).collect();
            if !late.is_empty() {
                self.late.push(late);
            }
        }
        self.close(index);
        Ok(())
    }

    /// The broker's server starts over: logs stay, connections and locks go.
    pub(super) fn restart(&mut self, dice: &mut Dice, auditor: &mut Auditor) -> Result<(), String> {
        for index in 0..self.connections.len() {
            self.kill(index, dice, auditor)?;
        }
        self.queues.iter_mut().for_each(Queue::unsubscribe);
        Ok(())
    }

    /// The connections that are open, or that some node still believes in.
    pub(super) fn open(&self) -> Vec<usize> {
        (0..self.connections.len()).filter(|index| self.connections[*index].open).collect()
    }

    /// What a process that was killed leaves: nobody reads any more.
    pub(super) fn deafen(&mut self, node: usize) {
        for connection in self.connections.iter_mut().filter(|connection| connection.node == node) {
            connection.notices.clear();
            connection.left = true;
        }
    }

    pub(super) fn set_cut(&mut self, connection: usize, cut: bool) {
        self.connections[connection].cut = cut;
    }

    pub(super) fn mend(&mut self) {
        self.connections.iter_mut().for_each(|connection| connection.cut = false);
        (self.away, self.blocked) = (false, false);
    }

    /// The connection that has the lock of a partition.
    pub(super) fn holder(&self, partition: PartitionId) -> Option<usize> {
        self.locks[usize::from(partition.get())]
    }

    pub(super) fn queue(&mut self, partition: PartitionId) -> &mut Queue {
        &mut self.queues[usize::from(partition.get())]
    }

    /// Whether everything that was sent has arrived and everything in the logs is acknowledged.
    pub(super) fn is_quiet(&self) -> bool {
        let still = |connection: &Connection| !connection.open || !connection.left && connection.frames.is_empty();
        let read = |connection: &Connection| connection.left || connection.notices.is_empty();
        self.late.is_empty()
            && self.bereft.is_empty()
            && self.connections.iter().all(|connection| still(connection) && read(connection))
            && self.queues.iter().all(Queue::is_empty)
    }

    fn handle(&mut self, index: usize, frame: Frame, auditor: &mut Auditor) -> Result<(), String> {
        match frame {
            Frame::Lock(partition) => {
                let lock = &mut self.locks[usize::from(partition.get())];
                // Declaring an exclusive queue again on its own connection is no change.
                let notice = if *lock.get_or_insert(index) == index { Notice::Locked(partition) } else { Notice::LockRefused(partition) };
                self.connections[index].notices.push_back(notice);
            }
            Frame::Unlock(partition) => {
                let lock = &mut self.locks[usize::from(partition.get())];
                if *lock == Some(index) {
                    *lock = None;
                }
            }
            Frame::AskLock(partition) => {
                let is_there = self.locks[usize::from(partition.get())] == Some(index);
                self.connections[index].notices.push_back(Notice::StillLocked(partition, is_there));
            }
            Frame::Publish(partition, bytes) => {
                let batch = self.enqueue(partition, bytes, auditor)?;
                self.connections[index].notices.push_back(Notice::Confirmed(partition, batch.epoch, batch.sequence));
            }
        }
        Ok(())
    }

    fn enqueue(&mut self, partition: PartitionId, bytes: Vec<u8>, auditor: &mut Auditor) -> Result<Batch, String> {
        let batch = event::decode(&bytes).map_err(|error| error.to_string())?;
        auditor.enqueued(&batch)?;
        self.queue(partition).fresh.push_back(bytes);
        Ok(batch)
    }

    fn close(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.open = false;
        connection.frames.clear();
        connection.notices.push_back(Notice::Closed);
        self.locks.iter_mut().filter(|lock| **lock == Some(index)).for_each(|lock| *lock = None);
    }
}

impl Queue {
    /// Makes somebody the active consumer, if nobody is. Says which subscription theirs is, if it is theirs.
    pub(super) fn subscribe(&mut self, consumer: usize) -> Option<u64> {
        if self.active.is_none() {
            self.active = Some(consumer);
            self.generation += 1;
        }
        (self.active == Some(consumer)).then_some(self.generation)
    }

    /// Ends the subscription, whoever's it is: what was not acknowledged goes back, behind what went back before.
    pub(super) fn unsubscribe(&mut self) {
        self.active = None;
        self.given_back.extend(std::mem::take(&mut self.delivered).into_values());
    }

    /// Ends a consumer's subscription.
    pub(super) fn unsubscribe_from(&mut self, consumer: usize) {
        if self.active == Some(consumer) {
            self.unsubscribe();
        }
    }

    /// Somebody purges it: all goes that is not with the active consumer. Says how much.
    pub(super) fn purge(&mut self) -> usize {
        self.given_back.drain(..).chain(self.fresh.drain(..)).count()
    }

    /// It loses its last messages, and with them whoever was subscribed. Says how many.
    pub(super) fn lose_last(&mut self, count: usize) -> usize {
        self.unsubscribe();
        (0..count).map_while(|_| self.fresh.pop_back().or_else(|| self.given_back.pop_back())).count()
    }

    /// The next delivery of that subscription.
    pub(super) fn deliver(&mut self, generation: u64) -> Option<Delivery> {
        if self.active.is_none() || self.generation != generation {
            return None;
        }
        let again = !self.given_back.is_empty();
        let body = self.given_back.pop_front().or_else(|| self.fresh.pop_front())?;
        self.last_tag += 1;
        self.delivered.insert(self.last_tag, body.clone());
        Some(Delivery { tag: self.last_tag, body, again })
    }

    /// Acknowledges a delivery, if that subscription is still there.
    pub(super) fn acknowledge(&mut self, generation: u64, tag: u64) {
        if self.active.is_some() && self.generation == generation {
            self.delivered.remove(&tag);
        }
    }

    /// If nobody is served, somebody comes who takes so many messages, acknowledges none, and leaves.
    pub(super) fn visit(&mut self, takes: usize) {
        if let Some(generation) = self.subscribe(usize::MAX) {
            (0..takes).for_each(|_| drop(self.deliver(generation)));
            self.unsubscribe();
        }
    }

    /// A consumer writes a marker.
    pub(super) fn mark(&mut self, marker: Vec<u8>) {
        self.fresh.push_back(marker);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.given_back.is_empty() && self.delivered.is_empty()
    }
}
