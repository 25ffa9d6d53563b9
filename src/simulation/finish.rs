//! The end of a run: the world heals and must come to rest; then every answer, row and unit is accounted for.

use super::call::CallId;
use super::crowd::{look_via, place_units, tell};
use super::log_faults;
use super::losses;
use super::world::World;
use crate::domain::{CommodityId, TermsChange, Timestamp};
use crate::engine::Command;
use crate::history::{self, Asked, Told};
use crate::ring::partition_of;

/// Steps a healed world may take to come to rest.
const REST_STEPS_MAX: u32 = 60_000;
/// How often a healed world is looked at.
const LOOK_STEPS: u32 = 25;
/// Longer than every hold, and every time-out.
const LONG_MS: u64 = 3_600_000;
/// The first of the users that come after everything.
const SWEEPERS: i64 = 1_000_000;

/// Lets the world heal and checks everything. Returns how many answers were stale.
pub(super) fn finish(world: &mut World) -> Result<usize, String> {
    world.heal();
    rest(world)?;
    // Holds end by themselves.
    world.env.now += LONG_MS;
    rest(world)?;
    check_tables(world)?;
    let rested_at = world.env.now + 1;
    world.env.now = rested_at;
    look_everywhere(world)?;
    world.crowd.repeat(&mut world.env, &world.nodes);
    rest(world)?;
    // Some are placed only now.
    world.env.now += LONG_MS;
    rest(world)?;
    let rows = world.env.tables.rows(&world.env.network.totals);
    let (history, rows) = losses::untouched(&world.env.network.history, &rows, &world.env.auditor)?;
    let verdict = history::check(&history, &rows, rested_at);
    if let Some(violation) = verdict.violations.first() {
        return Err(violation.to_string());
    }
    sweep(world)?;
    rest(world)?;
    check_tables(world)?;
    Ok(verdict.stale)
}

/// Lets everything under way arrive.
fn rest(world: &mut World) -> Result<(), String> {
    for step in 0..REST_STEPS_MAX {
        // Whoever has just done something may not be heard of yet.
        if step % LOOK_STEPS == 0 && !log_faults::look_after(&mut world.env)? && world.is_quiet() && no_hold_is_over(world) {
            return Ok(());
        }
        world.step()?;
    }
    let states: Vec<String> = world.nodes.iter().map(|node| format!("node {}: {}", node.index, node.is_quiet())).collect();
    let (broker, network) = (world.env.broker.is_quiet(), world.env.network.is_quiet());
    let boards = world.env.boards.are_quiet(&world.nodes);
    Err(format!("the healed world does not come to rest: {states:?}, broker {broker}, network {network}, boards {boards}"))
}

fn no_hold_is_over(world: &World) -> bool {
    let over = |node: &super::node::Node| {
        let clock = node.clock(world.env.now);
        let ends = |partition| node.term(partition).and_then(|term| term.engine().next_expiry());
        world.env.partitions.iter().any(|partition| ends(partition).is_some_and(|at: Timestamp| at <= clock))
    };
    !world.nodes.iter().any(over)
}

/// The log, the tables and the engines say the same.
fn check_tables(world: &World) -> Result<(), String> {
    world.env.auditor.compare(&world.env.tables)?;
    world.env.tables.check_notices()?;
    world.env.payments.audit(&world.env.tables, &world.env.auditor.touched)?;
    world.env.boards.compare(&world.nodes)?;
    let orders = world.env.tables.orders();
    for row in world.env.tables.commodities().iter().filter(|row| !row.removed && row.commodity.closed_at.is_none()) {
        let owner = world.nodes.iter().find_map(|node| node.term(row.partition));
        let engine = owner.ok_or("every partition has an owner")?.engine();
        if engine.commodity(row.commodity.id) != Some(&row.commodity) {
            return Err(format!("the engine has {:?}, and the tables {:?}", engine.commodity(row.commodity.id), row.commodity));
        }
        // What it does not know any more, the tables have.
        let of_it = orders.iter().filter(|order| order.order.commodity == row.commodity.id);
        if let Some(other) = of_it.into_iter().find(|order| engine.order(order.order.id).is_some_and(|known| known != order.order)) {
            return Err(format!("the engine has {:?}, and the tables {:?}", engine.order(other.order.id), other.order));
        }
    }
    Ok(())
}

/// Every id that anybody was told, asked of every process.
fn look_everywhere(world: &mut World) -> Result<(), String> {
    for (order, _) in world.env.network.known.clone() {
        for via in 0..world.nodes.len() {
            look_via(via, order, &mut world.env, &world.nodes);
        }
    }
    rest(world)
}

/// Everything that is left can be sold, to the last unit, and nothing beyond it.
fn sweep(world: &mut World) -> Result<(), String> {
    for row in world.env.tables.commodities() {
        if row.removed || row.commodity.ended_at.is_some() || row.commodity.closed_at.is_some() {
            continue;
        }
        let id = row.commodity.id;
        let change = TermsChange {
            limit_per_user: Some(None),
            hold_seconds: Some(None),
            starts_at: Some(Timestamp::ZERO),
            ends_at: Some(Timestamp::MAX),
            ..TermsChange::default()
        };
        until(world, Told::Done, |world| {
            let command = Command::Change { commodity: id, change: Box::new(change.clone()) };
            tell(id, command, Asked::Operate, &mut world.env, &world.nodes)
        })?;
        until(world, Told::Done, |world| tell(id, Command::Resume(id), Asked::Operate, &mut world.env, &world.nodes))?;
        let available = available(world, id)?;
        if available > 0 {
            let told = insist(world, |world| place_units(id, SWEEPERS, available, &mut world.env, &world.nodes))?;
            if !matches!(told, Told::Accepted { .. }) {
                return Err(format!("commodity {id}: {available} units are available, and a buyer of all of them is told {told:?}"));
            }
        }
        until(world, Told::Refused, |world| place_units(id, SWEEPERS + 1, 1, &mut world.env, &world.nodes))?;
        rest(world)?;
        let left = self::available(world, id)?;
        if left != 0 {
            return Err(format!("commodity {id}: {left} units are left when everything is sold"));
        }
    }
    Ok(())
}

fn available(world: &World, id: CommodityId) -> Result<i64, String> {
    let partition = partition_of(id, world.env.partitions);
    let owner = world.nodes.iter().find_map(|node| node.term(partition));
    let commodity =
        owner.and_then(|term| term.engine().commodity(id)).ok_or(format!("commodity {id} is listed and unknown to its owner"))?;
    Ok(i64::from(commodity.stock.available))
}

fn until(world: &mut World, wanted: Told, ask: impl FnMut(&mut World) -> Option<CallId>) -> Result<(), String> {
    let told = insist(world, ask)?;
    if told == wanted { Ok(()) } else { Err(format!("{wanted:?} was to be told, and it was {told:?}")) }
}

/// Asks until the answer is not "busy".
fn insist(world: &mut World, mut ask: impl FnMut(&mut World) -> Option<CallId>) -> Result<Told, String> {
    for _ in 0..50 {
        let call = ask(world).ok_or("every node is up")?;
        rest(world)?;
        match world.env.network.told(call) {
            Told::Busy => {}
            told => return Ok(told),
        }
    }
    Err("nobody takes a call up in a healed world".into())
}
