//! Checkpoints and deltas against the rows: whatever happens to a partition, both come to the same. What cannot be used says so.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::{
    Actor, Cancellation, Cause, Foreign, IdempotencyKey, Order, OrderId, OrderStatus, PartitionId, Payments, Price, Principal,
    PrincipalKey, Quantity, RequestFingerprint, Stock, Terms, Units, UserId,
};
use crate::engine::tests::projection::Row;
use crate::engine::tests::steps::a_step;
use crate::engine::tests::world::World;
use crate::engine::{KnownCommodity, Snapshot};
use crate::event::{self, Batch, Event, LogVersion};

/// The delta of batches that an engine wrote.
fn delta_of(batches: &[Batch]) -> Vec<u8> {
    super::delta_of(batches).unwrap()
}

/// What lies in the tables of one partition.
#[derive(Default)]
struct Kept {
    position: Position,
    parts: Vec<Vec<u8>>,
    deltas: Vec<(Position, Position, Vec<u8>)>,
    /// Where the projection is.
    applied: Position,
    /// Orders whose keys were free when a checkpoint was written: should money come to be owed for one, the key may be known again.
    freed: BTreeSet<OrderId>,
}

impl Kept {
    /// A transaction of the projection with these batches.
    fn commit(&mut self, batches: &[Batch]) {
        let Some(last) = batches.last() else { return };
        let position = (last.epoch, last.sequence);
        self.deltas.push((self.applied, position, delta_of(batches)));
        self.applied = position;
    }

    fn folded(&self) -> Checkpoint {
        let mut folded = Checkpoint::at(self.position);
        self.parts.iter().try_for_each(|part| folded.part(part)).unwrap();
        self.deltas.iter().try_for_each(|(previous, position, body)| folded.delta(*previous, *position, body)).unwrap();
        assert_eq!(folded.position(), self.applied);
        folded
    }

    /// As a loader does it: with the rows that are asked for, and no others.
    fn snapshot(&self, world: &World) -> Snapshot {
        let folded = self.folded();
        let (listed, mut over) = world.tables.listed_and_over();
        let owing: Vec<CommodityId> = folded.owing().collect();
        over.retain(|(commodity, _)| owing.contains(&commodity.id));
        let row = |id| {
            world.tables.orders.get(&id).map(|row| KnownOrder {
                order: row.order,
                key: row.key,
                payments: world.tables.payments_of(row.order.id),
            })
        };
        let recalled: Vec<KnownOrder> = folded.recalled().filter_map(row).collect();
        folded.snapshot(CommodityRows { listed, over }, &recalled, world.now).unwrap()
    }

    fn write_checkpoint(&mut self, world: &World) {
        (self.position, self.parts) = (self.applied, parts_of(&self.snapshot(world)));
        self.deltas.clear();
        let since = keys_since(world.now);
        let is_free = |row: &&Row| !row.order.status.is_live() && row.order.status != OrderStatus::RefundDue && row.changed_at < since;
        self.freed.extend(world.tables.orders.values().filter(is_free).map(|row| row.order.id));
    }
}

fn from_rows(world: &World, with_live_orders: bool) -> Snapshot {
    let mut rows = FromRows::new(world.now, with_live_orders, world.tables.all_payments());
    for row in world.tables.orders.values() {
        rows.row(row.order, row.key.map(|key| (key, row.fingerprint)), row.changed_at);
    }
    for id in rows.owing_ids().collect::<Vec<_>>() {
        let row = &world.tables.orders[&id];
        rows.owing(row.order, row.key);
    }
    let (listed, over) = world.tables.listed_and_over();
    rows.snapshot(CommodityRows { listed, over })
}

/// In an order that does not depend on how it was made, and without the keys of which it is open whether they are free: those that
/// were, and those under which a later order was placed since.
fn plain(mut snapshot: Snapshot, kept: &Kept, world: &World) -> Snapshot {
    let place = |id: OrderId| (id.epoch(), id.number());
    for KnownCommodity { commodity, keys, .. } in &mut snapshot.commodities {
        let mut pairs: Vec<_> = keys.iter().map(|key| (key.user, key.key)).collect();
        pairs.sort_unstable();
        assert!(pairs.is_sorted_by(|one, next| one < next), "a key leads to one order");
        let is_superseded = |key: &KnownKey| {
            let same = |row: &&Row| (row.order.commodity, row.order.user, row.key) == (commodity.id, key.user, Some(key.key));
            world.tables.orders.values().filter(same).any(|row| place(row.order.id) > place(key.order))
        };
        keys.retain(|key| !kept.freed.contains(&key.order) && !is_superseded(key));
    }
    sorted(snapshot)
}

