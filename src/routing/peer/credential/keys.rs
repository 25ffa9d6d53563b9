//! What TLS needs, made once from the authorities and this node's certificate: how connections are accepted, how they are made, and whether
//! the certificate of one that is open still counts.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};

use super::CredentialError;
use super::verify::Verifier;
use crate::domain::NodeId;
use crate::tls::{nodes_named_by, why};

/// The certificates somebody has shown: their own first.
pub(in crate::routing) type Chain = Vec<CertificateDer<'static>>;

/// Far behind the end of any certificate (the year 9999).
const FAR_AWAY: Duration = Duration::from_secs(253_000_000_000);

/// One set of certificates.
pub(in crate::routing) struct Keys {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    own: Arc<SingleCertAndKey>,
    callers: Arc<dyn ClientCertVerifier>,
    server: Arc<ServerConfig>,
    /// When the own certificate ends.
    pub(super) not_after: Option<UnixTime>,
}

impl Keys {
    /// Takes what a node proves itself with and whom it believes, if others would believe it with that.
    pub(super) fn new(
        me: &NodeId,
        authorities: &[CertificateDer<'static>],
        own: CertifiedKey,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, CredentialError> {
        let unusable = |error: Error| CredentialError::Own(why(&error).unwrap_or_default());
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone()).map_err(|error| CredentialError::Authority(error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        // Whoever comes is not told whom we believe.
        let callers = callers.clear_root_hint_subjects().build().map_err(|error| CredentialError::Authority(error.to_string()))?;
        let chain = own.cert.clone();
        let own = Arc::new(SingleCertAndKey::from(own));
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(Arc::clone(&callers))
            .with_cert_resolver(Arc::clone(&own) as Arc<_>);
        // Each connection shows its certificate: one that is no longer believed must not come back by an old session.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let keys = Self { provider, roots, own, callers, server: Arc::new(server), not_after: None };
        keys.check(me, &chain)?;
        Ok(Self { not_after: keys.end_of(&chain), ..keys })
    }

    /// Whether others with the same authorities would believe it.
    fn check(&self, me: &NodeId, chain: &[CertificateDer<'static>]) -> Result<(), CredentialError> {
        let [certificate, rest @ ..] = chain else { return Err(CredentialError::Own("it is empty".into())) };
        let named = nodes_named_by(certificate);
        if !named.contains(me) {
            return Err(CredentialError::OtherNode { me: me.clone(), named });
        }
        let now = UnixTime::now();
        let unusable = |error: Error| CredentialError::Own(why(&error).unwrap_or_default());
        self.callers.verify_client_cert(certificate, rest, now).map_err(unusable)?;
        self.verify(certificate, rest, now).map_err(unusable)
    }

    fn verify(&self, certificate: &CertificateDer<'_>, rest: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, rest, now, algorithms)
    }

    /// When one of a chain ends, as whoever verifies it far too late is told.
    fn end_of(&self, chain: &[CertificateDer<'static>]) -> Option<UnixTime> {
        let (certificate, rest) = chain.split_first()?;
        match self.verify(certificate, rest, UnixTime::since_unix_epoch(FAR_AWAY)) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => Some(not_after),
            _ => None,
        }
    }

    /// How a connection is accepted.
    pub(in crate::routing) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// How a connection to a node is made.
    pub(in crate::routing) fn client(&self, peer: &NodeId) -> Arc<ClientConfig> {
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider knows TLS 1.3: connections are accepted with it")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.verifier(peer)))
            .with_client_cert_resolver(Arc::clone(&self.own) as Arc<_>);
        client.resumption = Resumption::disabled();
        // The name of a host says nothing here, so none is told.
        client.enable_sni = false;
        Arc::new(client)
    }

    fn verifier(&self, peer: &NodeId) -> Verifier {
        let algorithms = self.provider.signature_verification_algorithms;
        Verifier { expected: peer.clone(), roots: Arc::clone(&self.roots), algorithms }
    }

    /// Whether somebody who came with these certificates would be let in now.
    pub(in crate::routing) fn admits(&self, chain: &[CertificateDer<'static>]) -> bool {
        chain.split_first().is_some_and(|(first, rest)| self.callers.verify_client_cert(first, rest, UnixTime::now()).is_ok())
    }

    /// Whether a node that showed these certificates would be believed now.
    pub(in crate::routing) fn believes(&self, peer: &NodeId, chain: &[CertificateDer<'static>]) -> bool {
        let nobody = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let verify = |(first, rest): (&CertificateDer<'static>, &[CertificateDer<'static>])| {
            self.verifier(peer).verify_server_cert(first, rest, &nobody, &[], UnixTime::now()).is_ok()
        };
        chain.split_first().is_some_and(verify)
    }
}
