//! Every order of events, up to a bound: the ownership protocol over a broker, tables and a consumer that are a few fields each. The
//! seeds of the simulator go far and meet little of what there is on the way; this goes not far and meets everything.
//!
//! It knows no engine, no orders and no time: a batch is its number. What decides is the real [`Protocol`] and the projection's real
//! rule for which batches count; around them everything that may happen next is a choice, and the checker takes every one.

mod state;
mod steps;

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::breaks::Break;
use state::{Bound, World};
use steps::Step;

/// What is explored.
#[derive(Clone, Copy, Debug)]
struct Ownership {
    bound: Bound,
    broken: Option<Break>,
}

impl Model for Ownership {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.bound)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        world.steps(steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.take(step, self.broken);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SOLD, |_, world: &World| world.accepted_is_sold()),
            Property::always(OVER, |_, world: &World| world.what_is_over_is_over()),
            Property::always(PAST, |_, world: &World| world.owners_begin_with_the_past()),
            Property::always(KNOWN, |_, world: &World| world.owners_know_what_was_accepted()),
            Property::sometimes("the last epoch is claimed and every batch accepted and applied", |_, world: &World| world.is_sold_out()),
        ]
    }
}

const SOLD: &str = "what a buyer was told is accepted is in the tables, or can still come there, or the projection has stopped, or the log lost it and nobody knew";
const OVER: &str = "when an owner has begun, nothing of an earlier epoch comes to the tables any more";
const PAST: &str = "what an owner begins with is of earlier epochs, and nothing is of later ones";
const KNOWN: &str = "an owner that accepts knows everything that earlier epochs accepted";

#[cfg(test)]
mod tests {
    use super::*;

    /// With two nodes.
    const BOUND: Bound = Bound { epochs: 3, batches: 2, faults: 1 };

    fn explored(broken: Option<Break>, bound: Bound) -> impl Checker<Ownership> {
        let model = Ownership { bound, broken };
        // To the end where nothing is to be found, to the first of it where something is.
        let threads = if broken.is_none() { 2 } else { 1 };
        let until = if broken.is_none() { HasDiscoveries::All } else { HasDiscoveries::AnyFailures };
        model.checker().threads(threads).finish_when(until).spawn_bfs().join()
    }

    #[test]
    fn every_order_of_events_keeps_the_promise() {
        let checker = explored(None, BOUND);
        println!("{} states, at most {} steps deep", checker.unique_state_count(), checker.max_depth());
        checker.assert_properties();
    }

    /// The shortest way to a violation, with as few faults as will do.
    fn trace(broken: Break) -> Vec<String> {
        for faults in 0..=2 {
            let checker = explored(Some(broken), Bound { faults, ..BOUND });
            let found = [SOLD, OVER, PAST, KNOWN].into_iter().filter_map(|name| Some((name, checker.discovery(name)?.into_actions())));
            let Some((name, steps)) = found.min_by_key(|(_, steps)| steps.len()) else { continue };
            let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
            println!("{broken:?} is not so in {} steps: {name}\n  {}", steps.len(), steps.join("\n  "));
            return steps;
        }
        panic!("{broken:?} is not found")
    }

    #[test]
    fn each_deliberate_break_is_found_with_its_shortest_trace() {
        for broken in [
            Break::ConfirmBeforeReply,
            Break::OlderIsSkipped,
            Break::Fence,
            Break::Drain,
            Break::LookBack,
            Break::Lock,
            Break::LockAtConfirm,
            Break::LockAtFence,
            Break::KnownAtFence,
            Break::ConnectionOfTheLock,
        ] {
            assert!(!trace(broken).is_empty(), "{broken:?}");
        }
    }
}
