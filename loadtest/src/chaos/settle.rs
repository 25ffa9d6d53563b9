//! After the damage: one answer for everything that was in doubt, a sale finished to its last unit, and all that was told held
//! against the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use doorbuster::domain::{CommodityId, OrderId, UserId};

use super::SETTLE_TIMEOUT;
use super::record::Record;
use super::turn::Scene;
use crate::answer::{Acceptance, Answer, Verdict};
use crate::audit::Told;
use crate::plan::Buyer;
use crate::sale::{Desk, Known};
use crate::tally::{Shot, Tally};
use crate::volley::{Progress, fire};

/// How many accepted orders are asked for again under their keys.
const REPEATED_MAX: usize = 50;
/// How many accepted orders every node is asked for at the end.
const ASKED_MAX: usize = 20;

/// What became of requests that were in doubt.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) in_doubt: u64,
    pub(super) orders: Vec<Acceptance>,
    /// The ids that were pending, and whose.
    pub(super) asked: Vec<(OrderId, usize)>,
}

impl Scene<'_> {
    /// Asks every node for what is pending until it is not, then holds the one answer against the rows. Requests without an id
    /// are repeated under their keys by [`Scene::finish`].
    pub(super) async fn settle(
        &self,
        shots: &[Shot],
        buyers: &[Buyer],
        commodity: CommodityId,
        record: &mut Record,
    ) -> anyhow::Result<Settled> {
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
            settled.asked.push((id, shot.buyer));
            match self.one_answer(id, &buyers[shot.buyer], record).await? {
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
    async fn one_answer(&self, id: OrderId, buyer: &Buyer, record: &mut Record) -> anyhow::Result<Option<Acceptance>> {
        let mut answers = Vec::new();
        for (via, target) in self.cluster.targets().into_iter().enumerate() {
            let mut desk = Desk::new(target, &self.mint)?;
            let began = Instant::now();
            let mut pause = tokio::time::interval(Duration::from_millis(50));
            answers.push(loop {
                pause.tick().await;
                let since = Instant::now();
                let known = desk.order(id, buyer).await?;
                record.note_look(&self.clock, via, id, since, &known);
                match known {
                    Known::Order(acceptance) => break Some(acceptance),
                    Known::Refused => break None,
                    Known::Nothing => bail!("order {id} was given to its buyer, and node {via} knows no such id"),
                    Known::Pending => ensure!(began.elapsed() < SETTLE_TIMEOUT, "order {id} is still pending after {SETTLE_TIMEOUT:?}"),
                }
            });
        }
        ensure!(answers.windows(2).all(|pair| pair[0] == pair[1]), "order {id}: nodes contradict each other: {answers:?}");
        Ok(answers[0])
    }

    /// Lets whoever has no order ask for what is left, then holds everything against the rows: nothing is left.
    pub(super) async fn finish(
        &self,
        commodity: CommodityId,
        tally: &Tally,
        buyers: &[Buyer],
        settled: &Settled,
        record: &mut Record,
    ) -> anyhow::Result<Told> {
        let mut told = Told::by(&tally.shots, buyers);
        told.accepted.extend_from_slice(&settled.orders);
        let served: BTreeSet<UserId> = told.accepted.iter().map(|acceptance| acceptance.user).collect();
        let rest: Arc<[Buyer]> = buyers.iter().filter(|buyer| !served.contains(&buyer.user)).cloned().collect();
        let last = self.answered_by_all(commodity, rest, record).await?;
        told.accepted.extend_from_slice(&last.accepted);
        // Refusals before the end are not held against the rows: "sold out" was true of units whose orders the damage undid.
        let told = Told { sold_out: last.sold_out, unknown: BTreeSet::new(), ..told };
        let ledger = self.ledger().await?;
        self.clean(ledger.audit(commodity, self.sale(), &told, SETTLE_TIMEOUT).await?)?;
        ledger.close().await?;
        Ok(told)
    }

    /// Now that all has come to rest: asks every node once more for what was pending and for some that were accepted, and holds all
    /// that was ever told against the rows.
    pub(super) async fn ask_again(
        &self,
        commodity: CommodityId,
        settled: &Settled,
        told: &Told,
        buyers: &[Buyer],
        record: &mut Record,
    ) -> anyhow::Result<()> {
        let place: BTreeMap<UserId, usize> = buyers.iter().enumerate().map(|(place, buyer)| (buyer.user, place)).collect();
        let some = told.accepted.iter().take(ASKED_MAX).map(|acceptance| (acceptance.order, place[&acceptance.user]));
        let asked: Vec<(OrderId, usize)> = settled.asked.iter().copied().chain(some).collect();
        for (via, target) in self.cluster.targets().into_iter().enumerate() {
            let mut desk = Desk::new(target, &self.mint)?;
            for (id, buyer) in &asked {
                let since = Instant::now();
                let known = desk.order(*id, &buyers[*buyer]).await?;
                record.note_look(&self.clock, via, *id, since, &known);
            }
        }
        let ledger = self.ledger().await?;
        record.rows = ledger.history_rows(commodity, self.chaos.stock.into()).await?;
        ledger.close().await?;
        record.check()
    }

    /// The same request under the same key gives the same order.
    pub(super) async fn repeat(&self, commodity: CommodityId, told: &Told, buyers: &[Buyer], record: &mut Record) -> anyhow::Result<()> {
        if self.chaos.keyless {
            record.rest_us = self.clock.micros(Instant::now());
            return Ok(());
        }
        let known: BTreeMap<UserId, OrderId> = told.accepted.iter().map(|acceptance| (acceptance.user, acceptance.order)).collect();
        let again: Arc<[Buyer]> = buyers.iter().filter(|buyer| known.contains_key(&buyer.user)).take(REPEATED_MAX).cloned().collect();
        // All is at rest since the last audit: no node is behind, and none may have forgotten a key.
        record.rest_us = self.clock.micros(Instant::now());
        let asked = again.len();
        let answered = self.answered_by_all(commodity, again, record).await?;
        let orders = answered.accepted.len();
        ensure!(orders == asked, "of {asked} accepted requests, repeated under their keys, {orders} were answered with an order");
        for acceptance in answered.accepted {
            let first = known.get(&acceptance.user);
            ensure!(first == Some(&acceptance.order), "{acceptance:?} when repeated, and {first:?} before");
        }
        Ok(())
    }

    /// What these buyers are told when each asks. All must be answered, with an order or with `sold_out`.
    async fn answered_by_all(&self, commodity: CommodityId, buyers: Arc<[Buyer]>, record: &mut Record) -> anyhow::Result<Told> {
        if buyers.is_empty() {
            return Ok(Told::default());
        }
        let progress = Arc::new(Progress::default().witnessed());
        let tally = fire(self.volley(commodity, Arc::clone(&buyers)), Arc::clone(&progress)).await?;
        record.note(&self.clock, &progress.take_attempts(), commodity, &buyers)?;
        let told = Told::by(&tally.shots, &buyers);
        let answered = told.accepted.len() as u64 + told.sold_out;
        ensure!(answered == buyers.len() as u64, "not an order or sold_out: {:?} {:?}", tally.answers, tally.transport);
        Ok(told)
    }
}
