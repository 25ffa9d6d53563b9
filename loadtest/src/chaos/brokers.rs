//! Brokers of the harness's own that are servers of one cluster.

use super::lan::Lan;
use super::servers::PrivateServer;

/// The servers, and the network they are on. None, where a scenario needs none.
#[derive(Debug)]
pub(super) struct Brokers {
    pub(super) servers: Vec<PrivateServer>,
    /// Goes last. None: they are on this machine's loopback.
    pub(super) lan: Option<Lan>,
}

impl Brokers {
    /// Waits until each of them can be spared: all are there, and have what the others have. Two of three down is another story.
    pub(super) async fn can_each_be_spared(&self) -> anyhow::Result<()> {
        for server in &self.servers {
            server.can_be_spared().await?;
        }
        Ok(())
    }
}
