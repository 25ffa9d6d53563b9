//! An authority that signs the certificates of nodes: made anew, read from its files, or derived from a secret that all nodes share. Never
//! writes a file.

use std::net::IpAddr;

use argon2::Argon2;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use super::uri_of;
use crate::domain::NodeId;

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8.
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Tells this use of a secret from every other.
const SALT: &[u8] = b"doorbuster peer link authority 1";

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    from: OffsetDateTime,
    until: OffsetDateTime,
}

impl Validity {
    /// Whatever a clock shows.
    pub const ANY_TIME: Self =
        Self { from: time::macros::datetime!(1975-01-01 00:00 UTC), until: time::macros::datetime!(4096-01-01 00:00 UTC) };

    /// So many days from a time on. It begins an hour before: the clocks of others may be behind.
    #[must_use]
    pub fn days(now: OffsetDateTime, days: u32) -> Self {
        let begin = now.replace_nanosecond(0).unwrap_or(now);
        Self { from: begin.saturating_sub(Duration::hours(1)), until: begin.saturating_add(Duration::days(days.into())) }
    }

    /// When it ends.
    #[must_use]
    pub const fn until(&self) -> OffsetDateTime {
        self.until
    }
}

/// What was given is no authority, or no name for a certificate.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAuthority(String);

impl From<rcgen::Error> for NoAuthority {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

/// A key that signs, and its certificate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate and its key.
pub struct Issued {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The same as text.
    pub certificate_pem: String,
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// The same as text.
    pub key_pem: String,
}

impl Authority {
    /// A new one with that name.
    ///
    /// # Panics
    /// When the system has no randomness.
    #[must_use]
    pub fn new(name: &str, validity: Validity) -> Self {
        let key = KeyPair::generate().expect("the system has randomness");
        Self::of_key(name, validity, key)
    }

    /// The one of a secret: whoever knows the secret has it. To make guesses dear, each costs as much as one at a password.
    ///
    /// # Panics
    /// When there is no memory to work with.
    #[must_use]
    pub fn of_secret(secret: &[u8]) -> Self {
        let mut pkcs8 = [0; 48];
        let (head, seed) = pkcs8.split_at_mut(ED25519_PKCS8.len());
        head.copy_from_slice(&ED25519_PKCS8);
        Argon2::default().hash_password_into(secret, SALT, seed).expect("there is memory for it");
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(&pkcs8[..]), &PKCS_ED25519);
        Self::of_key("doorbuster internal secret", Validity::ANY_TIME, key.expect("any 32 bytes are a key"))
    }

    /// The one in these two texts.
    ///
    /// # Errors
    /// [`NoAuthority`] when they are none, or the key is of another certificate.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, NoAuthority> {
        let found = super::files::certificates_in(certificate.as_bytes()).map_err(|why| NoAuthority(format!("its certificate {why}")))?;
        let key = KeyPair::from_pem(key).map_err(|error| NoAuthority(format!("its key cannot be read: {error}")))?;
        let [der] = found.as_slice() else { return Err(NoAuthority("its file must hold one certificate".into())) };
        let issuer = Issuer::from_ca_cert_der(der, key)?;
        let authority = Self { certificate: der.clone(), issuer };
        // A certificate tells its key's only to whoever verifies something with it.
        let probe: NodeId = "probe".parse().expect("a word is an id");
        let issued = authority.issue(&probe, &[], Validity::ANY_TIME)?;
        let anchor = webpki::anchor_from_trusted_cert(der).map_err(|error| NoAuthority(format!("its certificate: {error}")))?;
        let is_its_own = webpki::EndEntityCert::try_from(&issued.certificate).is_ok_and(|probe| {
            let (now, usage) = (rustls::pki_types::UnixTime::now(), webpki::KeyUsage::server_auth());
            probe.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], &[], now, usage, None, None).is_ok()
        });
        if is_its_own { Ok(authority) } else { Err(NoAuthority("its key is not the one of its certificate".into())) }
    }

    fn of_key(name: &str, validity: Validity, key: KeyPair) -> Self {
        let mut parameters = named(name, validity);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key).expect("what we put into it can be signed");
        Self { certificate: certificate.der().clone(), issuer: Issuer::new(parameters, key) }
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The same as text.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.certificate.to_vec()))
    }

    /// Its key as text.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A new certificate with a new key for a node, which is at these names and addresses too.
    ///
    /// # Errors
    /// [`NoAuthority`] when one of them is none.
    pub fn issue(&self, node: &NodeId, hosts: &[String], validity: Validity) -> Result<Issued, NoAuthority> {
        let text = |text: &str| Ia5String::try_from(text).map_err(|_| NoAuthority(format!("{text:?} is no name of a host")));
        let mut parameters = named(node.as_str(), validity);
        parameters.subject_alt_names = vec![SanType::URI(text(&uri_of(node))?)];
        for host in hosts {
            parameters.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(text(host)?),
            });
        }
        self.sign(parameters)
    }

    /// A new certificate with a new key for a server that is no node: the broker, or the database.
    ///
    /// # Errors
    /// [`NoAuthority`] when one of the names is none.
    pub fn issue_for_server(&self, hosts: &[String], validity: Validity) -> Result<Issued, NoAuthority> {
        let mut parameters = CertificateParams::new(hosts)?;
        let name = named(hosts.first().map_or("server", String::as_str), validity);
        parameters.distinguished_name = name.distinguished_name;
        (parameters.not_before, parameters.not_after) = (name.not_before, name.not_after);
        self.sign(parameters)
    }

    fn sign(&self, mut parameters: CertificateParams) -> Result<Issued, NoAuthority> {
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let (certificate, certificate_pem) = (certificate.der().clone(), certificate.pem());
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Issued { certificate, certificate_pem, key: der, key_pem: key.serialize_pem() })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(..)")
    }
}

fn named(name: &str, validity: Validity) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    (parameters.not_before, parameters.not_after) = (validity.from, validity.until);
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_of_a_secret_is_the_same_wherever_it_is_made() {
        let (one, same, other) = (Authority::of_secret(b"one"), Authority::of_secret(b"one"), Authority::of_secret(b"other"));
        assert_eq!(one.certificate(), same.certificate());
        assert_eq!(one.key_pem(), same.key_pem());
        assert_ne!(one.key_pem(), other.key_pem());
    }

    #[test]
    fn an_authority_is_read_again_from_its_files_and_not_with_the_key_of_another() {
        let (one, other) = (Authority::new("one", Validity::ANY_TIME), Authority::new("one", Validity::ANY_TIME));
        let again = Authority::from_pem(&one.certificate_pem(), &one.key_pem()).unwrap();
        assert_eq!(again.certificate(), one.certificate());
        for (certificate, key) in [
            (one.certificate_pem(), other.key_pem()),
            (one.certificate_pem(), "no key".into()),
            ("no certificate".into(), one.key_pem()),
            (one.certificate_pem() + &other.certificate_pem(), one.key_pem()),
        ] {
            assert!(Authority::from_pem(&certificate, &key).is_err());
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", Authority::of_secret(b"sesame")), "Authority(..)");
    }
}
