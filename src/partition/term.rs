//! One epoch of one owner, as a plain state machine: the engine, the batch being gathered and the one in flight; who is
//! answered what, and when (R1, R2). It awaits nothing, reads no clock and sends nothing: the partition task is one shell
//! around it, the simulator another.

use std::sync::Arc;

use super::batch::{Gathered, Waiter};
use super::{Hear, RecentOrders, Reply, Sighting};
use crate::breaks::{self, Break};
use crate::domain::{Actor, Cause, CommodityId, Epoch, NamedOrder, OrderId, OrderStatus, PartitionId, Sequence, Timestamp};
use crate::engine::{Answer, Command, Engine, Outcome, Refusal, RestoreError, Snapshot};
use crate::event::{Batch, Event, LogVersion};

/// The bounds a term works within.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Requests in one batch, at most.
    pub(crate) batch_commands_max: usize,
    /// In which version the log is written: where it is an older one, older releases may take part.
    pub(crate) log_version: LogVersion,
    /// Whether a confirm says that the batch is in the tables: the append is their transaction.
    pub(crate) confirm_is_applied: bool,
}

/// One owner's epoch. `C` hears what became of a command.
pub(crate) struct Term<C> {
    partition: PartitionId,
    epoch: Epoch,
    bounds: Bounds,
    engine: Engine,
    recent: Arc<RecentOrders>,
    sequence: Sequence,
    gathered: Gathered<C>,
    /// Who waits for the batch in flight; none = nothing is in flight.
    in_flight: Option<Gathered<C>>,
    /// The last batch of this epoch that the tables are known to have.
    applied: Sequence,
    /// What may be forgotten now: the tables have had it for a while, so that a row that is being read is not too old already.
    forgettable: Sequence,
}

impl<C: Hear<Reply>> Term<C> {
    /// Begins behind the fence of an epoch, with the state all earlier epochs left. Takes as long as there is to load: not on a thread
    /// that others wait for.
    ///
    /// # Errors
    /// [`RestoreError`] when the snapshot contradicts itself.
    pub(crate) fn begin(
        (partition, epoch): (PartitionId, Epoch),
        mut snapshot: Snapshot,
        bounds: Bounds,
        recent: Arc<RecentOrders>,
    ) -> Result<Self, RestoreError> {
        if breaks::is_broken(Break::KeysThroughClaim) {
            snapshot.operations.clear();
        }
        let engine = Engine::restore(partition, epoch, snapshot, bounds.log_version)?;
        // They count on what this one would forget.
        recent.begin(epoch, bounds.log_version < LogVersion::V2, engine.orders());
        Ok(Self {
            partition,
            epoch,
            bounds,
            engine,
            recent,
            sequence: Sequence::FENCE,
            gathered: Gathered::default(),
            in_flight: None,
            applied: Sequence::FENCE,
            forgettable: Sequence::FENCE,
        })
    }

    /// The engine, to look at.
    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How many more requests may be taken up before a batch is confirmed.
    pub(crate) fn room(&self) -> usize {
        let most = self.bounds.batch_commands_max;
        let gathered = self.gathered.waiting.len().max(self.gathered.events.len());
        let behind = self.in_flight.as_ref().map_or(0, |in_flight| in_flight.waiting.len()).saturating_sub(most);
        most.saturating_sub(gathered.max(behind))
    }

    /// Decides a command.
    pub(crate) fn command(&mut self, now: Timestamp, command: Command, caller: C) {
        let placing = matches!(command, Command::Place(_));
        match self.apply(now, command) {
            // What a buyer was refused for may rest on orders in flight; the refusal of this request stays true anyway.
            Err(refusal) if placing && refusal != Refusal::IdempotencyMismatch => caller.hear(Reply::Refused(refusal)),
            Err(refusal) => self.answer_when_true(Waiter(caller, Reply::Refused(refusal))),
            Ok(answer) => self.answer_when_true(Waiter(caller, Reply::Done(answer))),
        }
    }

