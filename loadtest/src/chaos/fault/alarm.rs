//! A broker that raises its memory or disk alarm: it takes no more messages until the alarm is over. One buyer more asks all the
//! while, one request at a time and none of them repeated, and sees what everybody is told.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::future::{Either, select};
use rand::RngExt;

use super::{Done, Victims};
use crate::answer::{Answer, Verdict};
use crate::client::{Client, Shape};
use crate::plan::{self, Buyer};
use crate::sale::{Desk, Offer, order_shape};

/// How long the alarm lasts from the first refusal on.
const LASTS: Duration = Duration::from_secs(2);
/// How long the buyer waits for one answer, and for answers to change once the alarm does.
const BOUND: Duration = Duration::from_secs(60);
/// More units than one buyer can buy.
const PLENTY: u32 = 1_000_000;

/// An alarm: how it is raised, and how it is cleared.
struct Alarm {
    raise: [&'static str; 2],
    clear: [&'static str; 2],
}

const MEMORY: Alarm = Alarm { raise: ["set_vm_memory_high_watermark", "0"], clear: ["set_vm_memory_high_watermark", "0.4"] };
const DISK: Alarm = Alarm { raise: ["set_disk_free_limit", "1000000GB"], clear: ["set_disk_free_limit", "10MB"] };

/// The alarm is raised, and cleared a while after the first refusal.
pub(super) async fn raised(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let alarm = if victims.random.random() { MEMORY } else { DISK };
    let mut buyer = Probe::new(victims).await?;
    let broker = victims.server.as_ref().context("no server of our own")?;
    buyer.ask_until(Told::Accepted).await.context("before the alarm")?;
    let at = Instant::now();
    buyer.ask_during(broker.control(&alarm.raise)).await??;
    buyer.ask_until(Told::Unavailable).await.context("while the alarm lasted")?;
    let refused = buyer.first_refusal(at)?;
    // The time it lasts is part of the damage: there is nothing to wait for.
    buyer.ask_during(tokio::time::sleep(LASTS)).await?;
    let began = Instant::now();
    let during = buyer.between(refused.ended, began)?;
    buyer.ask_during(broker.control(&alarm.clear)).await??;
    let cleared = Instant::now();
    buyer.ask_until(Told::Accepted).await.context("after the alarm")?;
    let done = Done::now(at, refused.ended, began)
        .with("refused with 503 while the alarm lasted, of one buyer", during.count)
        .with("longest wait for one of them, us", during.longest.as_micros() as u64)
        .with("from the last order to the first 503, us", buyer.gap(&refused).as_micros() as u64);
    Ok(done.with("accepted again after the clearing, us", cleared.elapsed().as_micros() as u64))
}

/// What the buyer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Accepted,
    Pending,
    Unavailable,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    told: Told,
    sent: Instant,
    ended: Instant,
}

/// What was told between two moments.
struct During {
    count: u64,
    longest: Duration,
}

/// The one buyer, of a commodity with plenty.
struct Probe {
    client: Client,
    buyer: Buyer,
    shape: Shape,
    attempts: Vec<Attempt>,
}

impl Probe {
    async fn new(victims: &Victims<'_>) -> anyhow::Result<Self> {
        let (operators, node) = (victims.cluster.admin.target(), victims.cluster.spikes[victims.owner].target());
        let mut desk = Desk::of(operators.clone(), node.clone(), victims.mint)?;
        let commodity = desk.open_sale(Offer { stock: PLENTY, limit_per_user: None, hold_seconds: None }).await?;
        let buyer = plan::buyers(victims.mint, 1, victims.seed, false)?[0].clone();
        Ok(Self { client: Client::new(node.clone()), buyer, shape: order_shape(commodity, 1), attempts: Vec::new() })
    }

    /// One request. No answer, or one that fits nothing of this, is an error: none may hang, none may be refused for another reason.
    async fn ask(&mut self) -> anyhow::Result<Told> {
        let sent = Instant::now();
        let response = self.client.send(&self.shape, Some(&self.buyer.authorization), None, BOUND).await;
        let response = response.map_err(|error| anyhow::anyhow!("a request while the alarm came and went: {}", error.words()))?;
        let answer = Answer::to_order(&response);
        let told = match answer.verdict {
            Verdict::Accepted(_) => Told::Accepted,
            Verdict::Pending(_) => Told::Pending,
            Verdict::Refused if answer.status == 503 => Told::Unavailable,
            Verdict::Refused | Verdict::Malformed(_) => bail!("an answer while the alarm came and went: {answer:?}"),
        };
        self.attempts.push(Attempt { told, sent, ended: Instant::now() });
        Ok(told)
    }

    async fn ask_until(&mut self, what: Told) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.ask().await? != what {
            ensure!(began.elapsed() < BOUND, "no answer was {what:?} within {} s", BOUND.as_secs());
        }
        Ok(())
    }

    /// Asks again and again until that is done. A request that is under way then is waited for.
    async fn ask_during<T>(&mut self, what: impl Future<Output = T>) -> anyhow::Result<T> {
        let mut what = pin!(what);
        loop {
            let asking = pin!(self.ask());
            match select(what.as_mut(), asking).await {
                Either::Left((done, asking)) => {
                    asking.await?;
                    return Ok(done);
                }
                Either::Right((told, _)) => drop(told?),
            }
        }
    }

    fn first_refusal(&self, since: Instant) -> anyhow::Result<Attempt> {
        let refused = |attempt: &&Attempt| attempt.told == Told::Unavailable && attempt.sent >= since;
        self.attempts.iter().find(refused).copied().context("nobody was refused")
    }

    /// What was told between two moments: nothing but refusals.
    fn between(&self, from: Instant, until: Instant) -> anyhow::Result<During> {
        let attempts: Vec<&Attempt> = self.attempts.iter().filter(|attempt| attempt.sent >= from && attempt.ended <= until).collect();
        ensure!(!attempts.is_empty(), "nobody asked while the alarm lasted");
        let other = attempts.iter().find(|attempt| attempt.told != Told::Unavailable);
        ensure!(other.is_none(), "while the alarm lasted, {other:?}");
        let longest = attempts.iter().map(|attempt| attempt.ended - attempt.sent).max().unwrap_or_default();
        Ok(During { count: attempts.len() as u64, longest })
    }

    /// From the last order before it to a refusal.
    fn gap(&self, refusal: &Attempt) -> Duration {
        let before = |attempt: &&Attempt| attempt.told == Told::Accepted && attempt.ended < refusal.ended;
        self.attempts.iter().rfind(before).map(|last| refusal.ended - last.ended).unwrap_or_default()
    }
}
