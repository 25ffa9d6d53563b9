//! The connections that clients have open, and how they are asked to go elsewhere. Never closes one itself, but those that one address
//! has too many of.

use std::any::Any;
use std::net::{IpAddr, Shutdown};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use ipnet::IpNet;
use socket2::SockRef;
use tokio::sync::watch;

use crate::config::Config;
use crate::limits;

/// For how long there must be no connection before nobody is expected to come any more.
const QUIET: Duration = Duration::from_millis(250);

/// The connections of one server.
#[derive(Debug, Default)]
pub struct Connections {
    open: watch::Sender<usize>,
    leaving: AtomicBool,
    per_address_max: Option<usize>,
    trusted: Vec<IpNet>,
    /// Addresses that have some open, and how many.
    by_address: DashMap<u64, usize>,
}

/// One that is open. Kept with the connection, and dropped with it.
struct Open {
    of: Arc<Connections>,
    /// Its address, if that is counted.
    address: Option<u64>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.of.open.send_modify(|open| *open -= 1);
        if let Some(address) = self.address {
            self.of.leave_address(address);
        }
    }
}

impl Connections {
    /// None yet; of one address as many as configured.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        metrics::describe_counter!("doorbuster_connections_refused_total", "Connections closed at once: their address had too many");
        let per_address_max = config.limits.enabled.then_some(config.limits.connections_per_address_max);
        Self { per_address_max, trusted: config.http.trusted_proxies.clone(), ..Self::default() }
    }

    /// Takes a connection in, for as long as its extensions live. One too many of its address is closed before anything is read of it.
    pub(crate) fn take(self: &Arc<Self>, stream: &dyn Any, extensions: &mut Extensions) {
        let stream = stream.downcast_ref::<TcpStream>();
        let address = stream.and_then(|stream| stream.peer_addr().ok()).map(|address| address.ip().to_canonical());
        if !self.count(address, extensions)
            && let Some(stream) = stream
        {
            metrics::counter!("doorbuster_connections_refused_total").increment(1);
            // If it is gone already, all the better.
            drop(SockRef::from(stream).shutdown(Shutdown::Both));
        }
    }

    /// Counts a connection; whether its address may have it.
    fn count(self: &Arc<Self>, address: Option<IpAddr>, extensions: &mut Extensions) -> bool {
        let counted = address.filter(|address| !self.trusted.iter().any(|network| network.contains(address)));
        let bounded = self.per_address_max.zip(counted.map(limits::key_of));
        let may_have_it = bounded.is_none_or(|(most, address)| {
            let mut open = self.by_address.entry(address).or_default();
            *open += 1;
            *open <= most
        });
        self.open.send_modify(|open| *open += 1);
        extensions.insert(Open { of: Arc::clone(self), address: bounded.map(|(_, address)| address) });
        may_have_it
    }

    fn leave_address(&self, address: u64) {
        if let Entry::Occupied(mut entry) = self.by_address.entry(address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// From now on every answer asks its client to close the connection. A connection that is closed from here instead takes
    /// with it whatever request is already on its way.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Whether clients had better go elsewhere.
    pub(super) fn are_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Waits until all clients are gone and no other comes, for at most `bound`.
    pub async fn gone(&self, bound: Duration) {
        let open = self.left_open(bound).await;
        if open > 0 {
            tracing::warn!(open, "{open} connections are still open after {bound:?}, closing them");
        }
    }

    /// As [`gone`](Self::gone): how many connections are open then.
    async fn left_open(&self, bound: Duration) -> usize {
        let mut open = self.open.subscribe();
        let quiet = async {
            while open.wait_for(|open| *open == 0).await.is_ok() {
                if tokio::time::timeout(QUIET, open.changed()).await.is_err() {
                    return;
                }
            }
        };
        // Nobody can be expected any more: in time, or out of it.
        drop(tokio::time::timeout(bound, quiet).await);
        *self.open.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn clients_are_gone_when_none_is_left_and_none_comes() {
        let connections = Arc::new(Connections::default());
        let mut extensions = Extensions::new();
        connections.count(None, &mut extensions);
        let gone = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.gone(Duration::from_secs(3_600)).await }
        });
        tokio::time::sleep(QUIET * 4).await;
        assert!(!gone.is_finished());
        drop(extensions);
        tokio::time::sleep(QUIET / 2).await;
        let mut another = Extensions::new();
        connections.count(None, &mut another);
        tokio::time::sleep(QUIET * 4).await;
        assert!(!gone.is_finished());
        drop(another);
        gone.await.unwrap();
    }

    #[test]
    fn an_address_has_so_many_and_a_trusted_proxy_as_many_as_it_likes() {
        let trusted = vec!["10.0.0.0/8".parse().unwrap()];
        let connections = Arc::new(Connections { per_address_max: Some(2), trusted, ..Connections::default() });
        let open = |text: &str| {
            let mut extensions = Extensions::new();
            (connections.count(Some(text.parse().unwrap()), &mut extensions), extensions)
        };
        let one = open("192.0.2.1");
        let two = open("192.0.2.1");
        assert_eq!((one.0, two.0, open("192.0.2.1").0), (true, true, false));
        assert!(open("192.0.2.2").0, "another address has connections of its own");
        drop(one);
        assert!(open("192.0.2.1").0);
        let proxy: Vec<_> = (0..9).map(|_| open("10.0.0.1")).collect();
        assert!(proxy.iter().all(|(may, _)| *may));
        drop((two, proxy));
        assert!(connections.by_address.is_empty(), "nobody is remembered who has none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stays_is_not_waited_for_longer_than_the_bound() {
        let connections = Arc::new(Connections::default());
        let mut extensions = Extensions::new();
        connections.count(None, &mut extensions);
        assert_eq!(connections.left_open(Duration::from_secs(5)).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_below_the_quiet_time_leaves_nobody_to_speak_of() {
        let connections = Arc::new(Connections::default());
        assert_eq!(connections.left_open(QUIET / 2).await, 0);
    }
}