    /// Says what is known of an order, as far as it is confirmed.
    pub(crate) fn look_up(&self, order: OrderId) -> Option<Sighting> {
        self.recent.look_up(order)
    }

    /// Lets go holds whose time is over, at most so many.
    pub(crate) fn expire(&mut self, now: Timestamp, at_most: usize) {
        let expired = self.apply(now, Command::Expire { at_most });
        debug_assert!(matches!(expired, Ok(Answer::Expired(_))));
    }

    /// Closes commodities that ended before a time, at most so many.
    pub(crate) fn close_ended(&mut self, now: Timestamp, before: Timestamp, at_most: usize) {
        let closed = self.apply(now, Command::CloseEnded { before, at_most });
        debug_assert!(matches!(closed, Ok(Answer::Closed(_))));
    }

    /// Has the engine decide, and notes how the orders stand that it changed.
    fn apply(&mut self, now: Timestamp, mut command: Command) -> Outcome {
        if breaks::is_broken(Break::StaleRow)
            && let Some(Some(row)) = command.row_mut()
        {
            row.applied = (self.epoch, self.sequence);
        }
        if breaks::is_broken(Break::ExpectedVersion) {
            command = without_version(command);
        }
        if breaks::is_broken(Break::IssuerOfSubject)
            && let Command::Place(place) = &mut command
            && let Some((_, subject)) = place.user.foreign().and_then(|foreign| foreign.as_str().split_once(':'))
        {
            place.user = format!("a:{subject}").parse().expect("as good a subject of that issuer");
        }
        let Self { engine, gathered, bounds, .. } = self;
        let first = gathered.events.len();
        let outcome = engine.apply(now, command, &mut gathered.events);
        if breaks::is_broken(Break::UnitsOnce) || breaks::is_broken(Break::PaidOrExpired) {
            spoil(&mut gathered.events, first);
        }
        if !bounds.confirm_is_applied {
            gathered.changed.extend(gathered.events[first..].iter().filter_map(|event| order_of(event, engine)));
        }
        outcome
    }

    /// Makes what was gathered the batch in flight, to be appended now; none if there is nothing to send, or one is
    /// in flight already.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        if self.in_flight.is_some() || self.gathered.events.is_empty() {
            return None;
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        self.sequence = self.sequence.next();
        self.engine.gather_into(self.sequence.next());
        gathered.next_number = self.engine.next_number();
        let events = std::mem::take(&mut gathered.events);
        self.in_flight = Some(gathered);
        Some(Batch::new(self.partition, self.epoch, self.sequence, events))
    }

    /// The epoch.
    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
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
        let Some(confirmed) = self.in_flight.take() else { return };
        // Before anybody is answered: who reads an order next reads what it was told.
        self.recent.confirmed(self.sequence, confirmed.changed, confirmed.next_number);
        if self.bounds.confirm_is_applied {
            self.applied(self.sequence);
            // Of one batch, which is bounded.
            self.drop_applied(usize::MAX);
        }
        confirmed.waiting.into_iter().for_each(Waiter::confirmed);
    }

    /// The tables have every batch of this epoch up to that one.
    pub(crate) fn applied(&mut self, applied: Sequence) {
        self.applied = self.applied.max(applied);
    }

    /// No longer shows what the tables have; at most so many changes. Returns whether there may be more.
    pub(crate) fn drop_applied(&mut self, at_most: usize) -> bool {
        self.recent.applied(self.applied, at_most)
    }

    /// Forgets what the tables had when this was last done to the end; at most so many orders. Returns whether there may be more.
    pub(crate) fn forget(&mut self, at_most: usize) -> bool {
        let more = self.engine.forget(self.forgettable, at_most);
        if !more {
            self.forgettable = self.applied;
        }
        more
    }

    /// The confirm of the batch in flight is late: everyone who waits for it, or for what was decided behind it, hears what they would hear
    /// if it never came. It may come all the same, and then what was decided holds: "pending" has become "accepted".
    pub(crate) fn late(&mut self) {
        // Before anybody is told of an order: who asks for it next must not hear that there is no such id.
        self.recent.late(self.engine.next_number());
        let in_flight = self.in_flight.as_mut().map(|in_flight| std::mem::take(&mut in_flight.waiting));
        in_flight.into_iter().flatten().for_each(Waiter::in_doubt);
        std::mem::take(&mut self.gathered.waiting).into_iter().for_each(Waiter::in_doubt);
    }

    /// Answers everyone who still waits: this term will confirm nothing more. It asks nothing of the engine, so that it can be
    /// done after a panic in there.
    pub(crate) fn end(&mut self) {
        self.recent.end();
        self.in_flight.take().into_iter().flat_map(|gathered| gathered.waiting).for_each(Waiter::in_doubt);
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
        self.recent.begin(epoch, self.bounds.log_version < LogVersion::V2, self.engine.orders());
        Self { epoch, sequence: Sequence::FENCE, applied: Sequence::FENCE, forgettable: Sequence::FENCE, ..self }
    }

    /// Lets an answer wait for the newest batch that is not confirmed yet; answers now if there is none (R1).
    fn answer_when_true(&mut self, waiter: Waiter<C>) {
        waiter.0.wait_for(&waiter.1);
        if breaks::is_broken(Break::ConfirmBeforeReply) {
            waiter.confirmed();
        } else if !self.gathered.events.is_empty() {
            self.gathered.waiting.push(waiter);
        } else if let Some(in_flight) = &mut self.in_flight {
            in_flight.waiting.push(waiter);
        } else {
            waiter.confirmed();
        }
    }
}

