//! The nodes and what they own. Draining is asked for in the database; the node reads it and does it. Never moves a
//! partition by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::note;
use crate::domain::{Epoch, NodeId, PartitionId, Reach, Sequence, Timestamp};
use crate::engine::Refusal;
use crate::http::key::{GivenKey, KeyHeader};
use crate::http::problem::Problem;
use crate::http::schema::problems;
use crate::http::{AppState, Id, Operator, RequestId};
use crate::partition::{Board, Trouble};
use crate::routing::peer::Contact;
use crate::store::{NodeRow, NodeState, PartitionRow, Remembered, Store, StoreError};

/// All nodes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Nodes {
    /// By id. Empty where one process is the whole system.
    items: Vec<NodeBody>,
}

/// A node.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Node)]
pub(crate) struct NodeBody {
    id: NodeId,
    state: NodeState,
    /// Whether this process hears it: false is a node that has crashed, is paused or is cut off from here.
    heard: bool,
    #[schema(value_type = String, examples("10.0.0.7:8090"))]
    internal_address: SocketAddr,
    started_at: Timestamp,
    /// On the node's own clock.
    heartbeat_at: Timestamp,
    /// How it reaches the broker, as it said with its heartbeat; null = it is gone.
    #[schema(required)]
    broker: Option<Reach>,
    /// The partitions it serves now, by its own word.
    #[schema(value_type = Vec<u16>)]
    partitions: Vec<PartitionId>,
}

/// All partitions.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Partitions {
    items: Vec<PartitionBody>,
}

/// A partition.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Partition)]
pub(crate) struct PartitionBody {
    #[schema(value_type = u16)]
    id: PartitionId,
    /// Who claimed it last; null = nobody did.
    #[schema(required)]
    owner: Option<String>,
    /// Whether somebody serves it now, as far as this process hears.
    served: bool,
    /// Why its owner has stopped it; null = it has not, as far as this process hears. The owner's log has the details.
    #[schema(required)]
    trouble: Option<Trouble>,
    /// The last epoch that was claimed.
    #[schema(value_type = u32)]
    epoch: Epoch,
    /// The epoch of the last batch in the tables: below `epoch` while a new owner waits for the log to drain.
    #[schema(value_type = u32)]
    applied_epoch: Epoch,
    /// That batch's place in its epoch.
    applied_sequence: u64,
    /// Batches that are confirmed and not in the tables yet, as the owner said at most a quarter of a second ago; null = nobody
    /// serves it, or its owner is not heard.
    #[schema(required)]
    log_lag: Option<u64>,
}

/// The nodes of the cluster.
#[utoipa::path(get, path = "/admin/v1/nodes", operation_id = "list_nodes", tag = "operators: nodes",
    responses((status = 200, description = "Every node there ever was", body = Nodes), NodesProblems))]
pub(crate) async fn list(state: web::Data<AppState>, _operator: Operator) -> Result<HttpResponse, Problem> {
    let items = state.store.nodes().await?.into_iter().map(|row| shown(&state, row)).collect();
    Ok(HttpResponse::Ok().json(Nodes { items }))
}

problems!(NodesProblems: Unavailable);

/// Ask a node to give up its partitions.
///
/// It goes on answering buyers, by way of the nodes that take over, until it is stopped. Starting it again undoes it.
#[utoipa::path(post, path = "/admin/v1/nodes/{id}/drain", operation_id = "drain_node", tag = "operators: nodes",
    params(("id" = NodeId, Path, description = "The node"), KeyHeader),
    responses((status = 200, description = "It is draining now, or was before; or was asked to under the same key", body = NodeBody), DrainProblems))]
