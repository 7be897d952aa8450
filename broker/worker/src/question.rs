//! Whether a password is right takes milliseconds to find out, so a data thread asks others and goes on.

use crate::ids::Thread;
use crate::node::Node;
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
    node: Arc<Node>,
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
    /// Whether the password is right.
    pub is_right: bool,
}

impl Question {
    pub(crate) fn new(
        node: &Arc<Node>,
        thread: Thread,
        user: &str,
        password: &[u8],
        passwords: &Arc<PasswordFile>,
        fingerprint: Option<Fingerprint>,
    ) -> Question {
        Question {
            ticket: node.next_ticket(),
            thread,
            node: Arc::clone(node),
            user: user.into(),
            password: password.into(),
            passwords: Arc::clone(passwords),
            fingerprint,
        }
    }

    /// Finds out. Slow by intent, and as slow for a user who is not there; but what many clients ask at once, as those
    /// that share a user do after a restart, is verified for the first of them.
    pub fn answer(self, scratch: &mut Scratch) -> Answer {
        let is_known = self.fingerprint.is_some_and(|fingerprint| self.node.auth_memory().verified.holds(&fingerprint));
        let is_right = is_known || self.passwords.verify(&self.user, &self.password, scratch);
        // A client that has gone meanwhile comes back with the same password.
        if let Some(fingerprint) = self.fingerprint.filter(|_| is_right && !is_known) {
            self.node.auth_memory().verified.insert(fingerprint);
        }
        Answer { ticket: self.ticket, thread: self.thread, is_right }
    }
}

/// A password is never shown.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("ticket", &self.ticket).field("thread", &self.thread).finish_non_exhaustive()
    }
}
