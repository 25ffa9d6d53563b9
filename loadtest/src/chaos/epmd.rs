//! The port mapper of a private broker. The one of the machine, if there is one, is left alone: a broker that found none would start
//! one that outlives it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use tokio::net::TcpStream;

use super::group::Group;
use super::place::Place;
use super::programs::find;

/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// One that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct PortMapper {
    _process: Group,
}

impl PortMapper {
    /// Starts one on a port, and waits until it listens: whoever does not find it starts another.
    pub(super) async fn start(place: &Place, port: u16) -> anyhow::Result<Self> {
        let mut command = place.command(&find("epmd", "Erlang, which RabbitMQ runs on (Debian: erlang-base)")?);
        command.args(["-port", &port.to_string(), "-address", &place.address().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Group::lead_by(&mut command)?;
        let (mut pause, began) = (tokio::time::interval(Duration::from_millis(20)), Instant::now());
        while TcpStream::connect((place.address(), port)).await.is_err() {
            if let Some(status) = process.ended()? {
                bail!("epmd ended by itself with {status}");
            }
            ensure!(began.elapsed() < START_TIMEOUT, "epmd did not listen within {} s", START_TIMEOUT.as_secs());
            pause.tick().await;
        }
        Ok(Self { _process: process })
    }
}
