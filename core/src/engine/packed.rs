//! Numbers kept in just the bytes that their ranges need, which keeps records small and without padding.

/// The low bytes of a number that fits them.
pub(super) fn pack<const N: usize>(value: u64) -> [u8; N] {
    let bytes = value.to_le_bytes();
    debug_assert!(bytes[N..].iter().all(|byte| *byte == 0), "{value} needs more than {N} bytes");
    std::array::from_fn(|index| bytes[index])
}

/// The number that was packed.
pub(super) fn unpack<const N: usize>(packed: [u8; N]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..N].copy_from_slice(&packed);
    u64::from_le_bytes(bytes)
}
