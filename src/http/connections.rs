//! The connections that clients have open, and how they are asked to go elsewhere. Never closes one itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::Extensions;
use tokio::sync::watch;

/// For how long there must be no connection before nobody is expected to come any more.
const QUIET: Duration = Duration::from_millis(250);

/// The connections of one server.
#[derive(Debug, Default)]
pub struct Connections {
    open: watch::Sender<usize>,
    leaving: AtomicBool,
}

/// One that is open. Kept with the connection, and dropped with it.
struct Open(Arc<Connections>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

impl Connections {
    /// Counts a connection for as long as its extensions live.
    pub(super) fn count(self: &Arc<Self>, extensions: &mut Extensions) {
        self.open.send_modify(|open| *open += 1);
        extensions.insert(Open(Arc::clone(self)));
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
        connections.count(&mut extensions);
        let gone = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.gone(Duration::from_secs(3_600)).await }
        });
        tokio::time::sleep(QUIET * 4).await;
        assert!(!gone.is_finished());
        drop(extensions);
        tokio::time::sleep(QUIET / 2).await;
        let mut another = Extensions::new();
        connections.count(&mut another);
        tokio::time::sleep(QUIET * 4).await;
        assert!(!gone.is_finished());
        drop(another);
        gone.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stays_is_not_waited_for_longer_than_the_bound() {
        let connections = Arc::new(Connections::default());
        let mut extensions = Extensions::new();
        connections.count(&mut extensions);
        assert_eq!(connections.left_open(Duration::from_secs(5)).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_below_the_quiet_time_leaves_nobody_to_speak_of() {
        let connections = Arc::new(Connections::default());
        assert_eq!(connections.left_open(QUIET / 2).await, 0);
    }
}
