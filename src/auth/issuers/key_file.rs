//! A file with an issuer's keys, and any other file that a configuration names. Never keeps what it read.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use jsonwebtoken::Algorithm;

use super::key_set::KeySet;
use crate::config;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// A file with an issuer's keys.
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    is_jwks: bool,
}

impl KeyFile {
    pub(super) fn of(config: &config::Issuer) -> Option<Self> {
        let jwks = config.jwks_file.clone().map(|path| Self { path, is_jwks: true });
        jwks.or_else(|| config.public_key_file.clone().map(|path| Self { path, is_jwks: false }))
    }

    pub(super) fn read(&self, allowed: &[Algorithm]) -> Result<KeySet, String> {
        let text = text(&self.path)?;
        let keys = if self.is_jwks { KeySet::of_jwks(text.as_bytes(), allowed, skipped) } else { KeySet::of_pem(text.as_bytes(), allowed) };
        keys.map_err(|problem| format!("the file {} {problem}", self.path.display()))
    }
}

/// What a file holds.
pub(super) fn text(path: &Path) -> Result<String, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("the file {} {why}", path.display());
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| wrong(&format_args!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(&"is larger than 256 KiB"));
    }
    String::from_utf8(bytes).map_err(|_| wrong(&"is no text"))
}

/// Says that a key of a set is left out.
pub(super) fn skipped(id: &str, why: &str) {
    tracing::debug!(key = id, why, "key {id} is not used: {why}");
}
