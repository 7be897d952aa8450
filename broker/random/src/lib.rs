//! Numbers that look random and follow from a seed: for what needs to differ, not to be secret. A run with the same seed
//! can be repeated, so tests name their seeds, and the numbers of a seed stay what they are.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): no two of the first 2^64
/// numbers are the same.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    #[inline]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number. There is always a next one, so this is no iterator.
    #[inline]
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if there is none.
    #[inline]
    pub fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or_default()
    }

    /// A place in a list of so many; 0 if there is none.
    #[inline]
    pub fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).expect("it is below a usize, or 0")
    }

    /// True once in `times`.
    #[inline]
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A time of fewer milliseconds than so many.
    pub fn milliseconds(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }

    /// One of these.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds are written down beside what they once found.
    #[test]
    fn the_numbers_of_a_seed_stay_what_they_are() {
        let mut random = Random::new(0);
        assert_eq!(
            [(); 3].map(|()| random.next()),
            [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]
        );
        let mut random = Random::new(1);
        let (below, index) = (random.below(1000), random.index(1000));
        let mut again = Random::new(1);
        assert_eq!((below, index as u64), (again.next() % 1000, again.next() % 1000));
    }

    #[test]
    fn each_choice_takes_one_number() {
        let mut random = Random::new(7);
        let before = [random.below(0), random.index(0) as u64, u64::from(random.once_in(1)), random.pick(&[9])];
        assert_eq!(before, [0, 0, 1, 9]);
        let mut again = Random::new(7);
        let fifth = [(); 5].map(|()| again.next())[4];
        assert_eq!(random.next(), fifth);
    }
}
