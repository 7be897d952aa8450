//! Letters that wait to be written to one connection, bounded by weight. The store's thread puts them in and never
//! waits; when there is no room the connection is of no use any more, because a letter in the middle would be missing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bytes that may wait; a letter that is larger passes alone.
const BYTES_MAX: usize = 64 << 20;
/// What each letter takes besides its bytes.
const EACH_BYTES: usize = size_of::<Vec<u8>>();
/// Taken to be written at a time, one letter at least.
const BATCH_BYTES: usize = 1 << 20;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    news: Notify,
    overflown: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    letters: VecDeque<Vec<u8>>,
    /// Of these, and of what is being written.
    bytes: usize,
    overflow: Option<Overflow>,
    /// The writer sleeps until there is something.
    is_awaited: bool,
}

/// More waits than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} bytes of letters wait, at most {BYTES_MAX} may: the peer reads too slowly")]
pub(super) struct Overflow {
    found: usize,
}

impl Outbox {
    /// Puts a letter in. After an overflow, which is told once, nothing is taken.
    pub(super) fn push(&self, letter: Vec<u8>) -> Result<(), Overflow> {
        let mut queue = self.lock();
        let weight = weight(&letter);
        if queue.overflow.is_some() {
            return Ok(());
        }
        if queue.bytes + weight > BYTES_MAX && queue.bytes > 0 {
            let overflow = Overflow { found: queue.bytes + weight };
            queue.letters = VecDeque::new();
            queue.overflow = Some(overflow);
            drop(queue);
            self.overflown.notify_one();
            return Err(overflow);
        }
        queue.bytes += weight;
        queue.letters.push_back(letter);
        let is_awaited = std::mem::take(&mut queue.is_awaited);
        drop(queue);
        if is_awaited {
            self.news.notify_one();
        }
        Ok(())
    }

    /// Waits for letters and moves some to `batch`, which is empty.
    pub(super) async fn take(&self, batch: &mut Vec<Vec<u8>>) {
        loop {
            self.try_take(batch);
            if !batch.is_empty() {
                return;
            }
            self.news.notified().await;
        }
    }

    fn try_take(&self, batch: &mut Vec<Vec<u8>>) {
        let mut queue = self.lock();
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(letter) = queue.letters.pop_front()
        {
            bytes += weight(&letter);
            batch.push(letter);
        }
        queue.is_awaited = batch.is_empty();
    }

    /// Waits for an overflow, which is the end: the writer may be held up by a peer that does not read.
    pub(super) async fn overflow(&self) -> Overflow {
        loop {
            let overflow = self.lock().overflow;
            match overflow {
                Some(overflow) => return overflow,
                None => self.overflown.notified().await,
            }
        }
    }

    /// These were written.
    pub(super) fn written(&self, batch: &[Vec<u8>]) {
        self.lock().bytes -= batch.iter().map(weight).sum::<usize>();
    }

    /// What waits, or is being written.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // What it guards is whole after every change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::ptr_arg, reason = "the vector itself takes room, too")]
fn weight(letter: &Vec<u8>) -> usize {
    letter.len() + EACH_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn letters_are_taken_in_order_and_a_few_at_a_time() {
        let outbox = Outbox::default();
        let letters = [vec![1; BATCH_BYTES], vec![2], vec![3; BATCH_BYTES]];
        letters.iter().for_each(|letter| outbox.push(letter.clone()).unwrap());
        let mut batch = Vec::new();
        outbox.take(&mut batch).await;
        assert_eq!(batch, letters[..1]);
        outbox.written(&batch);
        batch.clear();
        outbox.take(&mut batch).await;
        assert_eq!(batch, letters[1..]);
        outbox.written(&batch);
        batch.clear();
        assert_eq!(outbox.bytes(), 0);
        tokio::join!(outbox.take(&mut batch), async { outbox.push(vec![4]).unwrap() });
        assert_eq!(batch, [[4]]);
    }

    #[tokio::test]
    async fn what_does_not_fit_ends_the_writer_and_is_told_once() {
        let outbox = Outbox::default();
        // Alone it passes, however large it is; and it takes its room until it is written.
        outbox.push(vec![0; BYTES_MAX]).unwrap();
        let mut batch = Vec::new();
        outbox.take(&mut batch).await;
        let (found, pushed) = tokio::join!(outbox.overflow(), async { outbox.push(vec![1]) });
        let text = "67108913 bytes of letters wait, at most 67108864 may: the peer reads too slowly";
        assert_eq!((found.to_string().as_str(), pushed), (text, Err(found)));
        assert_eq!(outbox.push(vec![2]), Ok(()));
    }
}
