//! A set of packet identifiers: a short list while there are few, a bit for each once there are many.

use fulmar_codec::PacketId;

const FEW_MAX: usize = 64;
const WORDS: usize = 1 << (16 - 6);

/// Packet identifiers; at most 8 kB for all that there are.
#[derive(Debug)]
pub(crate) enum PacketIds {
    Few(Vec<PacketId>),
    Many(Box<Bits>),
}

#[derive(Debug)]
pub(crate) struct Bits {
    words: [u64; WORDS],
    count: usize,
}

impl PacketIds {
    pub(crate) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(ids) => ids.len(),
            Self::Many(bits) => bits.count,
        }
    }

    #[inline]
    pub(crate) fn contains(&self, id: PacketId) -> bool {
        match self {
            Self::Few(ids) => ids.contains(&id),
            Self::Many(bits) => bits.words[word(id)] & bit(id) != 0,
        }
    }

    /// Says whether the identifier was absent.
    #[inline]
    pub(crate) fn insert(&mut self, id: PacketId) -> bool {
        if self.contains(id) {
            return false;
        }
        match self {
            Self::Few(ids) if ids.len() < FEW_MAX => ids.push(id),
            Self::Few(ids) => {
                let mut bits = Box::new(Bits { words: [0; WORDS], count: 0 });
                ids.iter().copied().chain([id]).for_each(|id| bits.add(id));
                *self = Self::Many(bits);
            }
            Self::Many(bits) => bits.add(id),
        }
        true
    }

    /// Says whether the identifier was present.
    #[inline]
    pub(crate) fn remove(&mut self, id: PacketId) -> bool {
        match self {
            Self::Few(ids) => match ids.iter().position(|&held| held == id) {
                Some(at) => {
                    ids.swap_remove(at);
                    true
                }
                None => false,
            },
            Self::Many(bits) => {
                let was_there = bits.words[word(id)] & bit(id) != 0;
                if was_there {
                    bits.words[word(id)] &= !bit(id);
                    bits.count -= 1;
                    if bits.count == 0 {
                        *self = Self::new();
                    }
                }
                was_there
            }
        }
    }
}

impl Bits {
    fn add(&mut self, id: PacketId) {
        self.words[word(id)] |= bit(id);
        self.count += 1;
    }
}

const fn word(id: PacketId) -> usize {
    (id.get() >> 6) as usize
}

const fn bit(id: PacketId) -> u64 {
    1 << (id.get() & 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_identifiers_fit_and_come_out_again() {
        let all = || (1..=u16::MAX).filter_map(PacketId::new);
        let mut ids = PacketIds::new();
        for (before, id) in all().enumerate() {
            assert_eq!((ids.len(), ids.contains(id)), (before, false));
            assert_eq!((ids.insert(id), ids.insert(id), ids.contains(id)), (true, false, true));
        }
        assert!(matches!(&ids, PacketIds::Many(bits) if bits.count == 65_535));
        for id in all() {
            assert_eq!((ids.remove(id), ids.remove(id), ids.contains(id)), (true, false, false));
        }
        assert!(matches!(ids, PacketIds::Few(few) if few.is_empty()));
    }
}
