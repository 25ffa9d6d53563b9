//! The keys of an issuer as they are at one time, and which of them a token is held against. A key is bound to its algorithms by what it
//! is and by what is said of it; a token chooses among those, never beyond. Keys never come from a token.

use std::sync::atomic::{AtomicU64, Ordering};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::auth::jws::{self, Jws};

/// Keys in one set, at most.
const KEYS_MAX: usize = 64;

/// Keys in one file of PEM, at most: a token may have to be tried with each.
const PEM_KEYS_MAX: usize = 16;

/// The longest id of a key that is looked for.
pub(super) const KEY_ID_BYTES_MAX: usize = 256;

/// The RSA moduli that are taken: shorter ones are weak, longer ones are not verified by the library.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// The longest exponent of an RSA key: 65537 has three bytes, and all that are in use are not longer.
const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// The keys of an issuer.
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Whether its keys are known by ids. A file of PEM has none, so that each key is tried.
    has_ids: bool,
    /// What it was made of: two sets of the same are the same.
    identity: Vec<u8>,
    /// This set among all that this process ever had.
    pub(super) generation: u64,
}

struct Key {
    id: Option<Box<str>>,
    key: DecodingKey,
    /// At least one.
    algorithms: Vec<Algorithm>,
}

/// Why a token is not one of this set's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotVerified {
    /// None has the id that the token names.
    UnknownKey,
    /// The token names none, and several could be it.
    NoKeyId,
    /// No key is for the token's algorithm.
    Algorithm,
    Signature,
}

impl KeySet {
    /// A secret that the issuer shares with us.
    pub(super) fn of_secret(secret: &[u8], allowed: &[Algorithm]) -> Result<Self, String> {
        let algorithms = if allowed.is_empty() { vec![Algorithm::HS256] } else { allowed.to_vec() };
        let needed = algorithms.iter().map(|algorithm| hash_bytes(*algorithm)).max().unwrap_or_default();
        if secret.len() < needed {
            return Err(format!("its secret has {} bytes and needs at least {needed} for {algorithms:?}", secret.len()));
        }
        let key = Key { id: None, key: DecodingKey::from_secret(secret), algorithms };
        Ok(Self::new(vec![key], false, Vec::new()))
    }

