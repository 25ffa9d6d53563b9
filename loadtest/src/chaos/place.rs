//! Where a server of our own runs: on this machine's loopback, or in a namespace of a network of ours.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use tokio::process::Command;

use super::lan::Lan;

/// The place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    address: IpAddr,
    namespace: Option<String>,
}

impl Place {
    /// This machine's loopback.
    pub(super) const HERE: Self = Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), namespace: None };

    /// In that network.
    pub(super) fn within(lan: &Lan, index: usize) -> Self {
        Self { address: lan.address(index).into(), namespace: Some(lan.namespace(index).to_owned()) }
    }

    /// Where it is reached.
    pub(super) const fn address(&self) -> IpAddr {
        self.address
    }

    /// Its name among Erlang's nodes; one with dots is a long name to them.
    pub(super) fn host(&self) -> String {
        if self.is_apart() { self.address.to_string() } else { "localhost".to_owned() }
    }

    /// Whether it is not this machine's loopback.
    pub(super) const fn is_apart(&self) -> bool {
        self.namespace.is_some()
    }

    /// A program that is to run there.
    pub(super) fn command(&self, program: &Path) -> Command {
        match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
        }
    }
}
