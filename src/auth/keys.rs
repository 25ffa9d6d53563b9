//! The keys that sign and verify tokens. A key is bound to one algorithm by what it is, never by what a token says.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation};
use secrecy::{ExposeSecret, SecretString};

/// The shortest secret HS256 is safe with: as many bytes as its hash has.
const SECRET_BYTES_MIN: usize = 32;

/// Keys in one file, at most: a token may have to be tried with each.
const KEYS_MAX: usize = 16;

/// The largest key file that is read, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The RSA keys that are taken, in bytes of their PKCS#1 form: a modulus of 2,048 bits (less is weak) to 4,096 bits (the
/// library verifies nothing longer).
const RSA_PKCS1_BYTES: std::ops::RangeInclusive<usize> = 268..=532;

/// Why a key cannot be used, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The secret has too few bytes.
    #[error("the JWT secret has {bytes} bytes and needs at least 32: set DOORBUSTER__AUTH__JWT_SECRET to a longer random text")]
    SecretTooShort {
        /// How many it has.
        bytes: usize,
    },
    /// The public key file cannot be read.
    #[error("the JWT public key file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The public key file holds something else.
    #[error("the JWT public key file {} {problem}; it must hold PEM public keys, RSA of 2048 to 4096 bits or Ed25519", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
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

/// Another issuer's public keys: RSA is RS256 and nothing else, Ed25519 is EdDSA and nothing else.
pub(super) struct PublicKeys {
    /// The file as it was read.
    pub(super) pem: Vec<u8>,
    /// At least one.
    pub(super) keys: Vec<VerifyingKey>,
}

impl PublicKeys {
    pub(super) fn read(path: &Path) -> Result<Self, KeyError> {
        let mut pem = Vec::new();
        let read = File::open(path).and_then(|file| file.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut pem));
        read.map_err(|source| KeyError::Unreadable { path: path.to_owned(), source })?;
        let keys = from_public_key_pem(&pem).map_err(|problem| KeyError::Unusable { path: path.to_owned(), problem })?;
        Ok(Self { pem, keys })
    }
}

fn from_public_key_pem(bytes: &[u8]) -> Result<Vec<VerifyingKey>, &'static str> {
    if bytes.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err("is larger than 64 KiB");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not text")?;
    let blocks = pem::parse_many(text).map_err(|_| "holds a block that is no PEM")?;
    match blocks.len() {
        0 => Err("holds no key"),
        1..=KEYS_MAX => blocks.iter().map(from_block).collect(),
        _ => Err("holds more than 16 keys"),
    }
}

fn from_block(block: &pem::Pem) -> Result<VerifyingKey, &'static str> {
    if block.tag().ends_with("PRIVATE KEY") {
        return Err("holds a private key, which does not belong on this machine");
    }
    if block.tag().ends_with("CERTIFICATE") {
        return Err("holds a certificate");
    }
    let pem = pem::encode(block).into_bytes();
    if let Ok(key) = DecodingKey::from_ed_pem(&pem) {
        // The library cuts the first 32 bytes out of the key when it verifies, and would panic on fewer.
        return match key.try_get_as_bytes() {
            Ok(bytes) if bytes.len() == 32 => Ok(pinned(key, Algorithm::EdDSA)),
            _ => Err("holds an Ed25519 key of the wrong length"),
        };
    }
    match DecodingKey::from_rsa_pem(&pem) {
        Ok(key) if key.try_get_as_bytes().is_ok_and(|der| RSA_PKCS1_BYTES.contains(&der.len())) => Ok(pinned(key, Algorithm::RS256)),
        Ok(_) => Err("holds an RSA key of another size"),
        Err(_) => Err("holds another kind of key"),
    }
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
