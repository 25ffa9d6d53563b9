//! Damage that nothing can survive, for the proof that it would be seen.

use std::time::{Duration, Instant};

use anyhow::ensure;
use sea_orm::{ConnectOptions, ConnectionTrait, Database};

use super::{Done, Victims};

/// How long the first row may take to come.
const ROW_TIMEOUT: Duration = Duration::from_secs(60);

/// An order that its buyer was told of is taken out of the database.
pub(super) async fn row_lost(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let url = victims.cluster.database_url().to_owned();
    let connection = Database::connect(ConnectOptions::new(url).max_connections(1).to_owned()).await?;
    let delete = format!("DELETE FROM orders WHERE commodity_id = {} LIMIT 1", victims.commodity);
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    let began = Instant::now();
    while connection.execute_unprepared(&delete).await?.rows_affected() == 0 {
        ensure!(began.elapsed() < ROW_TIMEOUT, "no order came into the database within {} s", ROW_TIMEOUT.as_secs());
        pause.tick().await;
    }
    let gone = Instant::now();
    connection.close().await?;
    Ok(Done::now(began, gone, gone))
}
