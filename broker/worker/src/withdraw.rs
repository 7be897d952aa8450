//! New files of users and access rules: who has lost a right loses what came of it, and nobody else notices.
//!
//! New rules hold at once for all that clients ask from then on. What they have already (their connections and
//! subscriptions) is looked at in portions, some sessions or some filters of one session in each turn, so that a change
//! for a million of them keeps no message waiting.

use crate::effort::cost;
use crate::ids::SessionId;
use crate::out::Out;
use crate::rights::username;
use crate::rules::{Proof, Rules};
use crate::sessions::Entry;
use crate::subscribe::split_share;
use crate::turn::Portion;
use crate::worker::Worker;
use fulmar_auth::passwords::Hash;
use fulmar_codec::{ReasonCode, TopicLimits, parse_filter};
use std::sync::Arc;
use std::time::Instant;

/// Sessions and filters that a turn looks at, however much else it has done: a right that is lost is to go soon.
const LEAST_PER_TURN: usize = 64;

/// Changes of rules that are carried out together, because each came before the one before it was done: so many files
/// are kept meanwhile. The next one waits until these are done, and if more follow only the last of them is looked at.
const CHANGES_MAX: usize = 4;

/// A change of rules that not every session has been looked at for, or several.
#[derive(Debug, Default)]
pub(crate) struct Withdrawal {
    /// The slot of the next one.
    next: u32,
    /// What held before, oldest first: sessions may have been let in by any of it.
    before: Vec<Arc<Rules>>,
    /// The session whose subscriptions are judged before the next one is looked at.
    judging: Option<Judging>,
    /// What holds when this is done.
    after: Option<Arc<Rules>>,
}

/// How far the subscriptions of a session have been judged. Those that it gets meanwhile are judged when they are made.
#[derive(Debug)]
struct Judging {
    id: SessionId,
    /// The last filter that was judged. They are judged in order.
    filter: String,
    has_lost: bool,
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
    pub fn reload(&mut self, rules: Arc<Rules>) {
        let withdrawal = self.put_off.withdrawal.get_or_insert_default();
        if withdrawal.before.len() == CHANGES_MAX {
            withdrawal.after = Some(rules);
            return;
        }
        withdrawal.before.push(std::mem::replace(&mut self.rules, rules));
        // Everybody is looked at from the beginning. Who has lost a filter already is told, whatever holds now.
        withdrawal.next = 0;
        if let Some(judging) = &mut withdrawal.judging {
            judging.filter.clear();
        }
    }

    /// Goes on with a change of rules, as far as this turn goes.
    pub(crate) fn withdraw_some(&mut self, now: Instant, out: &mut impl Out) {
        let Some(mut withdrawal) = self.put_off.withdrawal.take() else { return };
        let mut portion = Portion::of_at_least(LEAST_PER_TURN);
        while portion.goes_on(self.turn.effort.is_spent()) {
            if let Some(judging) = withdrawal.judging.take() {
                withdrawal.judging = self.judge_some(judging, &mut portion, now, out);
            } else if !self.review_next(&mut withdrawal, now, out) {
                if let Some(rules) = withdrawal.after {
                    self.reload(rules);
                }
                return;
            }
        }
        self.put_off.withdrawal = Some(withdrawal);
    }

    /// Looks at the next session for which the change may mean something; false when there are no more.
    fn review_next(&mut self, withdrawal: &mut Withdrawal, now: Instant, out: &mut impl Out) -> bool {
        let next = self.sessions.iter_from(withdrawal.next).next();
        let Some(id) = next.map(|(id, _)| id) else { return false };
        withdrawal.next = id.slot + 1;
        self.turn.effort.add(1, cost::REVIEW);
        let review = self.review_client(id, &withdrawal.before, now);
        if review == Review::Ends {
            self.end_in_store(id);
        }
        if review != Review::Stays {
            self.send_away(id, now, out);
        }
        if review == Review::Ends {
            self.end_session(id, now);
        }
        if withdrawal.before.iter().any(|before| !is_same(before.access.as_ref(), self.rules.access.as_ref())) {
            withdrawal.judging = Some(Judging { id, filter: String::new(), has_lost: false });
        }
        true
    }

    /// Whether a session is to end because its user was removed, and has not yet.
    pub(crate) fn has_lost_user(&self, entry: &Entry) -> bool {
        self.put_off.withdrawal.as_ref().is_some_and(|changes| was_removed(entry, &changes.before))
    }

