//! How often passwords may be guessed at. Never sees a password, never says whether a name exists, never lets one guesser keep the owner
//! of an account out of it.
//!
//! Each attempt takes from two budgets, before its password is hashed:
//!
//! 1. that of its address, whatever account it is for;
//! 2. that of its account: one for each address that the account was logged in from lately, and one for all other addresses together.
//!
//! So whoever guesses at an account from elsewhere, from one address or from thousands, uses up what strangers have, and the owner logs
//! in from a known address as before. (This is OWASP's "device cookie" with the address in the cookie's place: it asks nothing of clients.)
//!
//! Where several nodes answer logins, budgets are kept in the database too, so that they do not grow with the number of nodes. What one
//! node refuses by itself does not reach it, nor what comes when the line for hashing is full: so no more is written than is hashed, and
//! what is written is forgotten as fast.
//!
//! Whoever tries ever new names from ever new addresses is a stranger each time, and fills the strangers' line alone ([`Hasher`]).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::auth::{Comer, Hasher, HashingError, Place};
use crate::clock::Clock;
use crate::config;
use crate::domain::Timestamp;
use crate::limits::{self, Limited, Limiter, STRANGERS_MINUTES_AN_HOUR};
use crate::store::{Budget, Store, StoreError};
use crate::upkeep::keep_going;

/// For how long an address is known from which an account was logged in.
const KNOWN_FOR_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// A login from a known address is written down again after so long.
const NOTED_AGAIN_AFTER_MS: u64 = 24 * 3_600 * 1_000;

/// Attempts that ask the database at the same time whether they come from a known address.
const ASKING_MAX: usize = 64;

/// Those that wait to ask it, and how long.
const WAITING_MAX: usize = 1_024;
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How often what is over is forgotten.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Why an attempt is not even looked at.
#[derive(Debug, thiserror::Error)]
pub enum NotNow {
    /// A budget is used up.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The line is full: that for hashing, or that for asking the database.
    #[error("too many logins at once")]
    Busy,
    /// The database is away, as it is for the account itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An attempt that was let in.
#[derive(Debug)]
pub struct Attempt {
    account: u64,
    address: u64,
    /// When the account was last logged in from there, as it was read.
    seen_at: Option<i64>,
    place: Place,
}

impl Attempt {
    /// Where its passwords are hashed.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }
}

/// The budgets of logins of one process.
#[derive(Debug)]
pub struct Logins {
    limiter: Arc<Limiter>,
    hasher: Arc<Hasher>,
    store: Store,
    /// Where other nodes answer logins too.
    shared: Option<Shared>,
    asking: Semaphore,
    waiting: Semaphore,
}

/// Budgets that are shared with other nodes.
#[derive(Debug)]
struct Shared {
    address: Budget,
    pair: Budget,
    strangers: [Budget; 2],
}

impl Logins {
    /// The budgets as configured; `among_others` is whether other nodes answer logins too.
    #[must_use]
    pub fn new(config: &config::Limits, (limiter, hasher): (Arc<Limiter>, Arc<Hasher>), store: Store, among_others: bool) -> Self {
        const MINUTE_MS: u32 = 60_000;
        let budget = |burst: u32, period_ms: u32| Budget { burst, step_ms: (period_ms / burst.max(1)).max(1) };
        let strangers = config.logins_per_account_per_minute;
        let shared = Shared {
            address: budget(config.logins_per_minute, MINUTE_MS),
            pair: budget(config.logins_per_account_and_address_per_minute, MINUTE_MS),
            strangers: [budget(strangers, MINUTE_MS), budget(strangers.saturating_mul(STRANGERS_MINUTES_AN_HOUR), 60 * MINUTE_MS)],
        };
        let shared = (among_others && limiter.is_on()).then_some(shared);
        let (asking, waiting) = (Semaphore::new(ASKING_MAX), Semaphore::new(WAITING_MAX));
        Self { limiter, hasher, store, shared, asking, waiting }
    }

    /// Counts an attempt of this address, before anything of it is read.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn begin(&self, address: IpAddr) -> Result<(), Limited> {
        self.limiter.check_login(address)
    }

