//! One connection reset at one step of one publish. All else goes through as it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::frames::{BASIC_ACK, Frame, Part, Publishes};
use super::{Onward, Tamper};

/// Where in a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::chaos) enum Step {
    /// The broker got nothing of it.
    BeforePublish,
    /// The broker got a part of its bytes.
    InPublish,
    /// The broker was sent all of it.
    AfterPublish,
    /// The broker confirmed it, and the node got nothing of the confirm.
    BeforeConfirm,
    /// The node got a part of the confirm.
    InConfirm,
    /// The node was sent all of the confirm.
    AfterConfirm,
}

impl Step {
    const ALL: [Self; 6] =
        [Self::BeforePublish, Self::InPublish, Self::AfterPublish, Self::BeforeConfirm, Self::InConfirm, Self::AfterConfirm];

    /// The step of a seed: six seeds in a row have all of them.
    pub(in crate::chaos) fn of(seed: u64) -> Self {
        Self::ALL[(seed % Self::ALL.len() as u64) as usize]
    }

    /// The words for reports.
    pub(in crate::chaos) const fn words(self) -> &'static str {
        match self {
            Self::BeforePublish => "resets before a publish",
            Self::InPublish => "resets inside a publish",
            Self::AfterPublish => "resets after a publish",
            Self::BeforeConfirm => "resets before its confirm",
            Self::InConfirm => "resets inside its confirm",
            Self::AfterConfirm => "resets after its confirm",
        }
    }
}

/// Which publish, and where in it.
#[derive(Clone, Copy, Debug)]
pub(in crate::chaos) struct Reset {
    /// Where.
    pub(in crate::chaos) step: Step,
    /// How many publishes go through before it.
    pub(in crate::chaos) skip: u32,
    /// How much of a publish or confirm goes through that is cut: from 0 up to, but not, 1. At least a byte does, and never all.
    pub(in crate::chaos) share: f64,
}

impl Reset {
    fn part(&self, bytes: &[u8]) -> Vec<u8> {
        let most = bytes.len().saturating_sub(1);
        bytes[..((self.share * most as f64) as usize + 1).min(most)].to_vec()
    }
}

/// A reset that is to come, and who wants to know when it did.
#[derive(Debug)]
struct Armed {
    reset: Reset,
    done: oneshot::Sender<Instant>,
}

impl Armed {
    fn cut(self, after: Vec<u8>) -> Onward {
        // Whoever waited may have given up: the connection is reset all the same.
        let _ = self.done.send(Instant::now());
        Onward::ThenReset(after)
    }
}

/// The next reset of a proxy, whichever connection it comes to.
#[derive(Debug, Default)]
pub(super) struct Trigger(Mutex<Option<Armed>>);

impl Trigger {
    /// Resets once, and resolves when that is done.
    pub(super) fn arm(&self, reset: Reset) -> oneshot::Receiver<Instant> {
        let (done, when) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Armed { reset, done });
        when
    }

    /// What this publish is for.
    fn publish(&self) -> Option<Armed> {
        let mut armed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = armed.as_mut().filter(|armed| armed.reset.skip > 0) {
            next.reset.skip -= 1;
            return None;
        }
        armed.take()
    }
}

#[derive(Debug)]
pub(super) struct Resetting {
    trigger: Arc<Trigger>,
    publishes: Publishes,
    /// The channel whose next confirm it is.
    confirming: Option<(u16, Armed)>,
}

impl Resetting {
    pub(super) fn new(trigger: Arc<Trigger>) -> Self {
        Self { trigger, publishes: Publishes::default(), confirming: None }
    }
}

