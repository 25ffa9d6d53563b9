//! What can happen to a partition, as chance has it: commands over few ids, time that goes on, stands still, goes back and now and
//! then leaps a day, tables that are late, memory that is given up.

use proptest::option;
use proptest::prelude::*;

use super::support::*;
use crate::domain::{Cancellation, PaymentEnd, Price, Taken, Terms, TermsChange};

/// What happens next. Orders are picked among all ids ever given and commodities among the last ones listed, so that a step means
/// something wherever it stands.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Place {
        commodity: usize,
        user: i64,
        count: i64,
        key: Option<usize>,
        fingerprint: i64,
    },
    List {
        is_new: bool,
        terms: Box<Terms>,
        total: i64,
    },
    Operate(usize, Operation),
    CloseEnded {
        before: i64,
        at_most: usize,
    },
    ConfirmPayment(Pick),
    ConfirmRefund(Pick),
    Pay(Pick, Paying),
    Cancel {
        order: Pick,
        user: Option<i64>,
    },
    Expire(usize),
    Time(i64),
    /// So many steps more go into one batch with this one.
    Together(usize),
    /// The tables are so many batches behind, from now on.
    Lag(usize),
    /// All rows are read; what is done with them is done later.
    Read,
    /// What is in so many batches before the last one in the tables is forgotten.
    Forget {
        behind: u64,
        at_most: usize,
    },
    Restore {
        with_older_releases: bool,
    },
}

/// An order, and whether somebody still has its row in hand from when all rows were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick {
    pub(crate) order: usize,
    pub(crate) with_row_in_hand: bool,
}

/// What happens around the payments of an order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paying {
    Start {
        user: Option<i64>,
    },
    /// Of the right amount, or of a little more.
    Succeed {
        attempt: u8,
        too_much: i64,
        taken: Taken,
    },
    End {
        attempt: u8,
        how: PaymentEnd,
    },
    GiveBack {
        restock: bool,
    },
}

/// What an operator does to one commodity.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Change { change: Box<TermsChange> },
    Expecting { version: u32, operation: Box<Operation> },
    Restock(i64),
    Pause,
    Resume,
    End,
    Close,
    Remove,
}

pub(crate) fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => a_placing(),
        10 => a_pick().prop_map(Step::ConfirmPayment),
        5 => a_pick().prop_map(Step::ConfirmRefund),
        30 => (a_pick(), a_paying()).prop_map(|(order, paying)| Step::Pay(order, paying)),
        12 => (a_pick(), option::weighted(0.5, 1..=3i64)).prop_map(|(order, user)| Step::Cancel { order, user }),
        6 => (0..=3usize).prop_map(Step::Expire),
        7 => prop_oneof![8 => -900..2_500i64, 1 => Just(25 * 60 * 60 * 1_000)].prop_map(Step::Time),
        2 => (0..=3usize).prop_map(Step::Together),
        2 => (0..=6usize).prop_map(Step::Lag),
        3 => Just(Step::Read),
        14 => (0..=2u64, prop_oneof![0..=3usize, Just(usize::MAX)]).prop_map(|(behind, at_most)| Step::Forget { behind, at_most }),
        3 => prop::bool::weighted(0.2).prop_map(|with_older_releases| Step::Restore { with_older_releases }),
        4 => (prop::bool::weighted(0.8), some_terms(), 0..=12i64).prop_map(|(is_new, terms, total)| {
            Step::List { is_new, terms: Box::new(terms), total }
        }),
        12 => (any::<usize>(), an_operation()).prop_map(|(commodity, operation)| Step::Operate(commodity, operation)),
        2 => (-2_000..500i64, 1..=2usize).prop_map(|(before, at_most)| Step::CloseEnded { before, at_most }),
    ]
}

fn a_pick() -> impl Strategy<Value = Pick> {
    (any::<usize>(), prop::bool::weighted(0.3)).prop_map(|(order, with_row_in_hand)| Pick { order, with_row_in_hand })
}

