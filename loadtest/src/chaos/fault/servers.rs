//! A server of the harness's own stopped and killed, and started again on its data.

use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::Signal;

use super::elsewhere::{one_in_each_partition, sold_in_each};
use super::{Done, Victims};
use crate::chaos::servers::PrivateServer;

/// The server ends by that signal and is started again at once.
pub(super) async fn restarted(victims: &mut Victims<'_>, signal: Signal) -> anyhow::Result<Done> {
    let server = own(victims)?;
    let at = Instant::now();
    server.end(signal).await?;
    let gone = Instant::now();
    server.restart().await?;
    Ok(Done::now(at, gone, gone))
}

/// How long a paused broker stands still.
const PAUSED: Duration = Duration::from_secs(6);

/// The broker stands still for a while.
pub(super) async fn broker_paused(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let everywhere = one_in_each_partition(victims).await?;
    let server = own(victims)?;
    let at = Instant::now();
    server.signal(Signal::SIGSTOP)?;
    let gone = Instant::now();
    // The time it stands still is the damage.
    tokio::time::sleep(PAUSED).await;
    let began = Instant::now();
    server.signal(Signal::SIGCONT)?;
    sold_in_each(victims, &everywhere).await?;
    let again = began.elapsed().as_micros() as u64;
    Ok(Done::now(at, gone, began).with("all partitions sell again after, us", again))
}

/// The database server stops and stays away.
pub(super) async fn database_away(victims: &mut Victims<'_>, away: Duration) -> anyhow::Result<Done> {
    let server = own(victims)?;
    let at = Instant::now();
    server.end(Signal::SIGTERM).await?;
    let gone = Instant::now();
    // The time it is away is the damage: selling goes on meanwhile.
    tokio::time::sleep(away).await;
    let began = Instant::now();
    server.restart().await?;
    Ok(Done::now(at, gone, began))
}

fn own<'a>(victims: &'a mut Victims<'_>) -> anyhow::Result<&'a mut PrivateServer> {
    victims.server.as_mut().context("no server of our own")
}
