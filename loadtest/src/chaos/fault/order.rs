//! A log that is shuffled by a foreign reader: its consumer is killed, and readers come who take fewer messages than came back, acknowledge
//! none, and leave.

use std::time::Instant;

use rand::RngExt;

use super::log::RawLog;
use super::{Done, Victims};

/// Messages that must wait in the log before it is read: fewer are hardly ever shuffled.
const MESSAGES_MIN: u32 = 12;
/// Readers who come and leave.
const READERS: usize = 8;

/// The only consumer is killed; when some messages wait, readers shuffle the log of the commodity's partition, and it is started again.
pub(super) async fn log_shuffled(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let launcher = victims.cluster.launcher().clone();
    let log = RawLog::of(victims).await?;
    let at = Instant::now();
    victims.cluster.consumers[0].kill().await?;
    let gone = Instant::now();
    let most = log.until_deep(MESSAGES_MIN).await?;
    let mut takes = vec![most];
    takes.extend((1..READERS).map(|_| victims.random.random_range(1..=most)));
    for take in takes {
        log.read(take).await?;
    }
    log.close().await?;
    let began = Instant::now();
    victims.cluster.consumers[0].start(&launcher).await?;
    Ok(Done::now(at, gone, began).with("messages that the first reader took", most.into()))
}
