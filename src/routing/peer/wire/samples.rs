//! One of everything that peers say to each other in a version, by name: what the golden files are made of.

use super::{Answers, Ask, Bulletin, Content, Introduction, Item, PeerVersion, Piece, Served, Standing, Together, Told};
use crate::domain::{
    Attempt, Cancellation, Commodity, CommodityId, CouponId, Currency, Discount, Epoch, Foreign, IdempotencyKey, NamedOrder, Operation,
    OperationKey, Order, OrderId, OrderStatus, PartitionId, PaymentEnd, PaymentId, PaymentStatus, Payments, Price, Principal, PrincipalKey,
    Quantity, Reach, RequestFingerprint, Sequence, Stock, Taken, Terms, TermsChange, Timestamp, Units, UserId,
};
use crate::engine::{Answer, Command, Place, Recalled, Refusal};
use crate::partition::{Busy, Listing, Reply, Sighting, Trouble};
use crate::trace::Context;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn partition(index: u16) -> PartitionId {
    PartitionId::new(index).unwrap()
}

fn lamp() -> CommodityId {
    CommodityId::new(300).unwrap()
}

fn units(count: i64) -> Units {
    Units::new(count).unwrap()
}

fn euro() -> Currency {
    "EUR".parse().unwrap()
}

fn order_id() -> OrderId {
    OrderId::new(at(1_795_600_000_123), partition(13), Epoch::new(5).unwrap(), 9)
}

fn order(status: OrderStatus) -> Order {
    Order {
        id: order_id(),
        commodity: lamp(),
        user: UserId::new(4_711).unwrap().into(),
        quantity: Quantity::new(2).unwrap(),
        unit_price: Price::new(1_999).unwrap(),
        currency: euro(),
        status,
        pay_by: (status == OrderStatus::Reserved).then(|| at(1_795_600_900_123)),
        grace_seconds: 0,
        discount: None,
    }
}

fn terms() -> Terms {
    Terms {
        sku: None,
        name: "Lamp “Öl”".into(),
        description: "Bright.".into(),
        image_url: Some("https://example.org/lamp.png".into()),
        price: Price::new(1_999).unwrap(),
        currency: euro(),
        limit_per_user: Some(2),
        hold_seconds: Some(900),
        grace_seconds: Terms::GRACE_SECONDS,
        cancellation: Cancellation::Unpaid,
        starts_at: at(1_795_600_000_000),
        ends_at: at(1_795_603_600_000),
    }
}

fn commodity(ended_at: Option<Timestamp>, closed_at: Option<Timestamp>) -> Commodity {
    let terms = if ended_at.is_some() { Terms { image_url: None, limit_per_user: None, hold_seconds: None, ..terms() } } else { terms() };
    let stock = Stock { total: units(1_000), available: units(700), held: units(200), sold: units(100) };
    Commodity { id: lamp(), terms, stock, paused: ended_at.is_none(), ended_at, closed_at, version: 300 }
}

fn changes() -> [TermsChange; 3] {
    let all = TermsChange {
        sku: None,
        name: Some("Lamp".into()),
        description: Some(String::new()),
        image_url: Some(Some("http://example.org/".into())),
        price: Some(Price::MAX),
        currency: Some(euro()),
        limit_per_user: Some(Some(1)),
        hold_seconds: Some(Some(60)),
        grace_seconds: None,
        cancellation: None,
        starts_at: Some(at(1)),
        ends_at: Some(at(2)),
        total: Some(units(5)),
    };
    let cleared = TermsChange { image_url: Some(None), limit_per_user: Some(None), hold_seconds: Some(None), ..TermsChange::default() };
    [all, cleared, TermsChange::default()]
}

fn place(key: Option<&[u8; 16]>) -> Command {
    place_of(UserId::new(i64::MAX).unwrap().into(), key)
}

fn place_of(user: Principal, key: Option<&[u8; 16]>) -> Command {
    Command::Place(Place {
        commodity: lamp(),
        user,
        quantity: Quantity::MAX,
        key: key.map(|key| IdempotencyKey::from_bytes(*key)),
        fingerprint: RequestFingerprint(-2),
        unit_price: None,
    })
}

/// A row, of an order of a commodity that is closed or of one that is not.
fn row(closed: bool) -> Option<Box<Recalled>> {
    row_of(order(OrderStatus::Expired).user, closed)
}

