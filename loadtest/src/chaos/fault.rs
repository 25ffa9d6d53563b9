//! The damage itself. Only to processes of the cluster and to the server it is given.

use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::Signal;
use rand::RngExt;
use rand::rngs::StdRng;

use super::Scenario;
use super::servers::PrivateServer;
use crate::cluster::Cluster;

/// How long a killed owner stays away: long enough that others must take over.
const AWAY: Duration = Duration::from_millis(1_500);

/// How long the database stays away.
const DATABASE_AWAY: Duration = Duration::from_secs(3);

/// What was done and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// The moment before it.
    pub(super) at: Instant,
    /// When it was done, and what is gone began to be started again.
    pub(super) gone: (Instant, Instant),
    /// From the start of what was gone to its readiness.
    pub(super) ready: Duration,
}

/// Does the damage and mends it. `owner` is the node the commodity is sold by.
pub(super) async fn inflict(
    scenario: Scenario,
    cluster: &mut Cluster,
    server: &mut Option<PrivateServer>,
    owner: usize,
    random: &mut StdRng,
) -> anyhow::Result<Done> {
    let launcher = cluster.launcher().clone();
    let at = Instant::now();
    match scenario {
        Scenario::SpikeKilled => cluster.spikes[owner].kill().await?,
        Scenario::OwnerKilled => {
            cluster.spikes[owner].kill().await?;
            // The time it is away is part of the damage: there is nothing to wait for.
            tokio::time::sleep(AWAY).await;
        }
        Scenario::OwnerStopped => cluster.spikes[owner].stop().await?,
        Scenario::ConsumerKilled => {
            let (first, second) = if random.random() { (0, 1) } else { (1, 0) };
            cluster.consumers[first].kill().await?;
            // Long enough for the other to have taken over, or not: that is what is looked for.
            tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
            cluster.consumers[second].kill().await?;
        }
        Scenario::BrokerRestarted => own(server)?.end(Signal::SIGTERM).await?,
        Scenario::BrokerKilled => own(server)?.end(Signal::SIGKILL).await?,
        Scenario::DatabaseAway => own(server)?.end(Signal::SIGTERM).await?,
    }
    let gone = Instant::now();
    if scenario == Scenario::DatabaseAway {
        // The time it is away is the damage: selling goes on meanwhile.
        tokio::time::sleep(DATABASE_AWAY).await;
    }
    let began = Instant::now();
    match scenario {
        Scenario::SpikeKilled | Scenario::OwnerKilled | Scenario::OwnerStopped => cluster.spikes[owner].start(&launcher).await?,
        Scenario::ConsumerKilled => {
            for consumer in &mut cluster.consumers {
                consumer.start(&launcher).await?;
            }
        }
        Scenario::BrokerRestarted | Scenario::BrokerKilled | Scenario::DatabaseAway => own(server)?.restart().await?,
    }
    Ok(Done { at, gone: (gone, began), ready: began.elapsed() })
}

fn own(server: &mut Option<PrivateServer>) -> anyhow::Result<&mut PrivateServer> {
    server.as_mut().context("no server of our own")
}