/// Adds what no engine decides, behind what one has.
fn spoil(events: &mut Vec<Event>, first: usize) {
    let again = events[first..].iter().filter_map(|event| match event {
        Event::Moved { from, to, .. } if from.is_live() && !to.is_live() && breaks::is_broken(Break::UnitsOnce) => Some(event.clone()),
        Event::Moved { order, commodity, buyer, quantity, from, to: OrderStatus::Paid, at, .. }
            if breaks::is_broken(Break::PaidOrExpired) =>
        {
            let (order, commodity, buyer, quantity, from, at) = (*order, *commodity, *buyer, *quantity, *from, *at);
            let cause = Cause::by(Actor::Expiry);
            Some(Event::Moved { order, commodity, buyer, quantity, from, to: OrderStatus::Expired, at, cause })
        }
        _ => None,
    });
    let again: Vec<Event> = again.collect();
    events.extend(again);
}

/// The command alone, whatever version it expects.
fn without_version(command: Command) -> Command {
    match command {
        Command::Expecting { command, .. } => *command,
        Command::Keyed { operation, command } => Command::Keyed { operation, command: Box::new(without_version(*command)) },
        command => command,
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
        // What it is about has an event of its own.
        Event::KeyForgotten { .. } | Event::Operated { .. } => None,
        // Nothing of it that anybody sees.
        Event::PaymentStarted { .. } | Event::PaymentChanged { .. } => None,
    }
}

/// The order an event changed, as it stands in the engine that has just decided it.
fn order_of(event: &Event, engine: &Engine) -> Option<NamedOrder> {
    match event {
        Event::Placed { order, foreign, .. } => Some(NamedOrder { order: *order, foreign: foreign.clone() }),
        Event::Moved { order, .. } => Some(NamedOrder { order: engine.order(*order)?, foreign: None }),
        Event::Listed(_)
        | Event::Changed { .. }
        | Event::Restocked { .. }
        | Event::Paused { .. }
        | Event::Ended { .. }
        | Event::Closed { .. }
        | Event::Removed { .. }
        | Event::Operated { .. }
        | Event::PaymentStarted { .. }
        | Event::PaymentChanged { .. }
        | Event::KeyForgotten { .. } => None,
    }
}
