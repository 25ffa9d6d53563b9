//! AMQP 0-9-1 as far as a proxy needs it: frames, and which of them together are one publish. Never decodes a message.

use std::collections::BTreeMap;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Type, channel and size come before the payload, one octet after it.
const HEAD: usize = 7;
/// More than any broker agrees to.
const PAYLOAD_MAX: usize = 16 << 20;
/// The type of a frame that holds a method.
const METHOD: u8 = 1;

/// A method, as class and number.
pub(super) type Method = (u16, u16);
pub(super) const QUEUE_DECLARE: Method = (50, 10);
pub(super) const BASIC_PUBLISH: Method = (60, 40);
pub(super) const BASIC_ACK: Method = (60, 80);
pub(super) const BASIC_NACK: Method = (60, 120);
pub(super) const CONFIRM_SELECT: Method = (85, 10);

/// A whole frame, as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    /// Reads the next one.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Self> {
        let mut bytes = vec![0; HEAD];
        from.read_exact(&mut bytes).await?;
        let size = u32::from_be_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]) as usize;
        if size > PAYLOAD_MAX {
            return Err(std::io::Error::other("no AMQP frame"));
        }
        bytes.resize(HEAD + size + 1, 0);
        from.read_exact(&mut bytes[HEAD..]).await?;
        Ok(Self(bytes))
    }

    /// The broker's word on a publish.
    pub(super) fn confirm(channel: u16, method: Method, tag: u64) -> Self {
        let mut payload = Vec::new();
        payload.extend_from_slice(&method.0.to_be_bytes());
        payload.extend_from_slice(&method.1.to_be_bytes());
        payload.extend_from_slice(&tag.to_be_bytes());
        // Not for several at once.
        payload.push(0);
        Self::new(METHOD, channel, &payload)
    }

    fn new(kind: u8, channel: u16, payload: &[u8]) -> Self {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&channel.to_be_bytes());
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes.push(0xCE);
        Self(bytes)
    }

    pub(super) fn channel(&self) -> u16 {
        u16::from_be_bytes([self.0[1], self.0[2]])
    }

    /// Which method it is, if it is one.
    pub(super) fn method(&self) -> Option<Method> {
        let payload = self.payload();
        (self.0[0] == METHOD && payload.len() >= 4)
            .then(|| (u16::from_be_bytes([payload[0], payload[1]]), u16::from_be_bytes([payload[2], payload[3]])))
    }

    /// What an ack or a nack is about: the tag, and whether all before it are meant too.
    pub(super) fn confirmed(&self) -> Option<(u64, bool)> {
        let fields = self.payload().get(4..13)?;
        let (tag, multiple) = fields.split_first_chunk()?;
        Some((u64::from_be_bytes(*tag), multiple[0] & 1 == 1))
    }

    /// The name of the queue that a declaration is about.
    pub(super) fn declared_queue(&self) -> Option<String> {
        // Class, method and a reserved number come before it.
        let (length, rest) = self.payload().get(6..)?.split_first()?;
        String::from_utf8(rest.get(..usize::from(*length))?.to_vec()).ok()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn payload(&self) -> &[u8] {
        &self.0[HEAD..self.0.len() - 1]
    }

    /// How long the body is that a header frame announces.
    fn body_size(&self) -> Option<u64> {
        Some(u64::from_be_bytes(*self.payload().get(4..)?.first_chunk()?))
    }
}

/// Puts the frames of each publish together; those of other channels may come between them.
#[derive(Debug, Default)]
pub(super) struct Publishes(BTreeMap<u16, Open>);

/// A publish whose end has not come.
#[derive(Debug)]
struct Open {
    bytes: Vec<u8>,
    /// None before the header.
    body_left: Option<u64>,
}

/// What a frame is to publishes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Nothing.
    Other(Frame),
    /// A part of one that is not whole yet.
    Some,
    /// The end of one: its channel and all of its frames.
    Whole(u16, Vec<u8>),
}

