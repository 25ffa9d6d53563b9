//! Held orders by when their holds are let go: an indexed binary heap of order slots, the earliest first, any entry removable.
//! Each order's record knows its place in it. Never owns orders.

use super::orders::Orders;

/// The heap.
#[derive(Debug)]
pub(super) struct Holds {
    entries: Vec<u32>,
}

impl Holds {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The order whose hold ends first.
    pub(super) fn first(&self) -> Option<u32> {
        self.entries.first().copied()
    }

    /// Adds an order that is not there.
    pub(super) fn push(&mut self, slot: u32, orders: &mut Orders) {
        self.entries.push(slot);
        self.rise(self.entries.len() - 1, orders);
    }

    /// Takes out an order that is there.
    pub(super) fn remove(&mut self, slot: u32, orders: &mut Orders) {
        let position = orders.get(slot).position() as usize;
        let removed = self.entries.swap_remove(position);
        assert_eq!(removed, slot, "a record knows its place in the heap");
        if position < self.entries.len() {
            self.rise(position, orders);
            let moved_to = orders.get(self.entries[position]).position() as usize;
            if moved_to == position {
                self.sink(position, orders);
            }
        }
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<u32>()
    }

    /// Moves the entry up while its parent ranks higher, and notes where it came to rest.
    fn rise(&mut self, mut position: usize, orders: &mut Orders) {
        let entry = self.entries[position];
        let rank = rank(entry, orders);
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.rank_at(parent, orders) <= rank {
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
        let rank = rank(entry, orders);
        while let Some(child) = self.lesser_child(position, orders) {
            if rank <= self.rank_at(child, orders) {
                break;
            }
            self.put(position, self.entries[child], orders);
            position = child;
        }
        self.put(position, entry, orders);
    }

    fn lesser_child(&self, position: usize, orders: &Orders) -> Option<usize> {
        let (left, right) = (2 * position + 1, 2 * position + 2);
        if right < self.entries.len() && self.rank_at(right, orders) < self.rank_at(left, orders) {
            return Some(right);
        }
        (left < self.entries.len()).then_some(left)
    }

    fn rank_at(&self, position: usize, orders: &Orders) -> (i64, u64) {
        rank(self.entries[position], orders)
    }

    fn put(&mut self, position: usize, entry: u32, orders: &mut Orders) {
        self.entries[position] = entry;
        let position = u32::try_from(position).expect("a heap has at most as many entries as there are slots");
        orders.get_mut(entry).set_position(position);
    }
}

/// By time; holds that end at the same time by their order's number, so that every engine of the same history agrees.
fn rank(slot: u32, orders: &Orders) -> (i64, u64) {
    let record = orders.get(slot);
    (record.held_until().map_or(i64::MAX, |at| at.millis()), record.number())
}
