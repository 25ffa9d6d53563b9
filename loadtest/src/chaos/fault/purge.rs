//! A log that is emptied while its consumer is away, with accepted orders in it. Whatever is left that knows of them, they are not refused
//! before an operator has accepted the loss, and then they are, and nothing else is.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use doorbuster::domain::{Epoch, OrderId, PartitionId, Sequence, UserId};
use doorbuster::event::{Batch, Event};
use doorbuster::store::Store;
use futures_util::future::try_join_all;
use hyper::StatusCode;
use serde::Deserialize;

use super::log::{RawLog, partition};
use super::{BOUND, Done, Victims, until};
use crate::answer::{Acceptance, Answer, Verdict};
use crate::client::{Client, Shape};
use crate::ledger::Ledger;
use crate::plan::{Buyer, FIRST_USER};
use crate::sale::{Desk, Known, order_shape};
use crate::server::wait_ready;

/// Accepted orders that are not in the database, at least.
const BEHIND_MIN: u64 = 3;
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// In which order things go and come back, and who is left that knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    /// All nodes are killed: only the tables know. Otherwise the owner is, and its peer knows too.
    all_killed: bool,
    /// Before the log is emptied, not after it.
    killed_first: bool,
    /// Before the nodes that were killed.
    consumer_first: bool,
}

impl Way {
    /// Eight seeds in a row have all eight.
    const fn of(seed: u64) -> Self {
        Self { all_killed: seed & 1 == 1, killed_first: seed & 2 == 2, consumer_first: seed & 4 == 4 }
    }

    fn victims(self, victims: &Victims<'_>) -> Vec<usize> {
        if self.all_killed { (0..victims.cluster.spikes.len()).collect() } else { vec![victims.owner] }
    }

    const fn words(self) -> &'static str {
        match (self.all_killed, self.killed_first) {
            (true, true) => "all nodes killed, then purged",
            (true, false) => "purged, then all nodes killed",
            (false, true) => "owner killed, then purged",
            (false, false) => "purged, then owner killed",
        }
    }
}

/// The consumer is killed, the log emptied, and the owner, or all nodes, killed, before or after that. All come back; the partition stays
/// stopped until the loss is accepted.
pub(super) async fn purged(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let way = Way::of(victims.seed);
    let store = victims.cluster.store().await?;
    let at = Instant::now();
    victims.cluster.consumers[0].kill().await?;
    until_behind(victims).await?;
    // Nothing comes into the log any more, so all of it is known.
    victims.progress.hold_back();
    until("what was asked is answered", async || Ok(victims.progress.is_quiet())).await?;
    let log = RawLog::of(victims).await?;
    let batches = log.batches().await?;
    let last = batches.iter().map(|batch| (batch.epoch, batch.sequence)).max().context("the log is empty")?;
    until_known(way, victims, &store, last).await?;

    if way.killed_first {
        kill(way, victims).await?;
    }
    let purged = log.purge().await?;
    log.close().await?;
    ensure!(purged as usize >= batches.len(), "{purged} messages were taken out of the log, and {} were in it", batches.len());
    if !way.killed_first {
        kill(way, victims).await?;
    }
    let gone = Instant::now();
    let loss = Loss::of(victims, &store, batches).await?;
    let began = Instant::now();
    come_back(way, victims).await?;
    loss.until_named(victims, &store, last).await?;
    let named = began.elapsed();
    loss.is_pending_everywhere(victims).await?;
    nobody_buys(victims).await?;

    accept(victims).await?;
    until_all_is_well(victims).await?;
    loss.is_refused_everywhere(victims).await?;
    is_in_the_audit(victims).await?;
    store.close().await?;
    let mut done = Done::now(at, gone, began).with("orders lost", loss.orders.len() as u64).with("batches lost", loss.batches);
    done = done.with("from the start to the stop, us", named.as_micros() as u64).with(way.words(), 1);
    Ok(Done { lost: loss.orders, ..done })
}

/// Waits until orders were accepted that are not in the database.
async fn until_behind(victims: &Victims<'_>) -> anyhow::Result<()> {
    let ledger = Ledger::open(&victims.cluster.config()?, Path::new("")).await?;
    until("orders are accepted that are not in the database", async || {
        let rows = ledger.taken(victims.commodity).await?.unsigned_abs();
        Ok(victims.progress.accepted() >= rows + BEHIND_MIN)
    })
    .await?;
    ledger.close().await
}

