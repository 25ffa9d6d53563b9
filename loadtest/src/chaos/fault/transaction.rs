//! A consumer killed inside a transaction: with rows written, at a statement that cannot end because its row is locked.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rand::RngExt;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, Statement, TransactionTrait};
use tokio::time::MissedTickBehavior;

use super::{Done, Victims};

/// How long the consumer may take to come to the locked row.
const CAUGHT_TIMEOUT: Duration = Duration::from_secs(60);
/// The server shows the same transactions again to whoever looks within 0.1 s of the last look: a shorter pause would never see
/// anything new.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// Locks the commodity's row, kills the consumer when its transaction waits for it, and starts it again: before or after the row
/// is free, as the seed says. Until then the dead one's transaction is still open, and its successor must wait for its end.
pub(super) async fn consumer_killed(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let launcher = victims.cluster.launcher().clone();
    let successor_first: bool = victims.random.random();
    let url = victims.cluster.database_url().to_owned();
    let connection = Database::connect(ConnectOptions::new(url).max_connections(2).to_owned()).await?;
    let lock = connection.begin().await?;
    let row = format!("SELECT id FROM commodities WHERE id = {} FOR UPDATE", victims.commodity);
    lock.query_one_raw(Statement::from_string(DbBackend::MySql, row)).await?.context("the commodity has no row")?;
    let at = Instant::now();
    let rows_written = caught(&connection).await?;
    let consumer = &mut victims.cluster.consumers[0];
    consumer.kill().await?;
    let gone = Instant::now();
    let mut lock = Some(lock);
    if !successor_first {
        release(&mut lock).await?;
    }
    consumer.start(&launcher).await?;
    release(&mut lock).await?;
    connection.close().await?;
    let done = Done::now(at, gone, gone).with("rows written in the open transaction", rows_written);
    Ok(done.with("successor ready before its end", successor_first.into()))
}

/// Waits until a transaction with rows written waits for a lock, and says how many rows. Nobody but a consumer writes rows and
/// waits: whoever claims a partition changes one row, and not a commodity's.
async fn caught(connection: &DatabaseConnection) -> anyhow::Result<u64> {
    const WAITING: &str = "SELECT CAST(t.trx_rows_modified AS SIGNED) FROM information_schema.innodb_trx t \
        JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id \
        WHERE p.db = DATABASE() AND t.trx_state = 'LOCK WAIT' AND t.trx_rows_modified > 0";
    let mut pause = tokio::time::interval(LOOK_INTERVAL);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    while began.elapsed() < CAUGHT_TIMEOUT {
        pause.tick().await;
        if let Some(row) = connection.query_one_raw(Statement::from_string(DbBackend::MySql, WAITING)).await? {
            return Ok(row.try_get_by_index::<i64>(0)?.unsigned_abs());
        }
    }
    bail!("no transaction with rows written came to the locked row within {} s", CAUGHT_TIMEOUT.as_secs())
}

async fn release(lock: &mut Option<DatabaseTransaction>) -> anyhow::Result<()> {
    match lock.take() {
        Some(lock) => Ok(lock.rollback().await?),
        None => Ok(()),
    }
}