fn row_of(user: PrincipalKey, closed: bool) -> Option<Box<Recalled>> {
    Some(Box::new(Recalled {
        order: Order { user, ..order(OrderStatus::Expired) },
        key: closed.then(|| IdempotencyKey::from_bytes(*b"0123456789abcdef")),
        payments: Payments::default(),
        applied: (Epoch::MAX, Sequence(300)),
        commodity: closed.then(|| Box::new(commodity(Some(at(5)), Some(at(6))))),
    }))
}

fn commands(version: PeerVersion) -> Vec<Command> {
    let (order, user) = (order_id(), Some(UserId::new(4_711).unwrap().into()));
    let mut commands = vec![
        Command::List { commodity: lamp(), terms: Box::new(terms()), total: Units::MAX },
        Command::Restock { commodity: lamp(), units: units(7) },
        Command::Pause(lamp()),
        Command::Resume(lamp()),
        Command::End(lamp()),
        Command::Remove(lamp()),
        place(Some(b"0123456789abcdef")),
        place(None),
        Command::ConfirmPayment { order, row: None },
        Command::ConfirmRefund { order, row: None },
        Command::Cancel { order, user, reason: None, row: None },
        Command::Cancel { order, user: None, reason: None, row: None },
    ];
    match version {
        PeerVersion::V3 => commands.push(Command::Expire { at_most: 1_000 }),
        PeerVersion::V4 | PeerVersion::V5 | PeerVersion::V6 | PeerVersion::V7 => commands.extend([
            Command::ConfirmPayment { order, row: row(false) },
            Command::ConfirmRefund { order, row: row(true) },
            Command::Cancel { order, user, reason: None, row: row(true) },
            Command::Close(lamp()),
        ]),
    }
    let expecting = |command| Command::Expecting { version: 300, command: Box::new(command) };
    commands.extend(changes().map(|change| expecting(Command::Change { commodity: lamp(), change: Box::new(change) })));
    commands.push(Command::Change { commodity: lamp(), change: Box::default() });
    if version >= PeerVersion::V5 {
        commands.extend(
            [Command::Restock { commodity: lamp(), units: units(7) }, Command::Pause(lamp()), Command::Close(lamp())].map(expecting),
        );
    }
    if version >= PeerVersion::V6 {
        let operation = Operation { key: OperationKey::from_bytes(*b"0123456789fedcba"), fingerprint: RequestFingerprint(i64::MIN) };
        let keyed = |command| Command::Keyed { operation, command: Box::new(command) };
        let Command::Place(seen) = place(None) else { unreachable!("it is one") };
        commands.extend([
            keyed(Command::Restock { commodity: lamp(), units: units(7) }),
            keyed(expecting(Command::Pause(lamp()))),
            keyed(Command::Cancel { order, user: None, reason: None, row: row(true) }),
            Command::Place(Place { unit_price: Price::new(1_999).ok(), ..seen }),
        ]);
        commands.extend([
            Command::List { commodity: lamp(), terms: Box::new(numbered_terms()), total: units(5) },
            Command::ListOnce {
                commodity: lamp(),
                terms: Box::new(numbered_terms()),
                total: units(5),
                absent_at: (Epoch::MAX, Sequence(300)),
            },
            Command::Change { commodity: lamp(), change: Box::new(numbered()) },
            Command::Change { commodity: lamp(), change: Box::new(TermsChange { sku: Some(None), ..TermsChange::default() }) },
            place_of(foreign().into(), None),
            Command::Cancel { order, user: Some(foreign().key()), reason: None, row: row_of(foreign().key(), false) },
        ]);
    }
    if version == PeerVersion::V7 {
        commands.extend(of_version_7());
    }
    commands
}

