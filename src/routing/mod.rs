//! From a request to the engine that decides it. Never decides anything itself and never keeps a request waiting
//! without a bound.

mod lookup;
mod neighbours;
pub(crate) mod past;
pub mod peer;
mod roads;
#[cfg(test)]
mod tests;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::error::Elapsed;

use crate::domain::{CommodityId, NamedOrder, Order, OrderId, PartitionId, Partitions, PrincipalKey};
use crate::engine::{Answer, Command, Refusal};
use crate::partition::{Board, Inbox, Trouble};
pub use crate::partition::{Busy, Reply, SpareKey, Traced};
use crate::ring::partition_of;
use crate::store::{Store, StoreError};
pub use lookup::OrderLookup;
use lookup::buyer_of;
pub(crate) use lookup::{Lookup, Next, without_row};
pub use neighbours::{Neighbours, watch_tasks};
pub use roads::Roads;
use ways::Ways;

/// How often the row of an order is read for one command, at most: each time because the engine has forgotten more meanwhile.
const ROWS_READ_MAX: usize = 4;

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

    /// Whether requests can be served: what `/readyz` says. Alone, a process needs all of its partitions; in a cluster, one
    /// that has seen all of them served goes on while some move.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ways.are_ready(self.partitions, &self.board)
    }

    /// A partition that ought to be served here and is stopped, and why; none where nothing is known to be the matter.
    #[must_use]
    pub fn trouble(&self) -> Option<(PartitionId, Trouble)> {
        self.partitions.iter().find_map(|partition| Some((partition, self.trouble_of(partition)?)))
    }

    /// What is the matter with that partition here.
    #[must_use]
    pub fn trouble_of(&self, partition: PartitionId) -> Option<Trouble> {
        self.ways.trouble(partition)
    }

    /// Requests waiting on the way to each partition there is a way to: in its task's inbox, or for the peer that owns it.
    pub fn inbox_depths(&self) -> impl Iterator<Item = (PartitionId, usize)> {
        self.partitions.iter().filter_map(|partition| Some((partition, self.ways.depth(partition)?)))
    }

    /// Whether orders are accepted while the database is away (R9).
    #[must_use]
    pub fn outlives_database(&self) -> bool {
        matches!(self.ways, Ways::Shifting { .. })
    }

    /// Whether the board shows what the commodity's owner shows: then what is not on it is not listed.
    #[must_use]
    pub fn board_is_whole_for(&self, commodity: CommodityId) -> bool {
        match self.ways {
            Ways::Fixed(_) => self.ready(),
            Ways::Shifting { .. } => self.board.is_fed(partition_of(commodity, self.partitions)),
        }
    }

    /// Waits until every partition is served.
    ///
    /// # Errors
    /// Nothing but that it took longer than `bound`.
    pub async fn served(&self, bound: Duration) -> Result<(), Elapsed> {
        tokio::time::timeout(bound, self.ways.served(self.partitions, &self.board)).await
    }

    /// Sends a command about a commodity to its partition and waits for what it came to. What its owner has forgotten is looked up in
    /// the tables.
    pub async fn about_commodity(&self, commodity: CommodityId, command: impl Into<Traced>) -> Reply {
        let (partition, sent) = (partition_of(commodity, self.partitions), command.into());
        let command = sent.command.clone();
        match self.ways.command(partition, sent).await {
            Reply::Done(Answer::PlacedBefore(order)) => self.placed_before(order).await,
            Reply::Done(Answer::DoneBefore(id, None)) => self.done_before(id).await,
            Reply::Refused(refusal) => self.refused(&command, refusal).await,
            reply => reply,
        }
    }

    async fn refused(&self, command: &Command, refusal: Refusal) -> Reply {
        let mut step = past::after_refusal(command, refusal);
        loop {
            let next = match step {
                past::Step::Tell(reply) => return reply,
                past::Step::Order(order) => return self.placed_before(order).await,
                past::Step::Commodity(id) => {
                    self.store.closed_commodity(id).await.map(|closed| past::with_commodity(command, refusal, closed))
                }
                past::Step::Key(place, key) => {
                    self.store.order_under_key(place.commodity, place.user.key(), key).await.map(|found| past::with_key(&place, found))
                }
            };
            step = match next {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%error, "cannot read what became of a commodity");
                    return Reply::Busy(Busy::Unavailable);
                }
            };
        }
    }

    /// A commodity that was changed under a key and is over since: as the tables have it.
    async fn done_before(&self, id: CommodityId) -> Reply {
        match self.store.commodity(id).await {
            Ok(Some(stored)) => Reply::Done(Answer::DoneBefore(id, Some(Box::new(stored.commodity)))),
            // Its owner forgets it only when it is there.
            Ok(None) => Reply::Pending(None),
            Err(error) => {
                tracing::warn!(%error, "cannot read commodity {id}");
                Reply::Busy(Busy::Unavailable)
            }
        }
    }

    /// An order that the engine knows by its key alone: as it stands now.
    async fn placed_before(&self, id: OrderId) -> Reply {
        match self.order(id).await {
            OrderLookup::Known(named) => Reply::Done(Answer::Replayed(named.order)),
            OrderLookup::Refused | OrderLookup::Pending | OrderLookup::NotFound | OrderLookup::Unavailable => Reply::Pending(Some(id)),
        }
    }

    /// Sends a command about an order to its partition and waits for what it came to; with the order's row, if its engine has
    /// forgotten it. An id of a partition that does not exist is no order's.
    pub async fn about_order(&self, order: OrderId, command: impl Into<Traced>) -> Reply {
        if order.partition().get() >= self.partitions.get() {
            return Reply::Refused(Refusal::OrderNotFound);
        }
        let mut command = command.into();
        match self.decided(order, &mut command).await {
            Reply::Done(Answer::PlacedBefore(order)) => self.placed_before(order).await,
            Reply::Refused(refusal) => self.refused_or_done(&command.command, order, refusal).await,
            reply => reply,
        }
    }

    /// What was refused now may have been done before under the same key: the owner knows that only until the tables have it.
    async fn refused_or_done(&self, command: &Command, order: OrderId, refusal: Refusal) -> Reply {
        let Command::Keyed { operation, .. } = command else { return Reply::Refused(refusal) };
        match self.store.operation(operation.key).await {
            Ok(Some((before, _))) if before.fingerprint != operation.fingerprint => Reply::Refused(Refusal::IdempotencyMismatch),
            Ok(Some(_)) => self.placed_before(order).await,
            Ok(None) => Reply::Refused(refusal),
            Err(error) => {
                tracing::warn!(%error, "cannot read what was done to order {order}");
                Reply::Busy(Busy::Unavailable)
            }
        }
    }

    /// What its partition says of a command about an order; with its row, if it has forgotten the order.
    async fn decided(&self, order: OrderId, command: &mut Traced) -> Reply {
        for _ in 0..ROWS_READ_MAX {
            match self.ways.command(order.partition(), command.clone()).await {
                Reply::Refused(Refusal::OrderNotFound) if command.command.row_mut().is_some_and(|row| row.is_none()) => {}
                // The engine has forgotten more since it was read.
                Reply::Refused(Refusal::StaleRow) => {}
                reply => return reply,
            }
            let recalled = match self.store.recalled(order).await {
                Ok(recalled) => recalled,
                Err(error) => {
                    tracing::warn!(%error, "cannot read order {order}");
                    return Reply::Busy(Busy::Unavailable);
                }
            };
            let Some(recalled) = recalled else { return without_row(order, buyer_of(&command.command), &self.order(order).await) };
            if let Some(row) = command.command.row_mut() {
                *row = Some(Box::new(recalled));
            }
        }
        Reply::Busy(Busy::Unavailable)
    }

    /// What is known of an order: the engine's word first, the projection's where the engine has forgotten.
    pub async fn order(&self, id: OrderId) -> OrderLookup {
        if id.partition().get() >= self.partitions.get() {
            return OrderLookup::NotFound;
        }
        let mut search = self.ways.search(id.partition());
        loop {
            let sighting = self.ways.lookup(id).await;
            match self.look_up(Lookup::of(id, sighting)).await {
                // Whoever was asked is its owner no more, and does not know it yet: there is a next one.
                Ok(OrderLookup::Unavailable) if search.again().await => {}
                Ok(answer) => return answer,
                Err(error) => {
                    tracing::warn!(%error, "cannot read order {id}");
                    return OrderLookup::Unavailable;
                }
            }
        }
    }

    /// As [`order`](Self::order), with who ordered it: its owner may know a buyer by their key alone, and then the tables know more.
    pub async fn named_order(&self, id: OrderId) -> OrderLookup {
        let order = match self.order(id).await {
            OrderLookup::Known(named) if named.buyer().is_none() => named.order,
            found => return found,
        };
        match self.store.order(id).await {
            Ok(Some(NamedOrder { foreign, .. })) => OrderLookup::Known(NamedOrder { order, foreign }),
            Ok(None) => OrderLookup::Unavailable,
            Err(error) => {
                tracing::warn!(%error, "cannot read order {id}");
                OrderLookup::Unavailable
            }
        }
    }

    /// The orders of a buyer that the tables may not have yet, or not as they stand, and whether all owners told theirs: then whoever
    /// looks into the tables after this sees every order that was answered before. An owner does not tell within `patience` if nobody
    /// owns its partition now, or if it is of a release that cannot tell.
    pub async fn recent_orders(&self, user: PrincipalKey, patience: Duration) -> (Vec<Order>, bool) {
        let asked = self.partitions.iter().map(|partition| self.ways.orders_of(partition, user, patience));
        let told = futures_util::future::join_all(asked).await;
        let complete = told.iter().all(Result::is_ok);
        (told.into_iter().flatten().flatten().collect(), complete)
    }

    async fn look_up(&self, mut lookup: Lookup) -> Result<OrderLookup, StoreError> {
        loop {
            lookup = match lookup.next() {
                Next::Answer(answer) => return Ok(answer),
                Next::Epochs => {
                    let epochs = self.store.epochs(lookup.id().partition()).await?;
                    lookup.with_epochs(epochs)
                }
                Next::Row => {
                    let row = self.store.order(lookup.id()).await?;
                    lookup.with_row(row)
                }
            };
        }
    }
}
