//! Ownership by the broker's exclusive queues and by epochs: lock, epoch, a look at the lock, fence, drain, load, look back.
//!
//! Who holds the lock queue of a partition owns it, and the broker alone says who does: no clock here ever decides that
//! somebody else is dead. A confirm reaches an owner only through the connection that holds its lock, so whatever was confirmed to one
//! owner stands before the fence of the next, and in the state the next one loads.
//!
//! Each partition has a connection of its own for that: lock, fence and appends are all on it, and on no other. So whatever ends one costs
//! its own partition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use lapin::Channel;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::applied::Positions;
use super::climb::{Claimant, Climbed, climb};
use super::confirmed::{Confirmed, Noting, keep_told};
use super::connections::{Connections, Lent, Standing};
use super::keeper::Keeper;
use super::reach::{follow, reach};
use super::scout::Scout;
use super::{Claim, ClaimError, Ownership};
use crate::broker::{Broker, BrokerError, Ended, HealthCheck, Messages, Session};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::{PartitionId, Reach};
use crate::event::LogVersion;
use crate::log::{Patience, RabbitLog, Writing};
use crate::store::Store;

/// The partitions of one node of a cluster, each over a connection of its own to the broker.
pub struct ClusterOwnership {
    broker: Broker,
    store: Store,
    node: String,
    patience: Patience,
    clock: Clock,
    /// The newest version of the log that this node writes.
    newest: LogVersion,
    connections: Arc<Connections>,
    held: Mutex<HashMap<PartitionId, Held>>,
    confirmed: Arc<Confirmed>,
    scout: Scout,
    positions: Positions,
    stop: DropGuard,
}

/// A lock this node has, or had: sessions end without asking.
struct Held {
    session: Arc<Session>,
    channel: Channel,
    lost: CancellationToken,
}

impl ClusterOwnership {
    /// Begins to connect, and keeps connections until [`ClusterOwnership::stop`] or until it is dropped. Must be called on a runtime that
    /// lives as long.
    ///
    /// # Errors
    /// [`BrokerError::Url`]: a broker that is merely away is waited for.
    pub fn start(config: &Config, store: Store, clock: Clock) -> Result<Self, BrokerError> {
        let broker = Broker::new(&config.broker)?;
        let stop = CancellationToken::new();
        let (check, health) = HealthCheck::new();
        let name = |what: &str| format!("doorbuster node {} ({what})", config.node.id);
        let connections = Connections::new(broker.clone(), name("owns"), health.clone(), stop.clone());
        let keeper = Keeper {
            broker: broker.clone(),
            name: name("keeps watch"),
            partitions: store.partitions(),
            delay_min: Duration::from_millis(config.broker.reconnect_delay_min_ms),
            delay_max: Duration::from_millis(config.broker.reconnect_delay_max_ms),
            connections: Arc::clone(&connections),
            check,
            stop: stop.clone(),
        };
        connections.run(keeper.run());
        let stock = stop.clone().run_until_cancelled_owned(Arc::clone(&connections).stock());
        connections.run(async move { _ = stock.await });
        let positions = Positions::watch(store.clone(), stop.clone());
        let confirmed = Arc::new(Confirmed::new(store.partitions()));
        connections.run(keep_told(Arc::clone(&confirmed), store.clone(), stop.clone()));
        Ok(Self {
            positions,
            scout: Scout::new(broker.clone(), name("asks")),
            broker,
            store,
            node: config.node.id.clone(),
            patience: Patience { late: Duration::from_millis(config.partition.append_timeout_ms), health },
            clock,
            newest: config.release.log_version(),
            connections,
            held: Mutex::new(HashMap::new()),
            confirmed,
            stop: stop.drop_guard(),
        })
    }

    /// Closes all connections: whatever this node still owned is free when this returns.
    pub async fn stop(&self) {
        self.stop.token().cancel();
        self.connections.closed().await;
    }