/// Waits until the tables know of that batch, and the owner's peer, if that is to live.
async fn until_known(way: Way, victims: &Victims<'_>, store: &Store, last: (Epoch, Sequence)) -> anyhow::Result<()> {
    let of = partition(victims);
    until("the tables know what is confirmed", async || Ok(store.confirmed(of).await? >= last)).await?;
    if way.all_killed {
        return Ok(());
    }
    let left = victims.stock - victims.progress.accepted();
    let peer = victims.cluster.spikes[(victims.owner + 1) % victims.cluster.spikes.len()].target();
    let shape = Shape::get(&format!("/v1/commodities/{}", victims.commodity));
    until("the owner's peer shows all orders", async || {
        let answer = Client::new(peer.clone()).send(&shape, None, None, BOUND).await;
        let answer = answer.map_err(|error| anyhow::anyhow!("the commodity: {}", error.words()))?;
        ensure!(answer.status == StatusCode::OK, "the commodity: {}", answer.status);
        Ok(serde_json::from_slice::<Available>(&answer.body)?.available <= left)
    })
    .await
}

/// How many units a node shows as available.
#[derive(Deserialize)]
struct Available {
    available: u64,
}

async fn kill(way: Way, victims: &mut Victims<'_>) -> anyhow::Result<()> {
    for index in way.victims(victims) {
        victims.cluster.spikes[index].kill().await?;
    }
    Ok(())
}

/// Whoever was killed runs again; none of them need be ready.
async fn come_back(way: Way, victims: &mut Victims<'_>) -> anyhow::Result<()> {
    let launcher = victims.cluster.launcher().clone();
    if way.consumer_first {
        victims.cluster.consumers[0].begin(&launcher).await?;
    }
    for index in way.victims(victims) {
        victims.cluster.spikes[index].begin(&launcher).await?;
    }
    if !way.consumer_first {
        victims.cluster.consumers[0].begin(&launcher).await?;
    }
    Ok(())
}

/// What is lost, of everything that was accepted.
struct Loss {
    partition: PartitionId,
    /// The last batch in the tables.
    applied: (Epoch, Sequence),
    batches: u64,
    orders: BTreeSet<OrderId>,
    accepted: Vec<Acceptance>,
}

impl Loss {
    async fn of(victims: &Victims<'_>, store: &Store, batches: Vec<Batch>) -> anyhow::Result<Self> {
        let partition = partition(victims);
        // Nobody applies anything now: some of what was in the log may have been applied before, and not acknowledged.
        let applied = store.applied(partition).await?;
        let lost: Vec<Batch> = batches.into_iter().filter(|batch| (batch.epoch, batch.sequence) > applied).collect();
        let placed = |event: &Event| match event {
            Event::Placed { order, .. } => Some(order.id),
            _ => None,
        };
        let orders: BTreeSet<OrderId> = lost.iter().flat_map(|batch| batch.events.iter().filter_map(placed)).collect();
        ensure!(!orders.is_empty(), "nothing that was accepted is lost");
        let batches = lost.iter().map(|batch| batch.sequence).collect::<BTreeSet<_>>().len() as u64;
        let accepted: Vec<Acceptance> = victims.progress.accepted_orders();
        Ok(Self { partition, applied, batches, orders, accepted })
    }

    /// Waits until the projection has stopped and says which batches are missing.
    async fn until_named(&self, victims: &Victims<'_>, store: &Store, last: (Epoch, Sequence)) -> anyhow::Result<()> {
        until("the projection notes what is missing", async || {
            let gap = store.gap(self.partition).await?;
            Ok(gap.is_some_and(|gap| gap.applied == self.applied && gap.missing >= last))
        })
        .await?;
        let (consumer, shape) = (victims.cluster.consumers[0].target(), Shape::get("/readyz"));
        until("the consumer says what is missing", async || {
            let Ok(answer) = Client::new(consumer.clone()).send(&shape, None, None, BOUND).await else { return Ok(false) };
            let words = String::from_utf8_lossy(&answer.body);
            let is_named =
                ["were confirmed and are not in the log", "was confirmed and is not in the log"].iter().any(|is| words.contains(is));
            Ok(answer.status == StatusCode::SERVICE_UNAVAILABLE && is_named)
        })
        .await
    }

    /// Before the loss is accepted: what is lost is pending, at every node. What is not has a row, and nobody can say how it stands meanwhile.
    async fn is_pending_everywhere(&self, victims: &Victims<'_>) -> anyhow::Result<()> {
        let mut asked = Vec::new();
        for target in victims.cluster.targets() {
            for acceptance in self.accepted.iter().filter(|acceptance| self.orders.contains(&acceptance.order)) {
                let target = target.clone();
                asked.push(async move {
                    let known = known(&mut Desk::new(target, victims.mint)?, victims, acceptance).await?;
                    ensure!(
                        known == Known::Pending,
                        "order {} was accepted, is lost, and {known:?} before that is accepted",
                        acceptance.order
                    );
                    anyhow::Ok(())
                });
            }
        }
        // All at once: without an owner each answer takes as long as requests wait for one.
        try_join_all(asked).await?;
        Ok(())
    }

