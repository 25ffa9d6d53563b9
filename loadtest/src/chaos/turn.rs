//! One sale with damage in the middle, and everything that must be true after it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use doorbuster::domain::{CommodityId, Epoch};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::brokers::Brokers;
use super::demands::{
    accepted, accepted_while, load_went_on, nobody_noticed, not_sold_again, nothing_of_the_paused, sold_in_each_quarter, sold_meanwhile,
    within_contract,
};
use super::duplicates::Batches;
use super::fault::{Done, Victims, inflict};
use super::operator::Operator;
use super::proxy::{Manner, Proxy};
use super::record::{Clock, Head, Record};
use super::scenario::SellsAgain;
use super::servers::PrivateServer;
use super::{Chaos, Scenario, TurnReport};
use crate::audit::{Audit, Sale, Told};
use crate::cluster::Cluster;
use crate::ledger::Ledger;
use crate::outcome::{Doubt, NoOutcome};
use crate::plan::{self, Buyer, Pace};
use crate::sale::{Desk, Offer, order_shape};
use crate::tally::Tally;
use crate::tokens::Mint;
use crate::volley::{Amount, Attempt, Progress, Volley, fire};

/// How often a buyer asks before giving up.
const RETRIES_MAX: u32 = 100;
/// How many commodities are put on sale until one is in a partition that the damage concerns.
const OFFERS_MAX: u32 = 200;
/// How long the load of a turn may last: longer than any damage.
const LOAD_TIMEOUT: Duration = Duration::from_secs(900);
/// How long an answer may take beyond the time requests wait for the next owner.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

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
    pub(super) brokers: Brokers,
    pub(super) proxy: Option<Proxy>,
    pub(super) mint: Mint,
    pub(super) finished: Vec<Finished>,
    pub(super) clock: Clock,
    /// One for each turn.
    pub(super) records: Vec<Record>,
    /// Why the last turn proves nothing, though nothing in it was wrong.
    pub(super) doubt: Doubt,
    /// Who works on while the damage of a turn is done.
    pub(super) operator: Option<Operator>,
}

