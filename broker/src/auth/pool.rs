//! Threads that verify passwords, so that no data thread has to. The oldest question is answered first; how many may
//! wait is bounded, and those whose client has gone wait no longer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Context;
use fulmar_auth::hooks::Ticket;
use fulmar_auth::passwords::Scratch;
use fulmar_worker::{Answer, Question};

/// How much the threads give way to others: messages go before passwords.
const NICE: i32 = 5;
/// A thread that had nothing to verify for this long gives back the megabytes that it verified with.
const SCRATCH_KEPT: Duration = Duration::from_millis(500);

/// The threads and the questions that wait for them.
#[derive(Debug)]
pub(crate) struct Pool {
    queue: Mutex<Queue>,
    filled: Condvar,
    queued_max: usize,
    answered: AtomicU64,
    /// From question to answer, over all answers.
    microseconds: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    /// Tickets grow, so the first is the oldest.
    waiting: BTreeMap<Ticket, Waiting>,
    is_over: bool,
}

#[derive(Debug)]
struct Waiting {
    question: Question,
    since: Instant,
}

/// What a pool has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PoolCounts {
    /// Questions that wait now.
    pub(crate) queued: usize,
    /// Questions that were answered.
    pub(crate) answered: u64,
    /// How long these took, their waiting included.
    pub(crate) spent: Duration,
}

impl Pool {
    /// A pool without threads, in which so many questions may wait.
    pub(crate) fn new(queued_max: usize) -> Pool {
        Pool {
            queue: Mutex::default(),
            filled: Condvar::new(),
            queued_max,
            answered: AtomicU64::new(0),
            microseconds: AtomicU64::new(0),
        }
    }

    /// Starts a thread that answers questions until the pool is over. It holds `guard` for as long as it lives.
    pub(crate) fn start(
        self: Arc<Self>,
        number: u16,
        guard: impl Send + 'static,
        tell: impl Fn(Answer) + Send + 'static,
    ) -> anyhow::Result<()> {
        let run = move || {
            let _guard = guard;
            give_way();
            let mut scratch = Scratch::default();
            while let Some(Waiting { question, since }) = self.next(&mut scratch) {
                let answer = question.answer(&mut scratch);
                let spent = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.answered.fetch_add(1, Ordering::Relaxed);
                self.microseconds.fetch_add(spent, Ordering::Relaxed);
                tell(answer);
            }
        };
        let thread = std::thread::Builder::new().name(format!("password-{number}"));
        thread.spawn(run).context("start a thread that verifies passwords")?;
        Ok(())
    }

    /// Takes a question, unless as many wait as may.
    pub(crate) fn ask(&self, question: Question) -> bool {
        let mut queue = self.lock();
        if queue.waiting.len() >= self.queued_max {
            return false;
        }
        queue.waiting.insert(question.ticket, Waiting { question, since: Instant::now() });
        drop(queue);
        self.filled.notify_one();
        true
    }

    /// Nobody waits for this answer any more.
    pub(crate) fn abandon(&self, ticket: Ticket) {
        self.lock().waiting.remove(&ticket);
    }

    /// Its threads end when they have answered what they are at.
    pub(crate) fn stop(&self) {
        self.lock().is_over = true;
        self.filled.notify_all();
    }

    pub(crate) fn counts(&self) -> PoolCounts {
        PoolCounts {
            queued: self.lock().waiting.len(),
            answered: self.answered.load(Ordering::Relaxed),
            spent: Duration::from_micros(self.microseconds.load(Ordering::Relaxed)),
        }
    }

    /// Waits for a question, without `scratch` if that takes long. `None`: there will be none.
    fn next(&self, scratch: &mut Scratch) -> Option<Waiting> {
        let is_idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.is_over;
        let soon = self.filled.wait_timeout_while(self.lock(), SCRATCH_KEPT, is_idle);
        let (mut queue, waited) = soon.expect("nothing panics while a question is queued");
        if waited.timed_out() {
            drop(queue);
            *scratch = Scratch::default();
            queue = self.filled.wait_while(self.lock(), is_idle).expect("nothing panics while a question is queued");
        }
        if queue.is_over {
            return None;
        }
        queue.waiting.pop_first().map(|(_, waiting)| waiting)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics while a question is queued")
    }
}

/// Lets the scheduler prefer data threads to this one. Where it is not allowed all are equal.
fn give_way() {
    // SAFETY: setpriority only reads its arguments. On Linux 0 is the calling thread, not the process.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}