/// What version 7 says first.
fn of_version_7() -> Vec<Command> {
    let (order, user) = (order_id(), Some(UserId::new(4_711).unwrap().into()));
    let payment = |number| PaymentId { order, attempt: Attempt::new(number).unwrap() };
    let told = [(1, PaymentStatus::RefundDue, false), (2, PaymentStatus::Captured, true), (3, PaymentStatus::Open, false)];
    let payments = Payments::of(told.map(|(number, status, pays)| (Attempt::new(number).unwrap(), status, pays))).unwrap();
    let row = || {
        let discount = Some(Discount { coupon: CouponId::new(77).unwrap(), amount: 500 });
        let mut row = row(true)?;
        row.order = Order { grace_seconds: Terms::GRACE_SECONDS_MAX, discount, ..row.order };
        Some(Box::new(Recalled { payments, ..*row }))
    };
    let succeeded = |taken, row| Command::PaymentSucceeded { payment: payment(1), amount: 1_999, currency: euro(), taken, row };
    let ended = |how| Command::PaymentEnded { payment: payment(32), how, row: None };
    let graced = Terms { grace_seconds: 0, ..terms() };
    vec![
        Command::StartPayment { order, user, row: None },
        Command::StartPayment { order, user: None, row: row() },
        succeeded(Taken::Authorized, None),
        succeeded(Taken::Captured, row()),
        ended(PaymentEnd::Failed),
        ended(PaymentEnd::Cancelled),
        Command::PaymentEnded { payment: payment(2), how: PaymentEnd::Refunded, row: row() },
        Command::Refund { order, reason: "broken in “transit”".parse().ok(), restock: true, row: None },
        Command::Refund { order, reason: None, restock: false, row: row() },
        Command::Cancel { order, user: None, reason: "out of stock".parse().ok(), row: None },
        Command::List { commodity: lamp(), terms: Box::new(graced), total: units(5) },
        Command::Change { commodity: lamp(), change: Box::new(TermsChange { grace_seconds: Some(5), ..TermsChange::default() }) },
    ]
}

/// What version 6 says first.
fn numbered_terms() -> Terms {
    Terms { sku: "KB-75/ö".parse().ok(), cancellation: Cancellation::Any, ..terms() }
}

fn numbered() -> TermsChange {
    TermsChange { sku: Some("KB-75/ö".parse().ok()), cancellation: Some(Cancellation::None), ..TermsChange::default() }
}

fn foreign() -> Foreign {
    "auth0:auth0|5f7c8e".parse().unwrap()
}

/// A variant that is added does not compile until it has a name, and needs a sample above.
fn name_of(command: &Command) -> &'static str {
    match command {
        Command::List { .. } => "list",
        Command::ListOnce { .. } => "list once",
        Command::Change { .. } => "change",
        Command::Expecting { command, .. } => name_of(command),
        Command::Keyed { .. } => "under a key",
        Command::Restock { .. } => "restock",
        Command::Pause(_) => "pause",
        Command::Resume(_) => "resume",
        Command::End(_) => "end",
        Command::Close(_) => "close",
        Command::CloseEnded { .. } => "close ended",
        Command::Remove(_) => "remove",
        Command::Place(_) => "place",
        Command::StartPayment { .. } => "start a payment",
        Command::PaymentSucceeded { .. } => "a payment succeeded",
        Command::PaymentEnded { .. } => "a payment ended",
        Command::Refund { .. } => "refund",
        Command::ConfirmPayment { .. } => "confirm payment",
        Command::ConfirmRefund { .. } => "confirm refund",
        Command::Cancel { .. } => "cancel",
        Command::Expire { .. } => "expire",
    }
}

fn named(command: &Command) -> String {
    let row = command.clone().row_mut().is_some_and(|row| row.is_some()) && !matches!(command, Command::Keyed { .. });
    format!("{}{}", name_of(command), if row { ", with its row" } else { "" })
}

/// Everything that is asked.
pub(super) fn items(version: PeerVersion) -> Vec<(String, Item)> {
    let context = Context { trace: (u128::MAX - 1).try_into().unwrap(), span: 77.try_into().unwrap() };
    let item = |ask, trace| Item { budget_ms: 2_000, ask, trace };
    let mut items: Vec<(String, Item)> =
        commands(version).into_iter().map(|command| (named(&command), item(Ask::Command(command), None))).collect();
    items.push(("look up".into(), item(Ask::Lookup(order_id()), None)));
    items.push(("look up, traced".into(), item(Ask::Lookup(order_id()), Some(context))));
    if version >= PeerVersion::V4 {
        items.push(("orders of".into(), item(Ask::OrdersOf(partition(4095), UserId::new(4_711).unwrap().into()), None)));
    }
    if version >= PeerVersion::V6 {
        items.push(("orders of, foreign".into(), item(Ask::OrdersOf(partition(4095), foreign().key()), None)));
    }
    items
}

