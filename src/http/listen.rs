//! Listeners of HTTP servers. Never accepts a connection.

use std::net::{SocketAddr, TcpListener};

use tokio::net::TcpSocket;

use crate::config::Address;

/// Connections that wait to be accepted, at most (the system may allow fewer). The standard library's 128 are too few for the
/// first second of a sale: who finds them full tries again after a second, then after three.
const BACKLOG: u32 = 4_096;

/// A listener for an HTTP server: at the first of the name's addresses that is this machine's and free.
///
/// # Errors
/// What the resolver says about the name, or the operating system about its last address.
pub async fn listen(address: &Address) -> std::io::Result<TcpListener> {
    let mut refusal = std::io::ErrorKind::AddrNotAvailable.into();
    for address in address.resolve().await? {
        match listen_at(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

fn listen_at(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A start right after a stop: connections of before may still be on their way out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}
