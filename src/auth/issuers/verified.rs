//! Tokens that were verified a moment ago: a buyer sends the same one with each request, and the signature of one costs more than all the
//! rest of the request. Never outlives the keys it was verified with, and never says more than the token's whole text did.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use sha2::{Digest, Sha256};

use crate::auth::Caller;

/// Tokens remembered at most, of all issuers; about 16 MB when it is full.
const TOKENS_MAX: usize = 1 << 16;

/// A token's name: nobody finds two tokens with the same.
pub(super) type TokenDigest = [u8; 32];

/// A token that was verified.
pub(super) struct VerifiedToken {
    pub(super) digest: TokenDigest,
    /// The keys it was verified with. When its issuer has others, it counts no more.
    pub(super) generation: u64,
    /// Whose those are, by its place among all issuers.
    pub(super) issuer: usize,
    /// When it begins to be good, and when it ends, in milliseconds; the issuer's leeway is in it.
    pub(super) good: std::ops::Range<i64>,
    pub(super) caller: Caller,
}

/// As many places as there may be tokens; a token has one, which it shares with others: the last one has it.
pub(super) struct VerifiedTokens(Box<[ArcSwapOption<VerifiedToken>]>);

impl VerifiedTokens {
    pub(super) fn new() -> Self {
        Self((0..TOKENS_MAX).map(|_| ArcSwapOption::empty()).collect())
    }

    pub(super) fn digest(token: &str) -> TokenDigest {
        Sha256::digest(token.as_bytes()).into()
    }

    /// What is remembered of this token.
    pub(super) fn with<T>(&self, digest: &TokenDigest, read: impl FnOnce(&VerifiedToken) -> Option<T>) -> Option<T> {
        let remembered = self.place(digest).load();
        remembered.as_deref().filter(|token| token.digest == *digest).and_then(read)
    }

    pub(super) fn remember(&self, token: VerifiedToken) {
        self.place(&token.digest).store(Some(Arc::new(token)));
    }

    fn place(&self, digest: &TokenDigest) -> &ArcSwapOption<VerifiedToken> {
        let number = u64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes"));
        &self.0[number as usize % self.0.len()]
    }
}
