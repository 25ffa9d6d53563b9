//! Who asks: an issuer and a subject in it. Never asks an issuer anything: what a token says is believed before it comes here.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::{Invalid, UserId};

const ISSUER_NAME: Invalid = Invalid("an issuer's name must be 1 to 32 characters: a to z, 0 to 9, - and _, the first a letter");
const SUBJECT: Invalid = Invalid("a subject must be 1 to 255 bytes without control characters");
const PRINCIPAL: Invalid = Invalid("a principal must be an account's number, or an issuer's name, a colon and a subject");

/// The marker of foreign keys in either half: the highest bit. An account's number has 63.
const FOREIGN: u64 = 1 << 63;

/// What we call an issuer: 1 to 32 characters of `a-z`, `0-9`, `-` and `_`, the first a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerName(Box<str>);

impl IssuerName {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for IssuerName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        let begins_well = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if begins_well && text.len() <= 32 && text.bytes().all(is_name) { Ok(Self(text.into())) } else { Err(ISSUER_NAME) }
    }
}

impl std::fmt::Display for IssuerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who asks. Equal subjects of two issuers are two principals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// An account of our own.
    Own(UserId),
    /// A subject of another issuer.
    Foreign(Foreign),
}

/// A subject of another issuer, as `<issuer's name>:<subject>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Foreign(Arc<str>);

impl Foreign {
    /// Takes a subject of 1 to 255 bytes without control characters.
    ///
    /// # Errors
    /// [`Invalid`] for any other.
    pub fn new(issuer: &IssuerName, subject: &str) -> Result<Self, Invalid> {
        if subject.is_empty() || subject.len() > 255 || subject.chars().any(char::is_control) {
            return Err(SUBJECT);
        }
        Ok(Self(format!("{issuer}:{subject}").into()))
    }

    /// `<issuer's name>:<subject>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the engine and the tables know them by.
    #[must_use]
    pub fn key(&self) -> PrincipalKey {
        let digest = Sha256::digest(self.0.as_bytes());
        let (first, _) = digest.split_first_chunk::<16>().expect("a SHA-256 digest has 32 bytes");
        let bits = u128::from_be_bytes(*first);
        PrincipalKey { high: (bits >> 64) as u64 | FOREIGN, low: bits as u64 | FOREIGN }
    }
}

impl std::str::FromStr for Foreign {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        // A subject may have colons of its own; an issuer's name has none.
        let (issuer, subject) = text.split_once(':').ok_or(PRINCIPAL)?;
        Self::new(&issuer.parse()?, subject)
    }
}

impl Principal {
    /// What the engine and the tables know them by.
    #[must_use]
    pub fn key(&self) -> PrincipalKey {
        match self {
            Principal::Own(user) => PrincipalKey::own(*user),
            Principal::Foreign(foreign) => foreign.key(),
        }
    }

    /// The account, if they are one of our own.
    #[must_use]
    pub const fn account(&self) -> Option<UserId> {
        match self {
            Principal::Own(user) => Some(*user),
            Principal::Foreign(_) => None,
        }
    }

    /// Another issuer's account, if they are one.
    #[must_use]
    pub const fn foreign(&self) -> Option<&Foreign> {
        match self {
            Principal::Own(_) => None,
            Principal::Foreign(foreign) => Some(foreign),
        }
    }
}

impl From<UserId> for Principal {
    fn from(user: UserId) -> Self {
        Principal::Own(user)
    }
}

impl std::str::FromStr for Principal {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.contains(':') { text.parse().map(Principal::Foreign) } else { text.parse().map(Principal::Own).map_err(|_| PRINCIPAL) }
    }
}

impl From<Foreign> for Principal {
    fn from(foreign: Foreign) -> Self {
        Principal::Foreign(foreign)
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Principal::Own(user) => user.fmt(f),
            Principal::Foreign(foreign) => f.write_str(&foreign.0),
        }
    }
}

