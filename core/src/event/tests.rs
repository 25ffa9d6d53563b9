//! The wire form against golden files: what a release wrote, every later one reads. Hostile bytes are errors, never panics.

mod golden;

use proptest::prelude::*;

use serde::Serialize;

use super::*;
use crate::domain::{
    Actor, Attempt, Cancellation, CouponId, Currency, Discount, OperationKey, PaymentFact, Price, Principal, Stock, UserId,
};
use golden::golden_bytes;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn commodity(id: i64) -> CommodityId {
    CommodityId::new(id).unwrap()
}

fn partition(index: u16) -> PartitionId {
    PartitionId::new(index).unwrap()
}

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).unwrap()
}

/// An order of the epoch that [`batch_of`] writes in for version 2.
fn order_id(number: u64) -> OrderId {
    OrderId::new(at(1_795_600_000_123), partition(13), epoch(5), number)
}

fn euro() -> Currency {
    "EUR".parse().unwrap()
}

fn full_terms() -> Terms {
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

fn bare_terms() -> Terms {
    Terms { description: String::new(), image_url: None, limit_per_user: None, hold_seconds: None, ..full_terms() }
}

fn listed(terms: Terms, paused: bool, ended_at: Option<Timestamp>) -> Event {
    let units = |count| Units::new(count).unwrap();
    let stock = Stock { total: units(1_000), available: units(700), held: units(200), sold: units(100) };
    Event::Listed(Box::new(Commodity { id: commodity(3), terms, stock, paused, ended_at, closed_at: None, version: 300 }))
}

fn placed(key: Option<IdempotencyKey>, status: OrderStatus, pay_by: Option<Timestamp>) -> Event {
    let order = Order {
        id: order_id(9),
        commodity: commodity(3),
        user: UserId::new(i64::MAX).unwrap().into(),
        quantity: Quantity::MAX,
        unit_price: Price::MAX,
        currency: euro(),
        status,
        pay_by,
        grace_seconds: 0,
        discount: None,
    };
    Event::Placed { order, foreign: None, key, fingerprint: RequestFingerprint(-2) }
}

/// The same, by another issuer's account.
fn placed_by_foreign(principal: &str, key: Option<IdempotencyKey>, fingerprint: i64) -> Event {
    let Event::Placed { mut order, .. } = placed(key, OrderStatus::Confirmed, None) else { unreachable!("it is placed") };
    let foreign: Foreign = principal.parse().unwrap();
    order.user = foreign.key();
    Event::Placed { order, foreign: Some(foreign), key, fingerprint: RequestFingerprint(fingerprint) }
}

fn operated(subject: Subject) -> Event {
    let key = OperationKey::from_bytes(*b"0123456789fedcba");
    Event::Operated { operation: Operation { key, fingerprint: RequestFingerprint(i64::MIN) }, subject, at: at(1_795_600_000_777) }
}

/// One step into each status, so that the number of every status is pinned.
fn moves(buyer: Option<PrincipalKey>) -> Vec<Event> {
    let moved = |(number, to)| Event::Moved {
        order: order_id(number),
        commodity: commodity(3),
        buyer,
        quantity: Quantity::ONE,
        from: OrderStatus::Reserved,
        to,
        at: at(1_795_600_900_000),
        cause: Cause::by(Actor::System),
    };
    (0..).zip(OrderStatus::ALL).map(moved).collect()
}

/// What version 5 says first.
fn of_version_5() -> Vec<Event> {
    let attempt = |number| Attempt::new(number).unwrap();
    let payment = |number| PaymentId { order: order_id(9), attempt: attempt(number) };
    let (commodity, at) = (commodity(3), at(1_795_600_000_888));
    let moved = |cause: Cause| {
        let Some(Event::Moved { order, commodity, buyer, quantity, from, to, at, .. }) = moves(None).pop() else {
            unreachable!("they are moves")
        };
        Event::Moved { order, commodity, buyer, quantity, from, to, at, cause }
    };
    let Event::Placed { order, foreign, key, fingerprint } =
        placed(Some(IdempotencyKey::from_bytes(*b"0123456789abcdef")), OrderStatus::Reserved, Some(at.plus_millis(900_000)))
    else {
        unreachable!("it is placed")
    };
    let discount = Some(Discount { coupon: CouponId::new(77).unwrap(), amount: 500 });
    let order = Order { grace_seconds: Terms::GRACE_SECONDS_MAX, discount, ..order };
    let mut all = vec![
        listed(Terms { grace_seconds: 0, ..full_terms() }, false, None),
        Event::Changed { commodity, terms: Box::new(Terms { grace_seconds: Terms::GRACE_SECONDS_MAX, ..full_terms() }), version: 9 },
        Event::Placed { order, foreign, key, fingerprint },
        Event::PaymentStarted { payment: payment(1), commodity, amount: 1_999, currency: euro(), expires_at: at.plus_millis(5), at },
        Event::PaymentStarted { payment: payment(32), commodity, amount: i64::MAX, currency: euro(), expires_at: Timestamp::MAX, at },
    ];
    all.extend(PaymentStatus::ALL.map(|status| Event::PaymentChanged { payment: payment(2), commodity, status, at }));
    all.extend(Actor::ALL.map(|by| moved(Cause::by(by))));
    all.push(moved(Cause {
        by: Actor::Operator,
        reason: "broken in “transit”".parse().ok(),
        payment: Some(PaymentFact { attempt: attempt(32), status: PaymentStatus::RefundDue }),
    }));
    all
}

/// Events of every variant that the version has, by the name of their golden file. A new variant does not compile until it has one.
fn golden_events(version: LogVersion) -> Vec<(&'static str, Vec<Event>)> {
    let mut all = vec![
        listed(full_terms(), true, Some(at(5))),
        listed(bare_terms(), false, None),
        Event::Changed { commodity: commodity(3), terms: Box::new(full_terms()), version: 2 },
        Event::Restocked { commodity: commodity(3), total: Units::MAX, version: 3 },
        Event::Paused { commodity: commodity(3), paused: true, version: 4 },
        Event::Paused { commodity: commodity(3), paused: false, version: 5 },
        Event::Ended { commodity: commodity(3), at: at(1_795_600_000_999), version: 6 },
        Event::Removed { commodity: commodity(3), at: Timestamp::MAX },
        placed(Some(IdempotencyKey::from_bytes(*b"0123456789abcdef")), OrderStatus::Reserved, Some(at(1_795_600_900_123))),
        placed(None, OrderStatus::Confirmed, None),
        Event::KeyForgotten { order: order_id(OrderId::NUMBER_MAX) },
    ];
    // Version 2 leaves out what a request without a key asked for.
    if let (LogVersion::V2 | LogVersion::V3 | LogVersion::V4 | LogVersion::V5, Event::Placed { fingerprint, .. }) = (version, &mut all[9]) {
        *fingerprint = RequestFingerprint(0);
    }
    match version {
        LogVersion::V1 => all.extend(moves(None)),
        LogVersion::V2 | LogVersion::V3 | LogVersion::V4 | LogVersion::V5 => {
            let before = OrderId::new(at(1_795_599_000_000), partition(13), epoch(3), 77);
            all.extend(moves(Some(UserId::new(4_711).unwrap().into())));
            all.extend(moves(None).pop());
            all.push(Event::KeyForgotten { order: before });
            all.push(Event::Closed { commodity: commodity(3), at: at(1_798_000_000_000), version: 7 });
        }
    }
    if version >= LogVersion::V4 {
        all.extend([Subject::Commodity(commodity(3)), Subject::Order(order_id(9))].map(operated));
        let numbered = Terms { sku: "KB-75/ö".parse().ok(), cancellation: Cancellation::Any, ..full_terms() };
        all.push(listed(numbered.clone(), false, None));
        all.push(Event::Changed { commodity: commodity(3), terms: Box::new(numbered), version: 8 });
        all.push(placed_by_foreign("auth0:auth0|5f7c8e", Some(IdempotencyKey::from_bytes(*b"fedcba9876543210")), 2));
        all.push(placed_by_foreign(&format!("x:{}", "ö".repeat(127)), None, 0));
        all.extend(moves(Some("a:42".parse::<Principal>().unwrap().key())).pop());
    }
    if version == LogVersion::V5 {
        all.extend(of_version_5());
    }
    let mut files: Vec<(&'static str, Vec<Event>)> = Vec::new();
    for event in all {
        let name = match event {
            Event::Listed(_) => "listed",
            Event::Changed { .. } => "changed",
            Event::Restocked { .. } => "restocked",
            Event::Paused { .. } => "paused",
            Event::Ended { .. } => "ended",
            Event::Removed { .. } => "removed",
            Event::Placed { .. } => "placed",
            Event::Moved { .. } => "moved",
            Event::KeyForgotten { .. } => "key_forgotten",
            Event::Closed { .. } => "closed",
            Event::Operated { .. } => "operated",
            Event::PaymentStarted { .. } => "payment_started",
            Event::PaymentChanged { .. } => "payment_changed",
        };
        match files.iter_mut().find(|(file, _)| *file == name) {
            Some((_, events)) => events.push(event),
            None => files.push((name, vec![event])),
        }
    }
    files
}

/// A batch as that version says it.
fn in_version(batch: Batch, version: LogVersion) -> Batch {
    match version {
        LogVersion::V1 | LogVersion::V2 => batch,
        LogVersion::V3 | LogVersion::V4 | LogVersion::V5 => batch.of_system(SystemId::from_bytes(*b"one of 2^128 ids")),
    }
}

/// A batch that the version can hold with the events of [`golden_events`]: in version 2 a batch's orders are of its partition.
fn batch_of(events: Vec<Event>, version: LogVersion) -> Batch {
    let (partition, epoch) = match version {
        LogVersion::V1 => (partition(4095), Epoch::MAX),
        LogVersion::V2 | LogVersion::V3 | LogVersion::V4 | LogVersion::V5 => (partition(13), epoch(5)),
    };
    in_version(Batch::new(partition, epoch, Sequence(u64::MAX), events), version)
}

/// Every golden batch of every version by name.
fn golden_batches() -> Vec<(&'static str, LogVersion, Batch)> {
    let mut batches = Vec::new();
    for version in VERSIONS {
        let fence = in_version(Batch::fence(partition(4095), Epoch::MAX), version);
        batches.push(("fence", version, fence.clone()));
        if version >= LogVersion::V3 {
            batches.push(("fence_knowing", version, fence.knowing(Some((epoch(300), Sequence(1 << 40))))));
        }
        let of = |(name, events)| (name, version, batch_of(events, version));
        batches.extend(golden_events(version).into_iter().map(of));
    }
    batches
}

const VERSIONS: [LogVersion; 5] = [LogVersion::V1, LogVersion::V2, LogVersion::V3, LogVersion::V4, LogVersion::V5];

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(40).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").collect()
}

#[test]
fn the_wire_form_of_every_event_is_the_golden_one() {
    for (name, version, batch) in golden_batches() {
        let bytes = encode(&batch, version).unwrap();
        assert_eq!(hex(&bytes), hex(&golden_bytes(name, version)), "{name}.v{version}.hex");
    }
}

#[test]
fn what_came_with_version_5_has_a_form_in_it_alone() {
    for version in [LogVersion::V1, LogVersion::V2, LogVersion::V3, LogVersion::V4] {
        for event in of_version_5() {
            let written = encode(&batch_of(vec![event.clone()], version), version);
            // Who moved an order was not said.
            assert_eq!(written.is_ok(), matches!(event, Event::Moved { .. }), "{version}: {event:?}");
        }
    }
}

#[test]
fn what_any_version_wrote_is_read_back() {
    for (name, version, batch) in golden_batches() {
        assert_eq!(decode(&golden_bytes(name, version)), Ok(batch), "{name}.v{version}.hex");
    }
}

#[test]
fn a_newer_version_is_kept_for_a_newer_release() {
    for (name, version, _) in golden_batches() {
        let mut bytes = golden_bytes(name, version);
        bytes[2] = 6;
        assert_eq!(decode(&bytes), Err(DecodeError::Newer { version: 6, newest: LogVersion::V5 }));
    }
    let error = decode(b"DB\xFF").unwrap_err();
    assert_eq!(error, DecodeError::Newer { version: 255, newest: LogVersion::NEWEST });
    assert!(error.is_of_a_newer_release());
}

#[test]
fn a_process_held_to_version_1_keeps_what_is_of_version_2() {
    for (name, version, batch) in golden_batches() {
        let expected = match version {
            LogVersion::V1 => Ok(batch),
            newer => Err(DecodeError::Newer { version: newer.get(), newest: LogVersion::V1 }),
        };
        assert_eq!(decode_up_to(&golden_bytes(name, version), LogVersion::V1), expected, "{name}.v{version}.hex");
    }
}

#[test]
fn what_is_no_batch_is_foreign() {
    for bytes in [&b""[..], b"D", b"DB", b"DB\x00", b"BD\x01", b"{\"partition\":1}"] {
        assert_eq!(decode(bytes), Err(DecodeError::Foreign), "{bytes:?}");
    }
    assert!(!DecodeError::Foreign.is_of_a_newer_release());
}

#[test]
fn a_batch_cut_short_anywhere_or_too_long_is_broken() {
    for (name, version, _) in golden_batches() {
        let bytes = golden_bytes(name, version);
        for length in 0..bytes.len() {
            let error = decode(&bytes[..length]).expect_err(name);
            assert!(!error.is_of_a_newer_release(), "{name}.v{version} cut to {length} bytes: {error}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(decode(&longer), Err(DecodeError::Broken("1 bytes too many".into())), "{name}");
    }
}

#[test]
fn version_1_cannot_say_that_a_commodity_is_closed() {
    let closed = Event::Closed { commodity: commodity(3), at: at(5), version: 2 };
    let error = encode(&batch_of(vec![closed], LogVersion::V1), LogVersion::V1).unwrap_err();
    assert_eq!(error.to_string(), "version 1 of the log cannot hold that a commodity is closed");
}

#[test]
fn version_2_has_no_room_for_an_order_of_elsewhere() {
    let batch = |event| Batch { epoch: epoch(4), ..batch_of(vec![event], LogVersion::V2) };
    let refused = |batch: &Batch| encode(batch, LogVersion::V2).unwrap_err().what;
    assert_eq!(refused(&batch(placed(None, OrderStatus::Confirmed, None))), "the placing of an order of another epoch");
    let elsewhere = Batch { partition: partition(1), ..batch(Event::KeyForgotten { order: order_id(1) }) };
    assert_eq!(refused(&elsewhere), "an order of another partition");
}

#[test]
fn an_order_takes_less_of_the_log_in_version_2() {
    let per_order = |version, key: Option<IdempotencyKey>, hold: Option<i64>| {
        let order = |number: u64| {
            let status = if hold.is_some() { OrderStatus::Reserved } else { OrderStatus::Confirmed };
            let Event::Placed { mut order, fingerprint, .. } = placed(key, status, None) else { unreachable!("it is placed") };
            order.id = OrderId::new(at(1_795_600_000_123), partition(13), epoch(5), 70_000 + number);
            (order.user, order.quantity, order.unit_price) =
                (UserId::new(500_000).unwrap().into(), Quantity::ONE, Price::new(1_999).unwrap());
            order.pay_by = hold.map(|hold_ms| at(1_795_600_000_123 + hold_ms));
            Event::Placed { order, foreign: None, key, fingerprint: RequestFingerprint(fingerprint.0 << 60) }
        };
        let bytes = |count| encode(&batch_of((0..count).map(order).collect(), version), version).unwrap().len();
        (bytes(101) - bytes(1)) / 100
    };
    // Near the longest there are: most keys' 128 bits take 19 bytes in version 1.
    let key = Some(IdempotencyKey::from_bytes([0xFF; 16]));
    let of = |version| [per_order(version, None, None), per_order(version, key, None), per_order(version, key, Some(900_000))];
    assert_eq!((of(LogVersion::V1), of(LogVersion::V2)), ([41, 60, 66], [18, 42, 45]));
    assert_eq!((of(LogVersion::V3), of(LogVersion::V4), of(LogVersion::V5)), ([18, 42, 45], [18, 42, 45], [19, 43, 47]));
}

/// A batch of anything postcard can write, with the right mark and that version.
fn decode_raw(version: LogVersion, body: impl Serialize) -> Result<Batch, DecodeError> {
    decode(&postcard::to_extend(&body, vec![b'D', b'B', version.get()]).unwrap())
}

/// A batch of version 3 without events.
fn v3_head(partition: u16, epoch: u32, sequence: u64, known: Option<(u32, u64)>) -> Result<Batch, DecodeError> {
    decode_raw(LogVersion::V3, (partition, epoch, sequence, [7u8; 16], known, 0i64, 0u64))
}

#[test]
fn the_key_of_a_change_has_a_form_in_version_4_alone() {
    for version in [LogVersion::V1, LogVersion::V2, LogVersion::V3] {
        let error = encode(&batch_of(vec![operated(Subject::Commodity(commodity(3)))], version), version).unwrap_err();
        assert_eq!(error.to_string(), format!("version {version} of the log cannot hold the key of a change"));
    }
}

#[test]
fn an_order_of_another_issuers_account_has_a_form_in_version_4_alone() {
    let (theirs, key) = (placed_by_foreign("a:42", None, 0), "a:42".parse::<Principal>().unwrap().key());
    for version in [LogVersion::V1, LogVersion::V2, LogVersion::V3] {
        let error = encode(&batch_of(vec![theirs.clone()], version), version).unwrap_err();
        assert_eq!(error.to_string(), format!("version {version} of the log cannot hold an order of another issuer's account"));
        // What becomes of it is told without saying whose it is.
        let moved = batch_of(vec![moves(Some(key)).swap_remove(0)], version);
        let Event::Moved { buyer, .. } = decode(&encode(&moved, version).unwrap()).unwrap().events[0] else { panic!("it is moved") };
        assert_eq!(buyer, None, "version {version}");
    }
    let Event::Placed { order, foreign, .. } = theirs else { unreachable!("it is placed") };
    for (user, foreign) in
        [(order.user, None), (UserId::new(42).unwrap().into(), foreign.clone()), ("b:42".parse::<Principal>().unwrap().key(), foreign)]
    {
        let placed = Event::Placed { order: Order { user, ..order }, foreign, key: None, fingerprint: RequestFingerprint(0) };
        let error = encode(&batch_of(vec![placed], LogVersion::V4), LogVersion::V4).unwrap_err();
        assert_eq!(error.what, "an order whose buyer is another than its principal");
    }
}

/// `PlacedByForeign` is variant 7 of version 4, and `Moved` variant 8.
#[test]
fn what_is_no_principal_is_broken() {
    let head = (1u16, 5u32, 1u64, [7u8; 16], None::<(u32, u64)>, 1_000i64);
    let claim = (0i64, 1u64, 1u64, 1u32, 1u64, *b"EUR", 1u32, None::<i64>, None::<u8>);
    let by = |buyer: &str| decode_raw(LogVersion::V4, (head, [(7u32, buyer, claim)].as_slice()));
    assert!(by("a:42").is_ok());
    for buyer in ["", "42", "a", "a:", ":42", "A:42"] {
        assert!(is_broken(&by(buyer)), "{buyer:?}");
    }
    let own = |user: u64| decode_raw(LogVersion::V4, (head, [(6u32, user, claim)].as_slice()));
    assert!(own(1).is_ok() && is_broken(&own(0)) && is_broken(&own(1 << 63)));
    let moved =
        |buyer: u128| decode_raw(LogVersion::V4, (head, [(8u32, (0i64, 1u64, 0i32), 1u64, buyer, 1u32, 0u32, 2u32, 5i64)].as_slice()));
    assert!(moved(0).is_ok() && moved(1).is_ok() && moved(u128::MAX).is_ok());
    assert!(is_broken(&moved(1 << 63)) && is_broken(&moved(1 << 127)));
}

#[test]
fn a_fence_knows_of_nothing_but_what_is_before_it() {
    assert_eq!(v3_head(1, 5, 0, Some((4, 3))).unwrap().known, Some((epoch(4), Sequence(3))));
    assert!(is_broken(&v3_head(1, 5, 0, Some((5, 0)))), "its own epoch");
    assert!(is_broken(&v3_head(1, 5, 1, Some((4, 3)))), "no fence");
    assert!(is_broken(&v3_head(1, 5, 0, Some((1 << 26, 3)))), "an impossible epoch");
}

#[test]
fn version_3_has_no_form_for_a_batch_of_no_system() {
    let error = encode(&Batch::fence(partition(1), epoch(1)), LogVersion::V3).unwrap_err();
    assert_eq!(error.to_string(), "version 3 of the log cannot hold a batch of no system");
}

fn is_broken(decoded: &Result<Batch, DecodeError>) -> bool {
    matches!(decoded, Err(DecodeError::Broken(_)))
}

fn is_unknown(decoded: &Result<Batch, DecodeError>) -> bool {
    matches!(decoded, Err(error @ DecodeError::Unknown(_)) if error.is_of_a_newer_release())
}

#[test]
fn a_batch_of_an_impossible_partition_or_epoch_is_broken() {
    let v1 = |partition: u16, epoch: u32| decode_raw(LogVersion::V1, (partition, epoch, 0u64, 0u64));
    let v2 = |partition: u16, epoch: u32| decode_raw(LogVersion::V2, (partition, epoch, 0u64, 0i64, 0u64));
    let v3 = |partition: u16, epoch: u32| v3_head(partition, epoch, 0, None);
    assert!(v1(4095, (1 << 26) - 1).is_ok() && v2(4095, (1 << 26) - 1).is_ok() && v3(4095, (1 << 26) - 1).is_ok());
    assert!(is_broken(&v1(4096, 1)) && is_broken(&v2(4096, 1)) && is_broken(&v3(4096, 1)));
    assert!(is_broken(&v1(1, 1 << 26)) && is_broken(&v2(1, 1 << 26)) && is_broken(&v3(1, 1 << 26)));
}

#[test]
fn values_outside_their_domain_are_broken() {
    // `Moved` is variant 7: order, commodity, quantity, from, to, at.
    let moved = |order: [u8; 16], commodity: i64, quantity: i64, to: u32, at: i64| {
        decode_raw(LogVersion::V1, (1u16, 1u32, 1u64, [(7u32, &order[..], commodity, quantity, 0u32, to, at)].as_slice()))
    };
    let id = *order_id(1).uuid().as_bytes();
    let version_4 = *b"\x01\x23\x45\x67\x89\xab\x4a\xbc\x95\x55\x55\x51\x23\x45\x67\x89";
    assert!(moved(id, 1, 1, 2, 5).is_ok());
    assert!(is_broken(&moved(version_4, 1, 1, 2, 5)), "an order id of another version");
    assert!(is_broken(&moved([0xFF; 16], 1, 1, 2, 5)), "an order id of another variant");
    assert!(is_broken(&moved(id, 0, 1, 2, 5)), "a commodity id of 0");
    assert!(is_broken(&moved(id, -1, 1, 2, 5)), "a negative commodity id");
    assert!(is_broken(&moved(id, 1, 0, 2, 5)), "a quantity of 0");
    assert!(is_broken(&moved(id, 1, 1_000_001, 2, 5)), "a quantity above the most");
    assert!(is_broken(&moved(id, 1, 1, 2, -1)), "a time before 1970");
    assert!(is_unknown(&moved(id, 1, 1, 7, 5)), "a status of a newer release");
    // `Restocked` is variant 2: commodity, total, version.
    let restocked = [(2u32, 1i64, 1_000_000_001i64, 1u32)];
    assert!(is_broken(&decode_raw(LogVersion::V1, (1u16, 1u32, 1u64, restocked.as_slice()))), "units above the most");
}

#[test]
fn values_outside_their_domain_are_broken_in_version_2_too() {
    // `Moved` is variant 7: when placed, number, epochs back; commodity, buyer, quantity, from, to, after.
    let moved = |(placed, number, back): (i64, u64, i32), (commodity, buyer): (u64, u64), quantity: u32, to: u32, after: i64| {
        let event = (7u32, (placed, number, back), commodity, buyer, quantity, 0u32, to, after);
        decode_raw(LogVersion::V2, (1u16, 5u32, 1u64, 1_000i64, [event].as_slice()))
    };
    let id = (-1_000, OrderId::NUMBER_MAX, 5);
    assert!(moved(id, (1, 1), 1, 2, 5).is_ok());
    assert!(is_broken(&moved((-1_001, 1, 0), (1, 1), 1, 2, 5)), "placed before 1970");
    assert!(is_broken(&moved((i64::MAX, 1, 0), (1, 1), 1, 2, 5)), "placed beyond all times");
    assert!(is_broken(&moved((0, OrderId::NUMBER_MAX + 1, 0), (1, 1), 1, 2, 5)), "a number above the most");
    assert!(is_broken(&moved((0, 1, 6), (1, 1), 1, 2, 5)), "an epoch below 0");
    assert!(is_broken(&moved((0, 1, i32::MIN), (1, 1), 1, 2, 5)), "an epoch above the most");
    assert!(is_broken(&moved(id, (0, 1), 1, 2, 5)), "a commodity id of 0");
    assert!(is_broken(&moved(id, (1 << 63, 1), 1, 2, 5)), "a commodity id above the most");
    assert!(is_broken(&moved(id, (1, u64::MAX), 1, 2, 5)), "a user id above the most");
    assert!(is_broken(&moved(id, (1, 1), 0, 2, 5)), "a quantity of 0");
    assert!(is_broken(&moved(id, (1, 1), 1_000_001, 2, 5)), "a quantity above the most");
    assert!(is_broken(&moved(id, (1, 1), 1, 2, -1_001)), "a time before 1970");
    assert!(is_unknown(&moved(id, (1, 1), 1, 7, 5)), "a status of a newer release");
}

#[test]
fn what_a_newer_release_may_have_added_is_kept() {
    for (version, variants) in
        [(LogVersion::V1, 9u32), (LogVersion::V2, 10u32), (LogVersion::V3, 10u32), (LogVersion::V4, 12u32), (LogVersion::V5, 14u32)]
    {
        let events = [(variants, 1i64)];
        let decoded = match version {
            LogVersion::V1 => decode_raw(version, (1u16, 1u32, 1u64, events.as_slice())),
            LogVersion::V2 => decode_raw(version, (1u16, 1u32, 1u64, 0i64, events.as_slice())),
            LogVersion::V3 | LogVersion::V4 | LogVersion::V5 => {
                decode_raw(version, (1u16, 1u32, 1u64, [7u8; 16], None::<(u32, u64)>, 0i64, events.as_slice()))
            }
        };
        assert_eq!(decoded, Err(DecodeError::Unknown(format!("an event of kind {variants}"))), "{version}");
        let in_currency = |code: &[u8; 3]| {
            let mut bytes = golden_bytes("placed", version);
            let place = bytes.windows(3).position(|three| three == b"EUR").unwrap();
            bytes[place..place + 3].copy_from_slice(code);
            decode(&bytes)
        };
        assert_eq!(in_currency(b"QQQ"), Err(DecodeError::Unknown("the currency QQQ".into())));
        assert!(is_broken(&in_currency(b"e9!")) && is_broken(&in_currency(b"\xFF\xFF\xFF")));
    }
}

#[test]
fn a_fence_with_events_is_broken() {
    for version in VERSIONS {
        let mut batch = batch_of(vec![placed(None, OrderStatus::Confirmed, None)], version);
        batch.sequence = Sequence::FENCE;
        assert_eq!(decode(&encode(&batch, version).unwrap()), Err(DecodeError::Broken("a fence with events".into())));
    }
}

#[test]
fn a_length_the_bytes_do_not_have_reserves_no_memory() {
    // A vector of 2^62 events would panic with "capacity overflow" if its length were believed.
    assert!(is_broken(&decode_raw(LogVersion::V1, (1u16, 1u32, 1u64, 1u64 << 62))));
    assert!(is_broken(&decode_raw(LogVersion::V2, (1u16, 1u32, 1u64, 0i64, 1u64 << 62))));
    // `Listed`, variant 0, begins with its id and then the length of its name.
    assert!(is_broken(&decode_raw(LogVersion::V1, (1u16, 1u32, 1u64, 1u64, 0u32, 1i64, 1u64 << 62))));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&body);
        for version in VERSIONS {
            let _ = decode(&[&[b'D', b'B', version.get()][..], &body].concat());
        }
    }

    #[test]
    fn a_damaged_batch_is_an_error_or_a_batch_that_can_be_written_again(
        pick in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let batches = golden_batches();
        let (name, version, _) = batches[pick.index(batches.len())];
        let mut bytes = golden_bytes(name, version);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        // The damage may have changed the version, too.
        if let (Ok(batch), Ok(version)) = (decode(&bytes), bytes.get(2).map_or(Ok(version), |number| LogVersion::new(*number))) {
            prop_assert_eq!(decode(&encode(&batch, version).unwrap()), Ok(batch));
        }
    }
}
