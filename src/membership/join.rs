//! Becoming a member, or being told why not. Never takes the place of a process that lives: two nodes under one id would
//! fight for the same partitions for ever.

use std::time::Duration;

use futures_util::future::join_all;

use super::Me;
use crate::clock::Clock;
use crate::domain::{NodeId, Partitions, Reach};
use crate::routing::peer::{Greeting, HelloError, Local, Peer, greet};
use crate::store::{NodeRow, NodeState, Store, StoreError};

/// Why this process may not join: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A process with this id lives.
    #[error("a node with the id {0} runs already (its internal address is {1}): give this one another id with DOORBUSTER__NODE__ID")]
    IdInUse(NodeId, std::net::SocketAddr),
    /// Another node was made for another number of partitions.
    #[error("node {id} works with {theirs} partitions and this one with {ours}: point both at the same database")]
    Partitions {
        /// The other node.
        id: NodeId,
        /// What it has.
        theirs: u16,
        /// What this one has.
        ours: u16,
    },
    /// Another node does not want this one.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The database is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Enters this process as joining, after all nodes that live have accepted its secret.
///
/// # Errors
/// [`JoinError`], after which nothing is entered.
pub async fn join(
    store: &Store,
    me: &Me,
    address: std::net::SocketAddr,
    local: &Local,
    clock: Clock,
    interval: Duration,
) -> Result<(), JoinError> {
    loop {
        let nodes = store.nodes().await?;
        meet_others(&nodes, me, local, store.partitions()).await?;
        let before = nodes.into_iter().find(|node| node.id == me.id);
        if let Some(before) = &before {
            refuse_if_alive(store, me, address, before, local, interval).await?;
        }
        let row = NodeRow {
            id: me.id.clone(),
            instance: me.instance,
            address,
            state: NodeState::Joining,
            started_at: clock(),
            heartbeat_at: clock(),
            broker: Reach::Down,
            log_version: me.log_version,
        };
        // If somebody else was faster, there is somebody to look at.
        if store.enter_node(&row, before.map(|before| before.instance)).await? {
            return Ok(());
        }
    }
}

async fn meet_others(nodes: &[NodeRow], me: &Me, local: &Local, ours: Partitions) -> Result<(), JoinError> {
    let others = nodes.iter().filter(|node| node.id != me.id && node.state != NodeState::Gone);
    let greetings = others.map(|node| async move {
        let peer = Peer { id: node.id.clone(), address: node.address };
        (greet(&me.id, &peer, &local.credential, local.speaks).await, peer.id)
    });
    for (greeting, id) in join_all(greetings).await {
        match greeting? {
            Greeting::Friend { partitions: theirs, .. } if theirs != ours => {
                return Err(JoinError::Partitions { id, theirs: theirs.get(), ours: ours.get() });
            }
            Greeting::Friend { .. } | Greeting::Nobody | Greeting::Silent => {}
        }
    }
    Ok(())
}

/// Looks whether the process that stands under our id lives: at its address first, then at its heart.
async fn refuse_if_alive(
    store: &Store,
    me: &Me,
    address: std::net::SocketAddr,
    before: &NodeRow,
    local: &Local,
    interval: Duration,
) -> Result<(), JoinError> {
    // What listens at our own address is us.
    if before.state == NodeState::Gone || before.address == address {
        return Ok(());
    }
    let in_use = || JoinError::IdInUse(before.id.clone(), before.address);
    match greet(&me.id, &Peer { id: before.id.clone(), address: before.address }, &local.credential, local.speaks).await {
        Ok(Greeting::Friend { .. }) | Err(_) => return Err(in_use()),
        Ok(Greeting::Nobody) => return Ok(()),
        Ok(Greeting::Silent) => {}
    }
    tracing::info!(node = %before.id, "somebody may run under the id {}: looking for a heartbeat", before.id);
    tokio::time::sleep(interval * 3).await;
    let now = store.nodes().await?.into_iter().find(|node| node.id == before.id);
    match now {
        Some(now) if now.heartbeat_at != before.heartbeat_at && now.state != NodeState::Gone => Err(in_use()),
        _ => Ok(()),
    }
}
