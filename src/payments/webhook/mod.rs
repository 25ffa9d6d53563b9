//! What providers tell us unasked: whether it is from them, and which object it is about. The signature is over the bytes as they came; what
//! they say is a reason to ask, and nothing of it is believed. Pure: the time and the bytes come as arguments.

mod standard;
mod stripe;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

pub use standard::sign as sign_standard;
pub use stripe::sign as sign_stripe;

use super::provider::Scheme;
use crate::domain::Timestamp;

/// How far the time of a message may be from ours, either way, in seconds.
pub const TOLERANCE_SECONDS: u64 = 5 * 60;

/// Secrets that are in force at the same time, at most.
pub const SECRETS_MAX: usize = 8;

/// Signatures of one message that are looked at, at most: while a provider rotates its secrets there are two.
const SIGNATURES_MAX: usize = 16;

/// The longest id, and the longest word for what happened, in bytes.
const TEXT_BYTES_MAX: usize = 255;

/// The message is not from the provider, or not of now. Nobody is told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad signature")]
pub struct BadSignature;

/// That something happened: what to ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The provider's id of the event, the same however often it is sent.
    pub event: String,
    /// The provider's word for what happened.
    pub kind: String,
    /// The object it is about.
    pub object: Option<String>,
    /// Our name for the payment, if it is there.
    pub reference: Option<String>,
}

/// Headers of a request; none for one that is not there, or there more than once.
pub trait Headers {
    /// The value of a header.
    fn header(&self, name: &str) -> Option<&str>;
}

/// Knows a provider's messages.
#[derive(Clone, Debug)]
pub struct Verifier {
    scheme: Scheme,
    keys: Vec<Key>,
}

/// What a message is signed with.
#[derive(Clone)]
struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    fn new(bytes: &[u8]) -> Self {
        Self(Hmac::new_from_slice(bytes).expect("an HMAC takes keys of any length"))
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }

    /// Whether the parts, one after the other, have that signature. Takes the same time wherever it differs.
    fn fits(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        self.mac(parts).verify_slice(signature).is_ok()
    }
}

impl Verifier {
    /// Knows the messages that are signed with one of these secrets.
    ///
    /// # Errors
    /// A sentence for a secret that is none of the scheme's.
    pub fn new(scheme: Scheme, secrets: &[SecretString]) -> Result<Self, String> {
        let key = |secret: &SecretString| match scheme {
            Scheme::Standard => standard::key(secret.expose_secret()),
            Scheme::Stripe => stripe::key(secret.expose_secret()),
        };
        Ok(Self { scheme, keys: secrets.iter().map(key).collect::<Result<_, _>>()? })
    }

    /// What a message is about, if it is the provider's and of now. None for one that is, and is about nothing we know.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, headers: &impl Headers, body: &[u8], now: Timestamp) -> Result<Option<Notice>, BadSignature> {
        match self.scheme {
            Scheme::Standard => standard::verify(&self.keys, headers, body, now),
            Scheme::Stripe => stripe::verify(&self.keys, headers, body, now),
        }
    }
}

/// Whether a message of that time, in seconds, is of now.
fn check_time(seconds: i64, now: Timestamp) -> Result<(), BadSignature> {
    let apart = (now.millis() / 1_000).abs_diff(seconds);
    if apart <= TOLERANCE_SECONDS { Ok(()) } else { Err(BadSignature) }
}

/// A whole number of seconds as senders write it.
fn seconds(text: &str) -> Result<i64, BadSignature> {
    let is_number = (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().map_err(|_| BadSignature) } else { Err(BadSignature) }
}

/// A text that is fit to be kept.
fn kept(text: Option<String>) -> Option<String> {
    text.filter(|text| (1..=TEXT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// What both schemes have of an object.
#[derive(Default, Deserialize)]
struct Object {
    id: Option<String>,
}

#[cfg(test)]
mod tests;
