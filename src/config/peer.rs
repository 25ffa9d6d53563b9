//! What nodes know each other by: which files hold certificates. Never reads them.

use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;

/// What nodes know each other by.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Certificates, instead of a secret.
    pub tls: PeerTls,
}

/// The certificates of the peer link, in PEM files that are read again when they change. See docs/security.md.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerTls {
    /// The authorities whose nodes are believed, besides those that know `auth.internal_secret`.
    pub ca_file: Option<PathBuf>,
    /// This node's certificate, followed by those between it and the authority. It has the URI `doorbuster://node/ID`.
    pub certificate_file: Option<PathBuf>,
    /// The certificate's key.
    pub key_file: Option<PathBuf>,
}

impl PeerTls {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |line: &str| Err(ConfigError(line.to_owned()));
        match (&self.ca_file, &self.certificate_file, &self.key_file) {
            (None, Some(_), _) | (None, _, Some(_)) => wrong("peer.tls.ca_file is missing: whose certificates are to be believed?"),
            (Some(_), Some(_), None) => wrong("peer.tls.key_file is missing: the certificate is of no use without its key"),
            (Some(_), None, Some(_)) => wrong("peer.tls.certificate_file is missing: the key is of no use without its certificate"),
            (_, None, None) | (Some(_), Some(_), Some(_)) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(None, settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_certificate_needs_its_key_and_an_authority() {
        let (ca, certificate, key) =
            ("DOORBUSTER__PEER__TLS__CA_FILE", "DOORBUSTER__PEER__TLS__CERTIFICATE_FILE", "DOORBUSTER__PEER__TLS__KEY_FILE");
        let tls = read(&[(ca, "a"), (certificate, "c"), (key, "k")]).unwrap().peer.tls;
        assert_eq!(tls, PeerTls { ca_file: Some("a".into()), certificate_file: Some("c".into()), key_file: Some("k".into()) });
        assert_eq!(read(&[(ca, ""), (certificate, " "), (key, "")]).unwrap().peer.tls, PeerTls::default());
        assert!(read(&[(ca, "a")]).is_ok(), "besides the secret");
        for (set, missing) in [
            (&[(certificate, "c"), (key, "k")][..], "ca_file"),
            (&[(ca, "a"), (certificate, "c")], "key_file"),
            (&[(ca, "a"), (key, "k")], "certificate_file"),
        ] {
            let refusal = read(set).unwrap_err().to_string();
            assert!(refusal.contains(&format!("peer.tls.{missing} is missing")), "{refusal}");
        }
    }
}
