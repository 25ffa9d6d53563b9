//! A consumer: subscribes, puts in order what it was delivered, applies it in one transaction, acknowledges. A shell around sorter and
//! projection. It may die between commit and acknowledgement, and may wake up with deliveries that are another's by now.

use std::collections::VecDeque;

use futures_util::FutureExt;

use super::broker::Delivery;
use super::env::Env;
use super::tables::Mood;
use crate::domain::PartitionId;
use crate::event::{self, Batch, LogVersion};
use crate::projection::{self, Outcome, Position, Sorter, Stop, position_of};

/// Deliveries one lane takes in advance, at most: each life of a consumer has one of these.
const PREFETCHES: [usize; 4] = [1, 3, 6, 12];
/// The same while something is looked for: more than all that readers of a log can have given back.
const PREFETCH_MAX: usize = 256;
/// How often a marker is looked for until another is written.
const MARKER_LOOKS: u32 = 20;

#[derive(Debug)]
struct Lane {
    partition: PartitionId,
    generation: u64,
    prefetch: usize,
    /// What is not acknowledged.
    held: usize,
    /// None while nothing came in this subscription.
    sorter: Option<Sorter<(u64, Batch)>>,
    /// What is to be applied next, in order; kept until it is known to be.
    next: VecDeque<(u64, Batch)>,
    /// A marker is on its way, and how often it was looked for; it may be lost.
    marked: Option<u32>,
    /// A batch could not be applied, and none has been since.
    suspect: bool,
}

/// A process.
#[derive(Debug)]
pub(super) struct Consumer {
    index: usize,
    pub(super) up: bool,
    pub(super) paused: bool,
    prefetch: usize,
    lanes: Vec<Lane>,
}

impl Consumer {
    pub(super) fn new(index: usize, partitions: impl Iterator<Item = PartitionId>) -> Self {
        let prefetch = PREFETCHES[2];
        Self { index, up: true, paused: false, prefetch, lanes: partitions.map(|partition| Lane::new(partition, prefetch)).collect() }
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
                lane.take(self.index, env)?;
                lane.look(self.index, self.prefetch, env)?;
            }
        }
        if env.weather.weights.fault > 0 && env.log_dice.one_in(10) {
            // Its connection is reset, with deliveries in hand; others read before it is back.
            self.begin_anew(env);
            let visitor = |_| (env.log_dice.below(self.lanes.len()), 1 + env.log_dice.below(PREFETCHES[2]));
            let visitors: Vec<(usize, usize)> = (0..4).map(visitor).collect();
            visitors.into_iter().for_each(|(lane, takes)| env.broker.queue(self.lanes[lane].partition).visit(takes));
            return Ok(());
        }
        let most = 1 + env.dice.below(PREFETCHES[2]);
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
        self.begin_anew(env);
    }

    /// What it holds goes back, and it knows nothing of it any more. The next one may be configured otherwise.
    fn begin_anew(&mut self, env: &mut Env) {
        self.dismiss(env);
        self.prefetch = *env.log_dice.pick(&PREFETCHES).unwrap_or(&1);
        let lanes = self.lanes.iter().map(|lane| Lane::new(lane.partition, self.prefetch));
        self.lanes = lanes.collect();
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
            lane.fill(most);
            for (tag, batch) in &lane.next {
                taken.push((index, *tag));
                batches.push(batch.clone());
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
            // Whatever the consumer was told.
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
                lane.next.pop_front();
                lane.held -= 1;
                env.broker.queue(lane.partition).acknowledge(lane.generation, tag);
            }
        }
        report.stops.iter().for_each(|stop| self.stopped(stop, env));
        Ok(())
    }

    /// The first time it subscribes again; then it says what is missing.
    fn stopped(&mut self, stop: &Stop, env: &mut Env) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.partition == stop.partition()) else { return };
        lane.forget();
        env.broker.queue(lane.partition).unsubscribe_from(self.index);
        env.trail.note(env.now, || format!("consumer {}: {stop}", self.index));
        if std::mem::replace(&mut lane.suspect, true)
            && let Some(gap) = stop.gap()
        {
            env.tables.note_gap(gap);
        }
    }
}

fn position(env: &Env, partition: PartitionId) -> Position {
    let (epoch, sequence) = env.tables.position(partition);
    Position { epoch, sequence }
}

impl Lane {
    fn new(partition: PartitionId, prefetch: usize) -> Self {
        Self { partition, generation: 0, prefetch, held: 0, sorter: None, next: VecDeque::new(), marked: None, suspect: false }
    }

    /// What was delivered in a subscription that is over is nobody's here any more.
    fn forget(&mut self) {
        (self.held, self.sorter, self.marked) = (0, None, None);
        self.next.clear();
    }

    fn take(&mut self, consumer: usize, env: &mut Env) -> Result<(), String> {
        match env.broker.queue(self.partition).subscribe(consumer) {
            Some(generation) if generation != self.generation => {
                self.forget();
                self.generation = generation;
            }
            Some(_) => {}
            // What an earlier subscription left may be applied before anybody notices, or not.
            None if env.dice.percent(50) => self.forget(),
            None => {}
        }
        while self.held < self.prefetch && !env.tables.is_away() {
            let Some(Delivery { tag, body, again }) = env.broker.queue(self.partition).deliver(self.generation) else { break };
            let sorter = self.sorter.get_or_insert_with(|| Sorter::after(position(env, self.partition)));
            let batch = event::decode(&body).map_err(|error| error.to_string())?;
            sorter.saw(again);
            sorter.take(position_of(&batch), again, (tag, batch));
            self.held += 1;
        }
        Ok(())
    }

    /// Looks for what is missing: with a larger prefetch, or behind a marker.
    fn look(&mut self, consumer: usize, configured: usize, env: &mut Env) -> Result<(), String> {
        let Some(sorter) = &self.sorter else { return Ok(()) };
        let prefetch = match sorter.missing() {
            Some(missing) if self.held >= self.prefetch && self.prefetch >= PREFETCH_MAX => {
                return Err(format!("partition {}: {missing} is not among {} messages", self.partition, sorter.taken()));
            }
            Some(_) if self.held >= self.prefetch => self.prefetch * 4,
            Some(_) => {
                self.marked = self.marked.map(|looks| looks + 1).filter(|looks| *looks < MARKER_LOOKS);
                if self.marked.is_none() {
                    self.marked = Some(0);
                    let marker = event::encode(&Batch::marker(self.partition), LogVersion::OLDEST).map_err(|error| error.to_string())?;
                    env.broker.queue(self.partition).mark(marker);
                }
                return Ok(());
            }
            None if self.held == 0 => configured,
            None => self.prefetch,
        };
        if self.prefetch != prefetch {
            self.prefetch = prefetch;
            env.broker.queue(self.partition).unsubscribe_from(consumer);
            self.forget();
        }
        Ok(())
    }

    fn fill(&mut self, most: usize) {
        while self.next.len() < most {
            let Some(next) = self.sorter.as_mut().and_then(Sorter::pop) else { return };
            self.next.push_back(next);
        }
    }
}
