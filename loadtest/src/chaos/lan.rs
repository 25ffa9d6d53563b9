//! A network for servers of our own: each in a namespace, with a cable to a bridge that this machine is on too. A cable can be cut: packets
//! are dropped, nothing is reset. Needs root and `ip` (iproute2). Never changes the network that is there.

use std::net::Ipv4Addr;

use crate::cluster::ip;

/// The network. Dropped, all of it is gone.
#[derive(Debug)]
pub(super) struct Lan {
    bridge: String,
    /// By server: its namespace, which is also the name of its cable's end at the bridge.
    names: Vec<String>,
    first: u32,
}

impl Lan {
    /// Makes one for so many servers, at most five.
    pub(super) async fn new(count: usize) -> anyhow::Result<Self> {
        let number = rand::random::<u32>();
        // 198.18.0.0/15 is for tests of networks: eight addresses of its second half.
        let first = u32::from(Ipv4Addr::new(198, 19, 0, 0)) + (number % (1 << 13)) * 8;
        let names = (0..count).map(|index| format!("dbs{index}{number:08x}")).collect();
        let lan = Self { bridge: format!("dbw{number:08x}"), names, first };
        ip(&["link", "add", &lan.bridge, "type", "bridge"]).await?;
        ip(&["address", "add", &format!("{}/29", lan.of(1)), "dev", &lan.bridge]).await?;
        ip(&["link", "set", &lan.bridge, "up"]).await?;
        for (index, name) in lan.names.iter().enumerate() {
            ip(&["netns", "add", name]).await?;
            ip(&["-n", name, "link", "set", "lo", "up"]).await?;
            ip(&["link", "add", name, "type", "veth", "peer", "name", "far", "netns", name]).await?;
            ip(&["link", "set", name, "master", &lan.bridge]).await?;
            ip(&["link", "set", name, "up"]).await?;
            ip(&["-n", name, "address", "add", &format!("{}/29", lan.address(index)), "dev", "far"]).await?;
            ip(&["-n", name, "link", "set", "far", "up"]).await?;
        }
        Ok(lan)
    }

    /// Where a server is.
    pub(super) fn address(&self, index: usize) -> Ipv4Addr {
        self.of(2 + index as u32)
    }

    /// What `ip netns exec` calls its namespace.
    pub(super) fn namespace(&self, index: usize) -> &str {
        &self.names[index]
    }

    /// Cuts its cable.
    pub(super) async fn cut(&self, index: usize) -> anyhow::Result<()> {
        ip(&["link", "set", &self.names[index], "down"]).await
    }

    /// Mends it.
    pub(super) async fn mend(&self, index: usize) -> anyhow::Result<()> {
        ip(&["link", "set", &self.names[index], "up"]).await
    }

    fn of(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.first + offset)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // A cable goes with its end at the bridge; what is gone already is what is wanted.
        for name in self.names.iter().chain([&self.bridge]) {
            let _ = std::process::Command::new("ip").args(["link", "delete", name]).output();
        }
        for name in &self.names {
            let _ = std::process::Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}