const REFUSALS: [Refusal; 27] = [
    Refusal::CommodityNotFound,
    Refusal::OrderNotFound,
    Refusal::CommodityExists,
    Refusal::NotStarted,
    Refusal::Ended,
    Refusal::Paused,
    Refusal::SoldOut,
    Refusal::LimitReached,
    Refusal::IdempotencyMismatch,
    Refusal::NotCancellable,
    Refusal::NotPayable,
    Refusal::NotRefundable,
    Refusal::TotalTooLow,
    Refusal::TotalTooHigh,
    Refusal::TermsConflict,
    Refusal::VersionMismatch,
    Refusal::HasOrders,
    Refusal::EpochExhausted,
    Refusal::NotEnded,
    Refusal::HasOpenOrders,
    Refusal::Closed,
    Refusal::StaleRow,
    Refusal::UpgradeUnfinished,
    Refusal::PriceChanged,
    Refusal::TooManyKeys,
    Refusal::PaymentOpen(Attempt::LAST),
    Refusal::PaymentNotFound,
];

/// How many of them version 3 has.
const REFUSALS_IN_3: usize = 18;

/// How many of them versions 4 and 5 have.
const REFUSALS_IN_4: usize = 23;

/// How many of them version 6 has.
const REFUSALS_IN_6: usize = 25;

const BUSY: [Busy; 3] = [Busy::Overloaded, Busy::Unavailable, Busy::LogAway];

/// Everything that is answered.
pub(super) fn answers(version: PeerVersion) -> Vec<(String, Answers)> {
    let unknown = |in_tables| Sighting::Unknown { epoch: Epoch::MAX, next_number: OrderId::NUMBER_MAX, in_tables };
    let done = |name: &str, answer| (name.to_owned(), Told::Reply(Reply::Done(answer)));
    let mut told = vec![
        done("placed", Answer::Placed(order(OrderStatus::Reserved))),
        done("replayed", Answer::Replayed(order(OrderStatus::Confirmed))),
        done("commodity", Answer::Commodity(Box::new(commodity(None, None)))),
        done("commodity, ended", Answer::Commodity(Box::new(commodity(Some(at(5)), None)))),
        done("removed", Answer::Removed),
        match version {
            PeerVersion::V3 => done("expired", Answer::Expired(256)),
            PeerVersion::V4 | PeerVersion::V5 | PeerVersion::V6 | PeerVersion::V7 => {
                done("placed before", Answer::PlacedBefore(order_id()))
            }
        },
        ("pending".to_owned(), Told::Reply(Reply::Pending(Some(order_id())))),
        ("pending, no id".to_owned(), Told::Reply(Reply::Pending(None))),
        ("misdirected".to_owned(), Told::Misdirected),
        ("known".to_owned(), Told::Sighting(Ok(Sighting::Known(NamedOrder { order: order(OrderStatus::Paid), foreign: None })))),
        ("unknown".to_owned(), Told::Sighting(Ok(unknown(false)))),
        ("in doubt".to_owned(), Told::Sighting(Ok(Sighting::InDoubt))),
    ];
    told.extend(OrderStatus::ALL.map(|status| done(&format!("order, {}", status.word()), Answer::Order(order(status)))));
    let refusals = match version {
        PeerVersion::V3 => &REFUSALS[..REFUSALS_IN_3],
        PeerVersion::V4 | PeerVersion::V5 => &REFUSALS[..REFUSALS_IN_4],
        PeerVersion::V6 => &REFUSALS[..REFUSALS_IN_6],
        PeerVersion::V7 => &REFUSALS,
    };
    told.extend(refusals.iter().map(|refusal| (format!("refused, {refusal:?}"), Told::Reply(Reply::Refused(*refusal)))));
    told.extend(BUSY.map(|busy| (format!("busy, {busy:?}"), Told::Reply(Reply::Busy(busy)))));
    told.extend(BUSY.map(|busy| (format!("lookup, busy, {busy:?}"), Told::Sighting(Err(busy)))));
    if version >= PeerVersion::V4 {
        let orders = vec![order(OrderStatus::Reserved), order(OrderStatus::Paid)];
        told.extend([
            ("unknown, in the tables".to_owned(), Told::Sighting(Ok(unknown(true)))),
            done("commodity, closed", Answer::Commodity(Box::new(commodity(Some(at(5)), Some(at(6)))))),
            ("orders".to_owned(), Told::Orders(Ok(orders))),
            ("orders, none".to_owned(), Told::Orders(Ok(Vec::new()))),
            ("orders, busy".to_owned(), Told::Orders(Err(Busy::LogAway))),
        ]);
    }
    if version >= PeerVersion::V6 {
        let theirs = Order { user: foreign().key(), ..order(OrderStatus::Reserved) };
        let known = |foreign| Told::Sighting(Ok(Sighting::Known(NamedOrder { order: theirs, foreign })));
        told.extend([
            done("done before", Answer::DoneBefore(lamp(), Some(Box::new(commodity(None, None))))),
            done("done before, and forgotten", Answer::DoneBefore(lamp(), None)),
            done("placed, foreign", Answer::Placed(theirs)),
            ("known, foreign".to_owned(), known(Some(foreign()))),
            ("known, foreign, without a name".to_owned(), known(None)),
            ("orders, foreign".to_owned(), Told::Orders(Ok(vec![theirs]))),
        ]);
    }
    if version == PeerVersion::V7 {
        let discount = Some(Discount { coupon: CouponId::new(77).unwrap(), amount: 500 });
        let order = Order { grace_seconds: 30, discount, ..order(OrderStatus::Reserved) };
        let started = |is_new| Answer::Payment { order, attempt: Attempt::LAST, is_new };
        told.extend([done("payment", started(true)), done("payment, open before", started(false))]);
    }
    let mut answers: Vec<(String, Answers)> = (900u16..).zip(told).map(|(index, (name, told))| (name, vec![(index, told)])).collect();
    answers.push(("nothing".into(), Vec::new()));
    answers.push(("two".into(), vec![(0, Told::Misdirected), (1, Told::Reply(Reply::Done(Answer::Removed)))]));
    answers
}

