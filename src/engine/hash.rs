//! Hashes of the engine's own tables. They live in memory only and may change with any release; never written anywhere.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Any odd-looking constant: it only keeps these hashes apart from the stable ones.
const SEED: u64 = 0xD00B_0057_E2F1_A54E;

/// For numbers the engine or the database gave: nobody outside chooses them.
pub(super) const fn of_number(number: u64) -> u64 {
    let mixed = (number ^ SEED).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

/// For bytes a client may have chosen, such as user ids of a foreign token issuer.
pub(super) fn of_bytes(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, SEED)
}
