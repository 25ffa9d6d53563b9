//! What a payment provider is called in the configuration, in paths and in rows. Never says what kind it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::Invalid;

/// The name of a configured provider: 1 to 32 of small letters, digits, `-` and `_`, a letter first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderName(String);

impl ProviderName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 32;

    /// The name of the provider that the embedded mode has by itself.
    #[must_use]
    pub fn sandbox() -> Self {
        Self("sandbox".to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProviderName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_name = (1..=Self::BYTES_MAX).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
        if is_name { Ok(Self(text.to_owned())) } else { Err(Invalid("a provider's name is 1 to 32 of a-z, 0-9, - and _, a letter first")) }
    }
}

impl TryFrom<String> for ProviderName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<ProviderName> for String {
    fn from(name: ProviderName) -> Self {
        name.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_fit_for_a_path_and_for_a_variable() {
        for name in ["stripe", "s", "acme_2", "a-b"] {
            assert_eq!(name.parse::<ProviderName>().unwrap().as_str(), name);
        }
        for text in ["", "Stripe", "2pay", "a/b", "a b", "_a", &"a".repeat(33)] {
            assert!(text.parse::<ProviderName>().is_err(), "{text}");
        }
    }
}
