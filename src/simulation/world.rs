//! The world of one seed: everything in it, what can happen in a step, and what can go wrong.

use super::Trail;
use super::auditor::Auditor;
use super::boards::Boards;
use super::broker::Broker;
use super::consumer::Consumer;
use super::crowd::Crowd;
use super::dice::Dice;
use super::env::Env;
use super::log_faults;
use super::losses::Losses;
use super::network::Network;
use super::node::Node;
use super::payments::Payments;
use super::tables::{Memory, Mood};
use super::weather::Weather;
use crate::domain::{PartitionId, Partitions};

/// How often something happens to a bulletin, for each time that something happens to a call.
const BULLETINS: usize = 3;

/// A world.
pub(super) struct World {
    pub(super) env: Env,
    pub(super) nodes: Vec<Node>,
    pub(super) consumers: Vec<Consumer>,
    pub(super) crowd: Crowd,
}

impl World {
    pub(super) fn new(seed: u64, trail: Trail) -> Self {
        let mut dice = Dice::new(seed);
        let weather = Weather::of(&mut dice);
        let partitions = Partitions::new(weather.partitions).expect("a few");
        let mut world = Self {
            nodes: (0..weather.nodes).map(|index| Node::new(index, partitions.iter())).collect(),
            consumers: (0..weather.consumers).map(|index| Consumer::new(index, partitions.iter())).collect(),
            crowd: Crowd::default(),
            env: Env {
                now: 0,
                partitions,
                dice,
                past_dice: Dice::new(!seed),
                losses: Losses::new(seed, weather.mixed_until_ms > 0),
                log_dice: Dice::new(seed.rotate_left(32)),
                broker: Broker::new(weather.partitions),
                tables: Memory::new(partitions.iter()),
                auditor: Auditor::default(),
                network: Network::new(weather.stale_news_percent),
                boards: Boards::new(seed, weather.nodes, partitions),
                payments: Payments::new(seed),
                members: 0,
                epochs: 0,
                trail,
                weather,
            },
        };
        world.env.tables.set_mixed(world.env.weather.mixed_until_ms > 0);
        world.env.tables.set_outbox_wanted(seed % 2 == 0);
        world.count_members();
        for node in &mut world.nodes {
            node.view = world.env.members;
        }
        world
    }

    /// One thing happens.
    pub(super) fn step(&mut self) -> Result<(), String> {
        self.happen()?;
        self.env.boards.violation.take().map_or(Ok(()), Err)
    }

    fn happen(&mut self) -> Result<(), String> {
        let Self { env, nodes, consumers, crowd } = self;
        log_faults::step(env)?;
        env.now += env.dice.between(0, env.weather.step_ms_max);
        if env.now >= env.weather.mixed_until_ms {
            env.tables.set_mixed(false);
        }
        let weights = &env.weather.weights;
        let all = [
            weights.node,
            weights.broker,
            weights.network,
            weights.consumer,
            weights.buyer,
            weights.operator,
            weights.late,
            weights.fault,
            weights.fault * 2,
        ];
        let mut drawn = env.dice.between(1, all.iter().sum());
        let what = all.iter().position(|weight| {
            let here = drawn <= *weight;
            drawn = drawn.saturating_sub(*weight);
            here
        });
        match what {
            Some(0) => {
                let node = env.dice.below(nodes.len());
                let node = &mut nodes[node];
                if node.up && !node.paused {
                    node.act(env)?;
                    env.boards.publish(node);
                }
                Ok(())
            }
            Some(1) => env.broker.work(&mut env.dice, &mut env.auditor),
            Some(2) => {
                env.network.work(env.now, &mut env.dice, &env.tables, nodes, &mut env.trail);
                (0..BULLETINS).for_each(|_| env.boards.work(nodes, env.weather.weights.fault == 0));
                Payments::work(env, nodes);
                env.network.contradiction.take().map_or(Ok(()), Err)
            }
            Some(3) => {
                let consumer = env.dice.below(consumers.len());
                let consumer = &mut consumers[consumer];
                if consumer.up && !consumer.paused { consumer.act(env) } else { Ok(()) }
            }
            Some(4) => {
                crowd.buy(env, nodes);
                Ok(())
            }
            Some(5) => {
                crowd.operate(env, nodes);
                Ok(())
            }
            Some(6) => env.broker.enqueue_late(&mut env.dice, &mut env.auditor),
            Some(7) => self.fault(),
            _ => {
                self.mend();
                Ok(())
            }
        }
    }