/// A principal in 128 bits.
///
/// An account of our own is its number (63 bits, the rest zero). Anybody else is the first 128 bits of the SHA-256 of their text, with the
/// highest bit of either half set. So the two never meet, not even where there is room for the lower half alone, and two foreign ones meet
/// only by a collision: among 10^12 principals by a chance below 10^-13, and whoever looks for one on purpose needs 2^63 subjects of one
/// issuer's, for two subjects that are both theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalKey {
    high: u64,
    low: u64,
}

impl PrincipalKey {
    /// Of an account of our own.
    #[must_use]
    pub const fn own(user: UserId) -> Self {
        Self { high: 0, low: user.get().cast_unsigned() }
    }

    /// Takes what [`Self::get`] gave.
    ///
    /// # Errors
    /// [`Invalid`] for what is neither an account's number nor a foreign key.
    pub const fn new(value: u128) -> Result<Self, Invalid> {
        let (high, low) = ((value >> 64) as u64, value as u64);
        let is_account = high == 0 && low > 0 && low < FOREIGN;
        if is_account || high & low & FOREIGN != 0 { Ok(Self { high, low }) } else { Err(PRINCIPAL) }
    }

    /// The 128 bits.
    #[must_use]
    pub const fn get(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// Both halves, the higher one first, as the tables have them.
    #[must_use]
    pub const fn halves(self) -> (i64, i64) {
        (self.high.cast_signed(), self.low.cast_signed())
    }

    /// Takes what [`Self::halves`] gave.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub const fn from_halves(high: i64, low: i64) -> Result<Self, Invalid> {
        Self::new((high.cast_unsigned() as u128) << 64 | low.cast_unsigned() as u128)
    }

    /// The account, if it is one of our own.
    #[must_use]
    pub const fn account(self) -> Option<UserId> {
        if self.high != 0 {
            return None;
        }
        match UserId::new(self.low.cast_signed()) {
            Ok(user) => Some(user),
            Err(_) => None,
        }
    }
}

/// As text, like the number of an account.
impl Serialize for Principal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Principal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for PrincipalKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.account() {
            Some(user) => write!(f, "user {user}"),
            None => write!(f, "the foreign user of key {:032x}", self.get()),
        }
    }
}

impl From<UserId> for PrincipalKey {
    fn from(user: UserId) -> Self {
        Self::own(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(text: &str) -> Principal {
        text.parse().unwrap()
    }

    #[test]
    fn a_principal_is_read_as_it_is_written() {
        for text in ["42", "auth0:auth0|5f7c8ec7c33c6c004bbafe82", "kc:3b241101-e2bb-4255-8caf-4136c566a962", "x:a:b", "x:42", "x: "] {
            assert_eq!(principal(text).to_string(), text);
        }
        for text in ["", "0", "-1", "x", "x:", ":42", "X:42", "1x:42", "x:a\nb", "x y:42", "9223372036854775808"] {
            assert!(text.parse::<Principal>().is_err(), "{text:?}");
        }
        assert!(format!("x:{}", "a".repeat(255)).parse::<Principal>().is_ok());
        assert!(format!("x:{}", "a".repeat(256)).parse::<Principal>().is_err());
    }

    #[test]
    fn accounts_and_subjects_of_others_never_share_a_key() {
        let keys = ["42", "a:42", "b:42", "a:43"].map(|text| principal(text).key());
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key));
            assert_eq!(PrincipalKey::new(key.get()), Ok(*key));
            let (high, low) = key.halves();
            assert_eq!(PrincipalKey::from_halves(high, low), Ok(*key));
            assert_eq!((high < 0, low < 0), (index > 0, index > 0), "whoever looks at one half alone knows an account of our own");
        }
        assert_eq!((keys[0].get(), keys[0].account().map(UserId::get)), (42, Some(42)));
        assert!(keys[1..].iter().all(|key| key.get() >> 127 == 1 && key.account().is_none()));
        assert!(PrincipalKey::new(0).is_err() && PrincipalKey::new(1 << 63).is_err() && PrincipalKey::new(1 << 127).is_err());
    }

    #[test]
    fn a_foreign_key_is_the_same_in_every_release() {
        assert_eq!(format!("{:032x}", principal("a:42").key().get()), "c816a9b2981b23c5bf955697da316999");
    }
}
