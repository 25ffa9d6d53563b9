//! From what the keeper says of the connection to what others are told of it. "Away" is never told of an ordinary reconnect, and never
//! of an alarm: the broker keeps the locks of a connection that it blocks, so nobody else could take over.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::connections::Link;
use crate::domain::Reach;

/// How long a node may be without a session before it says that the broker is away. A reconnect takes a tenth of it.
const GRACE: Duration = Duration::from_secs(2);

/// How long the first attempt to connect may take before a node says that the broker is away: a broker that declares its queues slowly is
/// no reason not to start.
const FIRST_ATTEMPT: Duration = Duration::from_secs(10);

/// What it comes to if it lasts.
pub(super) fn reach(link: &Link) -> Reach {
    match link {
        Link::Up => Reach::Up,
        Link::Opening | Link::Blocked(_) => Reach::Down,
        Link::Lost(_) | Link::Away(_) => Reach::Away,
    }
}

/// Tells how it stands, now and whenever it changes, for as long as the connection is kept.
pub(super) async fn follow<T>(mut link: watch::Receiver<T>, reach: impl Fn(&T) -> Reach, tell: impl Fn(Reach)) {
    // One that never had a session has nothing to come back to.
    let mut grace = Duration::ZERO;
    let mut is_first = true;
    loop {
        let now = reach(&link.borrow_and_update());
        if now == Reach::Up {
            grace = GRACE;
        }
        let changes = async { link.wait_for(|link| reach(link) != now).await.is_ok() };
        let bound = match now {
            Reach::Away if !grace.is_zero() => Some(grace),
            Reach::Down if is_first => Some(FIRST_ATTEMPT),
            Reach::Up | Reach::Down | Reach::Away => None,
        };
        is_first = false;
        let changed = if let Some(bound) = bound {
            tell(Reach::Down);
            tokio::pin!(changes);
            match timeout(bound, &mut changes).await {
                Ok(changed) => changed,
                Err(_) => {
                    tell(Reach::Away);
                    changes.await
                }
            }
        } else {
            tell(now);
            changes.await
        };
        if !changed {
            // Nobody connects any more.
            tell(Reach::Away);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    struct Told(watch::Sender<Reach>, Arc<Mutex<Vec<Reach>>>);

    impl Told {
        fn of(first: Reach) -> Self {
            let (link, links) = watch::channel(first);
            let told = Arc::<Mutex<Vec<Reach>>>::default();
            let hear = Arc::clone(&told);
            tokio::spawn(follow(links, |reach| *reach, move |reach| hear.lock().unwrap().push(reach)));
            Self(link, told)
        }

        /// What was told from a change until that time is over. Time is the runtime's own, and paused.
        async fn from(&self, change: Reach, time: Duration) -> Vec<Reach> {
            tokio::time::sleep(MOMENT).await;
            self.1.lock().unwrap().clear();
            self.0.send_replace(change);
            tokio::time::sleep(time).await;
            self.1.lock().unwrap().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_session_is_told_at_once_and_that_the_broker_is_away_when_the_grace_is_over() {
        let told = Told::of(Reach::Up);
        assert_eq!(told.from(Reach::Away, GRACE - MOMENT).await, [Reach::Down]);
        assert_eq!(told.from(Reach::Up, MOMENT).await, [Reach::Up], "a reconnect");
        assert_eq!(told.from(Reach::Away, GRACE + MOMENT).await, [Reach::Down, Reach::Away]);
        assert_eq!(told.from(Reach::Up, MOMENT).await, [Reach::Up], "back is told at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_blocks_is_never_away() {
        let told = Told::of(Reach::Up);
        assert_eq!(told.from(Reach::Down, GRACE * 10).await, [Reach::Down]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_attempt_that_takes_its_time_is_waited_for_within_a_bound() {
        let told = Told::of(Reach::Down);
        tokio::time::sleep(FIRST_ATTEMPT - MOMENT).await;
        assert_eq!(*told.1.lock().unwrap(), [Reach::Down]);
        tokio::time::sleep(MOMENT * 2).await;
        assert_eq!(*told.1.lock().unwrap(), [Reach::Down, Reach::Away]);
        assert_eq!(told.from(Reach::Up, MOMENT).await, [Reach::Up]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_never_had_a_session_waits_for_no_reconnect() {
        let told = Told::of(Reach::Down);
        assert_eq!(told.from(Reach::Away, MOMENT).await, [Reach::Away]);
    }
}
