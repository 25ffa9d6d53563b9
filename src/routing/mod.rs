//! From a request to the engine that decides it. Never decides anything itself and never keeps a request waiting
//! without a bound.

mod neighbours;
pub mod peer;
mod roads;
#[cfg(test)]
mod tests;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::error::Elapsed;

use crate::domain::{CommodityId, Order, OrderId, Partitions, UserId};
use crate::engine::{Command, Refusal};
use crate::partition::{Board, Inbox, Sighting};
pub use crate::partition::{Busy, Reply};
use crate::ring::partition_of;
use crate::store::{Store, StoreError};
pub use neighbours::{Neighbours, watch_tasks};
pub use roads::Roads;
use ways::Ways;

/// What is known of an order id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderLookup {
    /// The order as it stands, on stable storage.
    Known(Order),
    /// The id is of an order that never was (its epoch is over), for ever: status `refused`.
    Refused,
    /// Not known yet: status `pending`.
    Pending,
    /// The id was never given: a partition or an epoch that does not exist, or a number not reached yet.
    NotFound,
    /// Nobody can tell right now.
    Unavailable,
}

/// The way of commands to their engines.
#[derive(Debug)]
pub struct Router {
    board: Arc<Board>,
    store: Store,
    partitions: Partitions,
    ways: Ways,
}

impl Router {
    /// A router over the inboxes of every partition, in order.
    #[must_use]
    pub fn new(board: Arc<Board>, store: Store, partitions: Partitions, inboxes: Vec<Inbox>) -> Self {
        assert_eq!(inboxes.len(), usize::from(partitions.get()), "one inbox for each partition");
        Self { board, store, partitions, ways: Ways::Fixed(inboxes) }
    }

    /// A router over ways that change while it runs. A command that nobody took up in time waits for its partition to be
    /// served, here or elsewhere, for at most `patience`.
    #[must_use]
    pub fn shifting(board: Arc<Board>, store: Store, partitions: Partitions, roads: Arc<Roads>, patience: Duration) -> Self {
        Self { board, store, partitions, ways: Ways::Shifting { roads, patience } }
    }

    /// What may be read without asking an engine.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Whether every partition is served: what `/readyz` says.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ways.are_served(self.partitions, &self.board)
    }

    /// Waits until every partition is served.
    ///
    /// # Errors
    /// Nothing but that it took longer than `bound`.
    pub async fn served(&self, bound: Duration) -> Result<(), Elapsed> {
        tokio::time::timeout(bound, self.ways.served(self.partitions, &self.board)).await
    }

    /// Sends a command about a commodity to its partition and waits for what it came to.
    pub async fn about_commodity(&self, commodity: CommodityId, command: Command) -> Reply {
        let partition = partition_of(commodity, self.partitions);
        self.ways.command(partition, command).await
    }

    /// Sends a command about an order to its partition and waits for what it came to. An id of a partition that does
    /// not exist is no order's.
    pub async fn about_order(&self, order: OrderId, command: Command) -> Reply {
        if order.partition().get() >= self.partitions.get() {
            return Reply::Refused(Refusal::OrderNotFound);
        }
        let asked_by = match &command {
            Command::Cancel { user, .. } => Some(*user),
            _ => None,
        };
        let reply = self.ways.command(order.partition(), command).await;
        match (&reply, asked_by) {
            (Reply::Refused(Refusal::OrderNotFound), Some(user)) => self.cancel_of_forgotten(order, user).await,
            _ => reply,
        }
    }

    /// An order the engine has forgotten ended long ago: there is nothing left to cancel, but it is not unknown.
    async fn cancel_of_forgotten(&self, id: OrderId, user: Option<UserId>) -> Reply {
        match self.order(id).await {
            OrderLookup::Known(order) if user.is_none_or(|user| user == order.user) => Reply::Refused(Refusal::NotCancellable),
            OrderLookup::Pending => Reply::Pending(Some(id)),
            OrderLookup::Unavailable => Reply::Busy(Busy::Unavailable),
            OrderLookup::Known(_) | OrderLookup::Refused | OrderLookup::NotFound => Reply::Refused(Refusal::OrderNotFound),
        }
    }

    /// What is known of an order: the engine's word first, the projection's where the engine has forgotten.
    pub async fn order(&self, id: OrderId) -> OrderLookup {
        if id.partition().get() >= self.partitions.get() {
            return OrderLookup::NotFound;
        }
        match self.ways.lookup(id).await {
            Ok(Sighting::Known(order)) => OrderLookup::Known(order),
            Ok(Sighting::InDoubt) => OrderLookup::Pending,
            Ok(Sighting::Unknown { epoch, next_number }) => {
                if id.epoch() > epoch || (id.epoch() == epoch && id.number() >= next_number) {
                    return OrderLookup::NotFound;
                }
                // Every earlier epoch is in the projection as a whole, or this one would not serve.
                let drained = id.epoch() < epoch;
                self.in_projection(id).await.map_or(OrderLookup::Unavailable, |row| forgotten_by_engine(row, drained))
            }
            Err(_) => self.without_owner(id).await.unwrap_or(OrderLookup::Unavailable),
        }
    }

    async fn in_projection(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.store.order(id).await.inspect_err(|error| tracing::warn!(%error, "cannot read order {id}"))
    }

    /// What the projection alone can say while nobody serves the partition: only what can no longer change.
    async fn without_owner(&self, id: OrderId) -> Result<OrderLookup, StoreError> {
        let (applied, _) = self.store.applied(id.partition()).await?;
        Ok(match self.in_projection(id).await? {
            Some(order) if order.status.is_live() => OrderLookup::Unavailable,
            Some(order) => OrderLookup::Known(order),
            None if id.epoch() < applied => OrderLookup::Refused,
            None => OrderLookup::Pending,
        })
    }
}

/// What a row, or its absence, means for an order the engine of a later or the same epoch does not know.
fn forgotten_by_engine(row: Option<Order>, drained: bool) -> OrderLookup {
    match row {
        // The engine knows every live order: that this one ended is confirmed and still on its way to the projection.
        Some(order) if order.status.is_live() => OrderLookup::Pending,
        Some(order) => OrderLookup::Known(order),
        None if drained => OrderLookup::Refused,
        None => OrderLookup::Pending,
    }
}
