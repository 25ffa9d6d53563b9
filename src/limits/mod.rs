//! Rate limits: per address, per user, and for logins per address and per account. Never decides about stock, never waits, never grows
//! beyond its bound.
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
use crate::ring::stable_hash;
use store::{BoundedStore, WhenFull};

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
    accounts: Keyed<C>,
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
        Self {
            limits: Some(Limits {
                addresses: keyed(per_second(config.per_address_per_second, config.per_address_burst), WhenFull::LetThrough),
                users: keyed(per_second(config.per_user_per_second, config.per_user_burst), WhenFull::LetThrough),
                logins: keyed(Quota::per_minute(at_least_one(config.logins_per_minute)), WhenFull::ShareOneBucket),
                accounts: keyed(Quota::per_minute(at_least_one(config.logins_per_account_per_minute)), WhenFull::ShareOneBucket),
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

    /// Counts an attempt at this account's password, before it is hashed. Names nobody has count like others.
    ///
    /// # Errors
    /// [`Limited`] above `limits.logins_per_account_per_minute`.
    pub fn check_account(&self, username: &str) -> Result<(), Limited> {
        let key = || stable_hash(username.to_lowercase().as_bytes());
        self.limits.as_ref().map_or(Ok(()), |limits| limits.accounts.check(key()))
    }

    /// Forgets the keys whose buckets are full again.
    pub fn forget_refilled(&self) {
        if let Some(limits) = &self.limits {
            for keyed in [&limits.addresses, &limits.users, &limits.logins, &limits.accounts] {
                keyed.0.retain_recent();
            }
        }
    }

    /// Forgets what is no longer needed, every second until `stop`. The shell runs it as a task of its own.
    pub async fn run_upkeep(&self, stop: CancellationToken) {
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
