//! Frames in a stream of bytes: four bytes of length, then that many of a message. Never reads more than a frame may have.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use super::wire::{FRAME_BYTES_MAX, Garbage};

/// A frame of what is appended to it: written in place, where the codec would copy all of it behind its length.
pub(super) fn frame(write: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Bytes {
    let mut bytes = write(vec![0; 4]);
    let length = u32::try_from(bytes.len() - 4).expect("a frame is far below 4 GiB");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes.into()
}

/// Puts frames together from the pieces in which they arrive.
pub(super) struct Frames {
    codec: LengthDelimitedCodec,
    pieces: BytesMut,
}

impl Default for Frames {
    fn default() -> Self {
        let codec = LengthDelimitedCodec::builder().little_endian().max_frame_length(FRAME_BYTES_MAX).new_codec();
        Self { codec, pieces: BytesMut::new() }
    }
}

impl Frames {
    /// Adds a piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.pieces.extend_from_slice(piece);
    }

    /// Takes what is in the next whole frame; none if it has not all arrived.
    pub(super) fn next(&mut self) -> Result<Option<BytesMut>, Garbage> {
        self.codec.decode(&mut self.pieces).map_err(|_| Garbage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_arrives_in_whatever_pieces() {
        let mut frames = Frames::default();
        let of = |text: &str| frame(|out| [&out[..], text.as_bytes()].concat());
        let mut found: Vec<Vec<u8>> = Vec::new();
        for byte in [of("one"), of(""), of("two")].concat() {
            frames.push(&[byte]);
            found.extend(frames.next().unwrap().map(|frame| frame.to_vec()));
        }
        assert_eq!(found, [b"one".to_vec(), Vec::new(), b"two".to_vec()]);
    }

    #[test]
    fn what_is_no_frame_is_garbage() {
        let next = |bytes: &[u8]| {
            let mut frames = Frames::default();
            frames.push(bytes);
            frames.next()
        };
        assert_eq!(next(b"HTTP/1.1 200 OK"), Err(Garbage), "a length beyond the bound");
        assert_eq!(next(&[3, 0, 0]), Ok(None));
    }
}
