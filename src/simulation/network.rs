//! Calls on their way: from a buyer to some node, from there to the owner, into its inbox, and back. Any of them may be overtaken,
//! and lost with the process it is in. What is said of an order id is worked out at the node that was asked, read by read.

use std::collections::BTreeMap;

use super::Trail;
use super::call::{Ask, CallId, Said};
use super::dice::Dice;
use super::tables::Memory;
use crate::checkpoint::Position;
use crate::domain::{CommodityId, OrderId, PartitionId, PaymentId, Principal};
use crate::engine::{Answer, Command, Refusal};
use crate::history::{Asked, History, Told};
use crate::partition::{Busy, Reply, Sighting};
use crate::routing::{Lookup, Next, OrderLookup, past, without_row};

#[derive(Debug)]
pub(super) struct Call {
    /// The node the buyer asked.
    pub(super) via: usize,
    pub(super) partition: PartitionId,
    pub(super) ask: Ask,
    /// The question in the history.
    noted: usize,
    /// How often the row of its order was read.
    rows_read: usize,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// On its way to that node.
    Out(usize),
    /// With some node; nothing of it is under way.
    Held,
    /// On its way back.
    Back(Said),
    /// The node that was asked reads what it needs to answer.
    Reading(Lookup),
    /// It reads what has become of a commodity that the owner refused so.
    Past(Refusal, past::Step),
    /// It reads the row of an order that the owner has forgotten: first the position of the tables, then the row.
    Recalling(OrderId, Option<Position>),
    Over,
}

/// All calls.
#[derive(Debug, Default)]
pub(super) struct Network {
    pub(super) calls: Vec<Call>,
    /// Those that are under way.
    pub(super) moving: Vec<CallId>,
    pub(super) history: History,
    /// Ids that somebody was told, and whose orders they are.
    pub(super) known: Vec<(OrderId, Principal)>,
    /// Commodities that an operator was told are listed.
    pub(super) listed: Vec<CommodityId>,
    /// With how many units they were to be listed.
    pub(super) totals: BTreeMap<CommodityId, i64>,
    /// The version of each that an operator was told last.
    pub(super) versions: BTreeMap<CommodityId, u32>,
    /// Payments that somebody was told to be open, and what they are about.
    pub(super) payments_started: Vec<(PaymentId, i64)>,
    /// Payments that have to be called off before their orders can be.
    pub(super) payments_in_the_way: Vec<PaymentId>,
    /// What cannot be true of an answer, if there is one.
    pub(super) contradiction: Option<String>,
    /// How often a node is wrong about who owns a partition, in a hundred times.
    pub(super) stale_news_percent: u64,
}

impl Network {
    pub(super) fn new(stale_news_percent: u64) -> Self {
        Self { stale_news_percent, ..Self::default() }
    }

    /// A buyer or an operator asks one node; that node believes another one, or itself, to be the owner.
    pub(super) fn ask(&mut self, now: u64, via: usize, to: usize, partition: PartitionId, ask: Ask, asked: Asked) -> CallId {
        let noted = self.history.asked(now, via as u32, asked);
        self.calls.push(Call { via, partition, ask, noted, rows_read: 0, stage: Stage::Out(to) });
        let id = self.calls.len() - 1;
        self.moving.push(id);
        id
    }

    /// A buyer asks one node, and is refused by its board.
    pub(super) fn refused(&mut self, now: u64, via: usize, partition: PartitionId, ask: Ask, asked: Asked) -> CallId {
        let noted = self.history.asked(now, via as u32, asked);
        self.history.told(noted, now, Told::Refused);
        self.calls.push(Call { via, partition, ask, noted, rows_read: 0, stage: Stage::Over });
        self.calls.len() - 1
    }

    /// What was told, so far.
    pub(super) fn told(&self, call: CallId) -> Told {
        self.history.calls[self.calls[call].noted].told
    }

