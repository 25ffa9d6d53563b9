//! Tokens for made-up buyers and the operator, minted with the server's own secret. Never prints one.

use std::time::{SystemTime, UNIX_EPOCH};

use doorbuster::domain::UserId;
use hyper::header::HeaderValue;
use jsonwebtoken::{EncodingKey, Header};

/// How long a token is good, in seconds: longer than any run is bounded to.
const TTL_SECONDS: u64 = 86_400;

/// Mints tokens.
pub struct Mint {
    key: EncodingKey,
}

impl std::fmt::Debug for Mint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mint").finish_non_exhaustive()
    }
}

#[derive(serde::Serialize)]
struct Claims<'a> {
    sub: String,
    role: &'a str,
    exp: u64,
}

impl Mint {
    /// A mint with an HS256 secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self { key: EncodingKey::from_secret(secret) }
    }

    /// The `Authorization` header of a buyer.
    ///
    /// # Errors
    /// If the token cannot be signed.
    pub fn buyer(&self, user: UserId) -> anyhow::Result<HeaderValue> {
        self.header(user, "buyer")
    }

    /// The `Authorization` header of an operator.
    ///
    /// # Errors
    /// If the token cannot be signed.
    pub fn operator(&self) -> anyhow::Result<HeaderValue> {
        self.header(UserId::new(1)?, "admin")
    }

    fn header(&self, user: UserId, role: &str) -> anyhow::Result<HeaderValue> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = Claims { sub: user.to_string(), role, exp: now + TTL_SECONDS };
        let token = jsonwebtoken::encode(&Header::default(), &claims, &self.key)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}
