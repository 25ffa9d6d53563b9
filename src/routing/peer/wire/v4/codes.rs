//! The refusals of version 4 by number, and those that version 6 added.

use crate::engine::Refusal;
use crate::routing::peer::wire::Garbage;

/// The number of a refusal.
pub(in crate::routing::peer::wire) const fn code_of_refusal(refusal: Refusal) -> u32 {
    match refusal {
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
        Refusal::NotEnded => 18,
        Refusal::HasOpenOrders => 19,
        Refusal::Closed => 20,
        Refusal::StaleRow => 21,
        Refusal::UpgradeUnfinished => 22,
        // Of version 6.
        Refusal::PriceChanged => 23,
        Refusal::TooManyKeys => 24,
        // Nobody who speaks a version before 7 cancels an order that has payments, or asks about one.
        Refusal::PaymentOpen(_) => 9,
        Refusal::PaymentNotFound => 10,
    }
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
        18 => Refusal::NotEnded,
        19 => Refusal::HasOpenOrders,
        20 => Refusal::Closed,
        21 => Refusal::StaleRow,
        22 => Refusal::UpgradeUnfinished,
        23 => Refusal::PriceChanged,
        24 => Refusal::TooManyKeys,
        _ => return Err(Garbage),
    })
}
