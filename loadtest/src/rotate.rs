//! Buyers of another issuer who order at an even pace while their issuer changes its keys, from one moment to the next and without a word:
//! none is refused. The server is one of our own, and so is the issuer. Never sends a token that is not good.

mod issuer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hyper::header::HeaderValue;
use tokio::task::JoinSet;

use crate::client::{Client, Shape, TransportError};
use crate::loopback::Target;
use crate::machine::Machine;
use crate::plan::Pace;
use crate::report;
use crate::sale::{Desk, Offer, order_shape};
use crate::server::{Kind, Launcher};
use crate::tally::{Latencies, Percentiles};
use crate::tokens::Mint;
use issuer::Issuer;

/// How long one request may take: longer than the server lets anybody wait for a key.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How the keys change, and under what load.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Rotation {
    /// Requests a second, each with a token that nobody has seen before.
    pub rate: u32,
    /// For so many seconds.
    pub seconds: u64,
    /// So many changes of keys, evenly.
    pub rotations: u32,
    /// Keep-alive connections.
    pub connections: usize,
}

/// What came of it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RotationReport {
    /// Where it was measured.
    pub machine: Machine,
    /// What was asked for.
    pub rotation: Rotation,
    /// Orders that were accepted: all of them.
    pub accepted: u64,
    /// How often the issuer was asked for its keys.
    pub fetches: usize,
    /// How long orders took, from when they were due.
    pub latency: Option<Percentiles>,
}

impl std::fmt::Display for RotationReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Rotation { rate, seconds, rotations, .. } = self.rotation;
        writeln!(
            f,
            "  {} orders in {seconds} s ({rate} a second), {rotations} rotations: all accepted; the issuer was asked {} times",
            report::thousands(self.accepted),
            self.fetches
        )?;
        if let Some(latency) = &self.latency {
            let [p50, p99, max] = [latency.p50_us, latency.p99_us, latency.max_us].map(report::latency);
            writeln!(f, "  from when an order was due: p50 {p50}, p99 {p99}, max {max}")?;
        }
        write!(f, "  {}", self.machine)
    }
}

impl Rotation {
    fn requests(&self) -> usize {
        usize::try_from(u64::from(self.rate) * self.seconds).unwrap_or(usize::MAX)
    }

    /// From one change of keys to the next.
    fn gap(&self) -> Duration {
        Duration::from_secs(self.seconds) / (self.rotations + 1)
    }
}

/// Starts a server and an issuer in that folder, and has buyers order while keys change.
///
/// # Errors
/// If an order was refused or got no answer, or if something could not be started.
pub async fn rotate(rotation: Rotation, launcher: &Launcher, mint: &Mint, folder: &Path) -> anyhow::Result<RotationReport> {
    let issuer = Arc::new(Issuer::start().await?);
    // The server reads it where it runs. It is asked in its turn once a minute: a new key is found by those who have it.
    std::fs::write(folder.join("doorbuster.toml"), issuer.settings())?;
    let server = launcher.start(&Kind::Embedded { data: folder.join("data") }, &folder.join("server.log")).await?;
    let offer = Offer { stock: u32::try_from(rotation.requests())?, limit_per_user: Some(1), hold_seconds: None };
    let commodity = Desk::new(server.target().clone(), mint)?.open_sale(offer).await?;
    let round = Arc::new(Round {
        rotation,
        begun: Instant::now(),
        next: AtomicUsize::new(0),
        target: server.target().clone(),
        shape: order_shape(commodity, 1),
        issuer: Arc::clone(&issuer),
    });
    let mut buying = JoinSet::new();
    for _ in 0..rotation.connections {
        let round = Arc::clone(&round);
        buying.spawn(async move { round.buy().await });
    }
    let changing = tokio::spawn({
        let round = Arc::clone(&round);
        async move { round.change_keys().await }
    });
    let (mut latencies, mut accepted) = (Latencies::default(), 0);
    while let Some(bought) = buying.join_next().await {
        let bought = bought??;
        accepted += bought.len() as u64;
        bought.into_iter().for_each(|latency| latencies.record(latency));
    }
    changing.await?;
    server.stop().await?;
    ensure!(accepted == rotation.requests() as u64, "{accepted} orders were accepted, and {} were placed", rotation.requests());
    let fetches = issuer.fetches();
    Ok(RotationReport { machine: Machine::here(), rotation, accepted, fetches, latency: latencies.percentiles() })
}

/// All that requests share.
struct Round {
    rotation: Rotation,
    begun: Instant,
    next: AtomicUsize,
    target: Target,
    shape: Shape,
    issuer: Arc<Issuer>,
}

impl Round {
    /// Orders whatever is due next, over one connection; how long each took.
    async fn buy(&self) -> anyhow::Result<Vec<Duration>> {
        let (mut client, mut taken) = (Client::new(self.target.clone()), Vec::new());
        let pace = Pace::new(self.rotation.rate);
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.rotation.requests() {
                return Ok(taken);
            }
            let due = pace.due(self.begun, index);
            tokio::time::sleep_until(due.into()).await;
            let mut token = HeaderValue::from_str(&format!("Bearer {}", self.issuer.token(index)?))?;
            token.set_sensitive(true);
            match client.send(&self.shape, Some(&token), None, REQUEST_TIMEOUT).await {
                Ok(answer) if answer.status == hyper::StatusCode::CREATED => taken.push(due.elapsed()),
                Ok(answer) => {
                    let after = self.begun.elapsed().as_secs_f64();
                    bail!("order {index}, {after:.2} s after the start: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
                }
                Err(error @ (TransportError::Connect | TransportError::Broken | TransportError::TimedOut | TransportError::TooLong)) => {
                    return Err(anyhow::anyhow!(error.words())).with_context(|| format!("order {index} got no answer"));
                }
            }
        }
    }

    /// Changes the keys, each time as little announced as can be: what is published at one moment signs at the same.
    async fn change_keys(&self) {
        let gap = self.rotation.gap();
        for number in 1..=self.rotation.rotations {
            let at = self.begun + gap * number;
            tokio::time::sleep_until(at.into()).await;
            self.issuer.rotate();
            // Those who have a token of before have a while.
            tokio::time::sleep_until((at + gap / 2).into()).await;
            self.issuer.end_the_last_tokens();
            tokio::time::sleep_until((at + gap * 3 / 4).into()).await;
            self.issuer.withdraw();
        }
    }
}
