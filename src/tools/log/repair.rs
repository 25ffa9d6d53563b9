//! `doorbuster log repair`: writes the log of a partition again, in the order of its numbers, without copies and without what the tables
//! have.
//!
//! Nothing is taken out of a log before all that is kept of it has been written again and confirmed, and then it is taken out at once. Cut
//! short at any point, that leaves the log with copies of some of it, which the projection skips.

use indicatif::{ProgressBar, ProgressStyle};
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::FieldTable;

use super::order::{self, Ordered, Rewritten};
use super::whole::WholeLog;
use super::{CONFIRM_TIMEOUT, LogError};
use crate::broker::{BATCH_CONTENT_TYPE, Broker, BrokerError, DeadLetter, PERSISTENT, Session, Topology};
use crate::clock;
use crate::domain::PartitionId;
use crate::projection::Position;
use crate::store::{Gap, Store};

/// Puts the log of a partition in order, while no node owns it.
///
/// # Errors
/// [`LogError::Refused`] while a node owns the partition, while a consumer is busy with its log, and when the log is too long.
pub async fn repair(broker: &Broker, store: &Store, partition: PartitionId) -> Result<Rewritten, LogError> {
    if !store.partitions().iter().any(|known| known == partition) {
        return Err(LogError::Refused(format!("there is no partition {partition}")));
    }
    let session = broker.connect("doorbuster log repair").await?;
    let outcome = rewrite(&session, broker.topology(), store, partition, &[]).await;
    session.shut().await;
    let rewritten = outcome?;
    if let Some(last) = rewritten.missing {
        // A consumer could find that out only within its bounds.
        let (applied, missing) = (store.applied(partition).await?, (last.epoch, last.sequence));
        store.note_gap(Gap { partition, applied, missing, is_broken: false }, clock::system()).await?;
    }
    Ok(rewritten)
}

/// Writes a log again, with these messages in their places. On the way it has the lock of the partition, which goes with the session.
pub(in crate::tools) async fn rewrite(
    session: &Session,
    topology: &Topology,
    store: &Store,
    partition: PartitionId,
    more: &[&Delivery],
) -> Result<Rewritten, LogError> {
    let channel = session.confirming_channel().await?;
    let _lock = topology.lock(session, &channel, partition).await.map_err(|error| match error {
        BrokerError::Locked => {
            LogError::Refused(format!("a node owns partition {partition}: stop it first, or it would append in between"))
        }
        error => error.into(),
    })?;
    let whole = WholeLog::take(session, topology, &channel, partition).await?;
    let (epoch, sequence) = store.applied(partition).await?;
    let Ordered { messages, rewritten } =
        order::ordered((store.system(), partition), Position { epoch, sequence }, whole.messages(), more)?;
    if rewritten.is_changed {
        let bar = ProgressBar::new(messages.len() as u64).with_style(style());
        let target = (topology.exchange(), topology.log(partition));
        let messages = messages.iter().map(|delivery| (properties(delivery), delivery.data.as_slice()));
        session.publish_all(&channel, target, messages, CONFIRM_TIMEOUT, || bar.inc(1)).await?;
        bar.finish_and_clear();
        // Without it an owner's fence could stand before what was written again, which would be skipped then.
        session.answer_until(topology.still_locked(&channel, partition), std::future::pending()).await?;
        whole.remove(session).await?;
    }
    topology.unlock(session, &channel, partition).await?;
    session.close(channel).await;
    Ok(rewritten)
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:40} {pos}/{len} messages written, {eta} to go").unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// As its writer sent it, without what the broker, and whoever made it a dead letter, added.
fn properties(delivery: &Delivery) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in delivery.properties.headers().iter().flat_map(|headers| headers.inner()) {
        let of_the_broker = ["x-death", "x-first-death", "x-last-death", "x-delivery-count", "x-acquired-count"]
            .iter()
            .any(|mark| name.as_str().starts_with(mark));
        if !of_the_broker && !DeadLetter::is_mark(name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    let properties = delivery.properties.clone().with_delivery_mode(PERSISTENT).with_headers(headers);
    if properties.content_type().is_some() { properties } else { properties.with_content_type(BATCH_CONTENT_TYPE.into()) }
}