    /// Whether no call is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.moving.is_empty()
    }

    /// An owner has said something about a call.
    pub(super) fn said(&mut self, call: CallId, said: Said) {
        if !matches!(self.calls[call].stage, Stage::Over) {
            self.calls[call].stage = Stage::Back(said);
            self.moving.push(call);
        }
    }

    /// The caller waits no longer. What becomes of the call it will not hear.
    pub(super) fn give_up(&mut self, dice: &mut Dice) {
        if let Some(id) = dice.pick(&self.moving).copied() {
            // A call that is still on its way out arrives all the same.
            if !matches!(self.calls[id].stage, Stage::Out(_)) {
                self.calls[id].stage = Stage::Over;
                self.moving.retain(|moving| *moving != id);
            }
        }
    }

    pub(super) fn back(&mut self, id: CallId, said: Said, now: u64, trail: &mut Trail) -> bool {
        /// As the router has it.
        const ROWS_READ_MAX: usize = 4;
        let call = &mut self.calls[id];
        let about = match &mut call.ask {
            Ask::Command(command) => command.order().zip(command.row_mut().map(|row| row.is_none())),
            Ask::Lookup(_) => None,
        };
        match (said, &call.ask) {
            (Said::Sighting(sighting), Ask::Lookup(order)) => {
                call.stage = Stage::Reading(Lookup::of(*order, sighting));
                false
            }
            (Said::Reply(Reply::Done(Answer::PlacedBefore(order))), _) => {
                self.placed_before(id, order);
                false
            }
            (Said::Reply(Reply::Refused(refusal)), _)
                if about
                    .is_some_and(|(_, without_row)| refusal == Refusal::StaleRow || refusal == Refusal::OrderNotFound && without_row) =>
            {
                call.rows_read += 1;
                if call.rows_read > ROWS_READ_MAX {
                    self.tell(id, Told::Busy, now, trail);
                    return true;
                }
                let (order, _) = about.expect("it was just looked at");
                call.stage = Stage::Recalling(order, None);
                false
            }
            (Said::Reply(Reply::Refused(Refusal::PaymentOpen(attempt))), Ask::Command(command)) => {
                let order = command.order().expect("it is refused to whoever cancels an order");
                self.payments_in_the_way.push(PaymentId { order, attempt });
                self.tell(id, Told::Refused, now, trail);
                true
            }
            (Said::Reply(Reply::Refused(refusal)), Ask::Command(command)) => match past::after_refusal(command, refusal) {
                past::Step::Tell(reply) => {
                    self.tell(id, told(&reply), now, trail);
                    true
                }
                step => {
                    call.stage = Stage::Past(refusal, step);
                    false
                }
            },
            (Said::Reply(reply), _) => {
                self.note_version(id, &reply);
                if let Reply::Done(Answer::Payment { order, attempt, .. }) = &reply {
                    self.payments_started.push((PaymentId { order: order.id, attempt: *attempt }, order.amount()));
                }
                self.tell(id, told(&reply), now, trail);
                true
            }
            (Said::Sighting(_), Ask::Command(_)) => unreachable!("commands are answered with replies"),
        }
    }

    /// What is carried out only of a version makes that one the next, or leaves it.
    fn note_version(&mut self, id: CallId, reply: &Reply) {
        let Reply::Done(Answer::Commodity(commodity)) = reply else { return };
        self.versions.insert(commodity.id, commodity.version);
        let Ask::Command(asked) = &self.calls[id].ask else { return };
        let asked = if let Command::Keyed { command, .. } = asked { command.as_ref() } else { asked };
        if let Command::Expecting { version, command } = asked
            && !(*version..=version + 1).contains(&commodity.version)
        {
            let seen = commodity.version;
            self.contradiction = Some(format!("{command:?} was for version {version}, and was carried out: that is {seen} now"));
        }
    }

    /// Nothing but the id of an order is known to its owner, or to the tables under its key: they have it.
    fn placed_before(&mut self, id: CallId, order: OrderId) {
        let call = &mut self.calls[id];
        call.ask = Ask::Lookup(order);
        let sighting = Sighting::Unknown { epoch: order.epoch(), next_number: order.number() + 1, in_tables: true };
        call.stage = Stage::Reading(Lookup::of(order, Ok(sighting)));
    }

    pub(super) fn past(&mut self, id: CallId, refusal: Refusal, step: past::Step, now: u64, tables: &Memory, trail: &mut Trail) -> bool {
        let next = match (step, &self.calls[id].ask) {
            (past::Step::Tell(reply), _) => {
                self.tell(id, told(&reply), now, trail);
                return true;
            }
            (past::Step::Order(order), _) => {
                self.placed_before(id, order);
                return false;
            }
            (past::Step::Commodity(commodity), Ask::Command(command)) => {
                past::with_commodity(command, refusal, tables.closed_commodity(commodity))
            }
            (past::Step::Key(place, key), _) => past::with_key(&place, tables.order_under_key(place.commodity, place.user.key(), key)),
            (past::Step::Commodity(_), Ask::Lookup(_)) => unreachable!("only commands are refused"),
        };
        self.calls[id].stage = Stage::Past(refusal, next);
        false
    }

    pub(super) fn read(&mut self, id: CallId, lookup: Lookup, now: u64, tables: &Memory, can_read: bool, trail: &mut Trail) -> bool {
        let lookup = match lookup.next() {
            Next::Answer(answer) => {
                let asked = &self.history.calls[self.calls[id].noted].asked;
                let told = match asked {
                    Asked::Cancel(order) | Asked::Money(order) => told(&without_row(*order, None, &answer)),
                    Asked::Place { .. } if !matches!(answer, OrderLookup::Known(_)) => Told::Pending(Some(lookup.id())),
                    _ => found(&answer),
                };
                self.tell(id, told, now, trail);
                return true;
            }
            Next::Epochs | Next::Row if !can_read => {
                self.tell(id, Told::Busy, now, trail);
                return true;
            }
            Next::Epochs => {
                let epochs = tables.epochs(lookup.id().partition());
                lookup.with_epochs(epochs)
            }
            Next::Row => {
                let row = tables.order(lookup.id());
                lookup.with_row(row)
            }
        };
        self.calls[id].stage = Stage::Reading(lookup);
        false
    }

    pub(super) fn tell(&mut self, id: CallId, told: Told, now: u64, trail: &mut Trail) {
        let call = &mut self.calls[id];
        call.stage = Stage::Over;
        trail.note(now, || format!("call {id} via node {}: {told:?}", call.via));
        self.history.told(call.noted, now, told);
        match (&self.history.calls[call.noted].asked, told) {
            (Asked::Place { user, .. }, Told::Accepted { order, .. } | Told::Order { order, .. } | Told::Pending(Some(order)))
                if !self.known.iter().any(|(known, _)| *known == order) =>
            {
                self.known.push((order, user.clone()));
            }
            (Asked::Operate, Told::Done) => {
                if let Ask::Command(command) = &call.ask
                    && let Some(commodity) = listed_by(command).filter(|commodity| !self.listed.contains(commodity))
                {
                    self.listed.push(commodity);
                }
            }
            _ => {}
        }
    }
}

