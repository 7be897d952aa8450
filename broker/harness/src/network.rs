//! A network between pods that loses, delays and doubles, and is cut, in one direction too.

use std::collections::BTreeSet;

use fulmar_random::Random;

/// How bad a network is. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// So many letters in a hundred are lost.
    pub lost_percent: u64,
    /// Letters take less than this.
    pub delay_micros: u64,
    /// So many in a hundred take longer.
    pub slow_percent: u64,
    /// These take less than this.
    pub slow_micros: u64,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Network {
    /// How bad it is.
    pub weather: Weather,
    /// From whom nothing reaches whom.
    cut: BTreeSet<(usize, usize)>,
}

impl Weather {
    /// Any; without any delay to speak of where clocks matter.
    pub fn draw(is_quick: bool, random: &mut Random) -> Self {
        Self {
            lost_percent: random.pick(&[0, 2, 15]),
            delay_micros: if is_quick { 1 } else { random.pick(&[1, 2_000, 50_000]) },
            slow_percent: random.pick(&[0, 1, 5]),
            slow_micros: random.pick(&[500_000, 2_500_000]),
        }
    }
}

impl Network {
    /// One that is whole.
    pub const fn new(weather: Weather) -> Self {
        Self { weather, cut: BTreeSet::new() }
    }

    /// How long something takes that is not lost.
    pub fn delay(&self, random: &mut Random) -> u64 {
        let is_slow = self.weather.slow_percent > random.below(100);
        200 + random.below(if is_slow { self.weather.slow_micros } else { self.weather.delay_micros })
    }

    /// How long the copies of a letter take: none, one or two.
    pub fn carry(&self, from: usize, to: usize, random: &mut Random) -> Vec<u64> {
        if !self.reaches(from, to) || random.below(100) < self.weather.lost_percent {
            return Vec::new();
        }
        let copies = 1 + u64::from(random.once_in(20));
        (0..copies).map(|_| self.delay(random)).collect()
    }

    /// Whether something may come through.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Whether two may talk to each other.
    pub fn links(&self, one: usize, other: usize) -> bool {
        self.reaches(one, other) && self.reaches(other, one)
    }

    /// Cuts off a pod from some of the first `nodes`, in one direction or both, or parts all `pods` into two sides.
    pub fn draw_cut(&mut self, center: usize, nodes: usize, pods: usize, random: &mut Random) {
        if random.once_in(3) {
            return self.part(center, pods, random);
        }
        let other = random.index(nodes);
        let others: Vec<usize> = match random.below(3) {
            0 => vec![other],
            _ => (0..nodes).filter(|_| random.below(3) > 0).collect(),
        };
        let ways = random.below(3);
        for other in others.into_iter().filter(|other| *other != center) {
            if ways != 1 {
                self.cut.insert((center, other));
            }
            if ways != 2 {
                self.cut.insert((other, center));
            }
        }
    }

    /// Two sides that hear nothing of each other.
    fn part(&mut self, center: usize, pods: usize, random: &mut Random) {
        let side: Vec<bool> = (0..pods).map(|pod| pod == center || random.once_in(3)).collect();
        for (from, from_side) in side.iter().enumerate() {
            let others = side.iter().enumerate().filter(|(_, to_side)| *to_side != from_side);
            self.cut.extend(others.map(|(to, _)| (from, to)));
        }
    }

    /// Nothing is cut any more.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Nothing is cut, lost or late from now on.
    pub fn become_good(&mut self) {
        let Weather { lost_percent, delay_micros, slow_percent, slow_micros: _ } = &mut self.weather;
        (*lost_percent, *delay_micros, *slow_percent) = (0, 2_000, 0);
        self.heal();
    }
}
