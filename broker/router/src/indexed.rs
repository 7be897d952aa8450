//! A list that stays quick to change when it grows: a plain slice to walk, with a table of positions once a search
//! through it would take longer than a lookup.

use std::ops::Deref;

use hashbrown::HashTable;

use crate::hash::Hashes;

/// Lists up to this length are searched from end to end: that is a few cache lines.
const SEARCHED_MAX: usize = 32;

/// What a list can find its items by.
pub(crate) trait Keyed {
    type Key: ?Sized + PartialEq;
    fn key(&self) -> &Self::Key;
    fn hash(key: &Self::Key, hashes: &Hashes) -> u64;
}

/// Items with distinct keys in no particular order. Walking is a slice; finding, adding and removing take constant time
/// at any length.
pub(crate) struct Indexed<T> {
    items: Vec<T>,
    /// Positions by key. Absent while the list is short.
    positions: Option<Box<HashTable<u32>>>,
}

impl<T> Default for Indexed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), positions: None }
    }
}

impl<T> Deref for Indexed<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T: Keyed> Indexed<T> {
    pub(crate) fn find(&self, key: &T::Key, hashes: &Hashes) -> Option<usize> {
        match &self.positions {
            None => self.items.iter().position(|item| item.key() == key),
            Some(positions) => positions
                .find(T::hash(key, hashes), |&position| self.items[position as usize].key() == key)
                .map(|&position| position as usize),
        }
    }

    pub(crate) fn get_mut(&mut self, position: usize) -> &mut T {
        &mut self.items[position]
    }

    /// All items, for changes that leave their keys as they are.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut()
    }

    /// Adds an item whose key is not in the list and gives its position.
    pub(crate) fn add(&mut self, item: T, hashes: &Hashes) -> usize {
        let position = self.items.len();
        self.items.push(item);
        match &mut self.positions {
            Some(positions) => insert_position(positions, &self.items, position, hashes),
            None if self.items.len() > SEARCHED_MAX => {
                let mut positions = Box::new(HashTable::with_capacity(2 * SEARCHED_MAX));
                for position in 0..self.items.len() {
                    insert_position(&mut positions, &self.items, position, hashes);
                }
                self.positions = Some(positions);
            }
            None => {}
        }
        position
    }

    /// Takes the item at a position out; the last item moves there.
    pub(crate) fn remove(&mut self, position: usize, hashes: &Hashes) -> T {
        let last = self.items.len() - 1;
        if let Some(positions) = &mut self.positions {
            let hash_at = |at: usize| T::hash(self.items[at].key(), hashes);
            if let Ok(entry) = positions.find_entry(hash_at(position), |&at| at as usize == position) {
                entry.remove();
            }
            if let Some(moved) = positions.find_mut(hash_at(last), |&at| at as usize == last) {
                *moved = to_u32(position);
            }
        }
        let item = self.items.swap_remove(position);
        self.give_memory_back(hashes);
        item
    }

    /// A list that has become much shorter gives its memory back, and one that is short again drops its table. The wide
    /// margins keep lists that grow and shrink a little from doing this over and over.
    fn give_memory_back(&mut self, hashes: &Hashes) {
        let (length, capacity) = (self.items.len(), self.items.capacity());
        if length > capacity / 4 || capacity <= 4 {
            return;
        }
        self.items.shrink_to(capacity / 2);
        if length <= SEARCHED_MAX / 2 {
            self.positions = None;
        } else if let Some(positions) = &mut self.positions {
            positions.shrink_to(2 * length, |&at| T::hash(self.items[at as usize].key(), hashes));
        }
    }
}

fn insert_position<T: Keyed>(positions: &mut HashTable<u32>, items: &[T], position: usize, hashes: &Hashes) {
    let hash_at = |at: usize| T::hash(items[at].key(), hashes);
    positions.insert_unique(hash_at(position), to_u32(position), |&at| hash_at(at as usize));
}

fn to_u32(position: usize) -> u32 {
    u32::try_from(position).expect("a list of 2^32 items does not fit the memory of a broker")
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keyed for (u64, char) {
        type Key = u64;
        fn key(&self) -> &u64 {
            &self.0
        }
        fn hash(key: &u64, hashes: &Hashes) -> u64 {
            hashes.number(*key)
        }
    }

    #[test]
    fn every_item_is_found_while_the_list_grows_and_shrinks() {
        let hashes = Hashes::new(1);
        let mut list = Indexed::default();
        for key in 0..1000 {
            list.add((key, 'x'), &hashes);
            assert_eq!(list.find(&key, &hashes), Some(key as usize));
        }
        assert!(list.positions.is_some());
        // Every third first, then the rest: positions move all the time.
        for key in (0..1000).step_by(3).chain((0..1000).filter(|key| key % 3 != 0)) {
            let position = list.find(&key, &hashes).expect("not removed yet");
            assert_eq!(list.remove(position, &hashes), (key, 'x'));
            assert_eq!(list.find(&key, &hashes), None);
            assert!(list.iter().enumerate().all(|(at, item)| list.find(&item.0, &hashes) == Some(at)));
        }
        assert!(list.is_empty() && list.positions.is_none());
        assert!(list.items.capacity() <= 8, "{} places are kept for nothing", list.items.capacity());
    }
}
