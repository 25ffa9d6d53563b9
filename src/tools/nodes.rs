//! `doorbuster nodes`: who belongs to the cluster and owns what, as a table. Reads the database; asks no node.

use std::path::Path;

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::config::Config;
use crate::embedded::{self, StartError};
use crate::store::{NodeRow, NodeState, PartitionRow};

/// Prints the nodes of the configured database, and the partitions each claimed last.
///
/// # Errors
/// [`StartError`] when the database cannot be read.
pub async fn run(config: &Config, data: &Path) -> Result<(), StartError> {
    let store = embedded::open_existing(config, data).await?;
    let (nodes, partitions) = (store.nodes().await?, store.partition_rows().await?);
    println!("{}", table(&nodes, &partitions));
    let unowned = partitions.iter().filter(|row| row.owner.is_none()).count();
    println!("{} nodes, {} partitions, {unowned} of them never owned", nodes.len(), partitions.len());
    println!("the log may be written in version {}", store.log_version().await?);
    Ok(())
}

fn table(nodes: &[NodeRow], partitions: &[PartitionRow]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(["node", "state", "internal address", "started", "last heartbeat", "broker", "log up to", "partitions", "which"]);
    for node in nodes {
        let owned: Vec<String> =
            partitions.iter().filter(|row| row.owner.as_deref() == Some(node.id.as_str())).map(|row| row.id.to_string()).collect();
        table.add_row([
            Cell::new(&node.id),
            Cell::new(node.state.word()),
            Cell::new(node.address),
            Cell::new(node.started_at),
            Cell::new(node.heartbeat_at),
            Cell::new(if node.state == NodeState::Gone { "" } else { node.broker.word() }),
            Cell::new(format!("v{}", node.log_version)),
            Cell::new(owned.len()).set_alignment(CellAlignment::Right),
            Cell::new(owned.join(" ")),
        ]);
    }
    table
}
