//! Ownership by the broker's exclusive queues and by epochs: lock, epoch, fence, drain, load, look back.
//!
//! Who holds the lock queue of a partition owns it, and the broker alone says who does: no clock here ever decides that
//! somebody else is dead. A confirm reaches an owner only through the connection that holds its lock, so whatever was confirmed to one
//! owner stands before the fence of the next, and in the state the next one loads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use lapin::Channel;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::applied::Positions;
use super::climb::{Claimant, Climbed, climb};
use super::keeper::{Keeper, Link};
use super::reach::{follow, reach};
use super::scout::Scout;
use super::{Claim, ClaimError, Ownership};
use crate::broker::{Broker, BrokerError, Session};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::{PartitionId, Reach};
use crate::event::LogVersion;
use crate::log::RabbitLog;
use crate::store::Store;

/// The partitions of one node of a cluster, over its one connection to the broker.
pub struct ClusterOwnership {
    broker: Broker,
    store: Store,
    node: String,
    confirm_timeout: Duration,
    clock: Clock,
    /// The newest version of the log that this node writes.
    newest: LogVersion,
    link: watch::Receiver<Link>,
    held: Mutex<HashMap<PartitionId, Held>>,
    scout: Scout,
    positions: Positions,
    stop: DropGuard,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// A lock this node has, or had: sessions end without asking.
struct Held {
    session: Arc<Session>,
    channel: Channel,
    lost: CancellationToken,
}

impl ClusterOwnership {
    /// Begins to connect, and keeps a connection until [`ClusterOwnership::stop`] or until it is dropped. Must be called on a runtime that lives as long.
    ///
    /// # Errors
    /// [`BrokerError::Url`]: a broker that is merely away is waited for.
    pub fn start(config: &Config, store: Store, clock: Clock) -> Result<Self, BrokerError> {
        let broker = Broker::new(&config.broker)?;
        let stop = CancellationToken::new();
        let keeper = Keeper {
            broker: broker.clone(),
            name: format!("doorbuster node {}", config.node.id),
            partitions: store.partitions(),
            delay_min: Duration::from_millis(config.broker.reconnect_delay_min_ms),
            delay_max: Duration::from_millis(config.broker.reconnect_delay_max_ms),
        };
        let (sender, link) = watch::channel(Link::Opening);
        let task = tokio::spawn(keeper.run(sender, stop.clone()));
        let positions = Positions::watch(store.clone(), stop.clone());
        Ok(Self {
            positions,
            scout: Scout::new(broker.clone(), format!("doorbuster node {} (asks)", config.node.id)),
            broker,
            store,
            node: config.node.id.clone(),
            confirm_timeout: Duration::from_millis(config.partition.append_timeout_ms),
            clock,
            newest: config.release.log_version(),
            link,
            held: Mutex::new(HashMap::new()),
            stop: stop.drop_guard(),
            keeper: Mutex::new(Some(task)),
        })
    }

    /// Closes the connection: whatever this node still owned is free when this returns.
    pub async fn stop(&self) {
        self.stop.token().cancel();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            // It ends by itself, within the bounds of a close; a panic in it has been reported by the runtime.
            let _ = keeper.await;
        }
    }

    /// Tells how the broker is reached, now and whenever that changes; ends when nobody connects any more. "Down" comes first: the first
    /// attempt to connect is under way, and within some seconds it is "up" or "away".
    pub fn tell_reach<F: Fn(Reach)>(&self, tell: F) -> impl Future<Output = ()> + use<F> {
        follow(self.link.clone(), reach, tell)
    }

    async fn take(&self, partition: PartitionId) -> Result<Claim, ClaimError> {
        let session = self.session().await?;
        let held = self.lock(partition, session).await?;
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

    async fn session(&self) -> Result<Arc<Session>, ClaimError> {
        let mut link = self.link.clone();
        // The keeper leaves `Opening` within the bounds of its first attempt, and never comes back to it.
        let link = link.wait_for(|link| !matches!(link, Link::Opening)).await;
        match link.as_deref() {
            Ok(Link::Up(session)) => Ok(Arc::clone(session)),
            Ok(Link::Blocked(why)) => Err(BrokerError::Blocked(why.clone()).into()),
            Ok(Link::Lost(why)) => Err(ClaimError::Unavailable(why.clone())),
            Ok(Link::Away(why)) => Err(ClaimError::LogAway(why.clone())),
            Ok(Link::Opening) | Err(_) => Err(ClaimError::Unavailable("the node is stopping".into())),
        }
    }

    /// Step 1. The channel that took the lock is the one that appends.
    async fn lock(&self, partition: PartitionId, session: Arc<Session>) -> Result<Held, ClaimError> {
        // A lock that an earlier claim of ours left on this connection is no reason to stay away.
        let ours = self.held().get(&partition).is_some_and(|held| Arc::ptr_eq(&held.session, &session));
        if !ours && self.scout.is_taken(partition).await? {
            return Err(ClaimError::Taken);
        }
        let channel = session.confirming_channel().await?;
        let held = Held { lost: session.lost().child_token(), session, channel };
        // Noted before it is so: whoever drops this claim half-way can still be made to give the lock back.
        if let Some(before) = self.held().insert(partition, held.clone()) {
            before.lost.cancel();
        }
        match self.broker.topology().lock(&held.session, &held.channel, partition).await {
            Ok(()) => Ok(held),
            Err(error) => {
                held.lost.cancel();
                if let BrokerError::Away(why) = &error {
                    // The lock may be ours without anybody knowing.
                    held.session.end(why);
                }
                self.held().remove(&partition);
                Err(error.into())
            }
        }
    }

    /// Everything after the lock.
    async fn climb(&self, partition: PartitionId, held: &Held) -> Result<Claim, ClaimError> {
        let log_of = |epoch, version| {
            Arc::new(RabbitLog::new(
                Arc::clone(&held.session),
                held.channel.clone(),
                self.broker.topology(),
                (partition, epoch, version),
                held.lost.clone(),
                self.confirm_timeout,
                self.clock,
            ))
        };
        let who = Claimant { store: &self.store, owner: &self.node, clock: self.clock, newest: self.newest };
        let Climbed { epoch, version, snapshot, log } = climb(who, partition, log_of).await?;
        Ok(Claim {
            epoch,
            snapshot,
            log,
            lost: held.lost.clone(),
            with_older_releases: version < LogVersion::V2,
            applied: Some(self.positions.of(partition)),
        })
    }

    fn lost(&self, session: &Session) -> ClaimError {
        match session.over() {
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
        let Some(held) = held else { return };
        if held.session.lost().is_cancelled() {
            return;
        }
        if let Err(error) = self.broker.topology().unlock(&held.session, &held.channel, partition).await {
            // A lock that stays with a living connection would keep everyone out for ever.
            held.session.end(&format!("the lock of partition {partition} could not be given back: {error}"));
            return;
        }
        held.session.close(held.channel).await;
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<PartitionId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            BrokerError::Url(_) | BrokerError::Away(_) | BrokerError::Refused(_) | BrokerError::Missing(_) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}