    /// The client of a session has lost a right and must come again.
    fn send_away(&mut self, id: SessionId, now: Instant, out: &mut impl Out) {
        if let Some(conn) = self.sessions.get(id).and_then(|entry| entry.connection) {
            self.counters.rights_withdrawn += 1;
            self.close_client(conn, id, ReasonCode::NOT_AUTHORIZED, now, out);
        }
    }

    fn review_client(&self, id: SessionId, before: &[Arc<Rules>], now: Instant) -> Review {
        let Some(entry) = self.sessions.get(id) else { return Review::Stays };
        let (client_id, user) = (entry.session.client_id(), username(&entry.session));
        if let (Proof::Password, Some(user)) = (entry.proof, user) {
            let password = password_of(user, &self.rules);
            if password.is_none() || was_removed(entry, before) {
                return Review::Ends;
            }
            // Who was let in by what is older than all of it has been looked at since then.
            let let_in_by = before.iter().find(|rules| rules.generation == entry.let_in_by).or_else(|| before.first());
            // Who came since the last change was let in by the file that is valid now.
            if entry.let_in_by != self.rules.generation
                && let_in_by.is_some_and(|rules| password != password_of(user, rules))
            {
                return Review::LosesConnection;
            }
        }
        let connection = entry.connection.and_then(|conn| self.connections.get(conn));
        match connection {
            Some(connection) if self.is_banned(client_id, user, connection.origin, now) => Review::LosesConnection,
            _ => Review::Stays,
        }
    }

    /// Judges subscriptions of a session, as far as this turn goes, and ends those that are not allowed any more. When it
    /// has judged the last one and any were lost, the client is sent away, once: then it finds what is left. Gives what is
    /// to be judged yet.
    fn judge_some(
        &mut self,
        mut judging: Judging,
        portion: &mut Portion,
        now: Instant,
        out: &mut impl Out,
    ) -> Option<Judging> {
        let mut lost: Vec<String> = Vec::new();
        let mut is_done = false;
        while portion.goes_on(self.turn.effort.is_spent()) {
            if !self.next_filter(&mut judging) {
                is_done = true;
                break;
            }
            self.turn.effort.add(1, cost::FILTER);
            if !self.may_keep(&judging) {
                self.turn.effort.add(1, cost::FILTER);
                // It was checked when it was made, and is there.
                let _ = self.end_subscription(judging.id, &judging.filter);
                lost.push(judging.filter.clone());
            }
        }
        if !lost.is_empty() {
            judging.has_lost = true;
            self.forget_reads(judging.id);
            self.forget_in_store(judging.id, &lost);
            if self.leave(judging.id, &lost.iter().map(|filter| split_share(filter)).collect::<Vec<_>>()) {
                self.interest_changed();
            }
        }
        if is_done && judging.has_lost {
            self.send_away(judging.id, now, out);
        }
        (!is_done).then_some(judging)
    }

    /// Goes on to the next filter, if there is one. What has ended is not looked at: it loses all that it has.
    fn next_filter(&self, judging: &mut Judging) -> bool {
        let entry = self.sessions.get(judging.id).filter(|entry| !entry.is_leaving);
        let Some(next) = entry.and_then(|entry| entry.session.filter_after(&judging.filter)) else { return false };
        judging.filter = next.to_owned();
        true
    }

    fn may_keep(&self, Judging { id, filter, .. }: &Judging) -> bool {
        parse_filter(filter, TopicLimits::NONE).is_ok_and(|parsed| self.may_subscribe(*id, filter, &parsed))
    }
}

/// Whether there was no such user at some time since this session was made or resumed: somebody of the same name is
/// somebody else.
fn was_removed(entry: &Entry, before: &[Arc<Rules>]) -> bool {
    let (Proof::Password, Some(user)) = (entry.proof, username(&entry.session)) else { return false };
    let mut since = before.iter().filter(|rules| rules.generation > entry.let_in_by);
    since.any(|rules| password_of(user, rules).is_none())
}

fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// The stored hash of a user's password, if there is such a user.
fn password_of<'a>(user: &str, rules: &'a Rules) -> Option<&'a Hash> {
    rules.passwords.as_deref().and_then(|file| file.find(user))
}