    /// What this process knows to be confirmed: its own owners note it here, and whoever hears of it from other nodes does.
    #[must_use]
    pub fn confirmed(&self) -> &Arc<Confirmed> {
        &self.confirmed
    }

    /// Tells how the broker is reached, now and whenever that changes; ends when nobody connects any more. "Down" comes first: the first
    /// attempt to connect is under way, and within some seconds it is "up" or "away".
    pub fn tell_reach<F: Fn(Reach)>(&self, tell: F) -> impl Future<Output = ()> + use<F> {
        follow(self.connections.standing(), |standing: &Standing| reach(&standing.link()), tell)
    }

    async fn take(&self, partition: PartitionId) -> Result<Claim, ClaimError> {
        self.connections.up().await?;
        let held = self.lock(partition).await?;
        let (session, lost) = (Arc::clone(&held.session), held.lost.clone());
        let claimed = tokio::select! {
            claimed = self.climb(partition, &held) => claimed,
            () = lost.cancelled() => Err(self.lost(&session)),
        };
        match claimed {
            // Between the last look and now the lock may have gone with the connection.
            Ok(_) if lost.is_cancelled() => Err(self.lost(&session)),
            Ok(claim) => Ok(claim),
            Err(error) => {
                // Whatever else went wrong, this is why.
                let error = if lost.is_cancelled() { self.lost(&session) } else { error };
                // Somebody else may be able to do what this node could not.
                self.give_up(partition, &lost).await;
                Err(error)
            }
        }
    }

    /// Step 1. The channel that took the lock is the one that appends.
    async fn lock(&self, partition: PartitionId) -> Result<Held, ClaimError> {
        let held = self.hold(partition).await?;
        match self.broker.topology().lock(&held.session, &held.channel, partition).await {
            Ok(messages) => {
                tokio::spawn(heed(messages, partition, Arc::clone(&held.session), held.lost.clone()));
                Ok(held)
            }
            Err(error) => {
                held.lost.cancel();
                self.held().remove(&partition);
                if error != BrokerError::Locked {
                    // The lock may be ours without anybody knowing, or without a consumer.
                    held.session.end_after(&error);
                }
                self.connections.give_back(held.session);
                Err(error.into())
            }
        }
    }

    /// A connection for the lock, noted before the lock is asked for: whoever drops this claim half-way can still be made to give it back.
    async fn hold(&self, partition: PartitionId) -> Result<Held, ClaimError> {
        let before = self.held().get(&partition).cloned();
        if let Some(why) = before.as_ref().and_then(|before| before.session.blocked()) {
            return Err(BrokerError::Blocked(why).into());
        }
        let (session, channel) = match before.filter(|before| before.session.over().is_none()) {
            // A lock that an earlier claim of ours left is no reason to stay away.
            Some(Held { session, lost, .. }) => {
                lost.cancel();
                let channel = session.confirming_channel().await.inspect_err(|error| session.end(&error.to_string()))?;
                (session, channel)
            }
            None => {
                if self.is_taken(partition).await? {
                    return Err(ClaimError::Taken);
                }
                let lent = self.connections.take().await?;
                let channel = lent.confirming_channel().await?;
                (lent.keep(), channel)
            }
        };
        let held = Held { lost: session.lost().child_token(), session, channel };
        if let Some(before) = self.held().insert(partition, held.clone()) {
            before.lost.cancel();
        }
        Ok(held)
    }

    async fn is_taken(&self, partition: PartitionId) -> Result<bool, ClaimError> {
        let is_taken = self.scout.is_taken(partition).await;
        if let Err(BrokerError::Away(why)) = &is_taken {
            self.connections.complain(why);
        }
        Ok(is_taken?)
    }

