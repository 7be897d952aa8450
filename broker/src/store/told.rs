//! What data threads are told, gathered in a turn of the store and posted at its end.

use std::sync::Arc;

use fulmar_store::{Answer, Told};
use fulmar_worker::Thread;

use crate::reactor::{Inbox, Letter};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Tolds {
    /// By thread.
    told: Vec<Vec<Told>>,
    /// Answers to what the store has asked itself.
    own: Vec<(u64, Answer)>,
}

impl Tolds {
    /// For so many data threads.
    pub(super) fn new(threads: usize) -> Tolds {
        Tolds { told: (0..threads).map(|_| Vec::new()).collect(), own: Vec::new() }
    }

    pub(super) fn tell(&mut self, thread: Thread, told: Told) {
        match self.told.get_mut(usize::from(thread)) {
            Some(letters) => letters.push(told),
            None => self.own.extend(match told {
                Told::Answer { number, answer } => Some((number, answer)),
                _ => None,
            }),
        }
    }

    pub(super) fn take_own(&mut self) -> Vec<(u64, Answer)> {
        std::mem::take(&mut self.own)
    }

    pub(super) fn post(&mut self, inboxes: &[Arc<Inbox>]) {
        for (told, inbox) in self.told.iter_mut().zip(inboxes) {
            if !told.is_empty() {
                inbox.push(Letter::Told(std::mem::take(told)));
            }
        }
    }
}
