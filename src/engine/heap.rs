//! An indexed binary heap of order slots: the least rank first, any entry removable. Each order's record knows its place
//! in the one heap it is in (held orders are in one, ended orders in the other, sold ones in none). Never owns orders.

use super::orders::{Orders, Record};

/// An entry of a heap: a slot, and by what it is ranked.
pub(super) trait Ranked: Copy {
    /// The order's slot.
    fn slot(self) -> u32;
    /// The time that counts.
    fn at(self, record: &Record) -> i64;

    /// By time; orders of the same time by their number, so that every engine of the same history agrees.
    fn rank(self, orders: &Orders) -> (i64, u64) {
        let record = orders.get(self.slot());
        (self.at(record), record.number())
    }
}

/// A held order, ranked by its `pay_by`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held(pub(super) u32);

impl Ranked for Held {
    fn slot(self) -> u32 {
        self.0
    }

    fn at(self, record: &Record) -> i64 {
        record.pay_by().map_or(i64::MAX, |at| at.millis())
    }
}

/// An ended order, ranked by when it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) slot: u32,
    pub(super) at: i64,
}

impl Ranked for Ended {
    fn slot(self) -> u32 {
        self.slot
    }

    fn at(self, _record: &Record) -> i64 {
        self.at
    }
}

/// The heap.
#[derive(Debug)]
pub(super) struct Heap<T> {
    entries: Vec<T>,
}

impl<T: Ranked> Heap<T> {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entries(&self) -> &[T] {
        &self.entries
    }

    /// The entry of least rank.
    pub(super) fn first(&self) -> Option<T> {
        self.entries.first().copied()
    }

    /// Adds an entry for an order that is in no heap.
    pub(super) fn push(&mut self, entry: T, orders: &mut Orders) {
        self.entries.push(entry);
        self.rise(self.entries.len() - 1, orders);
    }

    /// Takes out the entry of an order that is in this heap.
    pub(super) fn remove(&mut self, slot: u32, orders: &mut Orders) {
        let position = orders.get(slot).position() as usize;
        let removed = self.entries.swap_remove(position);
        assert_eq!(removed.slot(), slot, "a record knows its place in its heap");
        if position < self.entries.len() {
            self.rise(position, orders);
            let moved_to = orders.get(self.entries[position].slot()).position() as usize;
            if moved_to == position {
                self.sink(position, orders);
            }
        }
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<T>()
    }

    /// Moves the entry up while its parent ranks higher, and notes where it came to rest.
    fn rise(&mut self, mut position: usize, orders: &mut Orders) {
        let entry = self.entries[position];
        let rank = entry.rank(orders);
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.entries[parent].rank(orders) <= rank {
                break;
            }
            self.put(position, self.entries[parent], orders);
            position = parent;
        }
        self.put(position, entry, orders);
    }

    /// Moves the entry down while a child ranks lower, and notes where it came to rest.
    fn sink(&mut self, mut position: usize, orders: &mut Orders) {
        let entry = self.entries[position];
        let rank = entry.rank(orders);
        while let Some(child) = self.lesser_child(position, orders) {
            if rank <= self.entries[child].rank(orders) {
                break;
            }
            self.put(position, self.entries[child], orders);
            position = child;
        }
        self.put(position, entry, orders);
    }

    fn lesser_child(&self, position: usize, orders: &Orders) -> Option<usize> {
        let (left, right) = (2 * position + 1, 2 * position + 2);
        if right < self.entries.len() && self.entries[right].rank(orders) < self.entries[left].rank(orders) {
            return Some(right);
        }
        (left < self.entries.len()).then_some(left)
    }

    fn put(&mut self, position: usize, entry: T, orders: &mut Orders) {
        self.entries[position] = entry;
        let position = u32::try_from(position).expect("a heap has at most as many entries as there are slots");
        orders.get_mut(entry.slot()).set_position(position);
    }
}
