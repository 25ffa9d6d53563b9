//! Our own key, which signs and verifies our tokens. It is bound to one algorithm by what it is, never by what a token says.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation};
use secrecy::{ExposeSecret, SecretString};

use crate::domain::IssuerName;

/// The shortest secret HS256 is safe with: as many bytes as its hash has.
const SECRET_BYTES_MIN: usize = 32;

/// Why a key cannot be used, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The secret has too few bytes.
    #[error("the JWT secret has {bytes} bytes and needs at least 32: set DOORBUSTER__AUTH__JWT_SECRET to a longer random text")]
    SecretTooShort {
        /// How many it has.
        bytes: usize,
    },
    /// Another issuer's keys cannot be used.
    #[error("auth.issuers: {name}: {problem}")]
    Issuer {
        /// Which issuer.
        name: IssuerName,
        /// What is wrong.
        problem: String,
    },
}

/// A key that verifies, with the one algorithm it verifies.
pub(super) struct VerifyingKey {
    pub(super) key: DecodingKey,
    pub(super) validation: Validation,
}

impl VerifyingKey {
    /// The algorithm this key is pinned to.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.validation.algorithms[0]
    }
}

/// Refuses a secret that is too short for HS256.
///
/// # Errors
/// [`KeyError::SecretTooShort`] below 32 bytes.
pub fn check_secret(secret: &SecretString) -> Result<(), KeyError> {
    let bytes = secret.expose_secret().len();
    if bytes < SECRET_BYTES_MIN { Err(KeyError::SecretTooShort { bytes }) } else { Ok(()) }
}

/// The two halves of the shared secret.
pub(super) fn from_secret(secret: &SecretString) -> Result<(EncodingKey, VerifyingKey), KeyError> {
    check_secret(secret)?;
    let bytes = secret.expose_secret().as_bytes();
    Ok((EncodingKey::from_secret(bytes), pinned(DecodingKey::from_secret(bytes), Algorithm::HS256)))
}

/// Binds a key to its algorithm. Signatures alone are left to the library: [`super::token`] checks the claims itself,
/// because the library accepts a token in the very second it expires and skips an `iss` or `aud` it cannot read.
fn pinned(key: DecodingKey, algorithm: Algorithm) -> VerifyingKey {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    VerifyingKey { key, validation }
}
