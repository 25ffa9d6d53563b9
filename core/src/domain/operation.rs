//! A change that somebody asked for under a key, and may ask for again. Never remembers anything.

use sha2::{Digest, Sha256};

use super::{CommodityId, OrderId, RequestFingerprint};

/// Whose key, for which call: the first 128 bits of a SHA-256. Two of them meet only by a collision, and whoever looks for one finds it
/// among keys of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationKey([u8; 16]);

impl OperationKey {
    /// The key that `who` gave for a call of that path.
    #[must_use]
    pub fn of(who: &str, path: &str, key: &str) -> Self {
        let mut digest = Sha256::new();
        // Each behind its length: no two triples have the same bytes.
        for part in [who, path, key] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        let digest = digest.finalize();
        let (first, _) = digest.split_first_chunk::<16>().expect("a SHA-256 digest has 32 bytes");
        Self(*first)
    }

    /// The bits, as the database keeps them.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The key with those bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// A change that was asked for under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Whose key, for which call.
    pub key: OperationKey,
    /// What the request asked for: a key that comes again must bring the same.
    pub fingerprint: RequestFingerprint,
}

/// What was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A commodity.
    Commodity(CommodityId),
    /// An order.
    Order(OrderId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_owners_and_its_paths_alone() {
        let keys =
            [("1", "/a", "k"), ("2", "/a", "k"), ("1", "/b", "k"), ("1", "/a", "l"), ("1/", "a", "k"), ("1", "/ak", ""), ("", "1/a", "k")]
                .map(|(who, path, key)| OperationKey::of(who, path, key));
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key));
        }
        assert_eq!(u128::from_be_bytes(keys[0].to_bytes()), 0x789e_da70_f76f_ceda_740c_52ad_129a_5b2f, "the same in every release");
        assert_eq!(OperationKey::from_bytes(keys[0].to_bytes()), keys[0]);
    }
}
