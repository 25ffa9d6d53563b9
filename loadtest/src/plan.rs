//! What is going to be sent: buyers with tokens of their own, in an order that a seed decides. Never sends anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbuster::domain::UserId;
use hyper::header::HeaderValue;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::tokens::Mint;

/// The first user id of made-up buyers, far above those of accounts.
pub const FIRST_USER: i64 = 1_000_000_000;

/// One made-up buyer.
#[derive(Clone, Debug)]
pub struct Buyer {
    /// Who.
    pub user: UserId,
    /// `Bearer` and the token.
    pub authorization: HeaderValue,
    /// The `Idempotency-Key` of the one order, where keys are used.
    pub key: Option<HeaderValue>,
}

/// Makes `count` buyers, each with a token, shuffled by `seed`. With `keyed`, each has an idempotency key.
///
/// # Errors
/// If a token cannot be minted.
pub fn buyers(mint: &Mint, count: usize, seed: u64, keyed: bool) -> anyhow::Result<Arc<[Buyer]>> {
    let mut buyers = Vec::with_capacity(count);
    for index in 0..count {
        let user = UserId::new(FIRST_USER + index as i64)?;
        let key = keyed.then(|| HeaderValue::from_str(&format!("race-{seed}-{user}"))).transpose()?;
        buyers.push(Buyer { user, authorization: mint.buyer(user)?, key });
    }
    buyers.shuffle(&mut StdRng::seed_from_u64(seed));
    Ok(buyers.into())
}

/// When requests are due in the open loop: evenly, `per_second` of them.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    per_second: f64,
}

impl Pace {
    /// A pace of so many requests a second, at least one.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second.max(1)) }
    }

    /// When request number `index` is due.
    #[must_use]
    pub fn due(&self, start: Instant, index: usize) -> Instant {
        start + Duration::from_secs_f64(index as f64 / self.per_second)
    }

    /// From one request to the next.
    #[must_use]
    pub fn gap(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_order_of_the_buyers() {
        let mint = Mint::with_secret("a secret of the tests, long enough").unwrap();
        let users = |seed| buyers(&mint, 100, seed, false).unwrap().iter().map(|buyer| buyer.user).collect::<Vec<_>>();
        assert_eq!(users(1), users(1));
        assert_ne!(users(1), users(2));
        let mut sorted = users(1);
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 100);
    }

    #[test]
    fn requests_are_due_evenly() {
        let (pace, start) = (Pace::new(1000), Instant::now());
        assert_eq!(pace.due(start, 0), start);
        assert_eq!(pace.due(start, 500), start + Duration::from_millis(500));
        assert_eq!(pace.gap(), Duration::from_millis(1));
    }
}
