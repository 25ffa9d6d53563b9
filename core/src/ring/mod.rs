//! Which partition a commodity belongs to, and which node should own it. Pure; never uses `std::hash::Hash`, whose bytes
//! Rust does not promise, for anything that must come out the same everywhere (R8).

mod placement;

pub use placement::Placement;

use crate::domain::{CommodityId, PartitionId, Partitions};

/// The 64-bit hash everything stable rests on: XXH3 with seed 0.
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// The partition of a commodity: the stable hash of its id (8 bytes, big-endian) modulo the partitions.
#[must_use]
pub fn partition_of(commodity: CommodityId, partitions: Partitions) -> PartitionId {
    let index = stable_hash(&commodity.get().to_be_bytes()) % u64::from(partitions.get());
    PartitionId::new(index as u16).expect("a remainder of at most 4096 is below it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stable_hash_is_xxh3_with_seed_0() {
        // The values of the reference implementation.
        assert_eq!((stable_hash(b""), stable_hash(b"a")), (0x2D06_8005_38D3_94C2, 0xE6C6_32B6_1E96_4E1F));
    }

    #[test]
    fn the_partitions_of_the_first_commodities_are_pinned() {
        let found: Vec<u16> = (1..=8).map(|id| partition_of(CommodityId::new(id).unwrap(), Partitions::DEFAULT).get()).collect();
        assert_eq!(found, [3, 12, 13, 14, 6, 2, 12, 2]);
    }
}