    /// After it: what is lost is refused, and nothing else.
    async fn is_refused_everywhere(&self, victims: &Victims<'_>) -> anyhow::Result<()> {
        for desk in &mut desks(victims)? {
            for acceptance in &self.accepted {
                let (id, is_lost) = (acceptance.order, self.orders.contains(&acceptance.order));
                let began = Instant::now();
                loop {
                    match known(desk, victims, acceptance).await? {
                        Known::Refused if is_lost => break,
                        Known::Order(_) if !is_lost => break,
                        Known::Pending => ensure!(began.elapsed() < BOUND, "order {id} is pending for {} s", BOUND.as_secs()),
                        known @ (Known::Refused | Known::Order(_) | Known::Nothing) => {
                            bail!("order {id}: {known:?} once the loss was accepted, and its batch was lost: {is_lost}")
                        }
                    }
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            }
        }
        Ok(())
    }
}

/// What a node says of an order, once it can say something: a database that is slow is no matter of the log.
async fn known(desk: &mut Desk, victims: &Victims<'_>, acceptance: &Acceptance) -> anyhow::Result<Known> {
    let (buyer, began) = (buyer(victims, acceptance.user)?, Instant::now());
    loop {
        match desk.order(acceptance.order, &buyer).await {
            Err(_) if began.elapsed() < BOUND => tokio::time::sleep(LOOK_INTERVAL).await,
            known => return known,
        }
    }
}

/// Everybody who asks while the partition is stopped is told `503`.
async fn nobody_buys(victims: &Victims<'_>) -> anyhow::Result<()> {
    let stranger = buyer(victims, UserId::new(FIRST_USER - 1)?)?;
    for target in victims.cluster.targets() {
        let mut client = Client::new(target);
        let response = client.send(&order_shape(victims.commodity, 1), Some(&stranger.authorization), None, BOUND).await;
        let response = response.map_err(|error| anyhow::anyhow!("an order while the partition is stopped: {}", error.words()))?;
        let answer = Answer::to_order(&response);
        ensure!(answer.status == 503 && answer.verdict == Verdict::Refused, "an order while the partition is stopped: {answer:?}");
    }
    Ok(())
}

/// Why the loss is accepted.
fn reason(victims: &Victims<'_>) -> String {
    format!("purged by the turn of seed {}", victims.seed)
}

/// As an operator does it: the command is run as a process.
async fn accept(victims: &Victims<'_>) -> anyhow::Result<()> {
    let accepted = victims.cluster.accept_loss(partition(victims), &reason(victims)).await?;
    ensure!(accepted.contains("goes on without") && accepted.contains("are refused"), "accept-loss: {accepted}");
    Ok(())
}

async fn until_all_is_well(victims: &Victims<'_>) -> anyhow::Result<()> {
    let members = victims.cluster.consumers.iter().chain(&victims.cluster.spikes);
    for member in members {
        wait_ready(member.target(), BOUND).await.with_context(|| format!("{}, once the loss was accepted", member.name()))?;
    }
    victims.cluster.wait_owned().await
}

/// Operators see what was lost, and why nobody minds.
async fn is_in_the_audit(victims: &Victims<'_>) -> anyhow::Result<()> {
    let mut desk = Desk::of(victims.cluster.admin.target().clone(), victims.cluster.targets()[0].clone(), victims.mint)?;
    let response = desk.operate(&Shape::get("/admin/v1/audit")).await?;
    let audit: serde_json::Value = serde_json::from_slice(&response.body)?;
    let of = u64::from(partition(victims).get());
    let losses = audit["losses"].as_array().context("an audit has losses")?;
    let is_told = losses.iter().any(|loss| loss["partition"].as_u64() == Some(of) && loss["reason"] == reason(victims));
    ensure!(is_told && audit["balanced"] == true, "the audit does not have the loss: {audit}");
    Ok(())
}

fn desks(victims: &Victims<'_>) -> anyhow::Result<Vec<Desk>> {
    victims.cluster.targets().into_iter().map(|target| Desk::new(target, victims.mint)).collect()
}

fn buyer(victims: &Victims<'_>, user: UserId) -> anyhow::Result<Buyer> {
    Ok(Buyer { user, authorization: victims.mint.buyer(user)?, key: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_seeds_in_a_row_have_all_ways() {
        let ways: BTreeSet<_> = (77..85).map(|seed| format!("{:?}", Way::of(seed))).collect();
        assert_eq!(ways.len(), 8);
    }
}
