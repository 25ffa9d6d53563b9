//! Frames in a stream of bytes: four bytes of length, then postcard. Never reads more than a frame may have.

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::FRAME_BYTES_MAX;

/// The other end sent what no node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer answers garbage")]
pub(super) struct Garbage;

/// A value as a frame.
pub(super) fn frame(value: &impl Serialize) -> Bytes {
    let bytes = postcard::to_extend(value, vec![0; 4]).expect("nothing on the wire has a type that postcard cannot write");
    let mut bytes: Vec<u8> = bytes;
    let length = u32::try_from(bytes.len() - 4).expect("a frame is far below 4 GiB");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes.into()
}

/// Puts frames together from the pieces in which they arrive.
#[derive(Default)]
pub(super) struct Frames {
    pieces: BytesMut,
}

impl Frames {
    /// Adds a piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.pieces.extend_from_slice(piece);
    }

    /// Takes the next whole frame; none if it has not all arrived.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Garbage> {
        let Some(length) = self.pieces.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Garbage);
        }
        if self.pieces.len() < 4 + length {
            return Ok(None);
        }
        self.pieces.advance(4);
        match postcard::take_from_bytes(&self.pieces.split_to(length)) {
            Ok((value, [])) => Ok(Some(value)),
            _ => Err(Garbage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_arrives_in_whatever_pieces() {
        let mut frames = Frames::default();
        let bytes = [frame(&"one"), frame(&"two")].concat();
        let mut found: Vec<String> = Vec::new();
        for byte in bytes {
            frames.push(&[byte]);
            found.extend(frames.next::<String>().unwrap());
        }
        assert_eq!(found, ["one", "two"]);
    }

    #[test]
    fn what_is_no_frame_is_garbage() {
        let next = |bytes: &[u8]| {
            let mut frames = Frames::default();
            frames.push(bytes);
            frames.next::<String>()
        };
        assert_eq!(next(b"HTTP/1.1 200 OK"), Err(Garbage), "a length beyond the bound");
        assert_eq!(next(&[3, 0, 0, 0, 9, b'a', b'b']), Err(Garbage), "a text longer than its frame");
        assert_eq!(next(&[3, 0, 0, 0, 1, b'a', b'b']), Err(Garbage), "a byte too many");
        assert_eq!(next(&[3, 0, 0]), Ok(None));
    }
}