/// What a command puts on the list.
fn listed_by(command: &Command) -> Option<CommodityId> {
    match command {
        Command::Keyed { command, .. } => listed_by(command),
        Command::List { commodity, .. } => Some(*commodity),
        _ => None,
    }
}

pub(super) fn busy(ask: &Ask) -> Said {
    match ask {
        Ask::Command(_) => Said::Reply(Reply::Busy(Busy::Unavailable)),
        Ask::Lookup(_) => Said::Sighting(Err(Busy::Unavailable)),
    }
}

fn told(reply: &Reply) -> Told {
    match reply {
        Reply::Done(Answer::Placed(order)) => Told::Accepted { order: order.id, status: order.status },
        Reply::Done(Answer::Replayed(order) | Answer::Order(order) | Answer::Payment { order, .. }) => {
            Told::Order { order: order.id, status: order.status }
        }
        Reply::Done(Answer::PlacedBefore(order)) => Told::Pending(Some(*order)),
        Reply::Done(Answer::Commodity(_) | Answer::DoneBefore(..) | Answer::Removed | Answer::Expired(_) | Answer::Closed(_)) => Told::Done,
        Reply::Refused(Refusal::OrderNotFound) => Told::NotFound,
        Reply::Refused(_) => Told::Refused,
        Reply::Pending(order) => Told::Pending(*order),
        Reply::Busy(_) => Told::Busy,
    }
}

fn found(answer: &OrderLookup) -> Told {
    match answer {
        OrderLookup::Known(named) => Told::Order { order: named.order.id, status: named.order.status },
        OrderLookup::Refused => Told::Refused,
        OrderLookup::Pending => Told::Pending(None),
        OrderLookup::NotFound => Told::NotFound,
        OrderLookup::Unavailable => Told::Busy,
    }
}
