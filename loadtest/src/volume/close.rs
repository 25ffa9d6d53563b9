//! Closes sales that are over, as an operator does. A release that cannot is told apart from one that refuses.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use doorbuster::domain::{CommodityId, Timestamp};
use doorbuster::store::{PartitionRow, Store};
use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Deserialize;

use crate::client::Shape;
use crate::sale::Desk;

/// How long the checkpoints may take after a closing, and how often is looked.
const FORGOTTEN_TIMEOUT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A checkpoint that is not made smaller.
const SMALL_BYTES: u64 = 64 * 1_024;

/// Commodities asked for at a time.
const PAGE: usize = 200;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// So many commodities are closed.
    Closed(usize),
    /// This release has no such call: they are as they were, ended and not closed.
    Unable,
}

impl std::fmt::Display for Closing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(1) => write!(f, "1 commodity is closed"),
            Self::Closed(count) => write!(f, "{count} commodities are closed"),
            Self::Unable => write!(f, "this release cannot close: what is over is ended and no more"),
        }
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    id: CommodityId,
    state: String,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
}

/// Closes these commodities.
pub(super) async fn close(desk: &mut Desk, commodities: impl IntoIterator<Item = CommodityId>) -> anyhow::Result<Closing> {
    let mut closed = 0;
    for commodity in commodities {
        let answer = desk.operate(&Shape::post(&format!("/admin/v1/commodities/{commodity}/close"), Bytes::new())).await?;
        match answer.status {
            StatusCode::OK => closed += 1,
            // Of a commodity that it does not know it says `commodity_not_found`.
            StatusCode::NOT_FOUND if serde_json::from_slice::<Problem>(&answer.body).is_ok_and(|problem| problem.code == "not_found") => {
                return Ok(Closing::Unable);
            }
            status => bail!("commodity {commodity} could not be closed: {status} {}", String::from_utf8_lossy(&answer.body)),
        }
    }
    Ok(Closing::Closed(closed))
}

/// Waits until the checkpoints of all partitions are of a time after the closing: until then a claim reads what was closed, and drops it.
///
/// # Errors
/// If that does not come to be in time.
pub(super) async fn forgotten(store: &Store, since: Timestamp) -> anyhow::Result<()> {
    let deadline = Instant::now() + FORGOTTEN_TIMEOUT;
    loop {
        let rows = store.partition_rows().await?;
        let is_old = |row: &&PartitionRow| row.checkpoint.bytes > SMALL_BYTES && row.checkpoint.generation < since.millis();
        let Some(old) = rows.iter().find(is_old) else { return Ok(()) };
        ensure!(Instant::now() < deadline, "partition {} has no new checkpoint within {FORGOTTEN_TIMEOUT:?}", old.id);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Closes every commodity whose sale is over, as far as the server lists it.
///
/// # Errors
/// If the server does not answer, or refuses to close one.
pub async fn close_listed(desk: &mut Desk) -> anyhow::Result<Closing> {
    let (mut over, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = desk.operate(&Shape::get(&format!("/admin/v1/commodities?limit={PAGE}{cursor}"))).await?;
        let page: Page = serde_json::from_slice(&answer.body)
            .with_context(|| format!("no list of commodities: {} {}", answer.status, String::from_utf8_lossy(&answer.body)))?;
        over.extend(page.items.into_iter().filter(|item| item.state == "ended").map(|item| item.id));
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    close(desk, over).await
}
