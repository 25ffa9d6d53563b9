//! The port mapper of a private broker. The one of the machine, if there is one, is left alone: a broker that found none would start
//! one that outlives it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::group::Group;
use super::programs::find;
use crate::cluster::spare_port;

/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// One that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct PortMapper {
    port: u16,
    _process: Group,
}

impl PortMapper {
    /// Starts one, and waits until it listens: whoever does not find it starts another.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let port = spare_port()?;
        let mut command = Command::new(find("epmd", "Erlang, which RabbitMQ runs on (Debian: erlang-base)")?);
        command.args(["-port", &port.to_string(), "-address", "127.0.0.1"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Group::lead_by(&mut command)?;
        let (mut pause, began) = (tokio::time::interval(Duration::from_millis(20)), Instant::now());
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = process.ended()? {
                bail!("epmd ended by itself with {status}");
            }
            ensure!(began.elapsed() < START_TIMEOUT, "epmd did not listen within {} s", START_TIMEOUT.as_secs());
            pause.tick().await;
        }
        Ok(Self { port, _process: process })
    }

    /// Where it listens.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }
}
