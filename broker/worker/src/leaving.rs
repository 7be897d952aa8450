//! Sessions that have ended and had many subscriptions: these go in portions, because a router that forgets ten thousand
//! filters at one go keeps everybody waiting.
//!
//! A group that still has such a session may choose it, when another thread asks: what comes goes to the next member
//! (`inherit.rs`).
//!
//! Such a session has no name any more, so its client can come again and is somebody new. It keeps its place until the
//! last subscription is gone, because the router knows it by its place, and whoever came into it would miss messages.

use crate::effort::cost;
use crate::ids::SessionId;
use crate::sessions::subscription_bytes;
use crate::subscribe::{AT_ONCE, split_share};
use crate::turn::Portion;
use crate::worker::Worker;

impl Worker {
    /// Goes on with sessions that are leaving, as far as this turn goes.
    pub(crate) fn leave_some(&mut self) {
        let mut portion = Portion::of_at_least(1);
        while portion.goes_on(self.turn.effort.is_spent())
            && let Some(id) = self.put_off.leaving.front().copied()
        {
            if self.leave_portion(id) == 0 {
                self.put_off.leaving.pop_front();
                self.sessions.remove(id);
            }
        }
    }

    /// The shared subscriptions of a session go at once, because the node stops and no turn will come for portions: their
    /// groups turn to other nodes.
    pub(crate) fn leave_groups(&mut self, id: SessionId) {
        let Some(entry) = self.sessions.get(id) else { return };
        let filters = entry.session.subscriptions().map(|subscription| subscription.filter);
        let shared: Vec<String> = filters.filter(|filter| split_share(filter).0.is_some()).map(str::to_owned).collect();
        self.end_subscriptions(id, &shared);
    }

    /// Ends some subscriptions of a session that has ended and gives how many are left.
    pub(crate) fn leave_portion(&mut self, id: SessionId) -> usize {
        let Some(entry) = self.sessions.get(id) else { return 0 };
        let filters = entry.session.subscriptions().map(|subscription| subscription.filter.to_owned());
        let filters: Vec<String> = filters.take(AT_ONCE).collect();
        self.end_subscriptions(id, &filters);
        self.sessions.get(id).map_or(0, |entry| entry.session.subscription_count())
    }

    fn end_subscriptions(&mut self, id: SessionId, filters: &[String]) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        for filter in filters {
            entry.session.handle_unsubscribe_filter(filter);
            entry.memory.shrink(subscription_bytes(filter));
        }
        self.sessions.subscriptions -= filters.len();
        self.turn.effort.add(filters.len(), cost::FILTER);
        let filters: Vec<_> = filters.iter().map(|filter| split_share(filter)).collect();
        if self.leave(id, &filters) {
            self.interest_changed();
        }
    }
}
