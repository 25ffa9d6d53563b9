//! Ports for servers that are started again at the address they had. Never holds one.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::bail;

/// Below what the system gives to connections: a client that asks for a server which is down could otherwise be given the
/// server's port as its own, and be connected to itself.
const PORTS: std::ops::Range<u16> = 18_000..32_000;
/// How many are looked at.
const ATTEMPTS: u32 = 1_000;

/// Given out by this process before.
static GIVEN: LazyLock<Mutex<BTreeSet<u16>>> = LazyLock::new(Mutex::default);

/// A loopback port nobody listens on now, never the same twice.
///
/// # Errors
/// If none is found.
pub fn spare_port() -> anyhow::Result<u16> {
    for _ in 0..ATTEMPTS {
        let port = rand::random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return Ok(port);
        }
    }
    bail!("no spare port from {} to {}", PORTS.start, PORTS.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports: BTreeSet<u16> = (0..50).map(|_| spare_port().unwrap()).collect();
        assert_eq!(ports.len(), 50);
    }
}
