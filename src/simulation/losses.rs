//! What a broker may do that it promised not to: a log loses messages, and an operator has to let its partition go on. In some worlds only,
//! by dice of its own, so that all else happens as it would without.

use super::auditor::Auditor;
use super::dice::Dice;
use super::world::Env;
use crate::domain::PartitionId;
use crate::history::{Asked, History, Rows, Told};

/// How often a log loses something, once in so many steps.
const LOSS_STEPS: u64 = 300;
/// How often an operator looks, once in so many steps.
const LOOK_STEPS: u64 = 60;

/// Whether logs lose anything in this world.
#[derive(Debug)]
pub(super) struct Losses {
    pub(super) happen: bool,
    pub(super) dice: Dice,
    /// Losses that were accepted.
    pub(super) accepted: usize,
}

impl Losses {
    pub(super) fn new(seed: u64, mixed: bool) -> Self {
        let mut dice = Dice::new(seed ^ 0x1055_1055);
        // An older release's fences know nothing.
        Self { happen: dice.percent(20) && !mixed, dice, accepted: 0 }
    }
}

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

/// What is left to check of what was asked and told: nothing about commodities of which a log has lost something, once somebody has
/// accepted that. Before that, nobody may have been told that an order was refused which had been accepted.
pub(super) fn untouched(history: &History, rows: &Rows, auditor: &Auditor) -> Result<(History, Rows), String> {
    let of_order = |id| {
        history.calls.iter().find_map(|call| match (&call.asked, call.told) {
            (Asked::Place { commodity, .. }, Told::Accepted { order, .. } | Told::Order { order, .. } | Told::Pending(Some(order)))
                if order == id =>
            {
                Some(*commodity)
            }
            _ => None,
        })
    };
    if auditor.touched.is_empty() {
        return Ok((history.clone(), rows.clone()));
    }
    for call in &history.calls {
        if let (Asked::Look(order), Told::Refused) = (&call.asked, call.told)
            && let Some(given_up_at) = auditor.given_up.get(order)
            && call.told_at < *given_up_at
        {
            return Err(format!("order {order} is refused at {} ms, and its loss was accepted at {given_up_at} ms", call.told_at));
        }
    }
    let (mut history, mut rows) = (history.clone(), rows.clone());
    let touched: Vec<_> = history
        .calls
        .iter()
        .map(|call| match &call.asked {
            Asked::Place { commodity, .. } | Asked::Restock { commodity, .. } | Asked::SetTotal(commodity) => Some(*commodity),
            Asked::Look(order) | Asked::Cancel(order) | Asked::Money(order) => of_order(*order),
            Asked::Operate => None,
        })
        .map(|commodity| commodity.is_some_and(|commodity| auditor.touched.contains(&commodity)))
        .collect();
    let mut touched = touched.into_iter();
    history.calls.retain(|_| !touched.next().expect("one for each call"));
    rows.orders.retain(|row| !auditor.touched.contains(&row.commodity));
    rows.commodities.retain(|row| !auditor.touched.contains(&row.id));
    Ok((history, rows))
}
