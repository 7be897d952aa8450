//! New files of users and access rules: who has lost a right loses what came of it, and nobody else notices.
//!
//! New rules hold at once for all that clients ask from then on. What they have already (their connections and
//! subscriptions) is looked at in portions, a few sessions in each turn, so that a change for a million of them keeps no
//! message waiting.

use crate::ids::SessionId;
use crate::out::Out;
use crate::rights::username;
use crate::rules::{Proof, Rules};
use crate::worker::Worker;
use fulmar_auth::passwords::Hash;
use fulmar_codec::{ReasonCode, TopicLimits, parse_filter};
use std::sync::Arc;
use std::time::Instant;

/// Sessions that are looked at in one turn.
const SESSIONS_PER_TURN: usize = 64;

/// A change of rules that not every session has been looked at for.
#[derive(Debug)]
pub(crate) struct Withdrawal {
    /// The slot of the next one.
    next: u32,
    before: Arc<Rules>,
}

/// What becomes of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Review {
    Stays,
    /// Its client must come again, if it can.
    LosesConnection,
    /// There is no such user any more.
    Ends,
}

impl Worker {
    /// The files of users and access rules say this from now on.
    pub fn reload(&mut self, rules: Arc<Rules>, now: Instant, out: &mut impl Out) {
        // What a session was let in by is compared with one change only.
        while self.put_off.withdrawal.is_some() {
            self.withdraw_some(now, out);
        }
        let before = std::mem::replace(&mut self.rules, rules);
        self.put_off.withdrawal = Some(Withdrawal { next: 0, before });
    }

    /// Looks at some of the sessions for which a change of rules may mean something.
    pub(crate) fn withdraw_some(&mut self, now: Instant, out: &mut impl Out) {
        let Some(Withdrawal { next, before }) = self.put_off.withdrawal.take() else { return };
        let ids: Vec<SessionId> = self.sessions.iter_from(next).take(SESSIONS_PER_TURN).map(|(id, _)| id).collect();
        for id in &ids {
            self.review(*id, &before, now, out);
        }
        if let Some(last) = ids.last().filter(|_| ids.len() == SESSIONS_PER_TURN) {
            self.put_off.withdrawal = Some(Withdrawal { next: last.slot + 1, before });
        }
    }

    fn review(&mut self, id: SessionId, before: &Rules, now: Instant, out: &mut impl Out) {
        let mut review = self.review_client(id, before, now);
        let is_same = match (&before.access, &self.rules.access) {
            (Some(before), Some(access)) => Arc::ptr_eq(before, access),
            (before, access) => before.is_none() && access.is_none(),
        };
        if !is_same && self.withdraw_subscriptions(id) && review == Review::Stays {
            review = Review::LosesConnection;
        }
        if review != Review::Stays
            && let Some(conn) = self.sessions.get(id).and_then(|entry| entry.connection)
        {
            self.counters.rights_withdrawn += 1;
            self.close_client(conn, id, ReasonCode::NOT_AUTHORIZED, now, out);
        }
        if review == Review::Ends {
            self.end_session(id, now);
        }
    }

    fn review_client(&self, id: SessionId, before: &Rules, now: Instant) -> Review {
        let Some(entry) = self.sessions.get(id) else { return Review::Stays };
        let (client_id, user) = (entry.session.client_id(), username(&entry.session));
        if let (Proof::Password, Some(user)) = (entry.proof, user) {
            let password = password_of(user, &self.rules);
            if password.is_none() {
                return Review::Ends;
            }
            // Who came since then was let in by the file that is valid now.
            if entry.let_in_by != self.rules.generation && password != password_of(user, before) {
                return Review::LosesConnection;
            }
        }
        let connection = entry.connection.and_then(|conn| self.connections.get(conn));
        match connection {
            Some(connection) if self.is_banned(client_id, user, connection.origin, now) => Review::LosesConnection,
            _ => Review::Stays,
        }
    }

    /// Ends the subscriptions that are not allowed any more. Whether there were any.
    fn withdraw_subscriptions(&mut self, id: SessionId) -> bool {
        let Some(entry) = self.sessions.get(id) else { return false };
        // How long a filter may be was judged when the subscription was made.
        let limits = TopicLimits { levels_max: usize::MAX, bytes_max: usize::MAX };
        let may_keep =
            |filter: &&str| parse_filter(filter, limits).is_ok_and(|parsed| self.may_subscribe(id, filter, &parsed));
        let filters = entry.session.subscriptions().map(|subscription| subscription.filter);
        let lost: Vec<String> = filters.filter(|filter| !may_keep(filter)).map(str::to_owned).collect();
        let mut announce = false;
        for filter in &lost {
            // It was checked when it was made, and is there.
            let _ = self.unsubscribe_filter(id, filter, &mut announce);
        }
        self.forget_reads(id);
        if announce {
            self.interest_changed();
        }
        !lost.is_empty()
    }
}

/// The stored hash of a user's password, if there is such a user.
fn password_of<'a>(user: &str, rules: &'a Rules) -> Option<&'a Hash> {
    rules.passwords.as_deref().and_then(|file| file.find(user))
}
