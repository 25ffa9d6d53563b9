//! The name of a node in a certificate: a URI among the subject's alternative names. Compared byte by byte: a DNS name would make one of
//! `A` and `a`, and has no underscore.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::domain::NodeId;

/// What the names of nodes begin with.
const PREFIX: &str = "doorbuster://node/";

/// The name of a node in its certificate.
#[must_use]
pub fn uri_of(node: &NodeId) -> String {
    format!("{PREFIX}{node}")
}

/// The nodes that a certificate names, whoever has signed it; none for what is no certificate.
#[must_use]
pub fn nodes_named_by(certificate: &CertificateDer<'_>) -> Vec<NodeId> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    certificate.valid_uri_names().filter_map(|uri| uri.strip_prefix(PREFIX)?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Authority, Validity};

    #[test]
    fn a_certificate_names_its_node_letter_by_letter() {
        let authority = Authority::new("a test", Validity::ANY_TIME);
        for id in ["spike-1", "Spike_1", "a.b", "x".repeat(64).as_str()] {
            let node: NodeId = id.parse().unwrap();
            let issued = authority.issue(&node, &[], Validity::ANY_TIME).unwrap();
            assert_eq!(nodes_named_by(&issued.certificate), [node]);
        }
        assert_eq!(nodes_named_by(&authority.certificate()), [], "an authority is no node");
        assert_eq!(nodes_named_by(&CertificateDer::from(vec![0x30, 0x00])), []);
    }
}