/// How a node stands, for every way in which it can reach the broker.
fn standings() -> Vec<(String, Standing)> {
    let standing = |broker| Standing {
        leaving: true,
        broker,
        serving: vec![served()],
        claiming: vec![partition(4095)],
        stopped: vec![(partition(5), Trouble::TablesContradict), (partition(6), Trouble::Panicked)],
    };
    Reach::ALL.map(|reach| (format!("bulletin, broker {}", reach.word()), standing(reach))).into()
}

fn served() -> Served {
    Served { partition: partition(3), epoch: Epoch::new(200).unwrap(), confirmed: Sequence(300) }
}

/// Everything a node says of itself in version 3 or 4.
pub(super) fn together() -> Vec<(String, Together)> {
    let standing = |(name, standing)| (name, Together { standing, ..Together::default() });
    let mut bulletins: Vec<(String, Together)> = standings().into_iter().map(standing).collect();
    let listing = |ended_at| (partition(3), Listing::new(commodity(ended_at, None)));
    let listings = Together { shown: vec![listing(None), listing(Some(at(5)))], hidden: vec![lamp()], ..Together::default() };
    bulletins.push(("bulletin, listings".into(), listings));
    bulletins
}

/// Everything a node says of itself in versions from 5 on.
pub(super) fn bulletins(version: PeerVersion) -> Vec<(String, Bulletin)> {
    let standing = |(name, standing)| (name, Bulletin::Standing(standing));
    let mut bulletins: Vec<(String, Bulletin)> = standings().into_iter().map(standing).collect();
    let shown = || vec![Listing::new(commodity(None, None)), Listing::new(commodity(Some(at(5)), Some(at(6))))];
    let piece = |content| Bulletin::Piece(Piece { of: served(), version: 400, content });
    if version >= PeerVersion::V6 {
        let numbered = vec![Listing::new(Commodity { terms: numbered_terms(), ..commodity(None, None) })];
        bulletins.push(("bulletin, numbered".into(), piece(Content::Changes { since: 399, shown: numbered, hidden: Vec::new() })));
    }
    if version == PeerVersion::V7 {
        let graced = vec![Listing::new(Commodity { terms: Terms { grace_seconds: 0, ..terms() }, ..commodity(None, None) })];
        bulletins.push(("bulletin, with a grace".into(), piece(Content::Changes { since: 399, shown: graced, hidden: Vec::new() })));
    }
    bulletins.extend([
        ("bulletin, first part".into(), piece(Content::Part { is_first: true, is_last: false, shown: shown() })),
        ("bulletin, last part".into(), piece(Content::Part { is_first: false, is_last: true, shown: Vec::new() })),
        ("bulletin, changes".into(), piece(Content::Changes { since: 399, shown: shown(), hidden: vec![lamp()] })),
    ]);
    bulletins
}

/// What a node says when it is greeted.
pub(super) const INTRODUCTION: Introduction = Introduction { instance: u64::MAX, partitions: 16 };
