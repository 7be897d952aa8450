//! Whether a password is right takes milliseconds to find out, so a data thread asks others and goes on.

use crate::ids::Thread;
use fulmar_auth::hooks::Ticket;
use fulmar_auth::passwords::{PasswordFile, Scratch};
use fulmar_auth::verified::Fingerprint;
use std::fmt;
use std::sync::Arc;

/// A password to be verified away from the data thread, see [`crate::Out::verify`].
pub struct Question {
    /// Names the question on all threads; later questions have greater numbers.
    pub ticket: Ticket,
    /// The data thread that waits for the answer.
    pub thread: Thread,
    user: Box<str>,
    password: Box<[u8]>,
    passwords: Arc<PasswordFile>,
    /// What is to be remembered if the password is right. There is none for a user who is not there.
    fingerprint: Option<Fingerprint>,
}

/// What became of a [`Question`], for [`crate::Worker::answered`].
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The question's.
    pub ticket: Ticket,
    /// The data thread that asked.
    pub thread: Thread,
    pub(crate) verified: Option<Fingerprint>,
}

impl Question {
    pub(crate) fn new(
        ticket: Ticket,
        thread: Thread,
        user: &str,
        password: &[u8],
        passwords: Arc<PasswordFile>,
        fingerprint: Option<Fingerprint>,
    ) -> Question {
        Question { ticket, thread, user: user.into(), password: password.into(), passwords, fingerprint }
    }

    /// Finds out. Slow by intent, and as slow for a user who is not there.
    pub fn answer(self, scratch: &mut Scratch) -> Answer {
        let is_right = self.passwords.verify(&self.user, &self.password, scratch);
        Answer { ticket: self.ticket, thread: self.thread, verified: self.fingerprint.filter(|_| is_right) }
    }
}

impl Answer {
    /// Whether the password was right.
    pub fn is_right(&self) -> bool {
        self.verified.is_some()
    }
}

/// A password is never shown.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("ticket", &self.ticket).field("thread", &self.thread).finish_non_exhaustive()
    }
}
