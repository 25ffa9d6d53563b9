//! Why a TLS connection was not made, in words: the libraries wrap it several times, and some of them into nothing.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// What went wrong with TLS, if that is what an error is about, at whatever depth.
#[must_use]
pub fn why(error: &(dyn Error + 'static)) -> Option<String> {
    find(error).map(in_words)
}

/// The library's own error in what others made of it.
pub(crate) fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error names as its source what the source of its inner error is: the inner one itself is left out.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => certificate(error),
        rustls::Error::InvalidMessage(_) => "what answers there does not speak TLS".into(),
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => "it wants a certificate of ours and got none".into(),
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => format!("it does not accept our certificate ({alert:?})"),
            other => format!("it refused the handshake ({other:?})"),
        },
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "its certificate is signed by no authority that is trusted here".into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet (is a clock wrong?)".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name than the one it is looked for by".into()
        }
        CertificateError::BadSignature => "its certificate is signed by another authority of that name".into(),
        CertificateError::Other(other) => other.0.to_string(),
        other => format!("its certificate is not usable: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_however_it_is_wrapped() {
        let reason = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, reason()));
        for error in [&reason() as &(dyn Error + 'static), &io::Error::other(reason()), &wrapped] {
            assert!(why(error).unwrap().contains("no authority that is trusted"));
        }
        assert_eq!(why(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }
}
