//! The link between nodes: commands to the owner, and what the owner shows, over an internal HTTP listener of its own.
//!
//! What makes it safe:
//! - Only commands travel, never stock. Who sent a request was verified at the node it entered; the link itself is under a
//!   credential made from `auth.internal_secret`, which never travels.
//! - One hop: a node answers for partitions whose task it runs and says "misdirected" for all others; it never forwards.
//! - A command that may have reached the other node is never sent twice. What the link cannot tell is
//!   [`Reply::Pending`](crate::partition::Reply::Pending); "busy" it says only of what provably was not taken up.
//! - Nodes of two releases understand each other: what is said is of the newest version that both know (see [`PeerVersion`]).
//! - Everything is bounded: what waits for a peer, what travels together, bodies, frames and every wait.

mod answer;
mod breaker;
mod bulletin;
mod credential;
mod feed;
mod frames;
mod hello;
mod link;
mod listener;
mod meters;
mod older;
mod wire;

pub use credential::{Credential, SecretTooShort};
pub use feed::{Contact, Sight};
pub(crate) use feed::{News, follow};
pub use hello::{Greeting, HelloError, greet};
pub use link::{LinkSettings, PeerLink};
pub use listener::{Local, serve};
pub(crate) use wire::Speech;
pub use wire::{Bulletin, Content, PeerVersion, Piece, Served, Standing};

use std::net::SocketAddr;

use crate::domain::NodeId;

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: NodeId,
    /// Where its internal listener is.
    pub address: SocketAddr,
}

/// The HTTP client for one peer: connections are kept, proxies of the environment are not for us, and a connection that
/// is not made at once means that nobody is there.
fn client() -> reqwest::Client {
    const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);
    reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client without TLS has nothing that could fail")
}

/// Whether an error proves that nobody listens there: the connection was refused, not merely slow.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}
