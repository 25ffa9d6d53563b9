//! Buyers without a key, whose orders other nodes pass on to the owner: whatever was pending is asked for again under its `retry_key`, of
//! every node, until it has an outcome. Never asks without one.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use doorbuster::domain::CommodityId;
use hyper::header::HeaderValue;

use super::SETTLE_TIMEOUT;
use super::record::Record;
use super::settle::Settled;
use super::turn::Scene;
use super::{Chaos, TurnReport};
use crate::answer::{Acceptance, Answer, Verdict};
use crate::client::Client;
use crate::outcome::NoOutcome;
use crate::plan::Buyer;
use crate::sale::order_shape;
use crate::tally::Shot;
use crate::volley::Attempt;

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

impl Scene<'_> {
    /// The nodes that buyers ask: those that pass their orders on, where they have no keys.
    pub(super) fn asked(&self, owner: usize) -> Vec<usize> {
        (0..self.cluster.spikes.len()).filter(|node| !self.chaos.keyless || *node != owner).collect()
    }

    /// What became of everything that was pending, the same from every node.
    pub(super) async fn settle_under_retry_keys(
        &self,
        shots: &[Shot],
        buyers: &[Buyer],
        commodity: CommodityId,
        record: &mut Record,
    ) -> anyhow::Result<Settled> {
        let mut settled = Settled::default();
        for shot in shots {
            let Ok(Answer { verdict: Verdict::Pending(order), retry_key, .. }) = &shot.result else { continue };
            let key = retry_key.as_deref().context("an order is pending, and there is no key to ask again under")?;
            let buyer = Buyer { key: Some(HeaderValue::from_str(key)?), ..buyers[shot.buyer].clone() };
            settled.in_doubt += 1;
            let outcome = self.outcome_everywhere(commodity, &buyer, record).await.with_context(|| format!("under retry key {key}"))?;
            settled.orders.extend(outcome);
            // One that came to nothing may have another id by now.
            let is_it = |order| outcome.is_none_or(|acceptance| acceptance.order == order);
            settled.asked.extend(order.filter(|order| is_it(*order)).map(|order| (order, shot.buyer)));
        }
        Ok(settled)
    }

    async fn outcome_everywhere(&self, commodity: CommodityId, buyer: &Buyer, record: &mut Record) -> anyhow::Result<Option<Acceptance>> {
        let mut outcomes = Vec::new();
        for via in 0..self.cluster.spikes.len() {
            outcomes.push(self.outcome(commodity, via, buyer, record).await?);
        }
        ensure!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "nodes contradict each other: {outcomes:?}");
        Ok(outcomes[0])
    }

    /// An order, or that nothing is left.
    async fn outcome(&self, commodity: CommodityId, via: usize, buyer: &Buyer, record: &mut Record) -> anyhow::Result<Option<Acceptance>> {
        let mut client = Client::new(self.cluster.targets()[via].clone());
        let (began, mut pause) = (Instant::now(), tokio::time::interval(Duration::from_millis(50)));
        loop {
            pause.tick().await;
            let sent = Instant::now();
            let got = client.send(&order_shape(commodity, 1), Some(&buyer.authorization), buyer.key.as_ref(), ANSWER_TIMEOUT).await;
            let result = got.map(|response| Answer::to_order(&response));
            let attempt = Attempt { buyer: 0, target: via, due: sent, sent, ended: Instant::now(), result: result.clone() };
            record.note(&self.clock, &[attempt], commodity, std::slice::from_ref(buyer))?;
            match result {
                Ok(Answer { verdict: Verdict::Accepted(acceptance), .. }) => return Ok(Some(acceptance)),
                Ok(Answer { verdict: Verdict::Refused, code, .. }) if code == "sold_out" => return Ok(None),
                Ok(answer) if answer.asks_to_come_again() || matches!(answer.verdict, Verdict::Pending(_)) => {}
                Err(_) => {}
                Ok(other) => bail!("node {via} answers {} {}", other.status, other.code),
            }
            ensure!(began.elapsed() < SETTLE_TIMEOUT, "no outcome from node {via} after {SETTLE_TIMEOUT:?}");
        }
    }
}

/// The turns, if they prove anything: where nothing was ever pending, no retry key was needed.
pub(super) fn met(chaos: &Chaos, turns: Vec<TurnReport>) -> anyhow::Result<Vec<TurnReport>> {
    let in_vain = chaos.keyless && turns.iter().all(|turn| turn.in_doubt == 0);
    if in_vain { Err(NoOutcome::mark(anyhow!("no order was ever pending: do it more often"))) } else { Ok(turns) }
}
