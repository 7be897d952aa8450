//! Who leads an abstract replicated group, and since when nobody does.

use fulmar_random::Random;

use crate::Network;

/// An old leader that nobody tells of the new one gives up after this long.
const GIVES_UP: u64 = 1_000_000;

/// See the [module](self). The first leader is pod 0, in term 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leadership {
    /// The latest term.
    pub term: u64,
    /// Which pod leads in it.
    pub leader: usize,
    /// Since when the leader has no majority.
    alone_since: Option<u64>,
}

impl Leadership {
    /// Whether it is time for another leader: nobody leads for long.
    pub fn is_over(&mut self, is_led: bool, now: u64, random: &mut Random) -> bool {
        if is_led {
            self.alone_since = None;
            return false;
        }
        let since = *self.alone_since.get_or_insert(now);
        now - since >= 500_000 + random.below(500_000)
    }

    /// This pod leads from now on. Who hears of it, and in how many microseconds: the old leader perhaps soon, and late in
    /// any case.
    pub fn elect(&mut self, pod: usize, network: &Network, random: &mut Random) -> Vec<(usize, u64)> {
        let old = self.leader;
        *self = Self { term: self.term + 1, leader: pod, alone_since: None };
        let tells_old = network.reaches(pod, old) && random.once_in(2);
        let soon = [pod].into_iter().chain(Some(old).filter(|_| tells_old));
        let mut told: Vec<_> = soon.map(|pod| (pod, network.delay(random))).collect();
        told.push((old, GIVES_UP));
        told
    }
}