    /// All keys of a file of PEM. One that cannot be used is a mistake.
    pub(super) fn of_pem(bytes: &[u8], allowed: &[Algorithm]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "is not text")?;
        let blocks = pem::parse_many(text).map_err(|_| "holds a block that is no PEM")?;
        // What is not whole is passed over by the library.
        let marks = ["-----BEGIN", "-----END"].map(|mark| text.matches(mark).count());
        if marks.iter().any(|count| *count != blocks.len()) {
            return Err("holds a block that is no PEM, or cut off".to_owned());
        }
        if blocks.is_empty() {
            return Err("holds no key".to_owned());
        }
        if blocks.len() > PEM_KEYS_MAX {
            return Err(format!("holds more than {PEM_KEYS_MAX} keys"));
        }
        let keys = blocks.iter().map(|block| Key::of_block(block, allowed)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(keys, false, bytes.to_vec()))
    }

    /// The keys of a JWKS that can be used. `skipped` hears of the others.
    pub(super) fn of_jwks(bytes: &[u8], allowed: &[Algorithm], mut skipped: impl FnMut(&str, &str)) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Value>,
        }

        let jwks: Jwks = serde_json::from_slice(bytes).map_err(|_| "is no JSON object with a list of keys")?;
        if jwks.keys.len() > KEYS_MAX {
            return Err(format!("holds more than {KEYS_MAX} keys"));
        }
        let (mut keys, mut used) = (Vec::new(), Vec::new());
        for value in jwks.keys {
            match Key::of_jwk(&value, allowed) {
                Ok(key) => {
                    keys.push(key);
                    used.push(value.to_string());
                }
                Err(why) => skipped(value["kid"].as_str().unwrap_or("without an id"), &why),
            }
        }
        used.sort_unstable();
        Ok(Self::new(keys, true, used.join("\n").into_bytes()))
    }

    fn new(keys: Vec<Key>, has_ids: bool, identity: Vec<u8>) -> Self {
        static GENERATIONS: AtomicU64 = AtomicU64::new(0);
        Self { keys, has_ids, identity, generation: GENERATIONS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether it has the very keys of the other one.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The ids of its keys.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.id.as_deref())
    }

    /// Whether one of these keys signed the token.
    pub(super) fn verify(&self, jws: &Jws<'_>) -> Result<(), NotVerified> {
        let named = jws.key_id.as_deref();
        if named.is_some() && self.ids().any(|id| Some(id) == named) {
            return is_one_of(self.keys.iter().filter(|key| key.id.as_deref() == named), jws);
        }
        // Without an id that is known here, a key without one can be meant, or by a token that names none, any.
        let possible = self.keys.iter().filter(|key| named.is_none() || key.id.is_none());
        if !self.has_ids {
            return is_one_of(possible, jws);
        }
        let mut fitting = possible.filter(|key| key.algorithms.contains(&jws.algorithm));
        match (fitting.next(), fitting.next()) {
            // It may be of another key that is not here yet.
            (Some(key), None) => {
                is_one_of(std::iter::once(key), jws).map_err(|why| if named.is_some() { NotVerified::UnknownKey } else { why })
            }
            _ if named.is_some() => Err(NotVerified::UnknownKey),
            (None, _) => Err(NotVerified::Algorithm),
            (Some(_), Some(_)) => Err(NotVerified::NoKeyId),
        }
    }
}

fn is_one_of<'k>(keys: impl Iterator<Item = &'k Key>, jws: &Jws<'_>) -> Result<(), NotVerified> {
    let mut outcome = Err(NotVerified::Algorithm);
    for key in keys.filter(|key| key.algorithms.contains(&jws.algorithm)) {
        let is_good = jsonwebtoken::crypto::verify(jws.signature, jws.message.as_bytes(), &key.key, jws.algorithm);
        if is_good.is_ok_and(|is_good| is_good) {
            return Ok(());
        }
        outcome = Err(NotVerified::Signature);
    }
    outcome
}

impl Key {
    fn of_block(block: &pem::Pem, allowed: &[Algorithm]) -> Result<Self, String> {
        const WANTED: &str = "it must hold PEM public keys: RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519";
        let wrong = |what: &str| format!("{what}; {WANTED}");
        if block.tag().ends_with("PRIVATE KEY") {
            return Err(wrong("holds a private key, which does not belong on this machine"));
        }
        if block.tag().ends_with("CERTIFICATE") {
            return Err(wrong("holds a certificate"));
        }
        let pem = pem::encode(block).into_bytes();
        let (key, fits) = if let Ok(key) = DecodingKey::from_ed_pem(&pem) {
            (key, vec![Algorithm::EdDSA])
        } else if let Ok(key) = DecodingKey::from_ec_pem(&pem) {
            // Whether it is a point of that curve is tried below.
            let fits = match key.try_get_as_bytes().map_or(0, <[u8]>::len) {
                33 | 65 => vec![Algorithm::ES256],
                49 | 97 => vec![Algorithm::ES384],
                _ => return Err(wrong("holds a key of another curve")),
            };
            (key, fits)
        } else if let Ok(key) = DecodingKey::from_rsa_pem(&pem) {
            let jwk = Jwk::from_decoding_key(&key, None).map_err(|_| wrong("holds a broken RSA key"))?;
            let AlgorithmParameters::RSA(parameters) = &jwk.algorithm else { return Err(wrong("holds another kind of key")) };
            check_rsa(&parameters.n, &parameters.e).map_err(|why| wrong(&format!("holds {why}")))?;
            (key, AlgorithmFamily::Rsa.algorithms().to_vec())
        } else {
            return Err(wrong("holds another kind of key"));
        };
        Self::new(None, key, fits, allowed).map_err(|why| format!("holds {why}"))
    }

