//! One node's way to the broker cut and mended. Everything else of the network stays as it is.

use std::time::{Duration, Instant};

use super::{Done, Victims};

/// How long: the broker has dropped the connection before it is over.
const CUT: Duration = Duration::from_secs(10);

/// The owner's cable to the broker is cut for a while.
pub(super) async fn cut(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let isolation = victims.cluster.isolation()?;
    let at = Instant::now();
    isolation.cut().await?;
    let gone = Instant::now();
    // The time it is cut is the damage.
    tokio::time::sleep(CUT).await;
    let began = Instant::now();
    isolation.mend().await?;
    victims.cluster.wait_owned().await?;
    Ok(Done::now(at, gone, began))
}
