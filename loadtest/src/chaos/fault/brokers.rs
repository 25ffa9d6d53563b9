//! Servers of one cluster of brokers killed, cut off and stopped, one at a time. The next is not touched before the others have all that the
//! last one missed.

use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::Signal;
use rand::RngExt;

use super::{Done, Victims};

/// How long a server is cut off: the others take it for gone after some ten seconds.
const CUT: Duration = Duration::from_secs(30);

/// One that the seed decides is killed, and started again at once.
pub(super) async fn one_killed(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let index = victims.random.random_range(0..victims.brokers.servers.len());
    let at = Instant::now();
    victims.brokers.servers[index].end(Signal::SIGKILL).await?;
    let gone = Instant::now();
    victims.brokers.servers[index].restart().await?;
    victims.brokers.can_each_be_spared().await?;
    Ok(Done::now(at, gone, gone))
}

/// One that the seed decides is cut off for a while.
pub(super) async fn one_cut(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let index = victims.random.random_range(0..victims.brokers.servers.len());
    let lan = victims.brokers.lan.as_ref().context("no network of our own")?;
    let at = Instant::now();
    lan.cut(index).await?;
    let gone = Instant::now();
    // The time it is cut off is the damage.
    tokio::time::sleep(CUT).await;
    let began = Instant::now();
    lan.mend(index).await?;
    victims.brokers.can_each_be_spared().await?;
    Ok(Done::now(at, gone, began))
}

/// All of them are stopped and started again, one after the other.
pub(super) async fn rolling(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let at = Instant::now();
    let mut gone = None;
    for index in 0..victims.brokers.servers.len() {
        victims.brokers.servers[index].end(Signal::SIGTERM).await?;
        gone.get_or_insert_with(Instant::now);
        victims.brokers.servers[index].restart().await?;
        victims.brokers.can_each_be_spared().await?;
    }
    Ok(Done::now(at, gone.unwrap_or(at), Instant::now()))
}
