//! A node that has the only vote of group 0 needs nobody to lead it, and an old copy of its folder would not either: it
//! would lead a second time, beside those to whom the cluster has given votes since. So when it comes back it asks all
//! others that there are before its group goes on.
//!
//! As long as it had the only vote nobody else could have an entry that it lacks, or know of another leader in a later
//! term. Whoever does shows that the folder is old; then the group never goes on, and the node asks whoever leads to take
//! it in, which refuses the old folder. Nobody can tell an old copy from the folder itself when nobody else answers. So
//! silence counts as absence only after some time, and the log says that it did.

use fulmar_meta::{Moment, NodeId};

use super::{Alone, Membership};
use crate::output::Output;
use crate::status::Missing;

impl Membership {
    pub(super) fn ask_whether_alone(&mut self, now: Moment, out: &mut Vec<Output>) {
        let Some(since) = self.asks_alone else { return };
        if self.ahead().is_some() {
            return;
        }
        let silent = self.seek.silent(self.me.member);
        let is_over = now.since(since) >= self.settings.alone_wait;
        if (self.seek.is_settled() && silent.is_empty()) || is_over {
            self.asks_alone = None;
            out.push(Output::DecideAlone { silent });
        }
    }

    /// Who shows that the folder is old.
    fn ahead(&self) -> Option<NodeId> {
        let Alone { last, term } = self.me.alone?;
        let id = self.me.member.id;
        let is_later = |(later, leader): (u64, NodeId)| later > term && leader != id;
        self.seek.find(self.folder.bond.cluster(), |state| state.applied > last || state.leader.is_some_and(is_later))
    }

    pub(super) fn missing_alone(&self) -> Option<Missing> {
        self.asks_alone?;
        Some(Missing::Alone { silent: self.seek.silent(self.me.member), ahead: self.ahead() })
    }
}