fn sorted(mut snapshot: Snapshot) -> Snapshot {
    for known in &mut snapshot.commodities {
        known.buyers.sort_unstable();
        known.keys.sort_unstable_by_key(|key| key.order);
        known.orders.sort_unstable_by_key(|known| known.order.id);
    }
    snapshot.commodities.sort_unstable_by_key(|known| known.commodity.id);
    snapshot
}

/// What is done about checkpoints after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    Write,
    Load,
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![6 => Just(Then::Nothing), 1 => Just(Then::Write), 2 => Just(Then::Load)]
}

fn compare(kept: &Kept, world: &World) {
    let plain = |snapshot| plain(snapshot, kept, world);
    let expected = plain(world.tables.snapshot(world.now, false));
    assert_eq!(plain(from_rows(world, false)), expected, "from the rows");
    assert_eq!(plain(kept.snapshot(world)), expected, "from the checkpoint");
    let with_live_orders = plain(world.tables.snapshot(world.now, true));
    assert_eq!(plain(from_rows(world, true)), with_live_orders, "from the rows, with all live orders");
}

proptest! {
    #[test]
    fn checkpoint_and_deltas_come_to_the_same_as_the_rows_and_as_the_plain_tables(
        steps in prop::collection::vec((a_step(), then()), 1..150),
    ) {
        let mut world = World::opened();
        let mut kept = Kept::default();
        for (step, then) in steps {
            kept.commit(&world.step(step));
            match then {
                Then::Nothing => {}
                Then::Write => kept.write_checkpoint(&world),
                Then::Load => compare(&kept, &world),
            }
        }
        kept.commit(&world.catch_up());
        compare(&kept, &world);
        kept.write_checkpoint(&world);
        compare(&kept, &world);
    }
}

/// An order whose key was free, and another's by then, came to be owed money.
#[test]
fn a_key_leads_to_the_later_of_two_orders_whatever_became_of_the_earlier() {
    let now = at(1_795_600_001_000);
    let (first, later) = (order(1, OrderStatus::Confirmed, None), order(2, OrderStatus::Confirmed, None));
    let key = keyed(2, 4_711, None);
    let placed = |order: Order| Event::Placed { order, foreign: None, key: Some(key.key), fingerprint: key.fingerprint };
    let moved = |from, to| {
        let (commodity, buyer, quantity) = (first.commodity, Some(first.user), first.quantity);
        Event::Moved { order: first.id, commodity, buyer, quantity, from, to, at: now, cause: Cause::by(Actor::System) }
    };
    let cancelled = moved(OrderStatus::Confirmed, OrderStatus::Cancelled);
    let due = moved(OrderStatus::Cancelled, OrderStatus::RefundDue);
    let first_now = Order { status: OrderStatus::RefundDue, ..first };
    let rows = [KnownOrder { order: first_now, key: Some(key.key), payments: Payments::default() }];

    let mut folded = Checkpoint::at(position(5, 0));
    let delta = delta_of(&[batch(vec![placed(first), cancelled, placed(later), due])]);
    folded.delta(position(5, 0), position(5, 1), &delta).unwrap();
    let from_checkpoint = folded.snapshot(listed(&[3]), &rows, now).unwrap();

    let mut from_rows = FromRows::new(now, false, BTreeMap::new());
    for order in [first_now, later] {
        from_rows.row(order, Some((key.key, key.fingerprint)), now);
    }
    let from_rows = from_rows.snapshot(listed(&[3]));
    assert_eq!(from_checkpoint, from_rows);
    assert_eq!((&from_rows.commodities[0].keys, &from_rows.commodities[0].orders), (&vec![key], &rows.to_vec()));
}

