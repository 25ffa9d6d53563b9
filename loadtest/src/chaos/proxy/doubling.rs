//! Every message published twice on its channel, one copy behind the other, with the node none the wiser: of the broker's two
//! confirms it gets one, under the number it counts with.

use std::collections::{BTreeMap, BTreeSet};

use super::frames::{BASIC_ACK, BASIC_NACK, CONFIRM_SELECT, Frame, Part, Publishes};
use super::{Onward, Tamper};

#[derive(Debug, Default)]
pub(super) struct Doubling {
    publishes: Publishes,
    channels: BTreeMap<u16, Channel>,
}

/// What a node waits for on a channel.
#[derive(Debug, Default)]
struct Channel {
    /// How often it has published.
    published: u64,
    /// Which of that are not confirmed to it.
    waiting: BTreeSet<u64>,
}

impl Tamper for Doubling {
    fn asked(&mut self, frame: Frame) -> Onward {
        if frame.method() == Some(CONFIRM_SELECT) {
            // The broker counts from here.
            self.channels.insert(frame.channel(), Channel::default());
        }
        Onward::Bytes(match self.publishes.take(frame) {
            Part::Other(frame) => frame.into_bytes(),
            Part::Some => Vec::new(),
            Part::Whole(channel, bytes) => {
                let channel = self.channels.entry(channel).or_default();
                channel.published += 1;
                channel.waiting.insert(channel.published);
                bytes.repeat(2)
            }
        })
    }

    fn answered(&mut self, frame: Frame) -> Onward {
        let method = frame.method().filter(|method| [BASIC_ACK, BASIC_NACK].contains(method));
        let (Some(method), Some((tag, multiple))) = (method, frame.confirmed()) else { return Onward::Bytes(frame.into_bytes()) };
        let number = frame.channel();
        let Some(channel) = self.channels.get_mut(&number) else { return Onward::Bytes(frame.into_bytes()) };
        // The broker's word on the first copy counts; when it speaks of the second, nobody waits any more.
        let last = tag.div_ceil(2);
        let first = if multiple { 0 } else { last };
        let settled: Vec<u64> = channel.waiting.range(first..=last).copied().collect();
        channel.waiting.retain(|waiting| !settled.contains(waiting));
        Onward::Bytes(settled.into_iter().flat_map(|tag| Frame::confirm(number, method, tag).into_bytes()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::publish;
    use super::*;

    fn published(times: u64) -> Doubling {
        let mut doubling = Doubling::default();
        for _ in 0..times {
            publish(7, &[b"abc"]).into_iter().for_each(|frame| drop(doubling.asked(frame)));
        }
        doubling
    }

    fn acks(tags: &[u64]) -> Onward {
        Onward::Bytes(tags.iter().flat_map(|tag| Frame::confirm(7, BASIC_ACK, *tag).into_bytes()).collect())
    }

    #[test]
    fn a_publish_goes_on_twice_when_it_is_whole() {
        let mut doubling = Doubling::default();
        let onward: Vec<Onward> = publish(7, &[b"abc"]).into_iter().map(|frame| doubling.asked(frame)).collect();
        let whole: Vec<u8> = publish(7, &[b"abc"]).into_iter().flat_map(Frame::into_bytes).collect();
        assert_eq!(onward, [Onward::Bytes(vec![]), Onward::Bytes(vec![]), Onward::Bytes(whole.repeat(2))]);
    }

    #[test]
    fn of_two_confirms_the_node_gets_one_under_its_own_number() {
        let mut doubling = published(3);
        assert_eq!(doubling.answered(Frame::confirm(7, BASIC_ACK, 1)), acks(&[1]));
        assert_eq!(doubling.answered(Frame::confirm(7, BASIC_ACK, 2)), acks(&[]));
        assert_eq!(doubling.answered(Frame::confirm(7, BASIC_ACK, 6)), acks(&[3]));
        assert_eq!(doubling.answered(Frame::confirm(7, BASIC_ACK, 3)), acks(&[2]));
    }

    #[test]
    fn a_confirm_for_several_becomes_one_for_each_that_is_waited_for() {
        let mut doubling = published(3);
        let mut several = Frame::confirm(7, BASIC_ACK, 5).into_bytes();
        let multiple = several.len() - 2;
        several[multiple] = 1;
        drop(doubling.answered(Frame::confirm(7, BASIC_ACK, 1)));
        assert_eq!(doubling.answered(Frame::of(several)), acks(&[2, 3]));
    }

    #[test]
    fn a_channel_that_is_opened_again_counts_anew() {
        let mut doubling = published(3);
        drop(doubling.asked(Frame::confirm(7, CONFIRM_SELECT, 0)));
        publish(7, &[b"abc"]).into_iter().for_each(|frame| drop(doubling.asked(frame)));
        assert_eq!(doubling.answered(Frame::confirm(7, BASIC_ACK, 1)), acks(&[1]));
    }
}
