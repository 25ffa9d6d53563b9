//! Who is asking: bearer tokens and passwords. Never looks at HTTP, never touches the database, never logs a token,
//! a secret or a password.

mod keys;
mod password;
mod token;

pub use keys::{KeyError, check_secret};
pub use password::{Hasher, HashingError, Password, Username};
pub use token::{Authenticator, TOKEN_BYTES_MAX};

use crate::domain::Principal;
use crate::store::Role;

/// Who sent a request, as its token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's issuer and its `sub`.
    pub principal: Principal,
    /// The token's `role`; a token without one is a buyer's.
    pub role: Role,
}

/// Why a bearer token was not believed. The sentences may be shown to the caller: they say nothing about the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("the token is longer than 4096 bytes")]
    TooLong,
    /// Not three parts of base64url, or a header that is none.
    #[error("the token is not a JWT")]
    Malformed,
    /// `alg` is one that no configured key is for (`none` among them).
    #[error("the token's algorithm is not accepted here")]
    Algorithm,
    /// Signed with another key, or changed since.
    #[error("the token's signature does not match")]
    Signature,
    /// A claim is missing or of the wrong kind.
    #[error("the token's claims are incomplete: exp and a positive whole number as sub are needed, role is buyer or admin")]
    Claims,
    /// At or after its `exp`.
    #[error("the token has expired")]
    Expired,
    /// Before its `nbf`.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is not the configured one.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` is not, or does not hold, the configured one.
    #[error("the token is for another audience")]
    Audience,
}