    /// Everything after the lock.
    async fn climb(&self, partition: PartitionId, held: &Held) -> Result<Claim, ClaimError> {
        let log_of = |epoch, version| {
            let log = RabbitLog::new(
                Arc::clone(&held.session),
                held.channel.clone(),
                self.broker.topology(),
                Writing { system: self.store.system(), partition, epoch, version },
                held.lost.clone(),
                self.patience.clone(),
                self.clock,
            );
            Arc::new(Noting { log, confirmed: Arc::clone(&self.confirmed) })
        };
        let (store, owner, clock, newest) = (&self.store, self.node.as_str(), self.clock, self.newest);
        let who = Claimant { store, owner, clock, newest, confirmed: Some(&self.confirmed) };
        let Climbed { epoch, version, snapshot, log } = climb(who, partition, log_of).await?;
        Ok(Claim { epoch, snapshot, log, lost: held.lost.clone(), log_version: version, applied: Some(self.positions.of(partition)) })
    }

    fn lost(&self, session: &Session) -> ClaimError {
        match session.over() {
            // The broker is there, and did not do what was asked on this connection: to ask again at once would be no better.
            Some(Ended::GivenUp(why)) => ClaimError::Unavailable(why),
            Some(ended) => BrokerError::from(ended).into(),
            None => ClaimError::Unavailable("the claim was given up".into()),
        }
    }

    /// Frees a lock, unless another claim has replaced the one with that token.
    async fn give_up(&self, partition: PartitionId, lost: &CancellationToken) {
        lost.cancel();
        let held = {
            let mut all = self.held();
            // Tokens have no identity to compare; only the current claim's is not cancelled, unless it is the one given up.
            match all.get(&partition) {
                Some(held) if held.lost.is_cancelled() => all.remove(&partition),
                _ => None,
            }
        };
        let Some(Held { session, channel, .. }) = held else { return };
        if session.lost().is_cancelled() {
            return;
        }
        // A lock that stays with a living connection would keep everyone out for ever: unless this comes to its end, the connection goes.
        let session = Lent::of(session);
        // Before anybody else can have it: whoever does reads what was told.
        self.confirmed.tell(&self.store, partition).await;
        if let Err(error) = self.broker.topology().unlock(&session, &channel, partition).await {
            session.end(&format!("the lock of partition {partition} could not be given back: {error}"));
            return;
        }
        session.close(channel).await;
        self.connections.give_back(session.keep());
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<PartitionId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until the lock is gone, and ends the claim if nobody here gave it up. So an owner that has nothing to write learns of it too; one
/// that has asks after each confirm, because this may come late. It reads to the end, also when the claim is over: dropping the library's
/// consumer would cancel it, and a cancel that meets the end of its channel ends the connection.
async fn heed(mut messages: Messages, partition: PartitionId, session: Arc<Session>, lost: CancellationToken) {
    let why = loop {
        // What comes has been put there by a stranger.
        if let Err(why) = messages.next().await {
            break why;
        }
    };
    // It ends with its connection too, and mostly does.
    if lost.is_cancelled() || session.over().is_some() || session.channel().await.is_err() {
        return;
    }
    tracing::error!(%partition, why, "the lock of partition {partition} is gone, and nobody here gave it up: {why}");
    session.end(&format!("the lock of partition {partition} is gone"));
}

impl Ownership for ClusterOwnership {
    fn claim(&self, partition: PartitionId) -> BoxFuture<'_, Result<Claim, ClaimError>> {
        Box::pin(self.take(partition))
    }

    fn release(&self, partition: PartitionId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let lost = self.held().get(&partition).map(|held| held.lost.clone());
            if let Some(lost) = lost {
                self.give_up(partition, &lost).await;
            }
        })
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        Self { session: Arc::clone(&self.session), channel: self.channel.clone(), lost: self.lost.clone() }
    }
}

impl From<BrokerError> for ClaimError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Locked => Self::Taken,
            BrokerError::Blocked(_) => Self::LogAway(error.to_string()),
            BrokerError::Away(_) => Self::Disconnected(error.to_string()),
            BrokerError::Late(_) | BrokerError::Url(_) | BrokerError::Refused(_) | BrokerError::Missing(_) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}
