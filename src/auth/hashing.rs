//! Where passwords are hashed: off the worker threads, and a few at a time. Never lets those who are strangers keep those waiting who are
//! known: each has a line of its own, and at most one of the strangers' line stands before whoever is known and comes now.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::Error as HashError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Password;

/// How many callers may wait in each line for each hash that runs. With some 20 to 50 ms a hash, the last one waits a second or two.
const WAITING_PER_RUNNING_MAX: usize = 15;

/// The longest a caller waits for its turn, should the machine be slower than that.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Why a password was neither hashed nor checked.
#[derive(Debug, thiserror::Error)]
pub enum HashingError {
    /// As many callers as may wait are waiting. Nothing was done; a second later there is room again.
    #[error("too many passwords are being checked")]
    Busy,
    /// The stored hash is none, or the machine gave no memory or no randomness. The text names no password and no hash.
    #[error("password hashing failed: {0}")]
    Failed(String),
}

/// Who has a password hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comer {
    /// Whoever comes from an address that the account was logged in from lately.
    Known,
    /// Anybody else: there is no end of them.
    Stranger,
}

/// Hashes passwords, a few at a time. Made once at the start, shared by all workers.
#[derive(Clone, Debug)]
pub struct Hasher {
    running: Arc<Semaphore>,
    /// Who has this one is the next stranger.
    next_stranger: Arc<Semaphore>,
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// A place in the line, for as many passwords as one request has, one after the other.
#[derive(Clone, Debug)]
pub struct Place {
    hasher: Hasher,
    comer: Comer,
    admitted: Arc<OwnedSemaphorePermit>,
}

impl Hasher {
    /// At most `concurrency_max` hashes run at the same time, each on 19 MiB and one core.
    #[must_use]
    pub fn new(concurrency_max: usize) -> Self {
        let concurrency_max = concurrency_max.clamp(1, 1024);
        let line = || Arc::new(Semaphore::new(concurrency_max * (1 + WAITING_PER_RUNNING_MAX)));
        Self {
            running: Arc::new(Semaphore::new(concurrency_max)),
            next_stranger: Arc::new(Semaphore::new(1)),
            known: line(),
            strangers: line(),
        }
    }

    /// A place in the line.
    ///
    /// # Errors
    /// [`HashingError::Busy`] when the line is full.
    pub fn place(&self, comer: Comer) -> Result<Place, HashingError> {
        let line = match comer {
            Comer::Known => &self.known,
            Comer::Stranger => &self.strangers,
        };
        let admitted = Arc::clone(line).try_acquire_owned().map_err(|_| HashingError::Busy)?;
        Ok(Place { hasher: self.clone(), comer, admitted: Arc::new(admitted) })
    }

    /// The PHC string to store for a password of our own making.
    ///
    /// # Errors
    /// [`HashingError`] when too many wait, or the machine fails.
    pub async fn hash(&self, password: Password) -> Result<String, HashingError> {
        self.place(Comer::Known)?.hash(password).await
    }

    async fn turn(&self, comer: Comer) -> Option<OwnedSemaphorePermit> {
        // Whoever waits here comes in turn; so of the strangers only one does.
        let _next = match comer {
            Comer::Known => None,
            Comer::Stranger => Some(Arc::clone(&self.next_stranger).acquire_owned().await.ok()?),
        };
        Arc::clone(&self.running).acquire_owned().await.ok()
    }
}

impl Place {
    /// The PHC string to store for a new password.
    ///
    /// # Errors
    /// [`HashingError`] when its turn does not come, or the machine fails.
    pub async fn hash(&self, password: Password) -> Result<String, HashingError> {
        self.run(move || password.hash()).await
    }

    /// Whether this is the password that `stored` was made of. For a name nobody has (`None`) it takes the same time and
    /// is `false`, so the time of an answer does not tell which names exist.
    ///
    /// # Errors
    /// [`HashingError`] when its turn does not come, `stored` is no PHC string of argon2, or the machine fails.
    pub async fn verify(&self, password: Password, stored: Option<String>) -> Result<bool, HashingError> {
        self.run(move || password.matches(stored.as_deref())).await
    }

