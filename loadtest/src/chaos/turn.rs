//! One sale with damage in the middle, and everything that must be true after it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use doorbuster::domain::{CommodityId, Epoch, OrderId, UserId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::duplicates::Batches;
use super::fault::{Done, Victims, inflict};
use super::proxy::{Manner, Proxy};
use super::servers::PrivateServer;
use super::{Chaos, TurnReport};
use crate::answer::{Acceptance, Answer, Verdict};
use crate::audit::{Audit, Sale, Told};
use crate::cluster::Cluster;
use crate::ledger::Ledger;
use crate::plan::{self, Buyer, Pace};
use crate::sale::{Desk, Known, Offer, order_shape};
use crate::tally::{Shot, Tally};
use crate::tokens::Mint;
use crate::volley::{Amount, Progress, Volley, fire};

/// How long what is pending may stay so, and a projection be behind, once everything runs again.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a buyer asks before giving up.
const RETRIES_MAX: u32 = 100;
/// How many accepted orders are asked for again under their keys.
const REPEATED_MAX: usize = 50;

/// A sale that is over, to be looked at again at the end.
pub(super) struct Finished {
    commodity: CommodityId,
    told: Told,
}

/// What stays the same over all turns.
pub(super) struct Scene<'a> {
    pub(super) chaos: &'a Chaos,
    pub(super) cluster: Cluster,
    // After the cluster: what it is connected to goes last.
    pub(super) server: Option<PrivateServer>,
    pub(super) proxy: Option<Proxy>,
    pub(super) mint: Mint,
    pub(super) finished: Vec<Finished>,
}