    fn of_jwk(value: &Value, allowed: &[Algorithm]) -> Result<Self, String> {
        let text = |member: &str| value[member].as_str();
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|member| value.get(member).is_some()) {
            return Err("a secret or private key: whoever can read it can make tokens".to_owned());
        }
        if text("use").is_some_and(|is_for| is_for != "sig") {
            return Err("a key that is not for signatures".to_owned());
        }
        if value["key_ops"].as_array().is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
            return Err("a key that is not for verifying".to_owned());
        }
        let parameters = AlgorithmParameters::deserialize(value).map_err(|_| "a key of an unknown form")?;
        let mut fits = match &parameters {
            AlgorithmParameters::RSA(rsa) => {
                check_rsa(&rsa.n, &rsa.e)?;
                AlgorithmFamily::Rsa.algorithms().to_vec()
            }
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => vec![Algorithm::ES256],
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => vec![Algorithm::ES384],
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
            _ => return Err("a key of a kind that is not known here".to_owned()),
        };
        if let Some(name) = text("alg") {
            let said = jws::algorithm(name).ok_or_else(|| format!("a key for {name:?}"))?;
            fits.retain(|algorithm| *algorithm == said);
        }
        let id = text("kid");
        if id.is_some_and(|id| id.len() > KEY_ID_BYTES_MAX) {
            return Err(format!("a key with an id of more than {KEY_ID_BYTES_MAX} bytes"));
        }
        let jwk = Jwk { common: jsonwebtoken::jwk::CommonParameters::default(), algorithm: parameters };
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| "a key that is no base64")?;
        Self::new(id.map(Into::into), key, fits, allowed)
    }

    fn new(id: Option<Box<str>>, key: DecodingKey, mut fits: Vec<Algorithm>, allowed: &[Algorithm]) -> Result<Self, String> {
        if !allowed.is_empty() {
            fits.retain(|algorithm| allowed.contains(algorithm));
        }
        let algorithm = *fits.first().ok_or("a key that fits none of the algorithms that are taken")?;
        // The library cuts the first 32 bytes out of an Ed25519 key when it verifies, and would panic on fewer.
        if algorithm == Algorithm::EdDSA && !key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == 32) {
            return Err("an Ed25519 key of the wrong length".to_owned());
        }
        // A key that is none of its kind is found when it is used, so it is used once.
        jsonwebtoken::crypto::verify("", b"", &key, algorithm).map_err(|_| "a key that is none of its kind")?;
        Ok(Self { id, key, algorithms: fits })
    }
}

/// Takes the modulus and the exponent of an RSA key, in base64.
fn check_rsa(modulus: &str, exponent: &str) -> Result<(), String> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "an RSA key that is no base64");
    let (modulus, exponent) = (decoded(modulus)?, decoded(exponent)?);
    let bits = match modulus.iter().position(|byte| *byte != 0) {
        Some(first) => (modulus.len() - first) * 8 - modulus[first].leading_zeros() as usize,
        None => 0,
    };
    if !RSA_BITS.contains(&bits) {
        return Err(format!("an RSA key of {bits} bits"));
    }
    let is_odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    let is_one = exponent.iter().rev().skip(1).all(|byte| *byte == 0) && exponent.last() == Some(&1);
    if !is_odd || is_one || exponent.len() > RSA_EXPONENT_BYTES_MAX {
        return Err("an RSA key with an exponent that none has".to_owned());
    }
    Ok(())
}

/// How long the hash of an algorithm with a secret is: a shorter secret is easier to guess than the hash.
fn hash_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS512 => 64,
        Algorithm::HS384 => 48,
        _ => 32,
    }
}
