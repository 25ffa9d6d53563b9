//! An operator who goes on working while the damage is done. Whatever they ask for, they ask for under a key until it is answered, and
//! some of it again at once; at the end all of it once more. Each change must have been made once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use doorbuster::domain::CommodityId;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::SETTLE_TIMEOUT;
use crate::client::{Client, Response, Shape};
use crate::cluster::Cluster;
use crate::tokens::{Mint, now};

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two changes, and between two attempts.
const PAUSE: Duration = Duration::from_millis(10);
/// How many commodities are listed until one is in a partition that the damage concerns.
const OFFERS_MAX: u32 = 200;
/// Units of a commodity at first.
const UNITS: i64 = 10;

/// The operator, and what they did.
pub(super) struct Operator {
    client: Client,
    authorization: HeaderValue,
    random: StdRng,
    commodity: CommodityId,
    /// Path, key and body of each change.
    asked: Vec<(String, String, Value)>,
    restocked: i64,
}

impl Operator {
    /// Lists a commodity that the owner sells.
    pub(super) async fn begin(cluster: &Cluster, mint: &Mint, owner: usize, seed: u64) -> anyhow::Result<Self> {
        let mut operator = Self {
            client: Client::new(cluster.admin.target().clone()),
            authorization: mint.operator()?,
            random: StdRng::seed_from_u64(seed),
            commodity: CommodityId::new(1)?,
            asked: Vec::new(),
            restocked: 0,
        };
        let (now, hour) = (now()?, 3_600_000);
        let body = json!({
            "name": "An operator's", "price": 1, "currency": "EUR", "total": UNITS, "starts_at": now, "ends_at": now.plus_millis(hour),
        });
        for number in 0..OFFERS_MAX {
            let key = format!("create-{seed}-{number}");
            let mut made = Vec::new();
            for _ in 0..2 {
                let answer = operator.ask("/admin/v1/commodities", &key, &body).await?;
                let answer: Value = serde_json::from_slice(&answer.body)?;
                made.push(answer["id"].as_i64().context("a commodity without an id")?);
            }
            ensure!(made[0] == made[1], "one key has made commodities {made:?}");
            operator.commodity = CommodityId::new(made[0])?;
            if cluster.owner_of(operator.commodity).await?.0 == owner {
                return Ok(operator);
            }
        }
        bail!("none of {OFFERS_MAX} commodities is in a partition that the damage concerns")
    }

    /// Makes one change after the other, until that is over.
    pub(super) async fn work(&mut self, is_over: &AtomicBool) -> anyhow::Result<()> {
        let mut pause = tokio::time::interval(PAUSE);
        while !is_over.load(Ordering::Acquire) {
            pause.tick().await;
            let units = self.random.random_range(1..=3);
            let (action, body) = match self.random.random_range(0..4) {
                0 => ("pause", Value::Null),
                1 => ("resume", Value::Null),
                _ => ("restock", json!({ "units": units })),
            };
            let path = format!("/admin/v1/commodities/{}/{action}", self.commodity);
            let key = format!("change-{}", self.asked.len());
            self.asked.push((path.clone(), key.clone(), body.clone()));
            self.ask(&path, &key, &body).await?;
            self.restocked += if action == "restock" { units } else { 0 };
            if self.random.random_bool(0.25) {
                self.ask(&path, &key, &body).await?;
            }
        }
        Ok(())
    }

    /// Asks for everything once more: nothing of it is done twice. Returns how many changes there were.
    pub(super) async fn prove(&mut self) -> anyhow::Result<u64> {
        for (path, key, body) in self.asked.clone() {
            self.ask(&path, &key, &body).await?;
        }
        let path = format!("/admin/v1/commodities/{}", self.commodity);
        let answer = self.client.send(&Shape::get(&path), Some(&self.authorization), None, ANSWER_TIMEOUT).await;
        let answer = answer.map_err(|error| anyhow::anyhow!("{path}: {}", error.words()))?;
        let shown: Value = serde_json::from_slice(&answer.body)?;
        let total = UNITS + self.restocked;
        ensure!(shown["total"] == json!(total), "{} changes come to {total} units, and there are {}", self.asked.len(), shown["total"]);
        Ok(self.asked.len() as u64)
    }

    /// Asks under that key until it is done.
    async fn ask(&mut self, path: &str, key: &str, body: &Value) -> anyhow::Result<Response> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
        let (shape, key) = (Shape::post(path, body.into()), HeaderValue::from_str(key)?);
        let (began, mut pause) = (Instant::now(), tokio::time::interval(PAUSE));
        while began.elapsed() < SETTLE_TIMEOUT {
            pause.tick().await;
            match self.client.send(&shape, Some(&self.authorization), Some(&key), ANSWER_TIMEOUT).await {
                Ok(answer) if matches!(answer.status, StatusCode::OK | StatusCode::CREATED) => return Ok(answer),
                Ok(answer) if matches!(answer.status, StatusCode::ACCEPTED | StatusCode::SERVICE_UNAVAILABLE) => {}
                Ok(answer) => bail!("{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)),
                Err(_) => {}
            }
        }
        bail!("{path} has no outcome after {SETTLE_TIMEOUT:?}")
    }
}
