//! The wire form against golden files: what a release wrote, every later one reads. Hostile bytes are errors, never panics.

use proptest::prelude::*;

use super::*;
use crate::domain::{Currency, Price, Stock, UserId};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn commodity(id: i64) -> CommodityId {
    CommodityId::new(id).unwrap()
}

fn order_id(number: u64) -> OrderId {
    OrderId::new(at(1_795_600_000_123), PartitionId::new(13).unwrap(), Epoch::new(5).unwrap(), number)
}

fn euro() -> Currency {
    "EUR".parse().unwrap()
}

fn full_terms() -> Terms {
    Terms {
        name: "Lamp “Öl”".into(),
        description: "Bright.".into(),
        image_url: Some("https://example.org/lamp.png".into()),
        price: Price::new(1_999).unwrap(),
        currency: euro(),
        limit_per_user: Some(2),
        hold_seconds: Some(900),
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
    Event::Listed(Box::new(Commodity { id: commodity(3), terms, stock, paused, ended_at, version: 300 }))
}

fn placed(key: Option<IdempotencyKey>, status: OrderStatus, pay_by: Option<Timestamp>) -> Event {
    let order = Order {
        id: order_id(9),
        commodity: commodity(3),
        user: UserId::new(i64::MAX).unwrap(),
        quantity: Quantity::MAX,
        unit_price: Price::MAX,
        currency: euro(),
        status,
        pay_by,
    };
    Event::Placed { order, key, fingerprint: RequestFingerprint(-2) }
}

/// One step into each status, so that the number of every status is pinned.
fn moves() -> Vec<Event> {
    let moved = |(number, to)| Event::Moved {
        order: order_id(number),
        commodity: commodity(3),
        quantity: Quantity::ONE,
        from: OrderStatus::Reserved,
        to,
        at: at(1_795_600_900_000),
    };
    (0..).zip(OrderStatus::ALL).map(moved).collect()
}

/// Events of every variant, by the name of their golden file. A new variant does not compile until it has one.
fn golden_events() -> Vec<(&'static str, Vec<Event>)> {
    let all = vec![
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
    let mut files: Vec<(&'static str, Vec<Event>)> = Vec::new();
    for event in all.into_iter().chain(moves()) {
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
        };
        match files.iter_mut().find(|(file, _)| *file == name) {
            Some((_, events)) => events.push(event),
            None => files.push((name, vec![event])),
        }
    }
    files
}

/// What the golden file of that name holds.
fn golden_bytes(name: &str) -> Vec<u8> {
    let text = match name {
        "fence" => include_str!("golden/fence.v1.hex"),
        "listed" => include_str!("golden/listed.v1.hex"),
        "changed" => include_str!("golden/changed.v1.hex"),
        "restocked" => include_str!("golden/restocked.v1.hex"),
        "paused" => include_str!("golden/paused.v1.hex"),
        "ended" => include_str!("golden/ended.v1.hex"),
        "removed" => include_str!("golden/removed.v1.hex"),
        "placed" => include_str!("golden/placed.v1.hex"),
        "moved" => include_str!("golden/moved.v1.hex"),
        "key_forgotten" => include_str!("golden/key_forgotten.v1.hex"),
        other => panic!("no golden file for {other}"),
    };
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|index| u8::from_str_radix(&digits[index..index + 2], 16).unwrap()).collect()
}

/// Every golden batch by name.
fn golden_batches() -> Vec<(&'static str, Batch)> {
    let (partition, epoch) = (PartitionId::new(4095).unwrap(), Epoch::MAX);
    let mut batches = vec![("fence", Batch::fence(partition, epoch))];
    let of = |(name, events)| (name, Batch { partition, epoch, sequence: Sequence(u64::MAX), events });
    batches.extend(golden_events().into_iter().map(of));
    batches
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(40).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").collect()
}

#[test]
fn the_wire_form_of_every_event_is_the_golden_one() {
    for (name, batch) in golden_batches() {
        let bytes = encode(&batch);
        assert_eq!(hex(&bytes), hex(&golden_bytes(name)), "{name}.v1.hex");
    }
}

#[test]
fn what_version_1_wrote_is_read_back() {
    for (name, batch) in golden_batches() {
        assert_eq!(decode(&golden_bytes(name)), Ok(batch), "{name}.v1.hex");
    }
}

#[test]
fn a_newer_version_is_kept_for_a_newer_release() {
    for (name, _) in golden_batches() {
        let mut bytes = golden_bytes(name);
        bytes[2] = 2;
        assert_eq!(decode(&bytes), Err(DecodeError::Newer(2)));
    }
    assert_eq!(decode(b"DB\xFF"), Err(DecodeError::Newer(255)));
}

#[test]
fn what_is_no_batch_is_foreign() {
    for bytes in [&b""[..], b"D", b"DB", b"DB\x00", b"BD\x01", b"{\"partition\":1}"] {
        assert_eq!(decode(bytes), Err(DecodeError::Foreign), "{bytes:?}");
    }
}

#[test]
fn a_batch_cut_short_anywhere_or_too_long_is_an_error() {
    for (name, _) in golden_batches() {
        let bytes = golden_bytes(name);
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{name} cut to {length} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(decode(&longer), Err(DecodeError::Broken("1 bytes too many".into())), "{name}");
    }
}

/// A batch of anything postcard can write, with the right mark and version.
fn decode_raw(body: impl Serialize) -> Result<Batch, DecodeError> {
    decode(&postcard::to_extend(&body, vec![b'D', b'B', 1]).unwrap())
}

fn is_broken(decoded: &Result<Batch, DecodeError>) -> bool {
    matches!(decoded, Err(DecodeError::Broken(_)))
}

#[test]
fn a_batch_of_an_impossible_partition_or_epoch_is_broken() {
    let none: Vec<u8> = Vec::new();
    assert!(decode_raw((4095u16, (1u32 << 26) - 1, 0u64, &none)).is_ok());
    assert!(is_broken(&decode_raw((4096u16, 1u32, 0u64, &none))));
    assert!(is_broken(&decode_raw((1u16, 1u32 << 26, 0u64, &none))));
}

#[test]
fn values_outside_their_domain_are_broken() {
    // `Moved` is variant 7: order, commodity, quantity, from, to, at.
    let moved = |order: [u8; 16], commodity: i64, quantity: i64, to: u32, at: i64| {
        decode_raw((1u16, 1u32, 1u64, [(7u32, &order[..], commodity, quantity, 0u32, to, at)].as_slice()))
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
    assert!(is_broken(&moved(id, 1, 1, 7, 5)), "a status nobody knows");
    assert!(is_broken(&moved(id, 1, 1, 2, -1)), "a time before 1970");
    // `Restocked` is variant 2: commodity, total, version.
    assert!(is_broken(&decode_raw((1u16, 1u32, 1u64, [(2u32, 1i64, 1_000_000_001i64, 1u32)].as_slice()))), "units above the most");
    assert!(is_broken(&decode_raw((1u16, 1u32, 1u64, [(9u32, 1i64)].as_slice()))), "an event nobody knows");
}

#[test]
fn a_fence_with_events_is_broken() {
    let (_, mut batch) = golden_batches().pop().unwrap();
    batch.sequence = Sequence::FENCE;
    assert_eq!(decode(&encode(&batch)), Err(DecodeError::Broken("a fence with events".into())));
}

#[test]
fn a_length_the_bytes_do_not_have_reserves_no_memory() {
    // A vector of 2^62 events would panic with "capacity overflow" if its length were believed.
    assert!(is_broken(&decode_raw((1u16, 1u32, 1u64, 1u64 << 62))));
    // `Removed` is variant 5; `Listed`, variant 0, begins with its id and then the length of its name.
    assert!(is_broken(&decode_raw((1u16, 1u32, 1u64, 1u64, 0u32, 1i64, 1u64 << 62))));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&body);
        let _ = decode(&[&[b'D', b'B', 1][..], &body].concat());
    }

    #[test]
    fn a_damaged_batch_is_an_error_or_a_batch_that_can_be_written_again(
        pick in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let batches = golden_batches();
        let mut bytes = golden_bytes(batches[pick.index(batches.len())].0);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(batch) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&batch)), Ok(batch));
        }
    }
}
