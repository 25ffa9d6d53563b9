//! Tokens for made-up buyers and the operator, minted with the server's own secret. Never prints one.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use doorbuster::auth::{Authenticator, KeyError};
use doorbuster::config;
use doorbuster::domain::{Timestamp, UserId};
use doorbuster::store::Role;
use hyper::header::HeaderValue;
use secrecy::SecretString;

/// Mints tokens.
#[derive(Clone)]
pub struct Mint {
    authenticator: Arc<Authenticator>,
}

impl std::fmt::Debug for Mint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mint").finish_non_exhaustive()
    }
}

impl Mint {
    /// A mint for a server with this configuration and secret.
    ///
    /// # Errors
    /// If the secret or a configured key is not usable.
    pub fn new(auth: &config::Auth, secret: &SecretString) -> Result<Self, KeyError> {
        Ok(Self { authenticator: Arc::new(Authenticator::new(auth, secret)?) })
    }

    /// A mint for servers this process starts: they know the secret and nothing else.
    ///
    /// # Errors
    /// If the secret is too short.
    pub fn with_secret(secret: &str) -> Result<Self, KeyError> {
        let auth = config::Auth {
            internal_secret: None,
            jwt_secret: None,
            issuer: None,
            audience: None,
            issuers: Vec::new(),
            token_ttl_seconds: 86_400,
            hashing_concurrency_max: 1,
        };
        Self::new(&auth, &SecretString::from(secret))
    }

    /// The `Authorization` header of a buyer.
    ///
    /// # Errors
    /// If the clock is not to be believed.
    pub fn buyer(&self, user: UserId) -> anyhow::Result<HeaderValue> {
        self.header(user, Role::Buyer)
    }

    /// The `Authorization` header of an operator.
    ///
    /// # Errors
    /// If the clock is not to be believed.
    pub fn operator(&self) -> anyhow::Result<HeaderValue> {
        self.header(UserId::new(1)?, Role::Admin)
    }

    /// What verifies these tokens.
    #[must_use]
    pub fn authenticator(&self) -> Arc<Authenticator> {
        Arc::clone(&self.authenticator)
    }

    fn header(&self, user: UserId, role: Role) -> anyhow::Result<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.authenticator.mint(user, role, now()?)))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The time by the system's clock.
///
/// # Errors
/// If the clock stands before 1970 or after 9999.
pub fn now() -> anyhow::Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp::from_millis(i64::try_from(since.as_millis())?)?)
}
