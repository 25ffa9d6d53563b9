//! TLS with the broker, as its URL asks for it: with the parameters that RabbitMQ's own clients know. Files are read for each connection,
//! so that what is renewed counts from the next one on. Never leaves the broker's certificate unchecked.

use std::io;
use std::path::PathBuf;

use lapin::ErrorKind;
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::AMQPScheme;
use rustls::CertificateError;

use super::BrokerError;
use crate::tls::{self, FileError};

/// Which certificates count, and which one is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tls {
    is_wanted: bool,
    authorities: Option<PathBuf>,
    own: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Takes what stands behind the hosts of a URL. The files are looked into, so that a mistake is known at the start.
    pub(super) fn of_url(scheme: &AMQPScheme, after: &str) -> Result<Self, String> {
        let url = reqwest::Url::parse(&format!("amqps://host{after}")).map_err(|error| error.to_string())?;
        let (mut authorities, mut certificate, mut key) = (None, None, None);
        for (name, value) in url.query_pairs() {
            let place = match &*name {
                "cacertfile" => &mut authorities,
                "certfile" => &mut certificate,
                "keyfile" => &mut key,
                "verify" if value == "verify_peer" => continue,
                "verify" => {
                    return Err(format!("verify={value} is not done: the broker's certificate is checked, by cacertfile=FILE if need be"));
                }
                _ => continue,
            };
            *place = Some(PathBuf::from(&*value)).filter(|path| !path.as_os_str().is_empty());
        }
        let own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err("certfile and keyfile go together".into()),
        };
        let is_wanted = matches!(scheme, AMQPScheme::AMQPS);
        if !is_wanted && (authorities.is_some() || own.is_some()) {
            return Err("cacertfile, certfile and keyfile are for TLS: write amqps:// for it".into());
        }
        let tls = Self { is_wanted, authorities, own };
        tls.read().map_err(|error| error.to_string())?;
        Ok(tls)
    }

    /// What the library wants to know.
    pub(super) fn config(&self) -> Result<OwnedTLSConfig, BrokerError> {
        self.read().map_err(|error| BrokerError::Away(error.to_string()))
    }

    fn read(&self) -> Result<OwnedTLSConfig, FileError> {
        let authorities = self.authorities.as_ref().map(|path| {
            let pem = tls::read(path)?;
            tls::certificates(path, &pem)?;
            String::from_utf8(pem).map_err(|_| FileError::new(path, "is no text"))
        });
        let own = self.own.as_ref().map(|(certificate, key)| {
            let (pem, key_pem) = (tls::read(certificate)?, tls::read(key)?);
            tls::certificates(certificate, &pem)?;
            tls::private_key(key, &key_pem)?;
            Ok::<_, FileError>(OwnedIdentity::PKCS8 { pem, key: key_pem })
        });
        Ok(OwnedTLSConfig { identity: own.transpose()?, cert_chain: authorities.transpose()? })
    }

    /// Why a connection was not made, with what may be the matter with the URL.
    pub(super) fn explain(&self, error: lapin::Error) -> BrokerError {
        // Whoever expects TLS and hears AMQP says nothing that could be understood, and hangs up.
        let is_gibberish = match error.kind() {
            ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => true,
            ErrorKind::IOError(error) => matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
            ),
            _ => false,
        };
        let has_unknown_issuer = matches!(
            tls::find(&error),
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature))
        );
        match BrokerError::from(error) {
            BrokerError::Away(why) if !self.is_wanted && is_gibberish => {
                BrokerError::Away(format!("{why} (if it wants TLS there, its URL must begin with amqps://)"))
            }
            BrokerError::Away(why) if has_unknown_issuer => {
                BrokerError::Away(format!("{why} (name its authority with ?cacertfile=FILE in the URL)"))
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Authority, Validity};

    fn tls(scheme: AMQPScheme, after: &str) -> Result<Tls, String> {
        Tls::of_url(&scheme, after)
    }

    #[test]
    fn files_are_named_by_parameters_and_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("a test", Validity::ANY_TIME);
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (ca, key) = (path("c a.pem"), path("key.pem"));
        std::fs::write(&ca, authority.certificate_pem()).unwrap();
        std::fs::write(&key, authority.key_pem()).unwrap();
        let in_url = ca.replace(' ', "%20");
        let found = tls(AMQPScheme::AMQPS, &format!("/vhost?heartbeat=5&cacertfile={in_url}&verify=verify_peer")).unwrap();
        assert_eq!(found.authorities, Some(PathBuf::from(&ca)));
        assert_eq!(found.config().unwrap().cert_chain, Some(authority.certificate_pem()));
        assert!(tls(AMQPScheme::AMQPS, &format!("?certfile={in_url}&keyfile={key}")).unwrap().config().unwrap().identity.is_some());
        assert_eq!(tls(AMQPScheme::AMQP, "/vhost?heartbeat=5").unwrap(), Tls::default());
        for (scheme, after, said) in [
            (AMQPScheme::AMQPS, format!("?certfile={in_url}"), "keyfile"),
            (AMQPScheme::AMQPS, "?verify=verify_none".into(), "verify_none"),
            (AMQPScheme::AMQPS, "?cacertfile=/no/such/file".into(), "/no/such/file cannot be read"),
            (AMQPScheme::AMQPS, format!("?cacertfile={key}"), "holds no certificate"),
            (AMQPScheme::AMQP, format!("?cacertfile={in_url}"), "amqps://"),
        ] {
            let refusal = tls(scheme, &after).unwrap_err();
            assert!(refusal.contains(said), "{refusal}");
        }
    }

    #[test]
    fn files_that_go_away_are_known_when_a_connection_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, Authority::new("a test", Validity::ANY_TIME).certificate_pem()).unwrap();
        let found = tls(AMQPScheme::AMQPS, &format!("?cacertfile={}", ca.display())).unwrap();
        std::fs::remove_file(&ca).unwrap();
        assert!(found.config().unwrap_err().to_string().contains("ca.pem cannot be read"));
    }
}