impl Publishes {
    /// Takes the next frame.
    pub(super) fn take(&mut self, frame: Frame) -> Part {
        let channel = frame.channel();
        if frame.method() == Some(BASIC_PUBLISH) {
            self.0.insert(channel, Open { bytes: frame.into_bytes(), body_left: None });
            return Part::Some;
        }
        let Some(open) = self.0.get_mut(&channel) else { return Part::Other(frame) };
        let left = match open.body_left {
            None => frame.body_size().unwrap_or(0),
            Some(left) => left.saturating_sub(frame.payload().len() as u64),
        };
        open.body_left = Some(left);
        open.bytes.extend(frame.into_bytes());
        if left > 0 {
            return Part::Some;
        }
        self.0.remove(&channel).map_or(Part::Some, |open| Part::Whole(channel, open.bytes))
    }
}

#[cfg(test)]
impl Frame {
    /// The frame of these bytes.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// The declaration of a queue, as a node would send it.
#[cfg(test)]
pub(super) fn declare(channel: u16, queue: &str) -> Frame {
    let mut payload = vec![0, 50, 0, 10, 0, 0, queue.len() as u8];
    payload.extend_from_slice(queue.as_bytes());
    payload.extend_from_slice(&[0, 0, 0, 0, 0]);
    Frame::new(METHOD, channel, &payload)
}

/// The frames of a publish, as a node would send them.
#[cfg(test)]
pub(super) fn publish(channel: u16, bodies: &[&[u8]]) -> Vec<Frame> {
    let size: usize = bodies.iter().map(|body| body.len()).sum();
    let mut header = vec![0, 60, 0, 0];
    header.extend_from_slice(&(size as u64).to_be_bytes());
    header.extend_from_slice(&[0, 0]);
    let mut frames = vec![Frame::new(METHOD, channel, &[0, 60, 0, 40, 0, 0]), Frame::new(2, channel, &header)];
    frames.extend(bodies.iter().map(|body| Frame::new(3, channel, body)));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_one_by_one() {
        let frames = publish(7, &[b"abc"]);
        let bytes: Vec<u8> = frames.into_iter().flat_map(Frame::into_bytes).collect();
        let mut rest = bytes.as_slice();
        let first = Frame::read(&mut rest).await.unwrap();
        assert_eq!((first.channel(), first.method()), (7, Some(BASIC_PUBLISH)));
        assert_eq!(Frame::read(&mut rest).await.unwrap().method(), None);
        assert_eq!(Frame::read(&mut rest).await.unwrap().payload(), b"abc");
        assert!(Frame::read(&mut rest).await.is_err());
    }

    #[test]
    fn a_publish_is_whole_with_the_last_byte_of_its_body() {
        let mut publishes = Publishes::default();
        let mut parts: Vec<Part> = publish(7, &[b"ab", b"c"]).into_iter().map(|frame| publishes.take(frame)).collect();
        let bytes: Vec<u8> = publish(7, &[b"ab", b"c"]).into_iter().flat_map(Frame::into_bytes).collect();
        assert_eq!(parts.pop(), Some(Part::Whole(7, bytes)));
        assert_eq!(parts, [Part::Some, Part::Some, Part::Some]);
    }

    #[test]
    fn a_publish_without_a_body_is_whole_with_its_header_and_other_channels_are_not_its_business() {
        let mut publishes = Publishes::default();
        let mut frames = publish(7, &[]).into_iter();
        assert_eq!(publishes.take(frames.next().unwrap()), Part::Some);
        assert!(matches!(publishes.take(Frame::confirm(8, BASIC_ACK, 1)), Part::Other(_)));
        assert!(matches!(publishes.take(frames.next().unwrap()), Part::Whole(7, _)));
        assert!(matches!(publishes.take(Frame::confirm(7, BASIC_ACK, 1)), Part::Other(_)));
    }
}
