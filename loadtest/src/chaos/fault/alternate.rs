//! A log that its own consumers shuffle: they cannot apply anything, because the rows that say how far it is applied are locked, and each is
//! killed with messages in hand, fewer than had come back.

use std::time::Instant;

use anyhow::ensure;
use rand::RngExt;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, Statement, TransactionTrait};

use super::log::RawLog;
use super::{Done, Victims, until};

/// What a consumer has in hand that is not told anything else: see the scenarios' terms.
const PREFETCH: u16 = 128;
const PREFETCH_SETTING: &str = "DOORBUSTER__CONSUMER__PREFETCH";
/// Messages that wait beyond what a consumer has in hand, at least.
const WAITING_MIN: u32 = 5;
/// What consumers that alternate have in hand.
const PREFETCHES: [u16; 6] = [1, 2, 8, 32, 100, PREFETCH];
/// How often they do.
const ALTERNATIONS: usize = 6;

/// The only consumer is killed with 128 messages in hand, then one with 32, then one with 1.
pub(super) async fn prefetch_shrinks(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    shuffled(victims, &[(0, 32), (0, 1)]).await
}

/// Two consumers take the log over from each other, each with another number of messages in hand.
pub(super) async fn consumers_alternate(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let first = victims.random.random_range(0..2);
    let mut prefetch = || PREFETCHES[victims.random.random_range(0..PREFETCHES.len())];
    let steps: Vec<(usize, u16)> = (0..ALTERNATIONS).map(|step| ((first + step) % 2, prefetch())).collect();
    shuffled(victims, &steps).await
}

/// All consumers are killed, and then these are started and killed, one after the other, each with so many messages in hand.
async fn shuffled(victims: &mut Victims<'_>, steps: &[(usize, u16)]) -> anyhow::Result<Done> {
    let launcher = victims.cluster.launcher().clone();
    let at = Instant::now();
    let locked = Locked::new(victims.cluster.database_url()).await?;
    let log = RawLog::of(victims).await?;
    log.until_deep(WAITING_MIN).await?;
    // From here on nothing comes in, so it is known how much there is.
    victims.progress.hold_back();
    until("what was asked is answered", async || Ok(victims.progress.is_quiet())).await?;
    let all = log.depth().await? + u32::from(PREFETCH);
    for consumer in &mut victims.cluster.consumers {
        consumer.kill().await?;
    }
    let gone = Instant::now();
    log.until_deep(all).await?;
    let mut before: Option<usize> = None;
    for (index, prefetch) in steps {
        let is_same = before == Some(*index);
        if let Some(before) = before.filter(|_| is_same) {
            victims.cluster.consumers[before].kill().await?;
        }
        victims.cluster.consumers[*index].begin_with(&launcher, &[(PREFETCH_SETTING, prefetch.to_string())]).await?;
        // It stood by until the other was gone.
        if let Some(before) = before.filter(|_| !is_same) {
            victims.cluster.consumers[before].kill().await?;
        }
        log.until_left(all - u32::from(*prefetch).min(all)).await?;
        before = Some(*index);
    }
    if let Some(last) = before {
        victims.cluster.consumers[last].kill().await?;
    }
    log.until_deep(all).await?;
    log.close().await?;
    locked.release().await?;
    let began = Instant::now();
    for consumer in &mut victims.cluster.consumers {
        consumer.start(&launcher).await?;
    }
    Ok(Done::now(at, gone, began).with("messages in the log", all.into()))
}

/// The rows that say how far each partition is applied. Dropped, they are free.
struct Locked {
    connection: DatabaseConnection,
    transaction: DatabaseTransaction,
}

impl Locked {
    async fn new(url: &str) -> anyhow::Result<Self> {
        let connection = Database::connect(ConnectOptions::new(url).max_connections(1).to_owned()).await?;
        let transaction = connection.begin().await?;
        let rows = Statement::from_string(DbBackend::MySql, "SELECT id FROM partitions FOR UPDATE");
        ensure!(!transaction.query_all_raw(rows).await?.is_empty(), "there are no partitions");
        Ok(Self { connection, transaction })
    }

    async fn release(self) -> anyhow::Result<()> {
        self.transaction.rollback().await?;
        Ok(self.connection.close().await?)
    }
}
