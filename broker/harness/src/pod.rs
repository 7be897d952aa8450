//! A place where processes run, one after the other: a pod with its volume and the clock of its machine.

use fulmar_random::Random;

use crate::Clock;

/// See the [module](self). `F` is what is on disk, `P` a process.
#[derive(Debug, Clone)]
pub struct Pod<F, P> {
    /// Its name, which it keeps.
    pub name: Box<str>,
    /// What is on its volume.
    pub folder: Option<F>,
    /// What a backup holds.
    pub backup: Option<F>,
    /// The process that runs.
    pub process: Option<P>,
    /// Counts processes, so that nothing meant for one reaches the next.
    pub life: u64,
    /// Until when the process is stopped.
    pub paused_until: u64,
    /// Its machine's.
    pub clock: Clock,
    /// When it ticks next.
    pub tick_at: Option<u64>,
}

impl<F, P> Pod<F, P> {
    /// An empty one.
    pub fn new(number: usize, clock: Clock) -> Self {
        Self {
            name: format!("broker-{number}").into(),
            folder: None,
            backup: None,
            process: None,
            life: 0,
            paused_until: 0,
            clock,
            tick_at: None,
        }
    }

    /// Whether a process runs that is not stopped.
    pub const fn is_awake(&self, now: u64) -> bool {
        self.process.is_some() && self.paused_until <= now
    }

    /// The process, if it is still that one.
    pub fn process_of(&mut self, life: u64) -> Option<&mut P> {
        self.process.as_mut().filter(|_| self.life == life)
    }

    /// A process begins.
    pub fn begin(&mut self, process: P) {
        self.process = Some(process);
        self.life += 1;
        self.tick_at = None;
    }

    /// It ends at once.
    pub fn crash(&mut self) {
        self.process = None;
        self.life += 1;
        self.paused_until = 0;
    }

    /// SIGSTOP, and SIGCONT up to half a minute later: after so many microseconds, if there is a process. What happens
    /// then must come before all that waits for it, so it is put down at once.
    pub fn pause(&mut self, now: u64, random: &mut Random) -> Option<u64> {
        self.process.as_ref()?;
        let most = random.pick(&[500_000, 3_000_000, 3_000_000, 30_000_000]);
        let micros = 1 + random.below(most);
        self.paused_until = now + micros;
        Some(micros)
    }

    /// SIGCONT now, if it was stopped: what was put off until later stays late, as if the network were slow.
    pub fn wake(&mut self, now: u64) -> bool {
        let was_stopped = self.paused_until > now;
        if was_stopped {
            self.paused_until = now;
            self.tick_at = None;
        }
        was_stopped
    }

    /// Wants to tick when its clock reads this: in so many microseconds, unless it ticks before.
    pub fn tick_in(&mut self, deadline: std::time::Duration, now: u64) -> Option<u64> {
        let at = self.clock.real(deadline).max(now + 1);
        let is_sooner = self.tick_at.is_none_or(|tick_at| at < tick_at || tick_at < now);
        is_sooner.then(|| {
            self.tick_at = Some(at);
            at - now
        })
    }
}
