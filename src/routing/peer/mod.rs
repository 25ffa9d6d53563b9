//! The link between nodes: commands to the owner, and what the owner shows, over an internal HTTP listener of its own.
//!
//! What makes it safe:
//! - Only commands travel, never stock. Who sent a request was verified at the node it entered.
//! - The link is TLS with both certificates checked: a node talks to the node that it means and to nobody else, and answers nodes only
//!   (see [`Credential`]). Without TLS nodes of the release before are talked to, while a setting says so.
//! - One hop: a node answers for partitions whose task it runs and says "misdirected" for all others; it never forwards.
//! - A command that may have reached the other node is never sent twice. What the link cannot tell is
//!   [`Reply::Pending`](crate::partition::Reply::Pending); "busy" it says only of what provably was not taken up.
//! - Nodes of two releases understand each other: what is said is of the newest version that both know (see [`PeerVersion`]).
//! - A partition that answers slowly holds up nobody else's requests: each has places of its own in what is out.
//! - Everything is bounded: what waits for a peer, what travels together, bodies, frames and every wait.

mod accept;
mod answer;
mod backlog;
mod breaker;
mod bulletin;
mod client;
mod credential;
mod dial;
mod doors;
mod feed;
pub(crate) mod feeding;
mod frames;
mod headers;
mod hello;
mod link;
mod listener;
mod local;
mod meters;
mod older;
mod wire;

pub use accept::{PeerServer, serve};
pub use credential::{Credential, CredentialError, Sources};
pub use feed::{Contact, Sight};
pub(crate) use feed::{News, follow};
pub use hello::{Greeting, HelloError, greet};
pub use link::{LinkSettings, PeerLink};
pub use local::Local;
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
