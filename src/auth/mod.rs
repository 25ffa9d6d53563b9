//! Who is asking: bearer tokens and passwords. Never looks at HTTP, never touches the database, never logs a token,
//! a secret or a password.

mod endings;
mod hashing;
mod issuers;
mod jws;
mod keys;
mod numeric_date;
mod password;
mod token;

pub use endings::{CHANGES_MAX, Endings, SKEW_MAX_MS};
pub use hashing::{Comer, Hasher, HashingError, Place};
pub use issuers::{AwaitedKeys, Verdict};
pub use jws::TOKEN_BYTES_MAX;
pub use keys::{KeyError, check_secret};
pub use password::{Password, Username};
pub use token::Authenticator;

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
    #[error("the token is longer than 8192 bytes")]
    TooLong,
    /// Not three parts of base64url, or a header that is none.
    #[error("the token is not a JWT")]
    Malformed,
    /// `alg` is one that no configured key is for (`none` among them).
    #[error("the token's algorithm is not accepted here")]
    Algorithm,
    /// It says of itself that it is for something else than access.
    #[error("the token is no access token")]
    Type,
    /// Signed with another key, or changed since.
    #[error("the token's signature does not match")]
    Signature,
    /// A claim of a token of our own is missing or of the wrong kind.
    #[error("the token's claims are incomplete: exp and a positive whole number as sub are needed, role is one that is known here")]
    Claims,
    /// At or after its `exp`.
    #[error("the token has expired")]
    Expired,
    /// Given to an account whose password or role was changed since.
    #[error("the token has ended: the password or the role of its account was changed")]
    Ended,
    /// Before its `nbf`.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It says nothing that counts twice, has an `exp`, and is JSON: one of these does not hold.
    #[error("the token has no exp, or claims that cannot be read, or one of them twice")]
    Incomplete,
    /// Another issuer's token names nobody.
    #[error("the token names no subject: a text of 1 to 255 bytes without control characters, or a whole number")]
    Subject,
    /// It names a key that its issuer does not have, or no longer.
    #[error("the token is signed with a key that its issuer does not have, or no longer")]
    UnknownKey,
    /// It names no key, and its issuer has several that it could be.
    #[error("the token names no key (kid), and its issuer has several")]
    NoKeyId,
    /// Nothing against it: its issuer's keys cannot be had now. Try again.
    #[error("the keys of the token's issuer are not available")]
    KeysAway,
    /// `iss` is none of the configured ones.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` is not, or does not hold, a configured one.
    #[error("the token is for another audience")]
    Audience,
}
