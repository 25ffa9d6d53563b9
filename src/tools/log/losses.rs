//! `doorbuster log accept-loss` and `losses`: what logs have lost, and letting a partition go on without it. It never touches a log: what is missing is missing.

use std::io::Write;
use std::time::Duration;

use super::LogError;
use crate::broker::{Broker, BrokerError, Session};
use crate::domain::{PartitionId, Timestamp};
use crate::projection::{Position, span};
use crate::store::{self, Loss, NoLoss, Store};

/// Losses that are listed, at most: the latest.
const LISTED_MAX: u32 = 1_000;
/// How often, and with which pause, the lock of a partition is asked for: a claim that waits for the log takes a moment to leave.
const LOCK_TRIES: (u32, Duration) = (10, Duration::from_millis(500));

/// Prints one line for each loss that was accepted, the latest first.
///
/// # Errors
/// [`LogError`].
pub async fn losses(store: &Store, out: &mut impl Write) -> Result<(), LogError> {
    let losses = store.losses(LISTED_MAX).await?;
    for loss in &losses {
        let Loss { partition, reason, accepted_by, accepted_at, .. } = loss;
        writeln!(out, "{accepted_at}  partition {partition}: {}, accepted by {accepted_by}: {reason}", missing(loss))?;
    }
    match losses.len() {
        0 => writeln!(out, "no loss was ever accepted")?,
        count if count == LISTED_MAX as usize => writeln!(out, "(the latest {LISTED_MAX}; there may be more)")?,
        _ => {}
    }
    Ok(())
}

/// Lets a partition go on without the batches that its projection lacks; says which those are. Their orders are refused from then on.
///
/// # Errors
/// [`LogError::Refused`] when nothing is missing, while a node owns the partition, and for a reason that is none or too long.
pub async fn accept_loss(
    broker: &Broker,
    store: &Store,
    partition: PartitionId,
    (reason, who): (&str, &str),
    now: Timestamp,
) -> Result<String, LogError> {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > store::REASON_CHARS_MAX {
        return Err(LogError::Refused(format!("a reason has 1 to {} characters", store::REASON_CHARS_MAX)));
    }
    if !store.partitions().iter().any(|known| known == partition) {
        return Err(LogError::Refused(format!("there is no partition {partition}")));
    }
    let session = broker.connect("doorbuster log accept-loss").await?;
    let outcome = accept_over(&session, broker, store, partition, (reason, who), now).await;
    // The lock goes with it.
    session.shut().await;
    outcome
}

async fn accept_over(
    session: &Session,
    broker: &Broker,
    store: &Store,
    partition: PartitionId,
    (reason, who): (&str, &str),
    now: Timestamp,
) -> Result<String, LogError> {
    let mut tries = LOCK_TRIES.0;
    // An owner knows the orders of the batches that are missing: nobody may be one.
    let (_lock, _channel) = loop {
        // A refusal ends the channel.
        let channel = session.confirming_channel().await?;
        match broker.topology().lock(session, &channel, partition).await {
            Ok(lock) => break (lock, channel),
            Err(BrokerError::Locked) if tries > 1 => tries -= 1,
            Err(BrokerError::Locked) => {
                return Err(LogError::Refused(format!(
                    "a node owns partition {partition}: stop it first, it knows the orders that are lost"
                )));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(LOCK_TRIES.1).await;
    };
    match store.accept_loss(partition, reason, who, now).await? {
        Ok(loss) => Ok(format!("partition {partition} goes on without {}; orders of them are refused", missing(&loss))),
        Err(NoLoss::NothingMissing) => {
            Err(LogError::Refused(format!("no consumer has found anything missing where the tables of partition {partition} stand")))
        }
        Err(NoLoss::NotOfALoss) => Err(LogError::Refused(format!(
            "the next batch of partition {partition} is there and contradicts the tables, and no loss that was accepted explains that"
        ))),
    }
}

fn missing(loss: &Loss) -> String {
    let [applied, last] = [loss.applied, loss.missing].map(|(epoch, sequence)| Position { epoch, sequence });
    span(applied, last)
}
