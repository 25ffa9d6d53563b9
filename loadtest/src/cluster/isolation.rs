//! A network namespace for one node: it has a cable of its own to the broker, which can be cut, and another to everything else.
//! A cut cable drops packets and resets nothing. Needs root and `ip` (iproute2). Never changes the network that is there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::outcome::Unable;

/// The namespace, its cables, and what leads from them to the servers. Dropped, all of it is gone.
#[derive(Debug)]
pub struct Isolation {
    name: String,
    /// The cables' ends on this side: to everything but the broker, and to the broker.
    cables: [String; 2],
    inside: Ipv4Addr,
    outside: Ipv4Addr,
    database: SocketAddr,
    broker: SocketAddr,
    // Dropped, they end.
    _relays: JoinSet<()>,
}

impl Isolation {
    /// Makes it, with a way to the servers at these URLs.
    ///
    /// # Errors
    /// [`Unable`] if the system does not allow it.
    pub async fn new(mysql: &str, amqp: &str) -> anyhow::Result<Self> {
        let number = rand::random::<u32>();
        let name = format!("doorbuster-{number:08x}");
        let cables = ["l", "b"].map(|kind| format!("db{kind}{number:08x}"));
        // 198.18.0.0/15 is for tests of networks: eight addresses of it, four for each cable.
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (number % (1 << 14)) * 8;
        let address = |offset| Ipv4Addr::from(first + offset);
        let mut isolation = Self {
            name: name.clone(),
            cables,
            inside: address(2),
            outside: address(1),
            // Filled in below: the addresses exist only with the cables.
            database: SocketAddr::from(([0, 0, 0, 0], 0)),
            broker: SocketAddr::from(([0, 0, 0, 0], 0)),
            _relays: JoinSet::new(),
        };
        ip(&["netns", "add", &name]).await?;
        ip(&["-n", &name, "link", "set", "lo", "up"]).await?;
        for (cable, offset) in isolation.cables.iter().zip([0, 4]) {
            let (near, far) = (format!("{}/30", address(offset + 1)), format!("{}/30", address(offset + 2)));
            ip(&["link", "add", cable, "type", "veth", "peer", "name", "far", "netns", &name]).await?;
            ip(&["-n", &name, "link", "set", "far", "name", &format!("{cable}n")]).await?;
            ip(&["address", "add", &near, "dev", cable]).await?;
            ip(&["link", "set", cable, "up"]).await?;
            ip(&["-n", &name, "address", "add", &far, "dev", &format!("{cable}n")]).await?;
            ip(&["-n", &name, "link", "set", &format!("{cable}n"), "up"]).await?;
        }
        isolation.database = relay(address(1), mysql, 3306, &mut isolation._relays).await?;
        isolation.broker = relay(address(5), amqp, 5672, &mut isolation._relays).await?;
        Ok(isolation)
    }

    /// What `ip netns exec` calls it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where the node is.
    pub(super) const fn inside(&self) -> IpAddr {
        IpAddr::V4(self.inside)
    }

    /// Where it finds the other nodes.
    pub(super) const fn outside(&self) -> IpAddr {
        IpAddr::V4(self.outside)
    }

    /// The database's URL as the node must have it.
    pub(super) fn database(&self, url: &str) -> String {
        by_way_of(url, self.database)
    }

    /// The broker's URL as the node must have it.
    pub(super) fn broker(&self, url: &str) -> String {
        by_way_of(url, self.broker)
    }

    /// Cuts the cable to the broker.
    ///
    /// # Errors
    /// If `ip` fails.
    pub async fn cut(&self) -> anyhow::Result<()> {
        ip(&["link", "set", &self.cables[1], "down"]).await
    }

    /// Mends it.
    ///
    /// # Errors
    /// If `ip` fails.
    pub async fn mend(&self) -> anyhow::Result<()> {
        ip(&["link", "set", &self.cables[1], "up"]).await
    }
}

impl Drop for Isolation {
    fn drop(&mut self) {
        // A cable goes with either of its ends; what is gone already is what is wanted.
        for cable in &self.cables {
            let _ = std::process::Command::new("ip").args(["link", "delete", cable]).output();
        }
        let _ = std::process::Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

/// Has `ip` do something.
pub(crate) async fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let unable = |why: &dyn std::fmt::Display| Unable::new(format!("ip {}: {why}", arguments.join(" ")));
    let output = Command::new("ip").args(arguments).output().await.map_err(|error| unable(&error))?;
    if !output.status.success() {
        return Err(unable(&String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    Ok(())
}

/// Passes on what comes to a free port of that address to the server of the URL: a server may listen on loopback only.
async fn relay(at: Ipv4Addr, url: &str, default_port: u16, relays: &mut JoinSet<()>) -> anyhow::Result<SocketAddr> {
    let (_, authority, _) = parts(url);
    let server = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:{default_port}") };
    let listener = TcpListener::bind((at, 0)).await.with_context(|| format!("cannot listen on {at}"))?;
    let address = listener.local_addr()?;
    relays.spawn(async move {
        let mut ways = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let server = server.clone();
            ways.spawn(async move {
                // Whichever side ends it, the other sees the end.
                if let Ok(mut far) = TcpStream::connect(server).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    Ok(address)
}

/// The same URL with another host and port.
fn by_way_of(url: &str, relay: SocketAddr) -> String {
    let (before, _, after) = parts(url);
    format!("{before}{relay}{after}")
}

/// A URL up to its host, its host and port, and the rest.
pub(super) fn parts(url: &str) -> (&str, &str, &str) {
    let scheme = url.find("://").map_or(0, |colon| colon + 3);
    let end = url[scheme..].find(['/', '?']).map_or(url.len(), |length| scheme + length);
    let host = url[scheme..end].rfind('@').map_or(scheme, |at| scheme + at + 1);
    (&url[..host], &url[host..end], &url[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_and_port_of_a_url_are_exchanged() {
        let relay = SocketAddr::from(([198, 18, 0, 1], 7));
        for (url, expected) in [
            ("mysql://root@127.0.0.1:3306/shop?x=1", "mysql://root@198.18.0.1:7/shop?x=1"),
            ("amqp://guest:p%40ss@localhost/%2f", "amqp://guest:p%40ss@198.18.0.1:7/%2f"),
            ("mysql://host?x=1", "mysql://198.18.0.1:7?x=1"),
            ("amqp://host", "amqp://198.18.0.1:7"),
        ] {
            assert_eq!(by_way_of(url, relay), expected);
        }
    }
}
