//! The orders an engine knows, 60 bytes each, found by number. Never decides about one. An order of another issuer's account has 12 bytes
//! more, apart from the rest: the higher half of its buyer's key. What few have is apart from the rest too: payments and a discount.

use hashbrown::{HashMap, HashTable};

use super::hash;
use super::packed::{pack, unpack};
use super::slab::Slab;
use crate::domain::{Currency, Discount, Order, OrderId, OrderStatus, Payments, Price, PrincipalKey, Quantity, Sequence, Timestamp};

/// "No slot", where a slot is optional.
pub(super) const NONE: u32 = u32::MAX;

/// `pay_by` of an order that has none: beyond every time.
const NEVER: u64 = (1 << 48) - 1;

/// An order packed. Its partition is the engine's.
///
/// Numbers are kept in just the bytes their ranges need, which keeps the record at 60 bytes without padding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    number: [u8; 8],
    /// The lower half of the buyer's key.
    user: [u8; 8],
    placed_at: [u8; 6],
    pay_by: [u8; 6],
    unit_price: [u8; 5],
    changed_in: [u8; 5],
    currency: Currency,
    quantity: [u8; 3],
    grace_seconds: [u8; 3],
    status: OrderStatus,
    commodity: u32,
    keyed: u32,
    position: u32,
}

impl Record {
    /// Packs an order of the commodity in that slot. `keyed` is the slot of its key, or [`NONE`]; `changed_in` the batch that
    /// changed it last.
    pub(super) fn pack(order: &Order, commodity: u32, keyed: u32, changed_in: Sequence) -> Self {
        Self {
            number: number_of(order.id).to_le_bytes(),
            user: order.user.halves().1.to_le_bytes(),
            placed_at: pack(order.id.placed_at().millis() as u64),
            pay_by: pack(order.pay_by.map_or(NEVER, |at| at.millis() as u64)),
            unit_price: pack(order.unit_price.minor() as u64),
            changed_in: pack(changed_in.0),
            currency: order.currency,
            quantity: pack(u64::from(order.quantity.get())),
            grace_seconds: pack(u64::from(order.grace_seconds)),
            status: order.status,
            commodity,
            keyed,
            position: NONE,
        }
    }

    /// The epoch and the number in it, as one number: what orders are found by.
    pub(super) fn number(&self) -> u64 {
        u64::from_le_bytes(self.number)
    }

    pub(super) fn placed_at(&self) -> Timestamp {
        Timestamp::from_millis(unpack(self.placed_at) as i64).expect("packed from a timestamp")
    }

    pub(super) fn pay_by(&self) -> Option<Timestamp> {
        let millis = unpack(self.pay_by);
        (millis != NEVER).then(|| Timestamp::from_millis(millis as i64).expect("packed from a timestamp"))
    }

    /// How long its units are held after that, in seconds.
    pub(super) fn grace_seconds(&self) -> u32 {
        unpack(self.grace_seconds) as u32
    }

    /// When its hold is let go.
    pub(super) fn held_until(&self) -> Option<Timestamp> {
        self.pay_by().map(|pay_by| pay_by.plus_millis(u64::from(self.grace_seconds()) * 1_000))
    }

    pub(super) fn unit_price(&self) -> Price {
        Price::new(unpack(self.unit_price) as i64).expect("packed from a price")
    }

    pub(super) const fn currency(&self) -> Currency {
        self.currency
    }

    pub(super) fn quantity(&self) -> Quantity {
        Quantity::new(unpack(self.quantity) as i64).expect("packed from a quantity")
    }

    pub(super) const fn status(&self) -> OrderStatus {
        self.status
    }

    pub(super) const fn set_status(&mut self, status: OrderStatus) {
        self.status = status;
    }

    /// The batch that changed it last.
    pub(super) fn changed_in(&self) -> Sequence {
        Sequence(unpack(self.changed_in))
    }

    pub(super) fn set_changed_in(&mut self, sequence: Sequence) {
        self.changed_in = pack(sequence.0);
    }

    /// The slot of its commodity.
    pub(super) const fn commodity(&self) -> u32 {
        self.commodity
    }

