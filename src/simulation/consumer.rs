//! A consumer: subscribes, applies what it was delivered in one transaction, acknowledges. A shell around the projection. It may
//! die between commit and acknowledgement, and may wake up with deliveries that are another's by now.

use std::collections::VecDeque;

use futures_util::FutureExt;

use super::tables::Mood;
use super::world::Env;
use crate::domain::PartitionId;
use crate::event;
use crate::projection::{self, Outcome, Stop};

/// Deliveries one lane takes in advance, at most.
const PREFETCH: usize = 6;

#[derive(Debug)]
struct Lane {
    partition: PartitionId,
    generation: u64,
    deliveries: VecDeque<(usize, Vec<u8>)>,
    /// A batch could not be applied, and none has been since.
    suspect: bool,
}

/// A process.
#[derive(Debug)]
pub(super) struct Consumer {
    index: usize,
    pub(super) up: bool,
    pub(super) paused: bool,
    lanes: Vec<Lane>,
}

impl Consumer {
    pub(super) fn new(index: usize, partitions: impl Iterator<Item = PartitionId>) -> Self {
        let lanes = partitions.map(|partition| Lane { partition, generation: 0, deliveries: VecDeque::new(), suspect: false }).collect();
        Self { index, up: true, paused: false, lanes }
    }

    /// Takes deliveries, and applies some of those it has.
    pub(super) fn act(&mut self, env: &mut Env) -> Result<(), String> {
        if env.broker.away {
            return Ok(());
        }
        let which = env.dice.below(self.lanes.len());
        let alone = env.dice.percent(50);
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if index == which || !alone {
                lane.take(self.index, env);
            }
        }
        let most = 1 + env.dice.below(PREFETCH);
        // Nobody writes one while an older release takes part, whose consumers write no deltas.
        if env.dice.one_in(20) && !env.tables.is_away() && !env.tables.is_mixed() {
            env.tables.write_checkpoint(self.lanes[which].partition)?;
        }
        if !env.tables.is_away() && !env.tables.is_mixed() {
            env.tables.look_after_the_past(&mut env.past_dice);
        }
        self.apply(most, env)
    }

    /// The process is killed.
    pub(super) fn kill(&mut self, env: &mut Env) {
        (self.up, self.paused) = (false, false);
        self.lanes.iter_mut().for_each(|lane| lane.deliveries.clear());
        self.dismiss(env);
    }

    /// The broker gives its subscriptions to others.
    pub(super) fn dismiss(&self, env: &mut Env) {
        for lane in &self.lanes {
            env.broker.queue(lane.partition).unsubscribe_from(self.index);
        }
    }

    fn apply(&mut self, most: usize, env: &mut Env) -> Result<(), String> {
        let mut taken = Vec::new();
        let mut batches = Vec::new();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            for (tag, body) in lane.deliveries.iter().take(most) {
                taken.push((index, *tag));
                batches.push(event::decode(body).map_err(|error| error.to_string())?);
            }
        }
        if batches.is_empty() || env.tables.is_away() {
            return Ok(());
        }
        // While releases are mixed, the first consumer is of the older one.
        env.tables.set_older(env.tables.is_mixed() && self.index == 0);
        let rough = env.weather.weights.fault > 0;
        if rough && env.dice.one_in(12) {
            env.tables.set_mood(if env.dice.percent(50) { Mood::LosesCommit } else { Mood::HidesCommit });
        }
        let before: Vec<_> = self.lanes.iter().map(|lane| env.tables.position(lane.partition)).collect();
        let applied = projection::apply_to(&env.tables, &batches).now_or_never().expect("tables in memory keep nobody waiting");
        env.tables.set_mood(Mood::Well);
        for (lane, before) in self.lanes.iter().zip(before) {
            let of_it: Vec<_> = batches.iter().filter(|batch| batch.partition == lane.partition).cloned().collect();
            env.auditor.projected(env.now, &of_it, before, env.tables.position(lane.partition))?;
        }
        let report = match applied {
            Ok(report) => report,
            // Whether it is in the tables is not known: the same batches again, later.
            Err(_) => return env.tables.imbalance().map_or(Ok(()), Err),
        };
        if let Some(stop) = report.stops.iter().find(|stop| !env.auditor.has_lost(stop.partition())) {
            return Err(format!("the projection stopped: {stop}"));
        }
        if report.count(Outcome::Applied) > 0 {
            env.trail.note(env.now, || format!("consumer {}: {report:?}", self.index));
            if let Some(what) = env.tables.imbalance() {
                return Err(what);
            }
        }
        if rough && env.dice.one_in(10) {
            self.kill(env);
            return Ok(());
        }
        for ((index, tag), outcome) in taken.into_iter().zip(&report.outcomes) {
            let lane = &mut self.lanes[index];
            if *outcome != Outcome::Stopped {
                lane.suspect &= *outcome != Outcome::Applied;
                lane.deliveries.pop_front();
                env.broker.queue(lane.partition).acknowledge(lane.generation, tag);
            }
        }
        report.stops.iter().for_each(|stop| self.stopped(stop, env));
        Ok(())
    }

    /// The first time it subscribes again; then it says what is missing.
    fn stopped(&mut self, stop: &Stop, env: &mut Env) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.partition == stop.partition()) else { return };
        lane.deliveries.clear();
        env.broker.queue(lane.partition).unsubscribe_from(self.index);
        env.trail.note(env.now, || format!("consumer {}: {stop}", self.index));
        if std::mem::replace(&mut lane.suspect, true)
            && let Some(gap) = stop.gap()
        {
            env.tables.note_gap(gap);
        }
    }
}

impl Lane {
    fn take(&mut self, consumer: usize, env: &mut Env) {
        let queue = env.broker.queue(self.partition);
        match queue.subscribe(consumer) {
            Some(generation) if generation != self.generation => {
                (self.generation, self.deliveries) = (generation, VecDeque::new());
            }
            Some(_) => {}
            // What an earlier subscription left may be applied before anybody notices, or not.
            None if env.dice.percent(50) => self.deliveries.clear(),
            None => {}
        }
        let room = PREFETCH.saturating_sub(self.deliveries.len());
        for _ in 0..room {
            let Some(delivery) = env.broker.queue(self.partition).deliver(self.generation) else { break };
            self.deliveries.push_back(delivery);
        }
    }
}
