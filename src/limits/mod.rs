//! Rate limits of one process: per address, per user, and for logins as [`crate::logins`] asks. Never decides about stock, never waits,
//! never grows beyond its bound.
//!
//! Each limit is a token bucket (GCRA) per key and remembers at most `limits.keys_max` keys; [`Limiter::run_upkeep`]
//! forgets the refilled ones every second, since a full bucket says no more than no bucket. When a limit has no room
//! left for a new key, requests and logins part:
//!
//! - **Requests are let through.** More users at once than there is room for is a successful sale, and refusing buyers
//!   because others came first would be the wrong answer; what protects the engine is its bounded inbox, not this.
//! - **Logins share one bucket.** More addresses or accounts at once than there is room for is how passwords are guessed. All
//!   of them without a bucket of their own get, together, what one gets.

mod store;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::domain::PrincipalKey;
use crate::upkeep::keep_going;
use store::{BoundedStore, WhenFull};

/// What strangers may try at one account in an hour, in minutes of their rate: who goes on guessing is let try ever more slowly.
pub(crate) const STRANGERS_MINUTES_AN_HOUR: u32 = 6;

/// How often refilled buckets are forgotten.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Too much, and when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests; try again in {} s", retry_after.as_secs())]
pub struct Limited {
    /// When the next request would pass: whole seconds, at least 1. The value of `Retry-After`.
    pub retry_after: Duration,
}

/// The rate limits of one process, shared by all its workers. Switched off, it costs one branch.
pub struct Limiter<C: Clock = DefaultClock> {
    limits: Option<Limits<C>>,
}

struct Limits<C: Clock> {
    addresses: Keyed<C>,
    users: Keyed<C>,
    logins: Keyed<C>,
    /// Of an account from one address.
    pairs: Keyed<C>,
    /// Of an account from addresses that are strange to it.
    strangers: [Keyed<C>; 2],
}

impl<C: Clock> Limits<C> {
    fn all(&self) -> impl Iterator<Item = &Keyed<C>> {
        [&self.addresses, &self.users, &self.logins, &self.pairs].into_iter().chain(&self.strangers)
    }
}

impl Limiter {
    /// Limits as configured, on the system's monotonic clock.
    #[must_use]
    pub fn new(config: &config::Limits) -> Self {
        Self::with_clock(config, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiter<C> {
    /// Limits as configured, on this clock.
    #[must_use]
    pub fn with_clock(config: &config::Limits, clock: C) -> Self {
        if !config.enabled {
            return Self { limits: None };
        }
        let keyed = |quota, when_full| Keyed(RateLimiter::new(quota, BoundedStore::new(config.keys_max, when_full), clock.clone()));
        let per_second = |rate, burst| Quota::per_second(at_least_one(rate)).allow_burst(at_least_one(burst));
        let per_minute = |rate| keyed(Quota::per_minute(at_least_one(rate)), WhenFull::ShareOneBucket);
        let strangers = config.logins_per_account_per_minute;
        let an_hour = Quota::per_hour(at_least_one(strangers.saturating_mul(STRANGERS_MINUTES_AN_HOUR)));
        Self {
            limits: Some(Limits {
                addresses: keyed(per_second(config.per_address_per_second, config.per_address_burst), WhenFull::LetThrough),
                users: keyed(per_second(config.per_user_per_second, config.per_user_burst), WhenFull::LetThrough),
                logins: per_minute(config.logins_per_minute),
                pairs: per_minute(config.logins_per_account_and_address_per_minute),
                strangers: [per_minute(strangers), keyed(an_hour, WhenFull::ShareOneBucket)],
            }),
        }
    }

    /// Counts a request of this address. IPv6 addresses count by their /64, the least that one customer gets.
    ///
    /// # Errors
    /// [`Limited`] above `limits.per_address_per_second`, once `limits.per_address_burst` is used up.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Limited> {
        self.limits.as_ref().map_or(Ok(()), |limits| limits.addresses.check(key_of(address)))
    }

    /// Counts a request of this user.
    ///
    /// # Errors
    /// [`Limited`] above `limits.per_user_per_second`, once `limits.per_user_burst` is used up.
    pub fn check_user(&self, user: PrincipalKey) -> Result<(), Limited> {
        // 64 bits are enough: of two who share them, each has half.
        self.limits.as_ref().map_or(Ok(()), |limits| limits.users.check(user.halves().1.cast_unsigned()))
    }

    /// Counts a login or a registration from this address, before any password is hashed.
    ///
    /// # Errors
    /// [`Limited`] above `limits.logins_per_minute`.
    pub fn check_login(&self, address: IpAddr) -> Result<(), Limited> {
        self.limits.as_ref().map_or(Ok(()), |limits| limits.logins.check(key_of(address)))
    }

    /// Whether anything is limited.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.limits.is_some()
    }

    /// Counts an attempt at an account's password from one address, before it is hashed; `pair` names both.
    ///
    /// # Errors
    /// [`Limited`] above `limits.logins_per_account_and_address_per_minute`.
    pub fn check_pair(&self, pair: u64) -> Result<(), Limited> {
        self.limits.as_ref().map_or(Ok(()), |limits| limits.pairs.check(pair))
    }

    /// Counts an attempt at an account's password from an address that is strange to it, before it is hashed.
    ///
    /// # Errors
    /// [`Limited`] above `limits.logins_per_account_per_minute`, and above six minutes' worth of them in an hour.
    pub fn check_stranger(&self, account: u64) -> Result<(), Limited> {
        let Some(limits) = &self.limits else { return Ok(()) };
        limits.strangers.iter().try_for_each(|limit| limit.check(account))
    }

    /// Forgets the keys whose buckets are full again.
    pub fn forget_refilled(&self) {
        if let Some(limits) = &self.limits {
            limits.all().for_each(|keyed| keyed.0.retain_recent());
        }
    }

    /// Forgets what is no longer needed, every second until `stop`. The shell runs it as a task of its own.
    pub async fn run_upkeep(&self, stop: CancellationToken) {
        keep_going("what forgets limits", &stop, || self.forget_until(&stop)).await;
    }

    async fn forget_until(&self, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.forget_refilled();
        }
    }
}

impl<C: Clock> std::fmt::Debug for Limiter<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("enabled", &self.limits.is_some()).finish_non_exhaustive()
    }
}

/// One limit over many keys.
struct Keyed<C: Clock>(RateLimiter<u64, BoundedStore, C, NoOpMiddleware<C::Instant>>);

impl<C: Clock> Keyed<C> {
    fn check(&self, key: u64) -> Result<(), Limited> {
        self.0.check_key(&key).map_err(|refused| {
            let wait = refused.wait_time_from(self.0.clock().now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Limited { retry_after: Duration::from_secs(seconds.max(1)) }
        })
    }
}

/// IPv4 as its 32 bits, IPv6 as the upper 64 of its bits. They do not meet: the prefixes below 2^32 are reserved.
pub(crate) fn key_of(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => upper_half(address),
    }
}

fn upper_half(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

/// The configuration refuses zeros; a limit of none would be no limit but a wall.
fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests;
