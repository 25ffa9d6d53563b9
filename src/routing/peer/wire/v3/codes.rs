//! The numbers of version 3. A word that is added to the domain has none here until somebody decides what a node of the release before
//! is told instead.

use crate::domain::Reach;
use crate::engine::Refusal;
use crate::partition::{Busy, Trouble};
use crate::routing::peer::wire::Garbage;

/// The number of a refusal; none for one that is of a later version.
pub(in crate::routing::peer::wire) const fn code_of_refusal(refusal: Refusal) -> Option<u32> {
    Some(match refusal {
        Refusal::CommodityNotFound => 0,
        Refusal::OrderNotFound => 1,
        Refusal::CommodityExists => 2,
        Refusal::NotStarted => 3,
        Refusal::Ended => 4,
        Refusal::Paused => 5,
        Refusal::SoldOut => 6,
        Refusal::LimitReached => 7,
        Refusal::IdempotencyMismatch => 8,
        Refusal::NotCancellable => 9,
        Refusal::NotPayable => 10,
        Refusal::NotRefundable => 11,
        Refusal::TotalTooLow => 12,
        Refusal::TotalTooHigh => 13,
        Refusal::TermsConflict => 14,
        Refusal::VersionMismatch => 15,
        Refusal::HasOrders => 16,
        Refusal::EpochExhausted => 17,
        Refusal::PaymentOpen(_) => 9,
        Refusal::PaymentNotFound => 10,
        // Its sale is over, that much was known before there was closing.
        Refusal::Closed => 4,
        Refusal::NotEnded
        | Refusal::HasOpenOrders
        | Refusal::StaleRow
        | Refusal::UpgradeUnfinished
        | Refusal::PriceChanged
        | Refusal::TooManyKeys => return None,
    })
}

/// The refusal with that number.
pub(in crate::routing::peer::wire) const fn refusal_of(code: u32) -> Result<Refusal, Garbage> {
    Ok(match code {
        0 => Refusal::CommodityNotFound,
        1 => Refusal::OrderNotFound,
        2 => Refusal::CommodityExists,
        3 => Refusal::NotStarted,
        4 => Refusal::Ended,
        5 => Refusal::Paused,
        6 => Refusal::SoldOut,
        7 => Refusal::LimitReached,
        8 => Refusal::IdempotencyMismatch,
        9 => Refusal::NotCancellable,
        10 => Refusal::NotPayable,
        11 => Refusal::NotRefundable,
        12 => Refusal::TotalTooLow,
        13 => Refusal::TotalTooHigh,
        14 => Refusal::TermsConflict,
        15 => Refusal::VersionMismatch,
        16 => Refusal::HasOrders,
        17 => Refusal::EpochExhausted,
        _ => return Err(Garbage),
    })
}

/// The number of why nothing was done.
pub(in crate::routing::peer::wire) const fn code_of_busy(busy: Busy) -> u32 {
    match busy {
        Busy::Overloaded => 0,
        Busy::Unavailable => 1,
        Busy::LogAway => 2,
    }
}

/// What has that number.
pub(in crate::routing::peer::wire) const fn busy_of(code: u32) -> Result<Busy, Garbage> {
    Ok(match code {
        0 => Busy::Overloaded,
        1 => Busy::Unavailable,
        2 => Busy::LogAway,
        _ => return Err(Garbage),
    })
}

/// The number of what is the matter.
pub(in crate::routing::peer::wire) const fn code_of_trouble(trouble: Trouble) -> u32 {
    match trouble {
        // There is no number of its own for the other: to a node that knows this version it is the one that stays until somebody comes.
        Trouble::TablesContradict | Trouble::LogIncomplete => 0,
        Trouble::Panicked => 1,
    }
}

/// What has that number.
pub(in crate::routing::peer::wire) const fn trouble_of(code: u32) -> Result<Trouble, Garbage> {
    Ok(match code {
        0 => Trouble::TablesContradict,
        1 => Trouble::Panicked,
        _ => return Err(Garbage),
    })
}

/// The number of a way to the broker.
pub(in crate::routing::peer::wire) const fn code_of_reach(reach: Reach) -> u32 {
    match reach {
        Reach::Up => 0,
        Reach::Down => 1,
        Reach::Away => 2,
    }
}

/// What has that number.
pub(in crate::routing::peer::wire) const fn reach_of(code: u32) -> Result<Reach, Garbage> {
    Ok(match code {
        0 => Reach::Up,
        1 => Reach::Down,
        2 => Reach::Away,
        _ => return Err(Garbage),
    })
}
