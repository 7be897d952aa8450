//! Questions of the data threads, and of the admin port, on their way to the store's thread, bounded by weight.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fulmar_store::{Ask, Ticket};
use fulmar_worker::{Rules, Thread};

use crate::admin::{ClusterControl, Question, Unavailable};

/// Questions that may wait.
const QUESTIONS_MAX: usize = 64 << 10;
/// Bytes of the messages in them, besides what one turn of a data thread brought.
const BYTES_MAX: usize = 16 << 20;
/// Questions of the admin port that may wait.
const CONTROL_MAX: usize = 16;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    news: Condvar,
    /// Nothing is left to be given away.
    left: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Queue {
    asked: Vec<(Ticket, Ask)>,
    bytes: usize,
    /// Data threads whose questions did not fit.
    waiting: Vec<Thread>,
    is_closed: bool,
    /// The node is to give away what it leads.
    is_leaving: bool,
    /// Something came from elsewhere that the store's thread is to look at.
    is_rung: bool,
    /// Changes of users and access rules, oldest first.
    rules: Vec<Arc<Rules>>,
    /// Of the admin port.
    control: Vec<Question>,
}

/// What there was when the store's thread looked.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Data threads that may go on.
    pub(crate) waiting: Vec<Thread>,
    /// The node stops, and nothing more comes.
    pub(crate) is_closed: bool,
    /// The node is to give away what it leads, and to say so by [`Inbox::has_left`].
    pub(crate) is_leaving: bool,
    /// What holds now, after each change.
    pub(crate) rules: Vec<Arc<Rules>>,
    /// What the admin port asks.
    pub(crate) control: Vec<Question>,
}

impl Inbox {
    /// Takes over what a data thread asks, with so many bytes of messages, or leaves it there if there is no room.
    /// `false`: `from` is woken when there is.
    pub(crate) fn push(&self, from: Thread, asked: &mut Vec<(Ticket, Ask)>, bytes: usize) -> bool {
        let mut queue = self.lock();
        let is_full = queue.asked.len() + asked.len() > QUESTIONS_MAX || queue.bytes + bytes > BYTES_MAX;
        // What alone is heavier than allowed must pass too: it was one turn's work.
        if is_full && !queue.asked.is_empty() {
            if !queue.waiting.contains(&from) {
                queue.waiting.push(from);
            }
            return false;
        }
        queue.bytes += bytes;
        queue.asked.append(asked);
        drop(queue);
        self.news.notify_one();
        true
    }

    /// What the files of users and access rules say from now on. They are looked at once a second, which bounds these.
    pub(crate) fn reload(&self, rules: Arc<Rules>) {
        self.lock().rules.push(rules);
        self.news.notify_one();
    }

    /// There is something to look at that does not come by this way.
    pub(crate) fn ring(&self) {
        self.lock().is_rung = true;
        self.news.notify_one();
    }

    /// The node is about to stop. Returns when it leads nothing any more, or nobody takes it.
    pub(crate) async fn leave(&self) {
        {
            let mut queue = self.lock();
            (queue.is_leaving, queue.is_rung) = (true, true);
        }
        self.news.notify_one();
        self.left.notified().await;
    }

    /// The store's thread has nothing left to give away.
    pub(crate) fn has_left(&self) {
        self.lock().is_leaving = false;
        self.left.notify_one();
    }

    /// Nothing more will be asked.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.news.notify_one();
    }

    /// Waits for something until `deadline` at the latest. Moves all questions to `asked`, which is empty, if they are
    /// taken; otherwise they wait on, and whoever asks waits with them when there are too many.
    pub(crate) fn take(&self, deadline: Instant, takes: bool, asked: &mut Vec<(Ticket, Ask)>) -> Taken {
        let mut queue = self.lock();
        while !queue.has_news(takes) {
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            queue = self.news.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.is_rung = false;
        let waiting = if takes {
            std::mem::swap(&mut queue.asked, asked);
            queue.bytes = 0;
            std::mem::take(&mut queue.waiting)
        } else {
            Vec::new()
        };
        let Queue { is_closed, is_leaving, .. } = *queue;
        let (rules, control) = (std::mem::take(&mut queue.rules), std::mem::take(&mut queue.control));
        Taken { waiting, is_closed, is_leaving, rules, control }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // What it guards is whole after every change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClusterControl for Inbox {
    fn ask(&self, question: Question) -> Result<(), Unavailable> {
        let mut queue = self.lock();
        if queue.is_closed {
            return Err(Unavailable("this node stops"));
        }
        if queue.control.len() >= CONTROL_MAX {
            return Err(Unavailable("too many questions wait for an answer of this node"));
        }
        queue.control.push(question);
        drop(queue);
        self.news.notify_one();
        Ok(())
    }
}

impl Queue {
    fn has_news(&self, takes: bool) -> bool {
        let is_asked = (takes && !self.asked.is_empty()) || !self.control.is_empty();
        is_asked || !self.rules.is_empty() || self.is_closed || self.is_rung
    }
}

/// The longest that the store's thread sleeps.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use fulmar_store::Ask;

    use super::*;

    fn asked(count: u64) -> Vec<(Ticket, Ask)> {
        let end = || Ask::End { client: "a".into(), generation: 1 };
        (0..count).map(|number| (Ticket { thread: 0, number }, end())).collect()
    }

    #[test]
    fn what_does_not_fit_stays_with_its_thread_which_is_told_when_there_is_room() {
        let inbox = Inbox::default();
        // Alone it passes, however much it is.
        assert!(inbox.push(0, &mut asked(2), 2 * BYTES_MAX));
        let mut more = asked(3);
        assert!(!inbox.push(1, &mut more, 1) && !inbox.push(1, &mut more, 1) && more.len() == 3);
        let mut taken = Vec::new();
        let Taken { waiting, is_closed, .. } = inbox.take(Instant::now(), true, &mut taken);
        assert_eq!((taken.len(), waiting, is_closed), (2, vec![1], false));
        assert!(inbox.push(1, &mut more, 1) && more.is_empty());
        inbox.close();
        taken.clear();
        assert!(inbox.take(Instant::now() + BEAT, true, &mut taken).is_closed && taken.len() == 3);
    }

    #[test]
    fn no_more_questions_of_the_admin_port_wait_than_may() {
        let inbox = Inbox::default();
        let question = || Question::Drain(tokio::sync::oneshot::channel().0);
        for _ in 0..CONTROL_MAX {
            assert_eq!(inbox.ask(question()), Ok(()));
        }
        let refused = Err(Unavailable("too many questions wait for an answer of this node"));
        assert_eq!(inbox.ask(question()), refused);
        assert_eq!(inbox.take(Instant::now(), false, &mut Vec::new()).control.len(), CONTROL_MAX);
        assert_eq!(inbox.ask(question()), Ok(()));
        inbox.close();
        assert_eq!(inbox.ask(question()), Err(Unavailable("this node stops")));
    }
}
