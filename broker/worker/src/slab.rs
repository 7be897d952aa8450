//! A slab whose entries never move: chunks of slots with generations.
//!
//! One growing `Vec` would copy every entry when it grows and leave holes of half its size in the allocator; chunks
//! cost one more indirection and keep the memory per entry flat.

const CHUNK: usize = 256;

/// Values of one kind under a slot number and a generation.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Box<[Entry<T>]>>,
    free: Vec<u32>,
    /// Slots emptied in this turn: events for them may still be under way.
    freed: Vec<u32>,
    length: usize,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab { chunks: Vec::new(), free: Vec::new(), freed: Vec::new(), length: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Puts a value into a free slot and tells its slot and generation.
    pub(crate) fn insert(&mut self, value: T) -> (u32, u32) {
        if self.free.is_empty() {
            self.grow();
        }
        let slot = self.free.pop().expect("a grown slab has a free slot");
        let entry = &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK];
        entry.value = Some(value);
        self.length += 1;
        (slot, entry.generation)
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        self.chunks.push((0..CHUNK).map(|_| Entry { generation: 0, value: None }).collect());
        // The lowest slot is used first.
        self.free.extend((first..first + CHUNK as u32).rev());
    }

    /// Takes the value out; its slot is used again after [`Slab::end_turn`].
    pub(crate) fn remove(&mut self, slot: u32, generation: u32) -> Option<T> {
        let entry = self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)?;
        if entry.generation != generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.length -= 1;
        self.freed.push(slot);
        Some(value)
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32, generation: u32) -> Option<&T> {
        let entry = self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)?;
        if entry.generation == generation { entry.value.as_ref() } else { None }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32, generation: u32) -> Option<&mut T> {
        let entry = self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)?;
        if entry.generation == generation { entry.value.as_mut() } else { None }
    }

    /// As [`Slab::get`], where only the low half of the generation is known.
    #[inline]
    pub(crate) fn get_low(&self, slot: u32, generation: u16) -> Option<&T> {
        let entry = self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)?;
        if entry.generation as u16 == generation { entry.value.as_ref() } else { None }
    }

    /// As [`Slab::get_mut`], where only the low half of the generation is known.
    #[inline]
    pub(crate) fn get_low_mut(&mut self, slot: u32, generation: u16) -> Option<&mut T> {
        let entry = self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)?;
        if entry.generation as u16 == generation { entry.value.as_mut() } else { None }
    }

    /// Every value with its slot and generation, in slot order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, &T)> {
        self.iter_from(0)
    }

    /// The same from a slot on.
    pub(crate) fn iter_from(&self, first: u32) -> impl Iterator<Item = (u32, u32, &T)> {
        let slots = (self.chunks.len() * CHUNK) as u32;
        (first..slots).filter_map(|slot| {
            let entry = &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK];
            entry.value.as_ref().map(|value| (slot, entry.generation, value))
        })
    }

    /// Makes the slots emptied since the last call usable again.
    pub(crate) fn end_turn(&mut self) {
        self.free.append(&mut self.freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_only_after_the_turn_and_under_a_new_generation() {
        let mut slab = Slab::new();
        let (slot, generation) = slab.insert("a");
        assert_eq!(slab.remove(slot, generation), Some("a"));
        let (other, _) = slab.insert("b");
        assert_ne!(other, slot);
        slab.end_turn();
        assert_eq!(slab.insert("c"), (slot, generation + 1));
        assert_eq!((slab.get(slot, generation), slab.get(slot, generation + 1)), (None, Some(&"c")));
        assert_eq!(slab.remove(slot, generation), None);
        assert_eq!(slab.len(), 2);
    }

    #[test]
    fn more_than_one_chunk_keeps_every_value() {
        let mut slab = Slab::new();
        for n in 0..1000 {
            assert_eq!(slab.insert(n), (n, 0));
        }
        assert_eq!(slab.iter().map(|(slot, _, value)| (slot, *value)).filter(|(s, v)| s == v).count(), 1000);
    }
}
