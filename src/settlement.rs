//! What is to be done about a payment, from how the tables have it and how its provider has it. Pure: whoever asks has just looked, and looks
//! again before anything is repeated. So it can be asked from any point, by anybody, any number of times.

use crate::breaks::{self, Break};
use crate::domain::{PaymentEnd, PaymentStatus, Taken};

/// How a payment stands at its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The provider does not know it, or nobody knows by what name it does.
    Missing,
    /// The buyer may pay.
    Open,
    /// It can't be called off, and has not succeeded.
    Processing,
    /// The money is set aside.
    Authorized,
    /// The money is taken.
    Captured,
    /// The money was taken, and all of it went back.
    Refunded,
    /// It came to nothing.
    Failed,
    /// It was called off, or let go.
    Cancelled,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, now or later.
    Done,
    /// Nothing now: look again later.
    Wait,
    /// Make it once more under the same key, so that it can be called off.
    Create,
    /// Call it off at the provider.
    Cancel,
    /// Take what is set aside.
    Capture,
    /// Let go what is set aside.
    Void,
    /// Give back what was taken.
    Refund,
    /// Tell the engine that the money is there.
    Succeeded(Taken),
    /// Tell the engine that there is none and never will be.
    Ended(PaymentEnd),
}

/// The next step for a payment of that status in the tables, whose time is over or not.
#[must_use]
pub fn next(status: PaymentStatus, is_over: bool, seen: Seen) -> Step {
    match status {
        PaymentStatus::Open | PaymentStatus::Processing => match seen {
            Seen::Missing if is_over => Step::Create,
            Seen::Open if is_over => Step::Cancel,
            Seen::Missing | Seen::Open | Seen::Processing => Step::Wait,
            Seen::Authorized => Step::Succeeded(Taken::Authorized),
            Seen::Captured => Step::Succeeded(Taken::Captured),
            Seen::Refunded | Seen::Failed | Seen::Cancelled => ended(seen),
        },
        PaymentStatus::Authorized => match seen {
            Seen::Authorized => Step::Capture,
            Seen::Captured => Step::Done,
            // It had been set aside: what else is said is late.
            Seen::Missing | Seen::Open | Seen::Processing => Step::Wait,
            Seen::Refunded | Seen::Failed | Seen::Cancelled => ended(seen),
        },
        PaymentStatus::RefundDue if breaks::is_broken(Break::RefundLookedUp) => Step::Refund,
        PaymentStatus::RefundDue => match seen {
            Seen::Open => Step::Cancel,
            Seen::Authorized => Step::Void,
            Seen::Captured => Step::Refund,
            Seen::Missing | Seen::Processing => Step::Wait,
            Seen::Refunded | Seen::Failed | Seen::Cancelled => ended(seen),
        },
        PaymentStatus::Captured | PaymentStatus::Failed | PaymentStatus::Cancelled | PaymentStatus::Refunded => Step::Done,
    }
}

const fn ended(seen: Seen) -> Step {
    match seen {
        Seen::Refunded => Step::Ended(PaymentEnd::Refunded),
        Seen::Failed => Step::Ended(PaymentEnd::Failed),
        _ => Step::Ended(PaymentEnd::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: [Seen; 8] =
        [Seen::Missing, Seen::Open, Seen::Processing, Seen::Authorized, Seen::Captured, Seen::Refunded, Seen::Failed, Seen::Cancelled];

    #[test]
    fn money_is_given_back_once_and_only_where_the_engine_says_so() {
        for status in PaymentStatus::ALL {
            for seen in SEEN {
                for is_over in [false, true] {
                    let step = next(status, is_over, seen);
                    assert_eq!(step == Step::Refund, (status, seen) == (PaymentStatus::RefundDue, Seen::Captured));
                    assert_eq!(step == Step::Void, (status, seen) == (PaymentStatus::RefundDue, Seen::Authorized));
                    assert_eq!(step == Step::Capture, (status, seen) == (PaymentStatus::Authorized, Seen::Authorized));
                }
            }
        }
    }

    #[test]
    fn what_is_over_stays_over() {
        for status in [PaymentStatus::Captured, PaymentStatus::Failed, PaymentStatus::Cancelled, PaymentStatus::Refunded] {
            assert!(SEEN.into_iter().all(|seen| next(status, true, seen) == Step::Done));
        }
    }

    #[test]
    fn an_open_payment_is_called_off_when_its_time_is_over_and_not_before() {
        assert_eq!([false, true].map(|is_over| next(PaymentStatus::Open, is_over, Seen::Open)), [Step::Wait, Step::Cancel]);
        assert_eq!([false, true].map(|is_over| next(PaymentStatus::Open, is_over, Seen::Missing)), [Step::Wait, Step::Create]);
        assert_eq!(next(PaymentStatus::Open, true, Seen::Authorized), Step::Succeeded(Taken::Authorized), "whoever was faster has paid");
    }
}
