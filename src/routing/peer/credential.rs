//! What lets nodes talk to each other: a shared secret that never travels, never is logged and is compared in constant time.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::domain::NodeId;

/// The shortest internal secret, in bytes.
const SECRET_BYTES_MIN: usize = 32;

/// The internal secret cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the internal secret has {0} bytes and needs at least {SECRET_BYTES_MIN}: set DOORBUSTER__AUTH__INTERNAL_SECRET to a longer random text"
)]
pub struct SecretTooShort(usize);

/// Proves to other nodes that this one belongs to them.
///
/// The proof of a request is an HMAC-SHA256 over who sends it and whom it is for: what one node has seen is of no use
/// with another, and nothing on the wire tells the secret. (It does not hide what travels: see the docs on networks.)
#[derive(Clone)]
pub struct Credential {
    keyed: Hmac<Sha256>,
}

impl Credential {
    /// Takes the shared secret.
    ///
    /// # Errors
    /// [`SecretTooShort`] below 32 bytes.
    pub fn new(secret: &SecretString) -> Result<Self, SecretTooShort> {
        let bytes = secret.expose_secret().as_bytes();
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(SecretTooShort(bytes.len()));
        }
        Ok(Self { keyed: Hmac::new_from_slice(bytes).expect("an HMAC takes keys of any length") })
    }

    /// The proof that `from` may ask `to`, in hexadecimal.
    pub(in crate::routing) fn proof(&self, from: &NodeId, to: &NodeId) -> String {
        self.over(from, to).finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a proof is right. Takes as long for a wrong one.
    pub(super) fn accepts(&self, from: &NodeId, to: &NodeId, proof: &str) -> bool {
        unhex(proof).is_some_and(|proof| self.over(from, to).verify_slice(&proof).is_ok())
    }

    fn over(&self, from: &NodeId, to: &NodeId) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        // Ids have no line breaks: no two pairs give the same text.
        mac.update(format!("doorbuster peer link 1\n{from}\n{to}").as_bytes());
        mac
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(..)")
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(secret: &str) -> Credential {
        Credential::new(&secret.to_owned().into()).unwrap()
    }

    #[test]
    fn a_proof_is_good_for_one_pair_of_nodes_and_one_secret() {
        let (a, b): (NodeId, NodeId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let ours = credential("0123456789abcdef0123456789abcdef");
        let proof = ours.proof(&a, &b);
        assert!(ours.accepts(&a, &b, &proof));
        assert!(!ours.accepts(&b, &a, &proof));
        assert!(!ours.accepts(&a, &a, &proof));
        assert!(!credential("another secret of at least 32 bytes").accepts(&a, &b, &proof));
        for wrong in ["", "zz", &proof[1..], &format!("{proof}00"), &proof.replace('1', "2").replace('0', "3")] {
            assert!(!ours.accepts(&a, &b, wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert_eq!(Credential::new(&"short".to_owned().into()).err(), Some(SecretTooShort(5)));
    }
}
