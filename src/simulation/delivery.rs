//! How calls are moved on: they arrive at nodes that run, and go back from there. Never decides what is said.

use super::Trail;
use super::call::{Ask, CallId};
use super::dice::Dice;
use super::network::{Network, Stage, busy};
use super::node::Node;
use super::tables::Memory;
use crate::domain::PartitionId;
use crate::history::Told;
use crate::routing::past;

impl Network {
    /// Moves one call on.
    pub(super) fn work(&mut self, now: u64, dice: &mut Dice, tables: &Memory, nodes: &mut [Node], trail: &mut Trail) {
        if self.moving.is_empty() {
            return;
        }
        let which = dice.below(self.moving.len());
        let id = self.moving[which];
        if self.advance(id, now, tables, nodes, trail, dice) {
            self.moving.swap_remove(which);
        }
    }

    /// Says whether the call is under way no longer.
    fn advance(&mut self, id: CallId, now: u64, tables: &Memory, nodes: &mut [Node], trail: &mut Trail, dice: &mut Dice) -> bool {
        let call = &mut self.calls[id];
        if !nodes[call.via].up {
            call.stage = Stage::Over;
            return true;
        }
        if nodes[call.via].paused {
            return false;
        }
        match std::mem::replace(&mut call.stage, Stage::Held) {
            Stage::Out(to) if !nodes[to].up => {
                // Refused before anything was sent.
                call.stage = Stage::Back(busy(&call.ask));
                false
            }
            Stage::Out(to) if nodes[to].paused => {
                call.stage = Stage::Out(to);
                false
            }
            Stage::Out(to) => match nodes[to].receive(id, call.partition, call.ask.clone(), now) {
                Ok(()) => true,
                Err(()) => {
                    call.stage = Stage::Back(busy(&call.ask));
                    false
                }
            },
            Stage::Back(said) => self.back(id, said, now, trail),
            Stage::Reading(lookup) => {
                let can_read = !nodes[call.via].isolated && !tables.is_away();
                self.read(id, lookup, now, tables, can_read, trail)
            }
            Stage::Recalling(..) | Stage::Past(_, past::Step::Commodity(_) | past::Step::Key(..))
                if nodes[call.via].isolated || tables.is_away() =>
            {
                self.tell(id, Told::Busy, now, trail);
                true
            }
            Stage::Past(refusal, step) => self.past(id, refusal, step, now, tables, trail),
            Stage::Recalling(order, None) => {
                call.stage = Stage::Recalling(order, Some(tables.position(call.partition)));
                false
            }
            Stage::Recalling(order, Some(applied)) => {
                let to = believed_owner(nodes, call.partition, self.stale_news_percent, dice);
                match (tables.recalled(order, applied), &mut call.ask) {
                    (Some(recalled), Ask::Command(command)) => {
                        let row = command.row_mut().expect("only such a command is about an order");
                        *row = Some(Box::new(recalled));
                    }
                    // Never known to it: asked once more, as a question.
                    _ => call.ask = Ask::Lookup(order),
                }
                call.stage = Stage::Out(to);
                false
            }
            Stage::Held | Stage::Over => true,
        }
    }
}

/// Who a node believes to own a partition: somebody who serves it, if its news are good; anybody, if not.
pub(super) fn believed_owner(nodes: &[Node], partition: PartitionId, stale_news_percent: u64, dice: &mut Dice) -> usize {
    let serving: Vec<usize> = (0..nodes.len()).filter(|node| nodes[*node].serves(partition)).collect();
    match dice.pick(&serving) {
        Some(node) if !dice.percent(stale_news_percent) => *node,
        _ => dice.below(nodes.len()),
    }
}