impl Tamper for Resetting {
    fn asked(&mut self, frame: Frame) -> Onward {
        let (channel, bytes) = match self.publishes.take(frame) {
            Part::Other(frame) => return Onward::Bytes(frame.into_bytes()),
            Part::Some => return Onward::Bytes(Vec::new()),
            Part::Whole(channel, bytes) => (channel, bytes),
        };
        let Some(armed) = self.trigger.publish() else { return Onward::Bytes(bytes) };
        match armed.reset.step {
            Step::BeforePublish => armed.cut(Vec::new()),
            Step::InPublish => {
                let part = armed.reset.part(&bytes);
                armed.cut(part)
            }
            Step::AfterPublish => armed.cut(bytes),
            Step::BeforeConfirm | Step::InConfirm | Step::AfterConfirm => {
                self.confirming = Some((channel, armed));
                Onward::Bytes(bytes)
            }
        }
    }

    fn answered(&mut self, frame: Frame) -> Onward {
        // A partition has one batch in flight, and a channel of its own: the next confirm is that publish's.
        let its = |(channel, _): &mut (u16, Armed)| *channel == frame.channel() && frame.method() == Some(BASIC_ACK);
        let Some((_, armed)) = self.confirming.take_if(its) else { return Onward::Bytes(frame.into_bytes()) };
        let bytes = frame.into_bytes();
        let after = match armed.reset.step {
            Step::InConfirm => armed.reset.part(&bytes),
            Step::AfterConfirm => bytes,
            Step::BeforePublish | Step::InPublish | Step::AfterPublish | Step::BeforeConfirm => Vec::new(),
        };
        armed.cut(after)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::frames::publish;
    use super::*;

    /// What goes on of two publishes and their confirms, of which the second is hit: to the broker, and to the node.
    fn onward(step: Step, share: f64) -> (Vec<Onward>, Vec<Onward>) {
        let trigger = Arc::new(Trigger::default());
        let done = trigger.arm(Reset { step, skip: 1, share });
        let mut resetting = Resetting::new(trigger);
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for tag in 1..=2 {
            for frame in publish(7, &[b"abc"]) {
                asked.push(resetting.asked(frame));
            }
            answered.push(resetting.answered(Frame::confirm(8, BASIC_ACK, tag)));
            answered.push(resetting.answered(Frame::confirm(7, BASIC_ACK, tag)));
        }
        assert!(done.now_or_never().unwrap().is_ok());
        (asked.split_off(5), answered.split_off(3))
    }

    fn whole() -> Vec<u8> {
        publish(7, &[b"abc"]).into_iter().flat_map(Frame::into_bytes).collect()
    }

    fn ack() -> Vec<u8> {
        Frame::confirm(7, BASIC_ACK, 2).into_bytes()
    }

    #[test]
    fn of_a_publish_as_much_goes_on_as_the_step_says() {
        assert_eq!(onward(Step::BeforePublish, 0.5).0, [Onward::ThenReset(vec![])]);
        assert_eq!(onward(Step::InPublish, 0.0).0, [Onward::ThenReset(whole()[..1].to_vec())]);
        let all_but_one = whole().len() - 1;
        assert_eq!(onward(Step::InPublish, 0.9999).0, [Onward::ThenReset(whole()[..all_but_one].to_vec())]);
        assert_eq!(onward(Step::AfterPublish, 0.5).0, [Onward::ThenReset(whole())]);
    }

    #[test]
    fn of_a_confirm_as_much_goes_on_as_the_step_says() {
        assert_eq!(onward(Step::BeforeConfirm, 0.5), (vec![Onward::Bytes(whole())], vec![Onward::ThenReset(vec![])]));
        assert_eq!(onward(Step::InConfirm, 0.0).1, [Onward::ThenReset(ack()[..1].to_vec())]);
        assert_eq!(onward(Step::AfterConfirm, 0.0).1, [Onward::ThenReset(ack())]);
    }

    #[test]
    fn six_seeds_in_a_row_have_all_steps() {
        for first in [0, 17, u64::MAX - 20] {
            let steps: Vec<Step> = (first..first + 6).map(Step::of).collect();
            assert!(Step::ALL.iter().all(|step| steps.contains(step)), "{steps:?}");
        }
    }
}
