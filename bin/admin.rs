//! `admin`: the operators' process of a cluster.

use std::process::ExitCode;

use doorbuster::cluster::AdminNode;
use doorbuster::role;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ABOUT: &str = "The operators' API of a cluster. What it is asked to change goes to the nodes that sell, as commands.";

fn main() -> ExitCode {
    role::run("admin", ABOUT, async |config, signals| {
        let node = AdminNode::start(&config).await?;
        println!("admin: http://{}/docs", node.address());
        node.run_until(signals.told()).await;
        Ok(())
    })
}