fn a_paying() -> impl Strategy<Value = Paying> {
    let attempt = || prop_oneof![6 => Just(1u8), 3 => Just(2), 1 => Just(3)];
    let taken = prop_oneof![Just(Taken::Authorized), Just(Taken::Captured)];
    let how = prop_oneof![Just(PaymentEnd::Failed), Just(PaymentEnd::Cancelled), Just(PaymentEnd::Refunded)];
    prop_oneof![
        6 => option::weighted(0.5, 1..=3i64).prop_map(|user| Paying::Start { user }),
        8 => (attempt(), prop_oneof![9 => Just(0i64), 1 => Just(1)], taken)
            .prop_map(|(attempt, too_much, taken)| Paying::Succeed { attempt, too_much, taken }),
        6 => (attempt(), how).prop_map(|(attempt, how)| Paying::End { attempt, how }),
        2 => any::<bool>().prop_map(|restock| Paying::GiveBack { restock }),
    ]
}

fn a_placing() -> impl Strategy<Value = Step> {
    (any::<usize>(), 1..=3i64, 1..=4i64, option::of(0..=2usize), 0..=1i64)
        .prop_map(|(commodity, user, count, key, fingerprint)| Step::Place { commodity, user, count, key, fingerprint })
}

fn an_operation() -> impl Strategy<Value = Operation> {
    (option::weighted(0.2, 1..=4u32), a_plain_operation()).prop_map(|(expected, operation)| match expected {
        Some(version) => Operation::Expecting { version, operation: Box::new(operation) },
        None => operation,
    })
}

fn a_plain_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => a_change().prop_map(|change| Operation::Change { change: Box::new(change) }),
        2 => prop_oneof![0..=4i64, Just(1_000_000_000)].prop_map(Operation::Restock),
        1 => Just(Operation::Pause),
        2 => Just(Operation::Resume),
        2 => Just(Operation::End),
        4 => Just(Operation::Close),
        2 => Just(Operation::Remove),
    ]
}

fn some_terms() -> impl Strategy<Value = Terms> {
    (option::of(1..=5u32), option::weighted(0.7, 1..=3u32), a_grace(), a_cancellation(), 0..9_000i64, an_end()).prop_map(
        |(limit_per_user, hold_seconds, grace_seconds, cancellation, starts_at, ends_at)| Terms {
            limit_per_user,
            hold_seconds,
            grace_seconds,
            cancellation,
            starts_at: at(starts_at),
            ends_at: at(ends_at),
            ..terms()
        },
    )
}

/// The usual one is the only one beside older releases.
fn a_grace() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0u32), Just(1), Just(Terms::GRACE_SECONDS)]
}

fn a_cancellation() -> impl Strategy<Value = Cancellation> {
    prop_oneof![1 => Just(Cancellation::None), 2 => Just(Cancellation::Unpaid), 2 => Just(Cancellation::Any)]
}

/// Soon, or not within some days.
fn an_end() -> impl Strategy<Value = i64> {
    prop_oneof![1 => 0..40_000i64, 2 => Just(LATE_MS)]
}

/// The end of a sale that none of the leaps of one run get to.
pub(crate) const LATE_MS: i64 = 1_000 * 24 * 60 * 60 * 1_000;

fn a_change() -> impl Strategy<Value = TermsChange> {
    let price = option::weighted(0.3, (0..=2i64).prop_map(|minor| Price::new(minor).unwrap()));
    let limit = option::weighted(0.3, option::of(0..=4u32));
    let hold = option::weighted(0.3, option::of(1..=3u32));
    let total = option::weighted(0.5, (0..=12i64).prop_map(units));
    let ends_at = option::weighted(0.2, an_end().prop_map(at));
    let cancellation = option::weighted(0.2, a_cancellation());
    let grace = option::weighted(0.2, a_grace());
    (price, limit, hold, grace, cancellation, total, ends_at).prop_map(
        |(price, limit_per_user, hold_seconds, grace_seconds, cancellation, total, ends_at)| TermsChange {
            price,
            limit_per_user,
            hold_seconds,
            grace_seconds,
            cancellation,
            total,
            ends_at,
            ..TermsChange::default()
        },
    )
}
