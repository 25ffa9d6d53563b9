//! A signed token in its parts: what can be said of it before any key is known. Never says that it is good.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, Visitor};

use super::Unauthenticated;

/// The longest token that is looked at, in bytes: as much as many proxies let through in one header.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// A token in JWS's compact form.
pub(super) struct Jws<'a> {
    /// The whole text.
    pub(super) token: &'a str,
    /// What is signed.
    pub(super) message: &'a str,
    payload: &'a str,
    /// Base64.
    pub(super) signature: &'a str,
    /// How it says that it is signed.
    pub(super) algorithm: Algorithm,
    /// The key that it says it is signed with.
    pub(super) key_id: Option<String>,
}

/// What counts in a header. Keys and places of keys in it (`jwk`, `jku`, `x5c`, `x5u`) do not: keys come from the configuration alone.
#[derive(serde::Deserialize)]
struct Header {
    alg: KnownAlgorithm,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

/// None for one that is not known here, `none` among them.
struct KnownAlgorithm(Option<Algorithm>);

impl<'a> Jws<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Unauthenticated::TooLong`], [`Unauthenticated::Malformed`], [`Unauthenticated::Type`], [`Unauthenticated::Algorithm`].
    pub(super) fn parse(token: &'a str) -> Result<Self, Unauthenticated> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Unauthenticated::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Unauthenticated::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Unauthenticated::Malformed)?;
        if payload.contains('.') {
            return Err(Unauthenticated::Malformed);
        }
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| Unauthenticated::Malformed)?;
        if header.crit.is_some() {
            // RFC 7515: an extension that must be understood and is not makes the token invalid.
            return Err(Unauthenticated::Malformed);
        }
        if header.typ.is_some_and(|typ| !is_of_access(&typ)) {
            return Err(Unauthenticated::Type);
        }
        let algorithm = header.alg.0.ok_or(Unauthenticated::Algorithm)?;
        Ok(Self { token, message, payload, signature, algorithm, key_id: header.kid })
    }

    /// What it says: JSON, if it is a JWT.
    pub(super) fn payload(&self) -> Result<Vec<u8>, Unauthenticated> {
        decoded(self.payload)
    }
}

/// Whether a media type is that of a token that may give access: of any JWT, or of an access token (RFC 9068). Other kinds say so (RFC 8725,
/// 3.11): one that tells of a logout, say, or that proves a key. Case does not count, nor what the names of all media types may begin with
/// (RFC 7515, 4.1.9).
fn is_of_access(typ: &str) -> bool {
    const PREFIX: &str = "application/";
    let has_prefix = typ.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
    let name = if has_prefix { &typ[PREFIX.len()..] } else { typ };
    ["JWT", "at+jwt"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// An algorithm by the name that tokens and keys have for it.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        // Its name in RFC 9864.
        "Ed25519" => Some(Algorithm::EdDSA),
        name => name.parse().ok(),
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, Unauthenticated> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Unauthenticated::Malformed)
}

impl<'de> Deserialize<'de> for KnownAlgorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = KnownAlgorithm;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("the name of an algorithm")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<KnownAlgorithm, E> {
                Ok(KnownAlgorithm(algorithm(name)))
            }
        }

        deserializer.deserialize_str(Name)
    }
}
