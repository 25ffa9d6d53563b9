//! Passwords: what may be one, and their argon2id hashes. Never keeps a password longer than the call, never logs one, never says whether it
//! was the name or the password that was wrong.

use std::str::FromStr;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error as HashError, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;

use crate::domain::Invalid;

/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A name to log in with: 3 to 64 of ASCII letters, digits and `._-@+`, so an e-mail address will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = Invalid;

    /// Takes a name from outside: case is kept, though names that differ only in case are the same. The wide letters of East Asian
    /// keyboards are the narrow ones (RFC 8265, UsernameCaseMapped).
    fn from_str(text: &str) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("a username must be 3 to 64 of letters, digits and . _ - @ +");
        let allowed = |c: &char| c.is_ascii_alphanumeric() || "._-@+".contains(*c);
        let name: Option<String> = text.chars().take(65).map(narrow).map(|c| Some(c).filter(allowed)).collect();
        name.filter(|name| (3..=64).contains(&name.len())).map(Self).ok_or(WRONG)
    }
}

/// A password of 8 to 128 characters, of any kind. Overwritten in memory when dropped; shows nothing of itself.
///
/// Two keyboards may send different characters for what looks the same to whoever types it: `é` is one or two, a blank is one of many. So it
/// is brought into one form first (RFC 8265, OpaqueString), and only that is hashed.
#[derive(Clone, Debug)]
pub struct Password {
    normal: SecretString,
    /// As it was typed, if that is something else: releases before this one hashed that.
    typed: Option<SecretString>,
}

impl FromStr for Password {
    type Err = Invalid;

    /// Takes a password from outside. Its length is counted in characters of its one form.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("a password must have 8 to 128 characters");
        if text.len() > TYPED_BYTES_MAX {
            return Err(WRONG);
        }
        let normal = opaque(text);
        if !(8..=128).contains(&normal.chars().count()) {
            return Err(WRONG);
        }
        let typed = (normal != text).then(|| text.into());
        Ok(Self { normal: normal.into(), typed })
    }
}

fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        other => other,
    }
}

/// The longest password that is looked at, in bytes: 128 characters with three marks each.
const TYPED_BYTES_MAX: usize = 128 * 16;

/// Every blank is the ordinary one, and what can be one character or several is one (NFC). Case, width and everything else stay.
fn opaque(text: &str) -> String {
    let is_blank = |c: char| matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}');
    text.chars().map(|c| if is_blank(c) { ' ' } else { c }).nfc().collect()
}

impl Password {
    /// The PHC string to store for it. Takes its time.
    pub(super) fn hash(&self) -> Result<String, HashError> {
        Ok(argon2id()?.hash_password(self.normal.expose_secret().as_bytes())?.to_string())
    }

    /// Whether `stored` was made of it. Takes its time, also for a name that nobody has.
    pub(super) fn matches(&self, stored: Option<&str>) -> Result<bool, HashError> {
        for form in self.forms() {
            if is_match(form, stored)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What may have been hashed of it.
    fn forms(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.normal).chain(&self.typed).map(|form| form.expose_secret().as_bytes())
    }
}

/// Takes its time, also for a name nobody has.
fn is_match(form: &[u8], stored: Option<&str>) -> Result<bool, HashError> {
    let Some(stored) = stored else {
        argon2id()?.hash_password_with_salt(form, b"a salt of nobody")?;
        return Ok(false);
    };
    match argon2id()?.verify_password(form, &PasswordHash::new(stored).map_err(|_| HashError::EncodingInvalid)?) {
        Ok(()) => Ok(true),
        Err(HashError::PasswordInvalid) => Ok(false),
        Err(error) => Err(error),
    }
}

fn argon2id() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| HashError::ParamsInvalid)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        text.parse().expect("the test's password is one")
    }

    #[test]
    fn a_username_is_short_and_plain() {
        for name in ["abc", "Alice.B_c-9", "alice+sale@example.com", &"a".repeat(64)] {
            assert_eq!(name.parse::<Username>().expect("a good name").as_str(), name);
        }
        for name in ["", "ab", "a b c", "alice\n", "älice", "<script>", "a/b/c", &"a".repeat(65)] {
            assert!(name.parse::<Username>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_username_typed_in_wide_letters_is_the_same_in_narrow_ones() {
        assert_eq!("ａｌｉｃｅ＠ｅｘａｍｐｌｅ．ｃｏｍ".parse::<Username>().unwrap().as_str(), "alice@example.com");
        assert!("ａ　ｂ".parse::<Username>().is_err(), "a wide blank is a blank");
    }

    /// `é` as one character and as two, blanks of all kinds, Korean as syllables and as letters.
    #[test]
    fn a_password_is_the_same_on_every_keyboard() {
        for (one, other) in [
            ("caf\u{e9}-password", "cafe\u{301}-password"),
            ("two\u{a0}words", "two words"),
            ("\u{d55c}-password", "\u{1112}\u{1161}\u{11ab}-password"),
        ] {
            for (set, typed) in [(one, other), (other, one)] {
                let stored = password(set).hash().unwrap();
                assert!(password(typed).matches(Some(&stored)).unwrap(), "{set:?} {typed:?}");
            }
        }
        for (one, other) in [("Password", "password"), ("ｐassword", "password"), ("\u{fb01}shing boat", "fishing boat")] {
            let stored = password(one).hash().unwrap();
            assert!(!password(other).matches(Some(&stored)).unwrap(), "{one:?} {other:?}");
        }
    }

    /// Releases before hashed what was typed.
    #[test]
    fn a_password_that_was_stored_as_it_was_typed_is_good_for_whoever_types_it_so() {
        for typed in ["caf\u{e9}-password", "cafe\u{301}-password"] {
            let stored = argon2id().unwrap().hash_password(typed.as_bytes()).unwrap().to_string();
            assert!(password(typed).matches(Some(&stored)).unwrap(), "{typed:?}");
        }
    }

    #[test]
    fn the_length_of_a_password_is_that_of_its_one_form() {
        assert!("e\u{301}".repeat(7).parse::<Password>().is_err());
        assert!("e\u{301}".repeat(8).parse::<Password>().is_ok() && "e\u{301}".repeat(128).parse::<Password>().is_ok());
        assert!("\u{301}".repeat(100_000).parse::<Password>().is_err());
    }

    #[test]
    fn a_password_has_8_to_128_characters_of_any_kind() {
        for text in ["12345678", "pässwörd", "ключключ", &"€".repeat(128)] {
            assert!(text.parse::<Password>().is_ok(), "{text}");
        }
        for text in ["", "1234567", "ключ", &"a".repeat(129)] {
            assert!(text.parse::<Password>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_shows_nothing_of_itself() {
        assert!(!format!("{:?}", password("correct horse")).contains("horse"));
    }

    #[test]
    fn the_right_password_matches_and_another_does_not() {
        let stored = password("correct horse").hash().expect("hashing works");
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(password("correct horse").matches(Some(&stored)).expect("it is a hash"));
        assert!(!password("correct house").matches(Some(&stored)).expect("it is a hash"));
        assert_ne!(password("correct horse").hash().expect("hashing works"), stored, "each hash has a salt of its own");
    }

    #[test]
    fn nobody_has_no_password() {
        assert!(!password("correct horse").matches(None).expect("hashing works"));
    }

    #[test]
    fn a_stored_hash_that_is_none_is_an_error_and_no_match() {
        for stored in ["", "plain text", "$argon2id$v=19$m=19456,t=2,p=1$"] {
            assert!(password("plain text").matches(Some(stored)).is_err(), "{stored:?}");
        }
    }
}
