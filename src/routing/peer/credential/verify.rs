//! Whether a certificate is that of a node: signed by one of our authorities, valid now, and with the name of the node that is meant.
//! Nothing else in it counts: where a node is reached says nothing of who it is.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, PeerMisbehaved, RootCertStore, SignatureScheme};

use crate::domain::NodeId;
use crate::tls::{nodes_named_by, why};

/// Why a certificate is not that of the node that is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::routing) enum Stranger {
    /// It is one of our nodes, and another one; or it is none at all.
    #[error("its certificate is not that of node {expected}: it names {}", names(named))]
    Another {
        /// Who is meant.
        expected: NodeId,
        /// Who it is.
        named: Vec<NodeId>,
    },
    /// It says that it is the node, and we cannot believe it.
    #[error("it says that it is node {node}, but {why}")]
    Doubtful {
        /// Who it says it is.
        node: NodeId,
        /// Why it is not believed.
        why: String,
    },
}

fn names(named: &[NodeId]) -> String {
    if named.is_empty() { "no node".into() } else { named.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ") }
}

impl From<Stranger> for Error {
    fn from(stranger: Stranger) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(stranger))))
    }
}

/// What went wrong with a handshake, if it was that somebody else is there.
pub(in crate::routing) fn stranger(error: &Error) -> Option<&Stranger> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

/// Lets a handshake go on with one node only.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) expected: NodeId,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (expected, named) = (self.expected.clone(), nodes_named_by(certificate));
        if !named.contains(&expected) {
            return Err(Stranger::Another { expected, named }.into());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        match verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, self.algorithms.all) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => {
                let why = why(&error).unwrap_or_default();
                Err(Stranger::Doubtful { node: expected, why }.into())
            }
        }
    }

    /// Never asked for: only TLS 1.3 is spoken.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
