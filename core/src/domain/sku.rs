//! An article number: the shop's own name for a commodity. Never ours to interpret.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;

use super::Invalid;
use super::text::is_unseen;

/// The shop's own number of an article, which no two commodities share. 1 to 64 characters, all of which can be seen: no blanks, no controls,
/// nothing of no width. Composed (NFC), so that what looks the same and was typed on another keyboard is the same; otherwise as it was sent:
/// `a` and `A` are two. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sku(Arc<str>);

impl Sku {
    /// The most characters one may have.
    pub const CHARS_MAX: usize = 64;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sku {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("a sku must have 1 to 64 visible characters, or be null");
        // What is far too long is not looked at: composing makes three characters one at most.
        if text.len() > 16 * Self::CHARS_MAX {
            return Err(WRONG);
        }
        let composed: String = text.nfc().collect();
        let is_right = (1..=Self::CHARS_MAX).contains(&composed.chars().count()) && !composed.chars().any(is_unseen);
        if is_right { Ok(Self(composed.into())) } else { Err(WRONG) }
    }
}

impl Serialize for Sku {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_is_1_to_64_characters_that_can_be_seen() {
        let longest = "ß".repeat(64);
        for text in ["7", "KB-75/2", "=1", "Größe", "漢字", "!~", longest.as_str()] {
            assert_eq!(text.parse::<Sku>().unwrap().as_str(), text);
        }
        let too_long = "x".repeat(65);
        let far_too_long = "x".repeat(100_000);
        for text in ["", " ", "a b", "a\u{a0}b", "a\n", "\u{feff}a", "a\u{200b}", "a\u{202e}b", "\0", &too_long, &far_too_long] {
            assert!(text.parse::<Sku>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_was_typed_on_another_keyboard_is_the_same_and_another_case_is_not() {
        let sku = |text: &str| text.parse::<Sku>().unwrap();
        assert_eq!(sku("Gro\u{308}ße"), sku("Größe"));
        assert_ne!(sku("kb-75"), sku("KB-75"));
        assert!("o\u{308}".repeat(64).parse::<Sku>().is_ok(), "what counts is what is kept");
    }
}