    /// The same among all nodes, for what is no login: a registration. Where its password is hashed.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn admit_address(&self, address: IpAddr) -> Result<Place, NotNow> {
        let place = self.hasher.place(Comer::Stranger)?;
        if let Some(shared) = &self.shared {
            self.take(id("address", limits::key_of(address), 0), shared.address).await?;
        }
        Ok(place)
    }

    /// Counts an attempt at an account's password, before it is hashed. Names that nobody has count, and take as long, as others do.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn admit(&self, address: IpAddr, username: &str, now: Timestamp) -> Result<Attempt, NotNow> {
        let (account, address) = (account_of(username), limits::key_of(address));
        if !self.limiter.is_on() {
            return Ok(Attempt { account, address, seen_at: None, place: self.hasher.place(Comer::Known)? });
        }
        let pair = id("pair", account, address);
        self.limiter.check_pair(pair)?;
        let seen_at = {
            let _turn = self.turn().await?;
            self.store.login_seen_at(account, pair).await?
        };
        let is_known = seen_at.is_some_and(|at| at > now.minus_millis(KNOWN_FOR_MS).millis());
        if !is_known {
            self.limiter.check_stranger(account)?;
        }
        // Before anything is written down.
        let place = self.hasher.place(if is_known { Comer::Known } else { Comer::Stranger })?;
        let attempt = Attempt { account, address, seen_at, place };
        let Some(shared) = &self.shared else { return Ok(attempt) };
        self.take(id("address", address, 0), shared.address).await?;
        self.take(pair, shared.pair).await?;
        if !is_known {
            let [minute, hour] = shared.strangers;
            self.take(id("minute", account, 0), minute).await?;
            self.take(id("hour", account, 0), hour).await?;
        }
        Ok(attempt)
    }

    /// The password was the right one: from now on the address is known to the account. If that cannot be written down, the login is as good.
    pub async fn succeeded(&self, attempt: &Attempt, now: Timestamp) {
        let is_fresh = attempt.seen_at.is_some_and(|at| at > now.minus_millis(NOTED_AGAIN_AFTER_MS).millis());
        if is_fresh || !self.limiter.is_on() {
            return;
        }
        let pair = id("pair", attempt.account, attempt.address);
        if let Err(error) = self.store.note_login(attempt.account, pair, now).await {
            tracing::warn!(%error, "it could not be written down from where an account was logged in: {error}");
        }
    }

    /// Forgets what is over, every few seconds until `stop`. The shell runs it as a task of its own.
    pub async fn run_upkeep(store: Store, clock: Clock, stop: CancellationToken) {
        keep_going("what forgets logins", &stop, || Self::forget(&store, clock, &stop)).await;
    }

    async fn forget(store: &Store, clock: Clock, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let forgotten = stop.run_until_cancelled(store.forget_logins(clock().minus_millis(KNOWN_FOR_MS))).await;
            if let Some(Err(error)) = forgotten {
                tracing::debug!(%error, "budgets of logins that are over were not forgotten: {error}");
            }
        }
    }

    /// To ask whether an address is known: that takes no time, and until then nobody is.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, NotNow> {
        let _waiting = self.waiting.try_acquire().map_err(|_| NotNow::Busy)?;
        timeout(WAIT_MAX, self.asking.acquire()).await.ok().and_then(Result::ok).ok_or(NotNow::Busy)
    }

    async fn take(&self, id: u64, budget: Budget) -> Result<(), NotNow> {
        match self.store.take_attempt(id, budget).await? {
            None => Ok(()),
            Some(wait_ms) => Err(Limited { retry_after: Duration::from_secs(wait_ms.div_ceil(1_000)) }.into()),
        }
    }
}

impl From<HashingError> for NotNow {
    /// Of a place in a line.
    fn from(_: HashingError) -> Self {
        Self::Busy
    }
}

/// The id of a budget. By a hash of which nobody can find two names that meet: a stranger's account must not make its address known to
/// another account.
fn id(kind: &str, one: u64, other: u64) -> u64 {
    let digest = Sha256::new().chain_update(kind).chain_update(one.to_be_bytes()).chain_update(other.to_be_bytes()).finalize();
    first_half(digest.as_slice())
}

/// What an account is known by here, whether it exists or not.
fn account_of(username: &str) -> u64 {
    first_half(Sha256::digest(username.to_lowercase()).as_slice())
}

fn first_half(digest: &[u8]) -> u64 {
    u64::from_be_bytes(*digest.first_chunk().expect("a SHA-256 digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_of_different_kinds_and_keys_have_different_ids() {
        let ids = [id("pair", 1, 2), id("pair", 2, 1), id("address", 1, 0), id("minute", 1, 0), id("hour", 1, 0)];
        let distinct: std::collections::HashSet<_> = ids.into_iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(id("pair", 1, 2), id("pair", 1, 2));
        assert_eq!(account_of("Alice"), account_of("ALICE"));
        assert_ne!(account_of("alice"), account_of("alicf"));
    }
}
