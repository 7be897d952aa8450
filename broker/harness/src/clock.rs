//! A machine's clock, which runs too fast or too slowly and began long ago.

use std::time::Duration;

use fulmar_random::Random;

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// What it read when the run began, in microseconds.
    offset: u64,
    /// Its microseconds in a thousand real ones.
    per_thousand: u64,
}

impl Clock {
    /// One that is up for an hour at least, with one of these speeds in microseconds per thousand real ones.
    pub fn draw(per_thousand: &[u64], random: &mut Random) -> Self {
        Self { offset: 3_600_000_000 + random.below(1 << 40), per_thousand: random.pick(per_thousand) }
    }

    /// What it reads at a real microsecond of the run.
    pub fn read(self, real: u64) -> Duration {
        Duration::from_micros(self.offset + real * self.per_thousand / 1000)
    }

    /// The first real microsecond at which it reads this.
    pub fn real(self, read: Duration) -> u64 {
        let micros = u64::try_from(read.as_micros()).expect("runs are short");
        (micros.saturating_sub(self.offset) * 1000).div_ceil(self.per_thousand)
    }
}
