//! The proof that the release before wants with each request. It is the same each time: whoever has seen it may use it, so it is made and
//! believed only while nodes of that release are let in (`release.peer_plain`).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::NodeId;

/// An HMAC-SHA256 over who sends a request and whom it is for.
#[derive(Clone)]
pub(in crate::routing) struct Proof {
    keyed: Hmac<Sha256>,
}

impl Proof {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self { keyed: Hmac::new_from_slice(secret).expect("an HMAC takes keys of any length") }
    }

    /// The proof that `from` may ask `to`, in hexadecimal.
    pub(in crate::routing) fn of(&self, from: &NodeId, to: &NodeId) -> String {
        base16ct::lower::encode_string(&self.over(from, to).finalize().into_bytes())
    }

    /// Whether a proof is right. Takes as long for a wrong one.
    pub(in crate::routing) fn accepts(&self, from: &NodeId, to: &NodeId, proof: &str) -> bool {
        base16ct::mixed::decode_vec(proof).is_ok_and(|proof| self.over(from, to).verify_slice(&proof).is_ok())
    }

    fn over(&self, from: &NodeId, to: &NodeId) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        // Ids have no line breaks: no two pairs give the same text.
        mac.update(format!("doorbuster peer link 1\n{from}\n{to}").as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_good_for_one_pair_of_nodes_and_one_secret() {
        let (a, b): (NodeId, NodeId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let ours = Proof::new(b"0123456789abcdef0123456789abcdef");
        let proof = ours.of(&a, &b);
        assert!(ours.accepts(&a, &b, &proof));
        assert!(!ours.accepts(&b, &a, &proof));
        assert!(!ours.accepts(&a, &a, &proof));
        assert!(!Proof::new(b"another secret of at least 32 bytes").accepts(&a, &b, &proof));
        for wrong in ["", "zz", &proof[1..], &format!("{proof}00"), &proof.replace('1', "2").replace('0', "3")] {
            assert!(!ours.accepts(&a, &b, wrong), "{wrong:?}");
        }
    }
}
