//! What kind of world a seed gets: how many of everything, how slow, how rough. Each seed draws its own, because a world in which
//! everything happens equally often never sees what needs one thing to be rare and another frequent.

use super::dice::Dice;

/// The kind of world.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    pub(super) nodes: usize,
    pub(super) consumers: usize,
    pub(super) partitions: u16,
    pub(super) commodities: i64,
    pub(super) users: i64,
    /// Which faults happen at all, one bit each.
    pub(super) faults: u64,
    /// How many of the buyers only look, in a hundred.
    pub(super) lookers_percent: u64,
    /// Simulated milliseconds a step takes at most.
    pub(super) step_ms_max: u64,
    /// How long a confirm may take.
    pub(super) append_timeout_ms: u64,
    /// How long a request may wait in an inbox.
    pub(super) command_timeout_ms: u64,
    pub(super) inbox_depth_max: usize,
    pub(super) batch_commands_max: usize,
    /// Until when an older release takes part, in simulated milliseconds; 0 = it never does.
    pub(super) mixed_until_ms: u64,
    /// How often an owner forgets what the tables have, and closes what is over, in a hundred times.
    pub(super) chores_percent: u64,
    /// How long after its sale a commodity is closed.
    pub(super) retention_ms: u64,
    /// How far a node's clock may be off, and jump.
    pub(super) clock_error_ms: u64,
    /// How often a node is wrong about who owns a partition, in a hundred times.
    pub(super) stale_news_percent: u64,
    /// What happens how often.
    pub(super) weights: Weights,
}

/// Weights of what can happen in a step.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    pub(super) node: u64,
    pub(super) broker: u64,
    pub(super) network: u64,
    pub(super) consumer: u64,
    pub(super) buyer: u64,
    pub(super) operator: u64,
    pub(super) late: u64,
    pub(super) fault: u64,
}

impl Weather {
    pub(super) fn of(dice: &mut Dice) -> Self {
        let step_ms_max = *dice.pick(&[2, 10, 60]).unwrap_or(&10);
        let some_faults = dice.between(1, u64::MAX);
        let rough = *dice.pick(&[0, 3, 10, 30]).unwrap_or(&0);
        Self {
            nodes: 2 + dice.below(2),
            consumers: 1 + dice.below(2),
            partitions: *dice.pick(&[1, 1, 2, 3]).unwrap_or(&1),
            commodities: 1 + dice.below(3) as i64,
            users: *dice.pick(&[3, 12, 200]).unwrap_or(&12),
            faults: *dice.pick(&[u64::MAX, some_faults, 1 << 5 | 1 << 6, 1 << 0 | 1 << 1]).unwrap_or(&u64::MAX),
            lookers_percent: *dice.pick(&[0, 20, 90]).unwrap_or(&20),
            step_ms_max,
            append_timeout_ms: dice.between(200, 6_000),
            command_timeout_ms: dice.between(200, 4_000),
            inbox_depth_max: *dice.pick(&[2, 8, 64]).unwrap_or(&8),
            batch_commands_max: *dice.pick(&[1, 3, 16]).unwrap_or(&3),
            // Up to the whole of a run.
            mixed_until_ms: if dice.percent(30) { dice.between(1, u64::from(super::STEPS) / 2 * step_ms_max) } else { 0 },
            chores_percent: *dice.pick(&[0, 5, 40]).unwrap_or(&5),
            retention_ms: *dice.pick(&[0, 1_000, 1 << 40]).unwrap_or(&1_000),
            clock_error_ms: *dice.pick(&[0, 50, 5_000]).unwrap_or(&0),
            stale_news_percent: *dice.pick(&[2, 30]).unwrap_or(&2),
            weights: Weights {
                node: 400,
                broker: dice.between(60, 400),
                network: dice.between(60, 400),
                consumer: *dice.pick(&[6, 40, 200, 200]).unwrap_or(&40),
                buyer: dice.between(20, 120),
                operator: *dice.pick(&[0, 4, 20]).unwrap_or(&4),
                late: 6,
                fault: rough,
            },
        }
    }

    /// The same world when nothing goes wrong any more and nobody buys.
    pub(super) fn calm(&self) -> Self {
        let weights = Weights { node: 400, broker: 300, network: 300, consumer: 300, buyer: 0, operator: 0, late: 50, fault: 0 };
        Self {
            weights,
            step_ms_max: 2,
            append_timeout_ms: 4_000,
            command_timeout_ms: 1 << 40,
            inbox_depth_max: 1 << 20,
            mixed_until_ms: 0,
            // What is left is to be sold, not closed.
            retention_ms: 1 << 40,
            stale_news_percent: 0,
            ..self.clone()
        }
    }
}