/// Its row may be in the archive by then: whoever asked for it would find none.
#[test]
fn what_was_refunded_before_its_commodity_closed_needs_no_row() {
    let now = at(1_795_600_001_000);
    let first = order(1, OrderStatus::Confirmed, None);
    let moved = |from, to| {
        let (commodity, buyer, quantity) = (first.commodity, Some(first.user), first.quantity);
        Event::Moved { order: first.id, commodity, buyer, quantity, from, to, at: now, cause: Cause::by(Actor::System) }
    };
    let events = vec![
        Event::Placed { order: first, foreign: None, key: None, fingerprint: RequestFingerprint(0) },
        moved(OrderStatus::Confirmed, OrderStatus::Cancelled),
        moved(OrderStatus::Cancelled, OrderStatus::RefundDue),
        moved(OrderStatus::RefundDue, OrderStatus::Refunded),
        Event::Closed { commodity: first.commodity, version: 2, at: now },
    ];
    let mut folded = Checkpoint::at(position(5, 0));
    folded.delta(position(5, 0), position(5, 1), &delta_of(&[batch(events)])).unwrap();
    assert_eq!(folded.recalled().count(), 0);
    assert_eq!(folded.snapshot(listed(&[]), &[], now).unwrap().commodities, []);
}

fn user(id: i64) -> PrincipalKey {
    UserId::new(id).unwrap().into()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn partition() -> PartitionId {
    PartitionId::new(13).unwrap()
}

fn position(epoch: u32, sequence: u64) -> Position {
    (Epoch::new(epoch).unwrap(), Sequence(sequence))
}

fn order_id(number: u64) -> OrderId {
    OrderId::new(at(1_795_600_000_123), partition(), Epoch::new(5).unwrap(), number)
}

fn commodity(id: i64) -> Commodity {
    let terms = Terms {
        sku: None,
        name: "Lamp".into(),
        description: String::new(),
        image_url: None,
        price: Price::new(1_999).unwrap(),
        currency: "EUR".parse().unwrap(),
        limit_per_user: None,
        hold_seconds: None,
        grace_seconds: Terms::GRACE_SECONDS,
        cancellation: Cancellation::Unpaid,
        starts_at: Timestamp::ZERO,
        ends_at: Timestamp::MAX,
    };
    let stock = Stock::fresh(Units::new(1_000_000).unwrap());
    Commodity { id: CommodityId::new(id).unwrap(), terms, stock, paused: false, ended_at: None, closed_at: None, version: 1 }
}

fn order(number: u64, status: OrderStatus, pay_by: Option<Timestamp>) -> Order {
    Order {
        id: order_id(number),
        commodity: commodity(3).id,
        user: user(4_711),
        quantity: Quantity::new(2).unwrap(),
        unit_price: Price::new(1_999).unwrap(),
        currency: "EUR".parse().unwrap(),
        status,
        pay_by,
        grace_seconds: 0,
        discount: None,
    }
}

fn keyed(number: u64, buyer: i64, ended_at: Option<Timestamp>) -> KnownKey {
    let key = IdempotencyKey::from_bytes(*b"0123456789abcdef");
    KnownKey { user: user(buyer), key, fingerprint: RequestFingerprint(-2), order: order_id(number), ended_at }
}

fn moved(buyer: Option<PrincipalKey>) -> Event {
    let (from, to) = (OrderStatus::Confirmed, OrderStatus::Cancelled);
    Event::Moved {
        order: order_id(1),
        commodity: commodity(3).id,
        buyer,
        quantity: Quantity::ONE,
        from,
        to,
        at: at(7),
        cause: Cause::by(Actor::System),
    }
}

fn batch(events: Vec<Event>) -> Batch {
    Batch::new(partition(), Epoch::new(5).unwrap(), Sequence(1), events)
}

/// A delta with that batch alone.
fn delta_with(batch: &[u8]) -> Vec<u8> {
    [&u32::try_from(batch.len()).unwrap().to_le_bytes(), batch].concat()
}

/// What a delta that follows comes to.
fn taken(delta: &[u8]) -> Result<(), Unreadable> {
    Checkpoint::at(position(5, 0)).delta(position(5, 0), position(5, 1), delta)
}

fn with_parts(parts: &[Vec<u8>]) -> Result<Checkpoint, Unreadable> {
    let mut folded = Checkpoint::at(position(5, 0));
    parts.iter().try_for_each(|part| folded.part(part))?;
    Ok(folded)
}

fn listed(commodities: &[i64]) -> CommodityRows {
    CommodityRows { listed: commodities.iter().map(|id| commodity(*id)).collect(), over: Vec::new() }
}

/// Something of everything that a part can hold, with the widest values.
fn golden_snapshot() -> Snapshot {
    let statuses = [OrderStatus::Reserved, OrderStatus::RefundDue];
    let mut orders: Vec<KnownOrder> = (1..)
        .zip(statuses)
        .map(|(number, status)| KnownOrder {
            order: order(number, status, Some(at(1_795_600_900_123))),
            key: None,
            payments: Payments::default(),
        })
        .collect();
    orders[1].key = Some(IdempotencyKey::from_bytes(*b"fedcba9876543210"));
    orders[1].order.pay_by = None;
    (orders[1].order.user, orders[1].order.quantity, orders[1].order.unit_price) = (user(i64::MAX), Quantity::MAX, Price::MAX);
    let buyers = vec![BuyerUnits { user: user(4_711), units: 2 }, BuyerUnits { user: user(i64::MAX), units: u32::MAX }];
    let keys = vec![keyed(1, 4_711, None), keyed(2, i64::MAX, Some(at(1_795_600_000_999)))];
    let bare = vec![BuyerUnits { user: user(1), units: 1 }];
    Snapshot {
        commodities: vec![
            KnownCommodity { buyers, keys, orders, ..KnownCommodity::fresh(commodity(3)) },
            KnownCommodity { buyers: bare, ..KnownCommodity::fresh(commodity(i64::MAX)) },
        ],
        ..Snapshot::default()
    }
}

/// The same, with a buyer of another issuer wherever one can be.
fn golden_snapshot_of_all() -> Snapshot {
    let foreign = "a:42".parse::<Principal>().unwrap().key();
    let mut snapshot = golden_snapshot();
    let known = &mut snapshot.commodities[0];
    (known.buyers[0].user, known.keys[0].user, known.orders[0].order.user) = (foreign, foreign, foreign);
    snapshot
}

fn golden_part() -> Vec<u8> {
    bytes_of(include_str!("golden/part.v1.hex"))
}

fn golden_part_of_all() -> Vec<u8> {
    bytes_of(include_str!("golden/part.v2.hex"))
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|index| u8::from_str_radix(&digits[index..index + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(40).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").collect()
}

#[test]
fn the_form_of_a_part_is_the_golden_one() {
    let parts = parts_of(&golden_snapshot());
    assert_eq!(parts.len(), 1);
    assert_eq!(hex(&parts[0]), hex(&golden_part()));
    assert_eq!(hex(&parts_of(&golden_snapshot_of_all())[0]), hex(&golden_part_of_all()));
}

/// Processes of the release before this one read what has accounts of our own alone.
#[test]
fn one_order_key_or_buyer_of_another_issuer_makes_the_form_the_later_one() {
    let (own, all) = (golden_snapshot(), golden_snapshot_of_all());
    let version = |snapshot: &Snapshot| parts_of(snapshot)[0][0];
    assert_eq!((version(&own), version(&all)), (1, 2));
    let with = |change: fn(&mut KnownCommodity, &KnownCommodity)| {
        let mut snapshot = own.clone();
        change(&mut snapshot.commodities[0], &all.commodities[0]);
        version(&snapshot)
    };
    assert_eq!(with(|known, all| known.buyers[0] = all.buyers[0]), 2);
    assert_eq!(with(|known, all| known.keys[0] = all.keys[0]), 2);
    assert_eq!(with(|known, all| known.orders[0] = all.orders[0]), 2);
}

#[test]
fn what_the_first_release_wrote_is_read_back() {
    let folded = with_parts(&[golden_part()]).unwrap();
    let now = at(1_795_600_001_000);
    let snapshot = folded.snapshot(listed(&[3, i64::MAX]), &[], now).unwrap();
    assert_eq!(sorted(snapshot), sorted(golden_snapshot()));
    let snapshot = with_parts(&[golden_part_of_all()]).unwrap().snapshot(listed(&[3, i64::MAX]), &[], now).unwrap();
    assert_eq!(sorted(snapshot), sorted(golden_snapshot_of_all()));
}

/// A delta of such an order, in the version of the log that can say it.
#[test]
fn a_delta_of_another_issuers_order_is_read_back_and_one_of_our_own_stays_as_it_was() {
    let foreign: Foreign = "a:42".parse().unwrap();
    let (own, theirs) = (order(1, OrderStatus::Reserved, Some(at(9))), order(2, OrderStatus::Reserved, Some(at(9))));
    let theirs = Order { user: foreign.key(), ..theirs };
    let placed = |order, foreign| Event::Placed { order, foreign, key: None, fingerprint: RequestFingerprint(0) };
    let (of_own, of_both) = (vec![placed(own, None)], vec![placed(own, None), placed(theirs, Some(foreign))]);
    assert_eq!([&of_own, &of_both].map(|events| delta_of(&[batch(events.clone())])[4 + 2]), [2, 4]);
    let mut folded = Checkpoint::at(position(5, 0));
    folded.delta(position(5, 0), position(5, 1), &delta_of(&[batch(of_both)])).unwrap();
    let snapshot = folded.snapshot(listed(&[3]), &[], at(9)).unwrap();
    let mut buyers: Vec<PrincipalKey> = snapshot.commodities[0].buyers.iter().map(|buyer| buyer.user).collect();
    buyers.sort_unstable();
    assert_eq!(buyers, [own.user, theirs.user]);
}

#[test]
fn an_order_of_any_status_is_read_back() {
    for status in OrderStatus::ALL {
        let known = vec![KnownOrder { order: order(1, status, None), key: None, payments: Payments::default() }];
        let commodities = vec![KnownCommodity { orders: known.clone(), ..KnownCommodity::fresh(commodity(3)) }];
        let mut read = KnownByCommodity::new();
        form::decode(&parts_of(&Snapshot { commodities, ..Snapshot::default() })[0], &mut read).unwrap();
        assert_eq!(read[&commodity(3).id].orders, known);
    }
}

#[test]
fn nothing_is_no_parts() {
    assert_eq!(parts_of(&Snapshot::default()), Vec::<Vec<u8>>::new());
    assert_eq!(
        parts_of(&Snapshot { commodities: vec![KnownCommodity::fresh(commodity(3))], ..Snapshot::default() }),
        Vec::<Vec<u8>>::new()
    );
}

#[test]
fn a_large_commodity_stands_in_several_parts_of_bounded_size_and_is_read_back() {
    let buyers = (1..=150_000).map(|id| BuyerUnits { user: user(id << 40), units: 1 }).collect();
    let keys = (1..=20_000).map(|id| KnownKey { user: user(id), ..keyed(id as u64, id, None) }).collect();
    let orders = (1..=20_000)
        .map(|number| KnownOrder { order: order(number, OrderStatus::Reserved, Some(at(9))), key: None, payments: Payments::default() })
        .collect();
    let large = KnownCommodity { buyers, keys, orders, ..KnownCommodity::fresh(commodity(3)) };
    let small = |id| KnownCommodity { buyers: vec![BuyerUnits { user: user(id), units: 2 }], ..KnownCommodity::fresh(commodity(id)) };
    let snapshot = Snapshot { commodities: vec![small(2), large, small(4)], ..Snapshot::default() };
    let parts = parts_of(&snapshot);
    assert!(parts.len() > 4, "{} parts", parts.len());
    assert!(parts.iter().all(|part| part.len() <= 1_100_000), "a part fits a packet of any server");
    let folded = with_parts(&parts).unwrap();
    assert_eq!(sorted(folded.snapshot(listed(&[2, 3, 4]), &[], at(9)).unwrap()), sorted(snapshot));
}

#[test]
fn a_part_of_a_newer_release_and_no_part_are_unreadable() {
    let mut newer = golden_part();
    newer[0] = 4;
    assert_eq!(with_parts(&[newer]).unwrap_err(), Unreadable("a checkpoint of version 4".into()));
    assert!(with_parts(&[Vec::new()]).is_err());
}

#[test]
fn a_part_that_is_cut_short_anywhere_is_unreadable() {
    let mut known = golden_snapshot();
    known.commodities.truncate(1);
    known.commodities[0].buyers.clear();
    known.commodities[0].keys.clear();
    // One piece: between two pieces nobody can tell.
    let [part] = &parts_of(&known)[..] else { panic!("one part") };
    for length in 2..part.len() {
        assert!(with_parts(&[part[..length].to_vec()]).is_err(), "{length} of {} bytes", part.len());
    }
    let with_more = [&part[..], &[1]].concat();
    assert!(with_parts(&[with_more]).is_err());
}

#[test]
fn values_that_no_release_writes_are_unreadable() {
    // A commodity, then buyers, keys and orders: zero is nobody's number.
    assert!(with_parts(&[vec![1, 0, 0, 0, 0]]).is_err());
    assert!(with_parts(&[vec![1, 2, 1, 0, 5, 0, 0]]).is_err());
    assert!(with_parts(&[vec![1, 2, 1, 2, 5, 0, 0]]).is_ok());
}

proptest! {
    #[test]
    fn hostile_bytes_are_unreadable_or_taken_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in any::<usize>()) {
        drop(with_parts(&[[&[1][..], &bytes].concat()]));
        drop(taken(&bytes));
        let mut part = golden_part();
        let place = 1 + cut % (part.len() - 1);
        part[place] ^= bytes.first().copied().unwrap_or(255);
        if let Ok(folded) = with_parts(&[part]) {
            drop(folded.snapshot(listed(&[3, i64::MAX]), &[], at(0)));
        }
    }
}

#[test]
fn a_delta_that_does_not_follow_is_unreadable() {
    let mut folded = Checkpoint::at(position(5, 3));
    for previous in [position(5, 2), position(5, 4), position(4, 3), Position::default()] {
        let error = folded.delta(previous, position(5, 9), &[]).unwrap_err();
        assert!(error.0.starts_with("a delta is missing between"), "{error}");
    }
    folded.delta(position(5, 3), position(6, 0), &[]).unwrap();
    assert_eq!(folded.position(), position(6, 0));
}

#[test]
fn a_delta_of_events_that_no_claim_needs_is_empty_and_others_are_short() {
    let listed = Event::Listed(Box::new(commodity(3)));
    let paused = Event::Paused { commodity: commodity(3).id, paused: true, version: 2 };
    assert_eq!(delta_of(&[Batch::fence(partition(), Epoch::MAX), batch(vec![listed.clone(), paused.clone()])]), Vec::<u8>::new());
    let move_alone = delta_of(&[batch(vec![moved(Some(user(1)))])]);
    assert_eq!(delta_of(&[batch(vec![listed, moved(Some(user(1))), paused])]), move_alone);
    assert!(!move_alone.is_empty() && taken(&move_alone).is_ok());
}

#[test]
fn a_delta_that_does_not_say_whose_order_moved_is_unreadable_in_whatever_version_it_is() {
    for bytes in [delta_of(&[batch(vec![moved(None)])]), delta_with(&event::encode(&batch(vec![moved(None)]), LogVersion::V1).unwrap())] {
        let error = taken(&bytes).unwrap_err();
        assert!(error.0.contains("without its buyer"), "{error}");
    }
    let error = taken(&delta_of(&[batch(vec![Event::KeyForgotten { order: order_id(1) }])])).unwrap_err();
    assert!(error.0.contains("was forgotten, as version 1 has it"), "{error}");
}

#[test]
fn a_delta_that_is_damaged_or_of_a_newer_release_is_unreadable() {
    let delta = delta_of(&[batch(vec![moved(Some(user(1)))]), batch(vec![moved(Some(user(2)))])]);
    let first = 4 + u32::from_le_bytes(*delta.first_chunk().unwrap()) as usize;
    for length in (4..delta.len()).filter(|length| *length != first && !(first..first + 4).contains(length)) {
        assert!(taken(&delta[..length]).is_err(), "{length} of {} bytes", delta.len());
    }
    let mut newer = delta.clone();
    let version = LogVersion::NEWEST.get() + 1;
    newer[4 + 2] = version;
    assert!(taken(&newer).unwrap_err().0.contains(&format!("version {version}")));
}

#[test]
fn what_does_not_fit_the_rows_is_unreadable() {
    let snapshot = |folded: Checkpoint, rows| folded.snapshot(rows, &[], at(9)).map_err(|error| error.0);
    let without_row = with_parts(&[golden_part()]).unwrap();
    assert!(snapshot(without_row, listed(&[i64::MAX])).unwrap_err().contains("orders of commodity 3, which has no row here"));

    let mut never_had = Checkpoint::at(position(5, 0));
    never_had.delta(position(5, 0), position(5, 1), &delta_of(&[batch(vec![moved(Some(user(1)))])])).unwrap();
    assert!(snapshot(never_had, listed(&[3])).unwrap_err().contains("user 1 gave back units it never had"));

    let due = |from| Event::Moved {
        order: order_id(1),
        commodity: commodity(3).id,
        buyer: Some(user(1)),
        quantity: Quantity::ONE,
        from,
        to: OrderStatus::RefundDue,
        at: at(7),
        cause: Cause::by(Actor::System),
    };
    let mut recalled = Checkpoint::at(position(5, 0));
    recalled.delta(position(5, 0), position(5, 1), &delta_of(&[batch(vec![due(OrderStatus::Expired)])])).unwrap();
    assert_eq!(recalled.recalled().collect::<Vec<_>>(), [order_id(1)]);
    assert_eq!(recalled.owing().collect::<Vec<_>>(), [commodity(3).id]);
    assert!(snapshot(recalled, listed(&[3])).unwrap_err().contains("has no row"));
}