    /// The slot of the key it was placed under, or [`NONE`].
    pub(super) const fn keyed(&self) -> u32 {
        self.keyed
    }

    /// Its place in the heap it is in, if it is in one.
    pub(super) const fn position(&self) -> u32 {
        self.position
    }

    pub(super) const fn set_position(&mut self, position: u32) {
        self.position = position;
    }
}

/// What the record of an order of another issuer's account has no room for.
#[derive(Clone, Copy, Debug)]
struct Foreign {
    slot: u32,
    /// The higher half of the buyer's key.
    high: [u8; 8],
}

/// What most orders don't have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extra {
    payments: Payments,
    discount: Option<Discount>,
}

/// All remembered orders.
#[derive(Debug)]
pub(super) struct Orders {
    records: Slab<Record>,
    by_number: HashTable<u32>,
    foreign: HashTable<Foreign>,
    extras: HashMap<u32, Extra>,
}

impl Orders {
    pub(super) fn new() -> Self {
        Self { records: Slab::new(), by_number: HashTable::new(), foreign: HashTable::new(), extras: HashMap::new() }
    }

    /// Room for so many, so that filling it copies nothing.
    pub(super) fn reserve(&mut self, orders: usize) {
        let records = &self.records;
        self.by_number.reserve(orders, |slot| hash::of_number(records.get(*slot).number()));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Adds an order of that buyer, whose number is not there yet.
    pub(super) fn insert(&mut self, record: Record, buyer: PrincipalKey) -> u32 {
        let slot = self.records.insert(record);
        let (high, low) = buyer.halves();
        debug_assert_eq!(record.user, low.to_le_bytes());
        if high != 0 {
            let foreign = Foreign { slot, high: high.to_le_bytes() };
            self.foreign.insert_unique(hash_of(slot), foreign, |foreign| hash_of(foreign.slot));
        }
        let records = &self.records;
        self.by_number.insert_unique(hash::of_number(record.number()), slot, |slot| hash::of_number(records.get(*slot).number()));
        slot
    }

    /// Drops an order.
    pub(super) fn remove(&mut self, slot: u32) {
        let number = self.records.get(slot).number();
        if let Ok(entry) = self.by_number.find_entry(hash::of_number(number), |found| *found == slot) {
            entry.remove();
            self.records.free(slot);
            self.extras.remove(&slot);
            if let Ok(entry) = self.foreign.find_entry(hash_of(slot), |foreign| foreign.slot == slot) {
                entry.remove();
            }
        }
    }

    /// What is known of an order's payments.
    pub(super) fn payments(&self, slot: u32) -> Payments {
        self.extra(slot).payments
    }

    pub(super) fn set_payments(&mut self, slot: u32, payments: Payments) {
        self.set_extra(slot, Extra { payments, ..self.extra(slot) });
    }

    /// What a coupon takes off it.
    pub(super) fn discount(&self, slot: u32) -> Option<Discount> {
        self.extra(slot).discount
    }

    pub(super) fn set_discount(&mut self, slot: u32, discount: Option<Discount>) {
        self.set_extra(slot, Extra { discount, ..self.extra(slot) });
    }

    fn extra(&self, slot: u32) -> Extra {
        if self.extras.is_empty() { Extra::default() } else { self.extras.get(&slot).copied().unwrap_or_default() }
    }

    fn set_extra(&mut self, slot: u32, extra: Extra) {
        if extra != Extra::default() {
            self.extras.insert(slot, extra);
        } else if !self.extras.is_empty() {
            self.extras.remove(&slot);
        }
    }

    /// The slot of the order with that number (see [`number_of`]).
    pub(super) fn find(&self, number: u64) -> Option<u32> {
        self.by_number.find(hash::of_number(number), |slot| self.records.get(*slot).number() == number).copied()
    }

    /// The slots of all of them, in no particular order.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.by_number.iter().copied()
    }

    pub(super) fn get(&self, slot: u32) -> &Record {
        self.records.get(slot)
    }

