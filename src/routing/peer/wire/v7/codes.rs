//! The numbers of version 7: those of version 6 for refusals, and its own.

use crate::domain::{Attempt, PaymentEnd, PaymentStatus, Payments};
use crate::engine::Refusal;
use crate::routing::peer::wire::Garbage;
use crate::routing::peer::wire::v4::codes;

const PAYMENT_OPEN: u32 = 25;
const PAYMENT_NOT_FOUND: u32 = 26;

/// The number of a refusal, and that of the payment it is for, or 0.
pub(super) const fn code_of_refusal(refusal: Refusal) -> (u32, u8) {
    match refusal {
        Refusal::PaymentOpen(attempt) => (PAYMENT_OPEN, attempt.get()),
        Refusal::PaymentNotFound => (PAYMENT_NOT_FOUND, 0),
        other => (codes::code_of_refusal(other), 0),
    }
}

/// The refusal with that number.
pub(super) fn refusal_of(code: u32, attempt: u8) -> Result<Refusal, Garbage> {
    match (code, attempt) {
        (PAYMENT_OPEN, attempt) => Ok(Refusal::PaymentOpen(Attempt::new(attempt)?)),
        (PAYMENT_NOT_FOUND, 0) => Ok(Refusal::PaymentNotFound),
        (code, 0) => codes::refusal_of(code),
        _ => Err(Garbage),
    }
}

/// The number of how a payment ended.
pub(super) const fn code_of_end(how: PaymentEnd) -> u32 {
    match how {
        PaymentEnd::Failed => 0,
        PaymentEnd::Cancelled => 1,
        PaymentEnd::Refunded => 2,
    }
}

/// What has that number.
pub(super) const fn end_of(code: u32) -> Result<PaymentEnd, Garbage> {
    Ok(match code {
        0 => PaymentEnd::Failed,
        1 => PaymentEnd::Cancelled,
        2 => PaymentEnd::Refunded,
        _ => return Err(Garbage),
    })
}

/// The number of how a payment stands, as far as an engine must know: over, open, or to go back though it pays nothing.
pub(super) fn code_of_payment(payments: Payments, attempt: Attempt) -> u32 {
    match () {
        () if payments.open() == Some(attempt) => 1,
        () if payments.is_unwanted(attempt) => 2,
        () => 0,
    }
}

/// A status that says the same.
pub(super) const fn payment_of(code: u32) -> Result<PaymentStatus, Garbage> {
    Ok(match code {
        0 => PaymentStatus::Failed,
        1 => PaymentStatus::Open,
        2 => PaymentStatus::RefundDue,
        _ => return Err(Garbage),
    })
}
