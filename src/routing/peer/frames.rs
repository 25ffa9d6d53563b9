//! Frames in a stream of bytes: four bytes of length, then that many of a message. Never reads more than a frame may have.

use bytes::{Buf, Bytes, BytesMut};

use super::wire::{FRAME_BYTES_MAX, Garbage};

/// A frame of what is appended to it.
pub(super) fn frame(write: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Bytes {
    let mut bytes = write(vec![0; 4]);
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

    /// Takes what is in the next whole frame; none if it has not all arrived.
    pub(super) fn next(&mut self) -> Result<Option<BytesMut>, Garbage> {
        let Some(length) = self.pieces.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Garbage);
        }
        if self.pieces.len() < 4 + length {
            return Ok(None);
        }
        self.pieces.advance(4);
        Ok(Some(self.pieces.split_to(length)))
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
