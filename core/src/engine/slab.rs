//! Storage with stable 32-bit slots. Grows by fixed chunks, so a million orders cost a million records and no growth step copies
//! more than the first chunk, which begins small: there is one for each commodity. Never shrinks; freed slots are used again.

/// Slots in one chunk: a power of two.
const CHUNK: usize = 1024;

/// Values of one small type, each at a slot.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new() }
    }

    /// Puts a value into a free slot.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            *self.get_mut(slot) = value;
            return slot;
        }
        match self.chunks.last() {
            None => self.chunks.push(Vec::new()),
            Some(last) if last.len() == CHUNK => self.chunks.push(Vec::with_capacity(CHUNK)),
            Some(_) => {}
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("one was pushed if there was none");
        chunk.push(value);
        slot_at(before + chunk.len() - 1)
    }

    /// Frees a slot. What is in it stays there, unused, until the slot is given again.
    pub(super) fn free(&mut self, slot: u32) {
        self.free.push(slot);
    }

    pub(super) fn get(&self, slot: u32) -> &T {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// What is in that slot, or was before it was freed; none if it was never given.
    pub(super) fn try_get(&self, slot: u32) -> Option<&T> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        let values: usize = self.chunks.iter().map(Vec::capacity).sum();
        values * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>() + self.free.capacity() * size_of::<u32>()
    }
}

fn slot_at(index: usize) -> u32 {
    u32::try_from(index).ok().filter(|slot| *slot != u32::MAX).expect("2^32 slots would take hundreds of gigabytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_stay_where_they_are_across_chunks_and_freed_ones_are_used_again() {
        let mut slab = Slab::new();
        let slots: Vec<u32> = (0..3000u32).map(|n| slab.insert(n)).collect();
        assert_eq!(slots, (0..3000).collect::<Vec<u32>>());
        slab.free(1500);
        assert_eq!(slab.insert(7), 1500);
        assert_eq!(slab.insert(8), 3000);
        assert_eq!((*slab.get(0), *slab.get(1023), *slab.get(1024), *slab.get(1500), *slab.get(2999)), (0, 1023, 1024, 7, 2999));
    }

    #[test]
    fn a_slot_that_was_never_given_has_nothing_and_a_freed_one_what_was_there() {
        let mut slab = Slab::new();
        assert_eq!(slab.try_get(0), None);
        let slot = slab.insert(7u32);
        slab.free(slot);
        assert_eq!((slab.try_get(slot), slab.try_get(1), slab.try_get(5_000)), (Some(&7), None, None));
    }

    #[test]
    fn a_slab_takes_what_is_in_it_and_at_most_a_chunk_more() {
        let mut slab = Slab::new();
        assert_eq!(slab.memory_bytes(), 0);
        slab.insert([0u8; 64]);
        assert!(slab.memory_bytes() < 512, "{} bytes for one of 64", slab.memory_bytes());
        for _ in 0..10 * CHUNK {
            slab.insert([0; 64]);
        }
        assert!(slab.memory_bytes() < 12 * CHUNK * 64, "{} bytes", slab.memory_bytes());
    }
}
