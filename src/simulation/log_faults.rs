//! A log loses messages, and an operator lets its partition go on: see [`Losses`](super::losses::Losses). Never touches what an engine has.

use super::env::Env;
use crate::domain::PartitionId;

/// How often a log loses something, once in so many steps.
const LOSS_STEPS: u64 = 300;
/// How often an operator looks, once in so many steps.
const LOOK_STEPS: u64 = 60;

/// One step of it.
pub(super) fn step(env: &mut Env) -> Result<(), String> {
    if !env.losses.happen || env.weather.weights.fault == 0 {
        return Ok(());
    }
    if env.losses.dice.one_in(LOSS_STEPS) {
        lose(env);
    }
    if env.losses.dice.one_in(LOOK_STEPS) { look_after(env).map(drop) } else { Ok(()) }
}

/// A log is purged, or loses its end. What a consumer has been given it keeps, and may still apply when it wakes up.
fn lose(env: &mut Env) {
    let partitions: Vec<PartitionId> = env.partitions.iter().collect();
    let Some(partition) = env.losses.dice.pick(&partitions).copied() else { return };
    let last = env.losses.dice.below(4);
    let queue = env.broker.queue(partition);
    let lost = if last == 0 { queue.purge() } else { queue.lose_last(last) };
    env.auditor.lost(partition, lost);
    env.trail.note(env.now, || format!("the log of partition {partition} loses {lost} messages"));
}

/// An operator lets partitions go on whose log lacks something, when nobody owns them; and sees to it that nobody does. Whether there was
/// anything to do.
pub(super) fn look_after(env: &mut Env) -> Result<bool, String> {
    let mut has_acted = false;
    if !env.losses.happen || env.tables.is_away() || env.broker.away || env.broker.blocked {
        return Ok(has_acted);
    }
    for partition in env.partitions.iter() {
        let lacks_something = env.tables.gap(partition).is_some();
        if !lacks_something && !lags_for_ever(partition, env) {
            continue;
        }
        has_acted = true;
        match env.broker.holder(partition) {
            Some(connection) => env.broker.kill(connection, &mut env.dice, &mut env.auditor)?,
            None if lacks_something => accept(partition, env)?,
            None => {}
        }
    }
    Ok(has_acted)
}

/// A log has lost its end, and its owner writes nothing more: nobody finds anything missing before the next claim. An operator sees a lag that
/// stays, and starts the owner again.
fn lags_for_ever(partition: PartitionId, env: &mut Env) -> bool {
    let is_healed = env.weather.weights.fault == 0;
    is_healed && env.broker.queue(partition).is_empty() && env.auditor.lacks(partition, env.tables.position(partition))
}

fn accept(partition: PartitionId, env: &mut Env) -> Result<(), String> {
    let gap = env.tables.accept_loss(partition).ok_or(format!("partition {partition} contradicts itself, and nothing of it was lost"))?;
    env.losses.accepted += 1;
    env.trail.note(env.now, || format!("the loss of {:?} of partition {partition} behind {:?} is accepted", gap.missing, gap.applied));
    env.auditor.accepted(env.now, &gap);
    Ok(())
}
