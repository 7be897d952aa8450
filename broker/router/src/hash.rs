//! Seeded hashes of names and small keys.
//!
//! All tables of one trie share one seed. Tables keep 32 bits of each hash beside the value, so that they grow without
//! reading the values again and rarely compare unequal ones.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

/// An odd constant (2^64 divided by the golden ratio) that spreads small integers over all bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes hashes that only someone who knows the seed can foresee.
pub(crate) struct Hashes {
    shared: SharedSeed,
    seed: u64,
    multiplier: u64,
}

impl Hashes {
    pub(crate) fn new(seed: u64) -> Self {
        let shared = SharedSeed::from_u64(seed);
        let mut hashes = Self { shared, seed, multiplier: 0 };
        hashes.multiplier = hashes.number(SPREAD) | 1;
        hashes
    }

    /// The hash of a topic, a level of a topic or the name of a group.
    #[inline]
    pub(crate) fn name(&self, name: &str) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    /// The hash of a name within a parent, from the name's own hash: one level of a topic is hashed once and then
    /// looked up below several parents.
    #[inline]
    pub(crate) fn within(&self, parent: u32, name: u64) -> u32 {
        let spread = name ^ u64::from(parent).wrapping_mul(SPREAD);
        fold(u128::from(spread) * u128::from(self.multiplier))
    }

    /// The hash of a key that fits a number.
    #[inline]
    pub(crate) fn number(&self, number: u64) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write_u64(number);
        hasher.finish()
    }
}

#[inline]
fn fold(product: u128) -> u32 {
    let halves = (product >> 64) as u64 ^ product as u64;
    (halves >> 32) as u32 ^ halves as u32
}

/// Widens a kept hash to what the table wants: it places by the low bits and tags by the upper seven.
#[inline]
pub(crate) fn widen(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hash_by_seed_and_parent() {
        let (one, other) = (Hashes::new(1), Hashes::new(2));
        assert_eq!(one.name("sensor"), Hashes::new(1).name("sensor"));
        assert_ne!(one.name("sensor"), other.name("sensor"));
        assert_ne!(one.within(7, one.name("sensor")), one.within(8, one.name("sensor")));
    }

    #[test]
    fn neighbouring_parents_spread_over_the_whole_hash() {
        let hashes = Hashes::new(3);
        let name = hashes.name("a");
        let mut places = std::collections::HashSet::new();
        let mut tags = std::collections::HashSet::new();
        for parent in 0..4096 {
            let hash = widen(hashes.within(parent, name));
            places.insert(hash & 0xffff);
            tags.insert(hash >> 57);
        }
        assert!(places.len() > 3800, "{} of 4096 parents differ in the low bits", places.len());
        assert_eq!(tags.len(), 128);
    }
}
