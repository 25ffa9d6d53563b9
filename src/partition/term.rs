//! One epoch of one owner, as a plain state machine: the engine, the batch being gathered and the one in flight; who is
//! answered what, and when (R1, R2). It awaits nothing, reads no clock and sends nothing: the partition task is one shell
//! around it, the simulator another.

use super::batch::{Gathered, Hear, Waiter};
use super::{Reply, Sighting};
use crate::breaks::{self, Break};
use crate::domain::{CommodityId, Epoch, OrderId, PartitionId, Sequence, Timestamp};
use crate::engine::{Answer, Command, Engine, Refusal, RestoreError, Snapshot};
use crate::event::{Batch, Event};

/// The bounds a term works within.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Requests in one batch, at most.
    pub(crate) batch_commands_max: usize,
    /// Ended orders the engine remembers, at most.
    pub(crate) ended_orders_max: usize,
}

/// An owner's term of office. `C` hears what became of a command, `L` what is known of an order.
pub(crate) struct Term<C, L> {
    partition: PartitionId,
    epoch: Epoch,
    bounds: Bounds,
    engine: Engine,
    sequence: Sequence,
    gathered: Gathered<C, L>,
    /// Who waits for the batch in flight; none = nothing is in flight.
    in_flight: Option<Vec<Waiter<C, L>>>,
}

impl<C: Hear<Reply>, L: Hear<Sighting>> Term<C, L> {
    /// Begins behind the fence of an epoch, with the state all earlier epochs left.
    ///
    /// # Errors
    /// [`RestoreError`] when the snapshot contradicts itself.
    pub(crate) fn begin(partition: PartitionId, epoch: Epoch, snapshot: Snapshot, bounds: Bounds) -> Result<Self, RestoreError> {
        let engine = Engine::restore(partition, epoch, snapshot, bounds.ended_orders_max)?;
        Ok(Self { partition, epoch, bounds, engine, sequence: Sequence::FENCE, gathered: Gathered::default(), in_flight: None })
    }

    /// The engine, to look at.
    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How many more requests may be taken up before a batch is confirmed.
    pub(crate) fn room(&self) -> usize {
        let most = self.bounds.batch_commands_max;
        let gathered = self.gathered.waiting.len().max(self.gathered.events.len());
        let behind = self.in_flight.as_ref().map_or(0, Vec::len).saturating_sub(most);
        most.saturating_sub(gathered.max(behind))
    }

    /// Decides a command.
    pub(crate) fn command(&mut self, now: Timestamp, command: Command, caller: C) {
        let placing = matches!(command, Command::Place(_));
        match self.engine.apply(now, command, &mut self.gathered.events) {
            // What a buyer was refused for may rest on orders in flight; the refusal of this request stays true anyway.
            Err(refusal) if placing && refusal != Refusal::IdempotencyMismatch => caller.hear(Reply::Refused(refusal)),
            Err(refusal) => self.answer_when_true(Waiter::Command(caller, Reply::Refused(refusal))),
            Ok(answer) => self.answer_when_true(Waiter::Command(caller, Reply::Done(answer))),
        }
    }

    /// Says what is known of an order.
    pub(crate) fn look_up(&mut self, order: OrderId, caller: L) {
        let sighting = match self.engine.order(order) {
            Some(order) => Sighting::Known(order),
            None => Sighting::Unknown { epoch: self.epoch, next_number: self.engine.next_number() },
        };
        self.answer_when_true(Waiter::Lookup(caller, sighting));
    }

    /// Ends holds whose time is over, at most one batch of them.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let at_most = self.bounds.batch_commands_max;
        let expired = self.engine.apply(now, Command::Expire { at_most }, &mut self.gathered.events);
        debug_assert!(matches!(expired, Ok(Answer::Expired(_))));
    }

    /// Makes what was gathered the batch in flight, to be appended now; none if there is nothing to send, or one is
    /// in flight already.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        if self.in_flight.is_some() || self.gathered.events.is_empty() {
            return None;
        }
        let gathered = std::mem::take(&mut self.gathered);
        self.sequence = self.sequence.next();
        self.in_flight = Some(gathered.waiting);
        Some(Batch { partition: self.partition, epoch: self.epoch, sequence: self.sequence, events: gathered.events })
    }

    /// The last batch that was sent, or the fence.
    pub(crate) const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Whether a batch is in flight.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The batch in flight is confirmed: what rests on it is true now.
    pub(crate) fn confirmed(&mut self) {
        self.in_flight.take().into_iter().flatten().for_each(Waiter::confirmed);
    }

    /// Answers everyone who still waits: this term will confirm nothing more. It asks nothing of the engine, so that it can be
    /// done after a panic in there.
    pub(crate) fn end(&mut self) {
        self.in_flight.take().into_iter().flatten().for_each(Waiter::in_doubt);
        std::mem::take(&mut self.gathered).waiting.into_iter().for_each(Waiter::never_sent);
    }

    /// The events gathered for the next batch.
    pub(crate) fn gathered(&self) -> &[Event] {
        &self.gathered.events
    }

    /// The commodities that the gathered events from `first` on have changed, each once.
    pub(crate) fn touched(&self, first: usize) -> Vec<CommodityId> {
        let mut touched: Vec<CommodityId> = self.gathered.events[first..].iter().filter_map(commodity_of).collect();
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    /// Goes on in a later epoch as if nothing were in doubt.
    #[cfg(test)]
    pub(crate) fn carry_on(mut self, epoch: Epoch) -> Self {
        self.end();
        Self { epoch, sequence: Sequence::FENCE, ..self }
    }

    /// Lets an answer wait for the newest batch that is not confirmed yet; answers now if there is none (R1).
    fn answer_when_true(&mut self, waiter: Waiter<C, L>) {
        if breaks::is_broken(Break::ConfirmBeforeReply) {
            waiter.confirmed();
        } else if !self.gathered.events.is_empty() {
            self.gathered.waiting.push(waiter);
        } else if let Some(in_flight) = &mut self.in_flight {
            in_flight.push(waiter);
        } else {
            waiter.confirmed();
        }
    }
}

/// The commodity whose state an event changed.
fn commodity_of(event: &Event) -> Option<CommodityId> {
    match event {
        Event::Listed(commodity) => Some(commodity.id),
        Event::Changed { commodity, .. }
        | Event::Restocked { commodity, .. }
        | Event::Paused { commodity, .. }
        | Event::Ended { commodity, .. }
        | Event::Closed { commodity, .. }
        | Event::Removed { commodity, .. }
        | Event::Moved { commodity, .. } => Some(*commodity),
        Event::Placed { order, .. } => Some(order.commodity),
        Event::KeyForgotten { .. } => None,
    }
}
