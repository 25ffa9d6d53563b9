//! Certificates and keys in PEM files. Errors name the file, and never show what is in it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Certificates in one file, at most.
const CERTIFICATES_MAX: usize = 64;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file {} {why}", path.display())]
pub struct FileError {
    path: PathBuf,
    why: String,
}

impl FileError {
    /// Says what is wrong with a file.
    pub fn new(path: &Path, why: impl std::fmt::Display) -> Self {
        Self { path: path.to_owned(), why: why.to_string() }
    }
}

/// The bytes of a file.
///
/// # Errors
/// [`FileError`] when it cannot be read or is far too large.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| FileError::new(path, format_args!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX { Err(FileError::new(path, "is larger than 256 KiB")) } else { Ok(bytes) }
}

/// The certificates in what was read from a file, at least one.
///
/// # Errors
/// [`FileError`] when there are none, or something else.
pub fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileError> {
    certificates_in(pem).map_err(|why| FileError::new(path, why))
}

pub(super) fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| "holds a block that is no PEM")?;
    match found.len() {
        0 => Err("holds no certificate (it must be PEM)"),
        1..=CERTIFICATES_MAX => Ok(found),
        _ => Err("holds more than 64 certificates"),
    }
}

/// The first private key in what was read from a file.
///
/// # Errors
/// [`FileError`] when there is none.
pub fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| FileError::new(path, "holds no private key (it must be PEM, without a password)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Authority, Validity};

    #[test]
    fn a_file_that_holds_something_else_is_named_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        assert!(read(&path).unwrap_err().to_string().contains("a.pem cannot be read"));
        std::fs::write(&path, vec![b'x'; 256 * 1024 + 1]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("larger than 256 KiB"));
        let authority = Authority::new("a test", Validity::ANY_TIME);
        let (certificate, key) = (authority.certificate_pem(), authority.key_pem());
        assert_eq!(certificates(&path, certificate.as_bytes()).unwrap(), [authority.certificate()]);
        assert!(private_key(&path, key.as_bytes()).is_ok());
        for (refusal, secret) in [
            (certificates(&path, key.as_bytes()).map(drop).unwrap_err(), &key),
            (private_key(&path, certificate.as_bytes()).map(drop).unwrap_err(), &certificate),
            (certificates(&path, certificate.repeat(65).as_bytes()).map(drop).unwrap_err(), &certificate),
        ] {
            let told = refusal.to_string();
            assert!(told.contains("a.pem holds") && !told.contains('\n') && !told.contains(&secret[30..60]), "{told}");
        }
    }
}