    /// Runs one hash on the blocking pool. The permits go with it: a caller that hangs up does not make room early.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, HashError> + Send + 'static) -> Result<T, HashingError> {
        let turn = tokio::time::timeout(WAIT_MAX, self.hasher.turn(self.comer)).await;
        let permits = (turn.ok().flatten().ok_or(HashingError::Busy)?, Arc::clone(&self.admitted));
        let task = tokio::task::spawn_blocking(move || {
            let _permits = permits;
            work()
        });
        match task.await {
            Ok(outcome) => outcome.map_err(|error| HashingError::Failed(error.to_string())),
            Err(_) => Err(HashingError::Failed("the task did not finish".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Mutex;

    use futures_util::poll;

    use super::*;

    fn password() -> Password {
        "correct horse".parse().expect("a password")
    }

    /// Someone who tries a password and notes when that is done.
    type Attempt<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

    fn attempt<'a>(hasher: &'a Hasher, comer: Comer, done: &'a Mutex<Vec<Comer>>) -> Attempt<'a> {
        Box::pin(async move {
            let place = hasher.place(comer).expect("there is room in the line");
            place.verify(password(), None).await.expect("its turn comes");
            done.lock().expect("nobody panics with it").push(comer);
        })
    }

    #[tokio::test]
    async fn a_full_line_answers_at_once_and_the_other_one_has_room() {
        let hasher = Hasher::new(1);
        for (full, line, other) in [(Comer::Stranger, &hasher.strangers, Comer::Known), (Comer::Known, &hasher.known, Comer::Stranger)] {
            let room = line.available_permits();
            let places: Vec<Place> = (0..room).map(|_| hasher.place(full).expect("there is room")).collect();
            assert!(matches!(hasher.place(full), Err(HashingError::Busy)));
            let another = hasher.place(other).expect("the other line is not full");
            assert!(!another.verify(password(), None).await.expect("its turn comes"));
            drop(places);
            assert_eq!(line.available_permits(), room, "who hangs up leaves the line");
        }
    }

    #[tokio::test]
    async fn of_a_line_of_strangers_at_most_one_is_before_who_is_known() {
        let (hasher, done) = (Hasher::new(1), Mutex::default());
        let running = Arc::clone(&hasher.running).acquire_owned().await.expect("nobody runs yet");
        // The line is as long as it can be.
        let mut waiting: Vec<_> = (0..hasher.strangers.available_permits()).map(|_| attempt(&hasher, Comer::Stranger, &done)).collect();
        waiting.push(attempt(&hasher, Comer::Known, &done));
        waiting.push(attempt(&hasher, Comer::Known, &done));
        // Each takes its place when it is first polled.
        for attempt in &mut waiting {
            assert!(poll!(attempt.as_mut()).is_pending());
        }
        drop(running);
        futures_util::future::join_all(waiting).await;
        let done = done.into_inner().expect("nobody panicked with it");
        let last_known = done.iter().rposition(|comer| *comer == Comer::Known);
        assert!(last_known.is_some_and(|place| place <= 2), "{done:?}");
        assert_eq!(done.len(), 18, "and the strangers had their turns");
    }

    #[tokio::test]
    async fn a_stranger_who_leaves_keeps_nobody_waiting() {
        let (hasher, done) = (Hasher::new(1), Mutex::default());
        let running = Arc::clone(&hasher.running).acquire_owned().await.expect("nobody runs yet");
        let mut leaving: Vec<_> = (0..3).map(|_| attempt(&hasher, Comer::Stranger, &done)).collect();
        for attempt in &mut leaving {
            assert!(poll!(attempt.as_mut()).is_pending());
        }
        drop((leaving, running));
        attempt(&hasher, Comer::Stranger, &done).await;
        attempt(&hasher, Comer::Known, &done).await;
        assert_eq!((hasher.running.available_permits(), hasher.next_stranger.available_permits()), (1, 1));
    }

    #[tokio::test]
    async fn one_place_is_for_several_passwords_one_after_the_other() {
        let hasher = Hasher::new(1);
        let place = hasher.place(Comer::Stranger).expect("there is room");
        let stored = place.hash(password()).await.expect("hashing works");
        assert!(place.verify(password(), Some(stored)).await.expect("verifying works"));
        let outcome = place.verify(password(), Some("no hash".into())).await;
        assert!(matches!(outcome, Err(HashingError::Failed(_))), "{outcome:?}");
    }
}
