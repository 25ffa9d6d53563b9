//! `spike`: a node of a cluster that sells.

use std::process::ExitCode;

use doorbuster::cluster::SpikeNode;
use doorbuster::role;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ABOUT: &str = "A node that sells: it takes the partitions the ring gives it, answers buyers, and passes on what other nodes own.";

fn main() -> ExitCode {
    role::run("spike", ABOUT, async |config, signals| {
        let node = SpikeNode::start(&config).await?;
        println!("spike {}: http://{}/docs, internal {}", config.node.id, node.address(), node.internal_address());
        Ok(node.run_until(signals.told()).await?)
    })
}
