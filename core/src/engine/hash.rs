//! Hashes of the engine's own tables. They live in memory only and may change with any release; never written anywhere.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Any odd-looking constant: it only keeps these hashes apart from the stable ones.
const SEED: u64 = 0xD00B_0057_E2F1_A54E;

/// Neighbours that share a place in a table: numbers that differ in these bits alone.
const NEIGHBOURS: u64 = 0b1111;

/// For numbers the engine or the database gave: nobody outside chooses them.
///
/// Orders are numbered one after the other, so sixteen neighbours are kept side by side (low bits, which choose the place
/// in a table) and still told apart by their tags (high bits): one cache line serves sixteen placements.
pub(super) const fn of_number(number: u64) -> u64 {
    let place = mixed(number & !NEIGHBOURS) & !NEIGHBOURS | number & NEIGHBOURS;
    place & (u64::MAX >> 8) | mixed(number) & !(u64::MAX >> 8)
}

const fn mixed(number: u64) -> u64 {
    let product = (number ^ SEED).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ (product >> 32)
}

/// For bytes a client may have chosen, such as user ids of a foreign token issuer.
pub(super) fn of_bytes(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, SEED)
}