    /// Everything that is broken works again, and nobody asks for anything.
    pub(super) fn heal(&mut self) {
        let Self { env, nodes, consumers, .. } = self;
        env.weather = env.weather.calm();
        env.network.stale_news_percent = env.weather.stale_news_percent;
        env.broker.mend();
        env.tables.set_mood(Mood::Well);
        for node in nodes.iter_mut() {
            (node.up, node.paused, node.isolated, node.draining) = (true, false, false, false);
        }
        for consumer in consumers.iter_mut() {
            (consumer.up, consumer.paused) = (true, false);
        }
        self.count_members();
    }

    /// Whether everything has come to rest, with one owner for each partition.
    pub(super) fn is_quiet(&self) -> bool {
        let served = |partition: PartitionId| self.nodes.iter().filter(|node| node.serves(partition)).count() == 1;
        self.env.network.is_quiet()
            && self.env.broker.is_quiet()
            && self.nodes.iter().all(|node| node.is_quiet() && node.view == self.env.members)
            && self.env.partitions.iter().all(served)
            && self.env.boards.are_quiet(&self.nodes)
            && self.env.payments.is_quiet(&self.env.tables, &self.env.auditor.touched)
    }

    pub(super) fn count_members(&mut self) {
        let beats = self.nodes.iter().filter(|node| node.up && !node.paused && !node.isolated && !node.draining);
        self.env.members = beats.map(|node| 1 << node.index).sum();
    }

    /// Something works again.
    fn mend(&mut self) {
        let Self { env, nodes, consumers, .. } = self;
        let which = env.dice.below(nodes.len());
        let node = &mut nodes[which];
        match env.dice.below(7) {
            0 => node.up = true,
            // The longer it takes, the more an owner that is one no longer can say.
            1 if env.dice.percent(40) => {
                (node.paused, node.isolated) = (false, false);
                node.sessions().into_iter().for_each(|session| env.broker.set_cut(session, false));
            }
            1 | 2 => node.draining = false,
            3 => env.broker.away = false,
            4 => env.broker.blocked = false,
            5 => env.tables.set_mood(Mood::Well),
            _ => {
                let which = env.dice.below(consumers.len());
                (consumers[which].up, consumers[which].paused) = (true, false);
            }
        }
        self.count_members();
    }

    /// Something goes wrong.
    fn fault(&mut self) -> Result<(), String> {
        let Self { env, nodes, consumers, .. } = self;
        let which = env.dice.below(nodes.len());
        let node = &mut nodes[which];
        let open = env.broker.open();
        let what = env.dice.below(14);
        if env.weather.faults & 1 << what == 0 {
            return Ok(());
        }
        env.trail.note(env.now, || format!("fault {what} of node {which}"));
        match what {
            0 if node.up => node.kill(env),
            0 | 1 if node.up && !node.paused => {
                node.paused = true;
                // The broker misses its heartbeats.
                let given_up = env.dice.percent(60);
                for session in node.sessions().into_iter().filter(|_| given_up) {
                    env.broker.kill(session, &mut env.dice, &mut env.auditor)?;
                }
            }
            2 => node.draining = true,
            3 => node.clock_error = clock_error(env),
            4 => node.clock_drift = env.dice.between(0, 2_000) as i64 - 1_000,
            5 | 6 => {
                node.isolated = node.up;
                for session in node.sessions() {
                    env.broker.set_cut(session, true);
                    // The broker gives it up before the node does: an owner that does not know that it is one no longer.
                    if env.dice.percent(70) {
                        env.broker.kill(session, &mut env.dice, &mut env.auditor)?;
                    }
                }
            }
            7 | 8 => {
                if let Some(connection) = env.dice.pick(&open).copied() {
                    env.broker.set_cut(connection, env.dice.percent(40));
                    if env.dice.percent(60) {
                        env.broker.kill(connection, &mut env.dice, &mut env.auditor)?;
                    }
                }
            }
            9 => env.broker.blocked = true,
            10 => {
                env.broker.away = env.dice.percent(50);
                env.broker.restart(&mut env.dice, &mut env.auditor)?;
            }
            11 => env.tables.set_mood(Mood::Away),
            12 => {
                let partitions: Vec<PartitionId> = env.partitions.iter().collect();
                env.dice.pick(&partitions).copied().into_iter().for_each(|partition| env.broker.delete_lock(partition));
            }
            _ => {
                let which = env.dice.below(consumers.len());
                let consumer = &mut consumers[which];
                if consumer.up && !consumer.paused && env.dice.percent(50) {
                    consumer.paused = true;
                    consumer.dismiss(env);
                } else {
                    consumer.kill(env);
                }
            }
        }
        self.env.network.give_up(&mut self.env.dice);
        self.count_members();
        Ok(())
    }
}

fn clock_error(env: &mut Env) -> i64 {
    let most = env.weather.clock_error_ms;
    env.dice.between(0, 2 * most) as i64 - most as i64
}