impl Scene<'_> {
    /// A sale, damage, and the proof.
    pub(super) async fn turn(&mut self, seed: u64) -> anyhow::Result<TurnReport> {
        let (mut random, terms) = (StdRng::seed_from_u64(seed), self.chaos.scenario.terms());
        self.cluster.wait_owned().await?;
        let batches_before = self.batches().await?;
        let offer = Offer { stock: self.chaos.stock, limit_per_user: Some(1), hold_seconds: None };
        let targets = self.cluster.targets();
        let commodity = Desk::of(self.cluster.admin.target().clone(), targets[0].clone(), &self.mint)?
            .open_sale(offer)
            .await
            .context("the next sale")?;
        let buyers = plan::buyers(&self.mint, self.chaos.buyers, random.random(), true)?;
        let (owner, epoch) = self.cluster.owner_of(commodity).await?;
        let (tally, mut done, answers_before) = self.sell_and_hurt(commodity, &buyers, owner, (seed, &mut random)).await?;
        let pause = self.pause(&tally, epoch, done.at)?;
        if terms.is_silent {
            let failed = tally.unanswered() + tally.server_errors() + tally.with_code("pending");
            let answers = (&tally.answers, &tally.transport);
            ensure!(failed == 0 && tally.failed_attempts.is_empty(), "no request may fail: {:?}, {answers:?}", tally.failed_attempts);
        }
        let accepted_while_gone = accepted_while(&tally.shots, done.gone);
        ensure!(!terms.is_silent || terms.lasts.is_zero() || accepted_while_gone > 0, "nothing was accepted while it was away");

        let settled = self.settle(&tally.shots, &buyers, commodity).await?;
        let in_doubt_orders = settled.orders.len() as u64;
        let told = self.finish(commodity, &tally, &buyers, &settled).await?;
        self.repeat(commodity, &told, &buyers).await?;
        if let Some(before) = batches_before {
            let batches = Batches::all_came_again(self.cluster.consumers[0].target()).await?.since(before)?;
            done.figures.extend([("batches applied", batches.applied), ("batches that came again, skipped", batches.skipped)]);
        }
        self.finished.push(Finished { commodity, told });
        Ok(TurnReport {
            answers_before,
            accepted: tally.with_code("accepted") + tally.with_code("replayed"),
            in_doubt: settled.in_doubt,
            in_doubt_orders,
            retries: tally.retries,
            accepted_while_gone,
            gone_ms: done.gone.1.duration_since(done.gone.0).as_millis() as u64,
            pause_us: pause.map(|pause| pause.as_micros() as u64),
            ready_ms: done.ready.as_millis() as u64,
            figures: done.figures,
        })
    }

    /// Stops everything in order; then every sale is held against the rows once more.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.cluster.stop().await?;
        let ledger = self.ledger().await?;
        ledger.all_balance().await?;
        for sale in &self.finished {
            self.clean(ledger.audit(sale.commodity, self.sale(), &sale.told, Duration::ZERO).await?)?;
        }
        ledger.close().await
    }

    /// Buyers at an even pace, and damage after a number of answers, and some microseconds, that the seed decides.
    async fn sell_and_hurt(
        &mut self,
        commodity: CommodityId,
        buyers: &Arc<[Buyer]>,
        owner: usize,
        (seed, random): (u64, &mut StdRng),
    ) -> anyhow::Result<(Tally, Done, u64)> {
        let stock = u64::from(self.chaos.stock);
        let progress = Arc::new(Progress::with_milestone(random.random_range(1..=stock.div_ceil(self.chaos.damage_within().into()))));
        let jitter = Duration::from_micros(random.random_range(0..3_000));
        let volley = self.volley(commodity, Arc::clone(buyers), Some(self.chaos.pace()));
        let scenario = self.chaos.scenario;
        let (cluster, server, proxy) = (&mut self.cluster, &mut self.server, self.proxy.as_ref());
        let mint = &self.mint;
        let mut victims = Victims { cluster, server, proxy, mint, commodity, owner, seed, random };
        let hurt = async {
            progress.reached().await;
            // The moment itself is what is sought: between two answers, at a time nothing announces.
            tokio::time::sleep_until((Instant::now() + jitter).into()).await;
            let answers = progress.done();
            inflict(scenario, &mut victims).await.map(|done| (done, answers))
        };
        let (tally, hurt) = tokio::join!(fire(volley, Arc::clone(&progress)), hurt);
        let (done, answers) = hurt.context("the damage")?;
        let tally = tally?;
        ensure!(tally.malformed.is_empty(), "answers beyond the contract: {:?}", tally.malformed);
        Ok((tally, done, answers))
    }

    /// What the consumer has met so far, where every message is published twice.
    async fn batches(&self) -> anyhow::Result<Option<Batches>> {
        match self.chaos.scenario.terms().proxy {
            Some(Manner::Doubling) => Ok(Some(Batches::of(self.cluster.consumers[0].target()).await?)),
            Some(Manner::Resetting) | None => Ok(None),
        }
    }

    /// From the damage to the first order of a later epoch, as its buyer saw it.
    fn pause(&self, tally: &Tally, epoch: Epoch, at: Instant) -> anyhow::Result<Option<Duration>> {
        if !self.chaos.scenario.terms().changes_owner {
            return Ok(None);
        }
        let later = |shot: &Shot| accepted(shot).is_some_and(|acceptance| acceptance.order.epoch() > epoch);
        let first = tally.shots.iter().filter(|shot| later(shot)).map(|shot| shot.ended).min();
        Ok(Some(first.context("nothing was sold after the damage: give more units")?.saturating_duration_since(at)))
    }

    /// Asks every node for what is pending until it is not, then holds the one answer against the rows. Requests without an id
    /// are repeated under their keys by [`Scene::finish`].
    async fn settle(&self, shots: &[Shot], buyers: &[Buyer], commodity: CommodityId) -> anyhow::Result<Settled> {
        let mut settled = Settled::default();
        let mut nowhere = Vec::new();
        for shot in shots {
            let id = match &shot.result {
                Ok(Answer { verdict: Verdict::Pending(Some(id)), .. }) => *id,
                Ok(Answer { verdict: Verdict::Accepted(_) | Verdict::Refused | Verdict::Malformed(_), .. }) => continue,
                Ok(Answer { verdict: Verdict::Pending(None), .. }) | Err(_) => {
                    settled.in_doubt += 1;
                    continue;
                }
            };
            settled.in_doubt += 1;
            match self.one_answer(id, &buyers[shot.buyer]).await? {
                Some(acceptance) => settled.orders.push(acceptance),
                None => nowhere.push(id),
            }
        }
        let ledger = self.ledger().await?;
        let rows: BTreeSet<OrderId> = ledger.rows(commodity).await?.into_iter().map(|row| row.order).collect();
        ledger.close().await?;
        for order in &settled.orders {
            ensure!(rows.contains(&order.order), "order {} was pending, then an order, and has no row", order.order);
        }
        for id in nowhere {
            ensure!(!rows.contains(&id), "order {id} was pending, then refused, and has a row");
        }
        Ok(settled)
    }

    /// What every node says of an order that was pending.
    async fn one_answer(&self, id: OrderId, buyer: &Buyer) -> anyhow::Result<Option<Acceptance>> {
        let mut answers = Vec::new();
        for target in self.cluster.targets() {
            let mut desk = Desk::new(target, &self.mint)?;
            let began = Instant::now();
            let mut pause = tokio::time::interval(Duration::from_millis(50));
            answers.push(loop {
                pause.tick().await;
                match desk.order(id, buyer).await? {
                    Known::Order(acceptance) => break Some(acceptance),
                    Known::Nothing => break None,
                    Known::Pending => ensure!(began.elapsed() < SETTLE_TIMEOUT, "order {id} is still pending after {SETTLE_TIMEOUT:?}"),
                }
            });
        }
        ensure!(answers.windows(2).all(|pair| pair[0] == pair[1]), "order {id}: nodes contradict each other: {answers:?}");
        Ok(answers[0])
    }

    /// Lets whoever has no order ask for what is left, then holds everything against the rows: nothing is left.
    async fn finish(&self, commodity: CommodityId, tally: &Tally, buyers: &[Buyer], settled: &Settled) -> anyhow::Result<Told> {
        let mut told = Told::by(&tally.shots, buyers);
        told.accepted.extend_from_slice(&settled.orders);
        let served: BTreeSet<UserId> = told.accepted.iter().map(|acceptance| acceptance.user).collect();
        let rest: Arc<[Buyer]> = buyers.iter().filter(|buyer| !served.contains(&buyer.user)).cloned().collect();
        let last = self.answered_by_all(commodity, rest).await?;
        told.accepted.extend_from_slice(&last.accepted);
        // Refusals before the end are not held against the rows: "sold out" was true of units whose orders the damage undid.
        let told = Told { sold_out: last.sold_out, unknown: BTreeSet::new(), ..told };
        let ledger = self.ledger().await?;
        self.clean(ledger.audit(commodity, self.sale(), &told, SETTLE_TIMEOUT).await?)?;
        ledger.close().await?;
        Ok(told)
    }

    /// The same request under the same key gives the same order.
    async fn repeat(&self, commodity: CommodityId, told: &Told, buyers: &[Buyer]) -> anyhow::Result<()> {
        let known: BTreeMap<UserId, OrderId> = told.accepted.iter().map(|acceptance| (acceptance.user, acceptance.order)).collect();
        let again: Arc<[Buyer]> = buyers.iter().filter(|buyer| known.contains_key(&buyer.user)).take(REPEATED_MAX).cloned().collect();
        for acceptance in self.answered_by_all(commodity, again).await?.accepted {
            let first = known.get(&acceptance.user);
            ensure!(first == Some(&acceptance.order), "{acceptance:?} when repeated, and {first:?} before");
        }
        Ok(())
    }

    /// What these buyers are told when each asks. All must be answered, with an order or with `sold_out`.
    async fn answered_by_all(&self, commodity: CommodityId, buyers: Arc<[Buyer]>) -> anyhow::Result<Told> {
        if buyers.is_empty() {
            return Ok(Told::default());
        }
        let tally = fire(self.volley(commodity, Arc::clone(&buyers), None), Arc::default()).await?;
        let told = Told::by(&tally.shots, &buyers);
        let answered = told.accepted.len() as u64 + told.sold_out;
        ensure!(answered == buyers.len() as u64, "not an order or sold_out: {:?} {:?}", tally.answers, tally.transport);
        Ok(told)
    }

    fn volley(&self, commodity: CommodityId, buyers: Arc<[Buyer]>, pace: Option<Pace>) -> Volley {
        Volley {
            targets: self.cluster.targets(),
            connections: self.chaos.connections.min(buyers.len()),
            threads: 1,
            shape: order_shape(commodity, 1),
            buyers,
            amount: Amount::EachBuyerOnce,
            pace,
            retries_max: RETRIES_MAX,
            request_timeout: Duration::from_secs(10),
            time_limit: Duration::from_secs(120),
        }
    }

    fn clean(&self, audit: Audit) -> anyhow::Result<()> {
        ensure!(audit.is_clean() && audit.rows_in_doubt == 0 && audit.counters.available == 0, "not clean: {audit:?}");
        Ok(())
    }

    fn sale(&self) -> Sale {
        Sale { stock: i64::from(self.chaos.stock), quantity: 1 }
    }

    async fn ledger(&self) -> anyhow::Result<Ledger> {
        Ledger::open(&self.cluster.config()?, Path::new("")).await
    }
}

/// What became of requests that were in doubt.
#[derive(Default)]
struct Settled {
    in_doubt: u64,
    orders: Vec<Acceptance>,
}

fn accepted_while(shots: &[Shot], (from, until): (Instant, Instant)) -> u64 {
    shots.iter().filter(|shot| accepted(shot).is_some() && (from..until).contains(&shot.ended)).count() as u64
}

fn accepted(shot: &Shot) -> Option<&Acceptance> {
    match &shot.result {
        Ok(Answer { verdict: Verdict::Accepted(acceptance), .. }) => Some(acceptance),
        Ok(_) | Err(_) => None,
    }
}
