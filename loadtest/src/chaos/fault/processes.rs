//! Processes of the cluster killed and stopped, and started again at the address they had.

use std::time::{Duration, Instant};

use super::{Done, Victims};

/// How long it may take to be ready again.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a paused owner stands still.
const PAUSED: Duration = Duration::from_secs(10);

/// The owner is killed and started again at once.
pub(super) async fn spike_killed(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let at = Instant::now();
    victims.cluster.spikes[victims.owner].kill().await?;
    owner_again(victims, at, Instant::now()).await
}

/// The owner is killed and stays away until another has taken over.
pub(super) async fn owner_killed(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let at = Instant::now();
    victims.cluster.spikes[victims.owner].kill().await?;
    let gone = Instant::now();
    victims.cluster.wait_taken_over(victims.commodity, victims.owner).await?;
    owner_again(victims, at, gone).await
}

/// The owner is asked to stop, and started again when it has.
pub(super) async fn owner_stopped(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let at = Instant::now();
    victims.cluster.spikes[victims.owner].stop().await?;
    owner_again(victims, at, Instant::now()).await
}

/// The owner stands still for a while.
pub(super) async fn owner_paused(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let owner = &victims.cluster.spikes[victims.owner];
    let at = Instant::now();
    owner.pause().await?;
    let gone = Instant::now();
    // The time it stands still is the damage.
    tokio::time::sleep(PAUSED).await;
    let began = Instant::now();
    owner.go_on()?;
    crate::server::wait_ready(owner.target(), READY_TIMEOUT).await?;
    Ok(Done::now(at, gone, began))
}

async fn owner_again(victims: &mut Victims<'_>, at: Instant, gone: Instant) -> anyhow::Result<Done> {
    let launcher = victims.cluster.launcher().clone();
    let began = Instant::now();
    victims.cluster.spikes[victims.owner].start(&launcher).await?;
    Ok(Done::now(at, gone, began))
}