    /// Whose it is.
    pub(super) fn buyer(&self, slot: u32) -> PrincipalKey {
        let low = i64::from_le_bytes(self.records.get(slot).user);
        // An account of our own is a positive number, and half of another issuer's account is none.
        let high = if low > 0 {
            0
        } else {
            let foreign = self.foreign.find(hash_of(slot), |foreign| foreign.slot == slot).expect("inserted with its order");
            i64::from_le_bytes(foreign.high)
        };
        PrincipalKey::from_halves(high, low).expect("packed from a key")
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Record {
        self.records.get_mut(slot)
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.records.memory_bytes() + self.by_number.allocation_size() + self.foreign.allocation_size() + self.extras.allocation_size()
    }
}

fn hash_of(slot: u32) -> u64 {
    hash::of_number(slot.into())
}

/// The epoch and the number of an id as one number, unique within the partition.
pub(super) fn number_of(id: OrderId) -> u64 {
    u64::from(id.epoch().get()) << 36 | id.number()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CommodityId, Epoch, PartitionId, Principal, UserId};

    fn widest() -> Order {
        Order {
            id: OrderId::new(Timestamp::MAX, PartitionId::new(4095).unwrap(), Epoch::MAX, OrderId::NUMBER_MAX),
            commodity: CommodityId::new(i64::MAX).unwrap(),
            user: UserId::new(i64::MAX).unwrap().into(),
            quantity: Quantity::MAX,
            unit_price: Price::MAX,
            currency: "EUR".parse().unwrap(),
            status: OrderStatus::Refunded,
            pay_by: Some(Timestamp::MAX),
            grace_seconds: crate::domain::Terms::GRACE_SECONDS_MAX,
            discount: None,
        }
    }

    #[test]
    fn a_record_takes_60_bytes() {
        assert_eq!(size_of::<Record>(), 60);
    }

    #[test]
    fn the_widest_values_survive_packing() {
        let order = widest();
        let record = Record::pack(&order, 7, NONE, Sequence((1 << 40) - 1));
        assert_eq!(record.number(), (1 << 62) - 1);
        assert_eq!(
            (record.placed_at(), record.pay_by(), record.unit_price(), record.currency(), record.quantity(), record.status()),
            (Timestamp::MAX, order.pay_by, order.unit_price, order.currency, order.quantity, order.status)
        );
        assert_eq!((record.changed_in(), record.grace_seconds()), (Sequence((1 << 40) - 1), order.grace_seconds));
        assert_eq!((record.commodity(), record.keyed(), record.position()), (7, NONE, NONE));
    }

    #[test]
    fn every_order_is_its_buyers_also_in_a_slot_that_was_anothers() {
        let [own, a, b] = ["9223372036854775807", "a:42", "b:42"].map(|text| text.parse::<Principal>().unwrap().key());
        let mut orders = Orders::new();
        let insert = |orders: &mut Orders, number: u64, user| {
            let id = OrderId::new(Timestamp::MAX, PartitionId::new(4095).unwrap(), Epoch::MAX, number);
            orders.insert(Record::pack(&Order { id, user, ..widest() }, 7, NONE, Sequence::FENCE), user)
        };
        let slots: Vec<u32> = (0..).zip([own, a, b, a]).map(|(number, user)| insert(&mut orders, number, user)).collect();
        assert_eq!(slots.iter().map(|slot| orders.buyer(*slot)).collect::<Vec<_>>(), [own, a, b, a]);
        orders.remove(slots[1]);
        orders.remove(slots[0]);
        let again: Vec<u32> = (9..).zip([b, own]).map(|(number, user)| insert(&mut orders, number, user)).collect();
        assert_eq!(again, [slots[0], slots[1]], "the room is used again");
        assert_eq!(slots.iter().map(|slot| orders.buyer(*slot)).collect::<Vec<_>>(), [b, own, b, a]);
        assert_eq!((orders.foreign.len(), size_of::<Foreign>()), (3, 12));
    }

    #[test]
    fn an_order_without_a_hold_has_no_pay_by() {
        let record = Record::pack(&Order { pay_by: None, ..widest() }, 0, NONE, Sequence::FENCE);
        assert_eq!(record.pay_by(), None);
    }
}