impl Scene<'_> {
    /// A turn, whose record is kept whatever comes of it.
    pub(super) async fn turn(&mut self, seed: u64) -> anyhow::Result<TurnReport> {
        let mut record = Record::new(Head { scenario: self.chaos.scenario, seed });
        let report = self.play(seed, &mut record).await;
        self.records.push(record);
        report
    }

    /// A sale, damage, and the proof.
    async fn play(&mut self, seed: u64, record: &mut Record) -> anyhow::Result<TurnReport> {
        let (mut random, scenario) = (StdRng::seed_from_u64(seed), self.chaos.scenario);
        let terms = scenario.terms();
        self.cluster.wait_owned().await?;
        let batches_before = self.batches().await?;
        let commodity = self.open_sale().await?;
        let buyers = plan::buyers(&self.mint, self.chaos.buyers, random.random(), !self.chaos.keyless)?;
        let (owner, epoch) = self.cluster.owner_of(commodity).await?;
        self.operator = match scenario {
            Scenario::SpikeKilled | Scenario::OwnerKilled | Scenario::SpikesTogether => {
                Some(Operator::begin(&self.cluster, &self.mint, owner, seed).await?)
            }
            _ => None,
        };
        let (attempts, mut tally, mut done, answers_before) =
            self.sell_and_hurt(commodity, &buyers, owner, (seed, &mut random), record).await?;
        ensure!(tally.malformed.is_empty(), "answers beyond the contract: {:?}", tally.malformed);
        if terms.is_silent {
            nobody_noticed(&attempts)?;
            ensure!(tally.unanswered() == 0, "no request may fail: {:?}", tally.transport);
        }
        self.doubt.unless(done.doubt.take().map_or(Ok(()), Err))?;
        let is_felt = self.doubt.unless(load_went_on(&attempts, done.gone, terms.lasts))?.is_some();
        // Who asks for nothing any more does not see it sold again.
        let pause = if is_felt { self.doubt.unless(self.pause(&attempts, epoch, &done))?.flatten() } else { None };
        let accepted_while_gone = accepted_while(&attempts, done.gone);
        let stock = self.chaos.stock.into();
        if terms.is_silent && !terms.lasts.is_zero() {
            self.doubt.unless(sold_meanwhile(&attempts, done.gone, stock))?;
        }
        if scenario == Scenario::OwnerPaused {
            nothing_of_the_paused(&attempts, epoch, done.gone)?;
        }
        if scenario == Scenario::DatabaseAway {
            self.doubt.unless(sold_in_each_quarter(&attempts, done.gone, stock))?;
            let a_second = accepted_while_gone as f64 / done.gone.1.duration_since(done.gone.0).as_secs_f64();
            done.figures.insert("accepted while the database was away, a second", a_second as u64);
        }

        // Whoever had an order that is lost has none, and may ask again.
        tally.shots.retain(|shot| shot.order().is_none_or(|order| !done.lost.contains(&order)));
        record.lost.clone_from(&done.lost);
        let settled = if self.chaos.keyless {
            ensure!(tally.unanswered() == 0, "a node that was not hurt did not answer: {:?}", tally.transport);
            self.settle_under_retry_keys(&tally.shots, &buyers, commodity, record).await?
        } else {
            self.settle(&tally.shots, &buyers, commodity, record).await?
        };
        let in_doubt_orders = settled.orders.len() as u64;
        let told = self.finish(commodity, &tally, &buyers, &settled, record).await?;
        self.repeat(commodity, &told, &buyers, record).await?;
        if let Some(before) = batches_before {
            let batches = Batches::all_came_again(self.cluster.consumers[0].target()).await?.since(before)?;
            done.figures.extend([("batches applied", batches.applied), ("batches that came again, skipped", batches.skipped)]);
        }
        self.ask_again(commodity, &settled, &told, &buyers, record).await?;
        if let Some(operator) = &mut self.operator {
            done.figures.insert("operator's changes, each made once", operator.prove().await?);
        }
        self.finished.push(Finished { commodity, told });
        let (owner_after, epoch_after) = self.cluster.owner_of(commodity).await?;
        // Nothing is proved by its silence, and a new owner would hear as little of it.
        let is_kept = scenario != Scenario::BrokerPaused || epoch_after == epoch;
        ensure!(is_kept, "the broker stood still, and the partition went from epoch {epoch} to {epoch_after}");
        let name = |owner: usize| self.cluster.spikes[owner].name();
        let owners = [format!("{} in epoch {epoch}", name(owner)), format!("{} in epoch {epoch_after}", name(owner_after))];
        if scenario == Scenario::NodeJoins {
            let joined = self.cluster.spikes.len() - 1;
            ensure!(owner_after == joined, "{} joined and does not own the partition: {} does", name(joined), name(owner_after));
            self.cluster.shrink().await?;
        }
        Ok(TurnReport {
            answers_before,
            accepted: tally.with_code("accepted") + tally.with_code("replayed") - done.lost.len() as u64,
            in_doubt: settled.in_doubt,
            in_doubt_orders,
            retries: tally.retries,
            accepted_while_gone,
            gone_ms: done.gone.1.duration_since(done.gone.0).as_millis() as u64,
            pause_us: pause.map(|pause| pause.as_micros() as u64),
            longest_wait_us: attempts.iter().map(|attempt| attempt.ended.duration_since(attempt.due).as_micros() as u64).max().unwrap_or(0),
            owners,
            calls: record.calls.len() as u64,
            ready_ms: done.ready.as_millis() as u64,
            figures: done.figures,
        })
    }

    /// Puts a commodity on sale whose partition the damage concerns.
    async fn open_sale(&self) -> anyhow::Result<CommodityId> {
        let offer = Offer { stock: self.chaos.stock, limit_per_user: Some(1), hold_seconds: None };
        let mut desk = Desk::of(self.cluster.admin.target().clone(), self.cluster.targets()[0].clone(), &self.mint)?;
        for _ in 0..OFFERS_MAX {
            let commodity = desk.open_sale(offer).await.context("the next sale")?;
            let is_concerned = match self.chaos.scenario {
                Scenario::NodeJoins => self.cluster.would_move(commodity)?,
                // The first node is the one whose cable can be cut.
                Scenario::NetworkCut => self.cluster.owner_of(commodity).await?.0 == 0,
                _ => true,
            };
            if is_concerned {
                return Ok(commodity);
            }
        }
        bail!("none of {OFFERS_MAX} commodities is in a partition that the damage concerns")
    }

    /// Stops everything in order; then every sale, and all that was told of it, is held against the rows once more.
    pub(super) async fn end(&mut self) -> anyhow::Result<()> {
        self.cluster.stop().await?;
        let ledger = self.ledger().await?;
        ledger.all_balance().await?;
        let mut records = std::mem::take(&mut self.records);
        let again = self.once_more(&ledger, &mut records).await;
        self.records = records;
        again?;
        ledger.close().await
    }

    async fn once_more(&self, ledger: &Ledger, records: &mut [Record]) -> anyhow::Result<()> {
        for (sale, record) in self.finished.iter().zip(records) {
            self.clean(ledger.audit(sale.commodity, self.sale(), &sale.told, Duration::ZERO).await?)?;
            record.rows = ledger.history_rows(sale.commodity, self.chaos.stock.into()).await?;
            record.check()?;
        }
        Ok(())
    }

    /// Buyers at an even pace, and damage after a number of answers, and some microseconds, that the seed decides. Some buyers and units
    /// are left until the damage is over. What they were told is noted whatever comes of it.
    async fn sell_and_hurt(
        &mut self,
        commodity: CommodityId,
        buyers: &Arc<[Buyer]>,
        owner: usize,
        (seed, random): (u64, &mut StdRng),
        record: &mut Record,
    ) -> anyhow::Result<(Vec<Attempt>, Tally, Done, u64)> {
        let stock = u64::from(self.chaos.stock);
        let milestone = random.random_range(1..=stock.div_ceil(self.chaos.damage_within().into()));
        let progress = Arc::new(Progress::with_milestone(milestone).witnessed());
        let jitter = Duration::from_micros(random.random_range(0..3_000));
        let (pace, sparing) = (Some(Pace::new(self.chaos.rate)), Some(self.chaos.sparing()));
        let mut volley = Volley { pace, sparing, ..self.volley(commodity, Arc::clone(buyers)) };
        let asked = self.asked(owner);
        volley.targets = asked.iter().map(|node| volley.targets[*node].clone()).collect();
        let scenario = self.chaos.scenario;
        let (cluster, server, proxy) = (&mut self.cluster, &mut self.server, self.proxy.as_ref());
        let (mint, brokers) = (&self.mint, &mut self.brokers);
        let (mut operator, is_over) = (self.operator.as_mut(), AtomicBool::new(false));
        let mut victims = Victims { cluster, server, brokers, proxy, mint, progress: &progress, stock, commodity, owner, seed, random };
        let hurt = async {
            progress.reached().await;
            // The moment itself is what is sought: between two answers, at a time nothing announces.
            tokio::time::sleep_until((Instant::now() + jitter).into()).await;
            let answers = progress.done();
            let done = inflict(scenario, &mut victims).await.context("the damage");
            // Whoever did not come yet comes now: to see what is sold afterwards.
            progress.spare_nothing();
            is_over.store(true, Ordering::Release);
            done.map(|done| (done, answers))
        };
        let operate = async {
            match &mut operator {
                Some(operator) => operator.work(&is_over).await.context("the operator"),
                None => Ok(()),
            }
        };
        // Whichever fails ends the other: what comes of damage without a sale, or of a sale without damage, is nothing.
        let sold = async { tokio::try_join!(fire(volley, Arc::clone(&progress)), hurt, operate) }.await;
        let mut attempts = progress.take_attempts();
        attempts.iter_mut().for_each(|attempt| attempt.target = asked[attempt.target]);
        record.note(&self.clock, &attempts, commodity, buyers)?;
        if sold.as_ref().is_err_and(NoOutcome::is_of) {
            // What cannot be hurt proves nothing, but whatever was wrong until then was wrong.
            within_contract(&attempts)?;
            if scenario.terms().is_silent {
                nobody_noticed(&attempts)?;
            }
        }
        let (tally, (done, answers), ()) = sold?;
        Ok((attempts, tally, done, answers))
    }

    /// What the consumer has met so far, where every message is published twice.
    async fn batches(&self) -> anyhow::Result<Option<Batches>> {
        match self.chaos.scenario.terms().proxy {
            Some(Manner::Doubling) => Ok(Some(Batches::of(self.cluster.consumers[0].target()).await?)),
            Some(Manner::Resetting | Manner::Stalling) | None => Ok(None),
        }
    }

    /// From the damage to the first order that shows that the commodity is sold again, as its buyer saw it.
    fn pause(&self, attempts: &[Attempt], epoch: Epoch, done: &Done) -> anyhow::Result<Option<Duration>> {
        let stock = self.chaos.stock.into();
        let is_again: &dyn Fn(&Attempt, Epoch) -> bool = match self.chaos.scenario.terms().sells_again {
            SellsAgain::AllTheTime => return Ok(None),
            SellsAgain::InLaterEpoch | SellsAgain::InLaterEpochMeanwhile => &|_, of| of > epoch,
            SellsAgain::InAnyEpoch => &|attempt, _| attempt.sent > done.gone.0,
        };
        let again = attempts.iter().filter(|attempt| accepted(&attempt.result).is_some_and(|order| is_again(attempt, order.order.epoch())));
        let Some(first) = again.map(|attempt| attempt.ended).min() else { return Err(not_sold_again(attempts, done.gone.1, stock)) };
        let is_late = self.chaos.scenario.terms().sells_again == SellsAgain::InLaterEpochMeanwhile && first > done.gone.1;
        ensure!(!is_late, "it was sold again only when the damage was mended");
        Ok(Some(first.saturating_duration_since(done.at)))
    }

    /// All buyers at once.
    pub(super) fn volley(&self, commodity: CommodityId, buyers: Arc<[Buyer]>) -> Volley {
        Volley {
            targets: self.cluster.targets(),
            connections: self.chaos.connections.min(buyers.len()),
            threads: 1,
            shape: order_shape(commodity, 1),
            buyers,
            amount: Amount::EachBuyerOnce,
            pace: None,
            sparing: None,
            retries_max: RETRIES_MAX,
            request_timeout: Duration::from_millis(self.chaos.patience_ms.into()) + ANSWER_TIMEOUT,
            time_limit: LOAD_TIMEOUT,
        }
    }

    pub(super) fn clean(&self, audit: Audit) -> anyhow::Result<()> {
        ensure!(audit.is_clean() && audit.rows_in_doubt == 0 && audit.counters.available == 0, "not clean: {audit:?}");
        Ok(())
    }

    pub(super) fn sale(&self) -> Sale {
        Sale { stock: i64::from(self.chaos.stock), quantity: 1 }
    }

    pub(super) async fn ledger(&self) -> anyhow::Result<Ledger> {
        Ledger::open(&self.cluster.config()?, Path::new("")).await
    }
}
