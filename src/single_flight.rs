//! Work that costs something and that anybody may ask for again and again: it runs once at a time, whoever asked before it began shares
//! what comes of it, and between two runs there is a rest in proportion to what the last one took. So it never takes more than its share
//! of the time, however often it is asked for. Never answers with what began before it was asked for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use tokio::time::Instant;

/// The longest anybody waits for a turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of the time work may take, and who may wait for it.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The rest after a run, in times the run.
    pub rest: u32,
    /// The longest rest.
    pub rest_max: Duration,
    /// Who waits at the same time, at most.
    pub waiting_max: usize,
}

/// Why there is nothing to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotShared {
    /// As many as may wait are waiting, or the turn did not come in time.
    #[error("too many ask for this already")]
    Busy,
    /// The work panicked or its runtime ended.
    #[error("the work was not finished")]
    Failed,
}

/// See the module. `K` tells requests apart that cannot share a run; they take turns all the same.
#[derive(Debug)]
pub struct SingleFlight<K, T> {
    share: Share,
    waiting: Arc<Semaphore>,
    last: Arc<Mutex<Last<K, T>>>,
}

#[derive(Debug)]
struct Last<K, T> {
    /// What came of the last run, for those who waited while it ran.
    done: Option<Done<K, T>>,
    rest_until: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Done<K, T> {
    key: K,
    began: Instant,
    value: T,
}

impl<K: Copy + PartialEq + Send + 'static, T: Clone + Send + 'static> SingleFlight<K, T> {
    /// Nothing has run yet.
    #[must_use]
    pub fn new(share: Share) -> Self {
        let last = Last { done: None, rest_until: None };
        Self { share, waiting: Arc::new(Semaphore::new(share.waiting_max)), last: Arc::new(Mutex::new(last)) }
    }

    /// What comes of a run that begins from now on. A caller that is dropped leaves a run that was begun to its end.
    ///
    /// # Errors
    /// [`NotShared`].
    pub async fn run<W>(&self, key: K, work: impl FnOnce() -> W + Send + 'static) -> Result<T, NotShared>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let _place = self.waiting.try_acquire().map_err(|_| NotShared::Busy)?;
        let asked = Instant::now();
        let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.last).lock_owned());
        let mut last = turn.await.map_err(|_| NotShared::Busy)?;
        if let Some(done) = last.done.take_if(|done| done.key == key && done.began >= asked) {
            let value = done.value.clone();
            if self.others_wait() {
                last.done = Some(done);
            }
            return Ok(value);
        }
        if let Some(rest_until) = last.rest_until {
            tokio::time::sleep_until(rest_until).await;
        }
        let (share, waiting) = (self.share, Arc::clone(&self.waiting));
        tokio::spawn(async move { carry_out(last, (share, waiting), key, work).await }).await.map_err(|_| NotShared::Failed)
    }

    /// Besides whoever asks.
    fn others_wait(&self) -> bool {
        are_several(self.share, &self.waiting)
    }
}

async fn carry_out<K, T: Clone, W: Future<Output = T>>(
    mut last: OwnedMutexGuard<Last<K, T>>,
    (share, waiting): (Share, Arc<Semaphore>),
    key: K,
    work: impl FnOnce() -> W,
) -> T {
    let began = Instant::now();
    last.done = None;
    let value = work().await;
    let ended = Instant::now();
    last.rest_until = Some(ended + (ended - began).saturating_mul(share.rest).min(share.rest_max));
    // Whoever comes from now on has asked too late for this one: it is kept only while somebody may share it.
    if are_several(share, &waiting) {
        last.done = Some(Done { key, began, value: value.clone() });
    }
    value
}

fn are_several(share: Share, waiting: &Semaphore) -> bool {
    waiting.available_permits() + 1 < share.waiting_max
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const SHARE: Share = Share { rest: 4, rest_max: Duration::from_secs(5), waiting_max: 8 };

    /// Counts its runs, each of which takes a second.
    fn counting(runs: &Arc<AtomicU32>) -> impl FnOnce() -> std::pin::Pin<Box<dyn Future<Output = u32> + Send>> + Send + use<> {
        let runs = Arc::clone(runs);
        move || {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                runs.fetch_add(1, Ordering::Relaxed) + 1
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_the_next_run_shares_it() {
        let (flight, runs) = (SingleFlight::<(), u32>::new(SHARE), Arc::default());
        let first = flight.run((), counting(&runs));
        let later = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            futures_util::future::join_all((0..5).map(|_| flight.run((), counting(&runs)))).await
        };
        let (first, later) = futures_util::future::join(first, later).await;
        assert_eq!(first, Ok(1));
        assert_eq!(later, [Ok(2); 5], "what began before they asked is not theirs");
        assert!(flight.last.lock().await.done.is_none(), "nothing is kept that nobody waits for");
    }

    #[tokio::test(start_paused = true)]
    async fn it_takes_its_share_of_the_time_however_often_it_is_asked_for() {
        let (flight, runs, began) = (SingleFlight::<(), u32>::new(SHARE), Arc::default(), Instant::now());
        while began.elapsed() < Duration::from_secs(100) {
            flight.run((), counting(&runs)).await.unwrap();
        }
        assert_eq!(runs.load(Ordering::Relaxed), 21, "a second in five");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_does_not_begin_another_run_beside_its_own() {
        let (flight, runs) = (SingleFlight::<(), u32>::new(SHARE), Arc::default());
        for _ in 0..3 {
            drop(tokio::time::timeout(Duration::from_millis(10), flight.run((), counting(&runs))).await);
        }
        assert_eq!(flight.run((), counting(&runs)).await, Ok(2), "the first was left to its end, and the others never began");
    }

    #[tokio::test(start_paused = true)]
    async fn other_questions_take_turns_and_share_nothing() {
        let (flight, runs) = (SingleFlight::<u8, u32>::new(SHARE), Arc::default());
        let outcomes = futures_util::future::join(flight.run(1, counting(&runs)), flight.run(2, counting(&runs))).await;
        assert_eq!(outcomes, (Ok(1), Ok(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_line_is_told_at_once_and_a_panic_leaves_the_turn_free() {
        let (flight, runs) = (SingleFlight::<(), u32>::new(SHARE), Arc::default());
        let asked = futures_util::future::join_all((0..12).map(|_| flight.run((), counting(&runs)))).await;
        assert_eq!(asked.iter().filter(|outcome| **outcome == Err(NotShared::Busy)).count(), 4);
        assert_eq!(flight.run((), || async { panic!("on purpose") }).await, Err(NotShared::Failed));
        assert!(flight.run((), counting(&runs)).await.is_ok());
    }
}