pub(crate) async fn drain(
    state: web::Data<AppState>,
    operator: Operator,
    key: GivenKey,
    request: RequestId,
    id: Id<NodeId>,
) -> Result<HttpResponse, Problem> {
    let find = async || Ok::<_, Problem>(state.store.nodes().await?.into_iter().find(|row| row.id == id.0).ok_or(Problem::NodeNotFound)?);
    let (row, now) = (find().await?, (state.clock)());
    let operation = key.operation(&operator.0.principal, &"drain");
    let before = match operation {
        Some(operation) => state.store.remembered(operation, now).await?,
        None => None,
    };
    if before.is_none() && row.state == NodeState::Gone {
        return Err(Problem::NodeGone);
    }
    note(&operator.0, &request, "drain node", &id.0);
    // Whoever asks again means the process that was there: one that was started since goes on.
    let instance = match operation {
        None => row.instance,
        Some(operation) => match state.store.remember(operation, row.instance.cast_signed(), now).await? {
            Remembered::New => row.instance,
            Remembered::Before(instance) => instance.cast_unsigned(),
            Remembered::Mismatch => return Err(Refusal::IdempotencyMismatch.into()),
        },
    };
    state.store.move_node(&row.id, instance, &[NodeState::Joining, NodeState::Active], NodeState::Draining).await?;
    let row = find().await?;
    Ok(HttpResponse::Ok().json(shown(&state, row)))
}

problems!(DrainProblems: NodeNotFound, NodeGone, IdempotencyMismatch, Unavailable);

/// The partitions and who owns them.
#[utoipa::path(get, path = "/admin/v1/partitions", operation_id = "list_partitions", tag = "operators: nodes",
    responses((status = 200, description = "Every partition", body = Partitions), PartitionsProblems))]
pub(crate) async fn partitions(state: web::Data<AppState>, _operator: Operator) -> Result<HttpResponse, Problem> {
    let board = state.router.board();
    let troubles = state.cluster.as_ref().map(|cluster| cluster.neighbours.troubles()).unwrap_or_default();
    let mut items = Vec::new();
    for row in state.store.partition_rows().await? {
        let served = board.is_fed(row.id);
        // What one node has stopped another may serve by now.
        let trouble = if served { None } else { state.router.trouble_of(row.id).or_else(|| troubles.get(&row.id).copied()) };
        let trouble = in_full(&state.store, row.id, trouble).await?;
        items.push(body(row, served, trouble, board));
    }
    Ok(HttpResponse::Ok().json(Partitions { items }))
}

/// Between nodes a log that lacks something has no word of its own: it is told as tables that contradict themselves. The tables know which
/// it is.
async fn in_full(store: &Store, partition: PartitionId, trouble: Option<Trouble>) -> Result<Option<Trouble>, StoreError> {
    Ok(match trouble {
        Some(Trouble::TablesContradict) if store.gap(partition).await?.is_some() => Some(Trouble::LogIncomplete),
        trouble => trouble,
    })
}

fn body(row: PartitionRow, served: bool, trouble: Option<Trouble>, board: &Board) -> PartitionBody {
    let (applied_epoch, Sequence(applied_sequence)) = row.applied;
    let owners = board.confirmed(row.id).filter(|_| served);
    // Who has lost it without knowing yet speaks of an epoch that is over.
    let log_lag = owners.filter(|(epoch, _)| *epoch == applied_epoch).map(|(_, last)| last.0.saturating_sub(applied_sequence));
    PartitionBody { id: row.id, owner: row.owner, served, trouble, epoch: row.epoch, applied_epoch, applied_sequence, log_lag }
}

problems!(PartitionsProblems: Unavailable);

fn shown(state: &AppState, row: NodeRow) -> NodeBody {
    let (heard, partitions) = match &state.cluster {
        None => (false, Vec::new()),
        Some(cluster) if cluster.local.id == row.id => {
            let here =
                cluster.local.partitions.iter().filter(|partition| cluster.local.inbox(*partition).is_some_and(|inbox| inbox.is_serving()));
            (true, here.collect())
        }
        Some(cluster) => {
            let serving: BTreeMap<_, _> = cluster.neighbours.serving();
            let there = serving.into_iter().filter(|(_, (node, _))| *node == row.id).map(|(partition, _)| partition);
            (cluster.neighbours.contact(&row.id).0 == Contact::Live, there.collect())
        }
    };
    NodeBody {
        id: row.id,
        state: row.state,
        heard,
        internal_address: row.address,
        started_at: row.started_at,
        heartbeat_at: row.heartbeat_at,
        broker: (row.state != NodeState::Gone).then_some(row.broker),
        partitions,
    }
}
