//! What the data threads of a node of a durable cluster are told about it: who lives (the view), until when this node may
//! acknowledge (the lease), and whether it serves clients at all.
//!
//! The control side tells the [`Node`], and wakes its data threads; each of them does what follows from it at its next
//! turn (`following.rs`). What it has done, and what peers have said, is read here again. Why it is so is in
//! `docs/decisions/0007-view-lease.md`.

use crate::ids::Thread;
use crate::node::{Node, unpoisoned};
use crate::sabotage::sabotaged;
use fulmar_meta::{Incarnation, Member, Moment, View};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Views {
    /// One more with each thing that data threads have to look at.
    changes: AtomicU64,
    /// Microseconds of the clock of leases; nothing is acknowledged from then on.
    acknowledges_until: AtomicU64,
    /// Of the clients, so many are to go to other nodes, now.
    farewells: AtomicUsize,
    #[cfg(feature = "sabotage")]
    cached: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    orders: Orders,
    /// Members whose filters are all known here.
    known: BTreeSet<Member>,
    /// What each data thread has done.
    followed: Vec<Followed>,
}

#[derive(Clone, Copy, Debug)]
struct Followed {
    life: Incarnation,
    view: u64,
}

/// What a data thread has to bring about.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    /// This node's life.
    pub(crate) life: Incarnation,
    pub(crate) view: Arc<View>,
    pub(crate) is_serving: bool,
    /// Clients are to go to other nodes, those that come too.
    pub(crate) is_draining: bool,
    /// How often all clients had to go.
    pub(crate) dismissals: u64,
    /// There is a member whose filters are not known here.
    pub(crate) has_unknown: bool,
}

impl Views {
    /// Of a node that is in no view and serves nobody.
    pub(crate) fn new(life: Incarnation, threads: Thread) -> Views {
        Views {
            changes: AtomicU64::new(1),
            acknowledges_until: AtomicU64::new(0),
            farewells: AtomicUsize::new(0),
            #[cfg(feature = "sabotage")]
            cached: AtomicU64::new(0),
            state: Mutex::new(State {
                orders: Orders {
                    life,
                    view: Arc::default(),
                    is_serving: false,
                    is_draining: false,
                    dismissals: 0,
                    has_unknown: false,
                },
                known: BTreeSet::new(),
                followed: vec![Followed { life, view: 0 }; usize::from(threads)],
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        unpoisoned(self.state.lock())
    }

    /// The time at which this was asked before.
    #[cfg(feature = "sabotage")]
    fn cache(&self, now: Moment) -> Moment {
        let microseconds = u64::try_from(now.0.as_micros()).unwrap_or(u64::MAX);
        Moment(std::time::Duration::from_micros(self.cached.swap(microseconds, Ordering::SeqCst)))
    }

    /// Nobody has a clock that he keeps.
    #[cfg(not(feature = "sabotage"))]
    #[expect(clippy::unused_self, reason = "it is not looked at")]
    fn cache(&self, now: Moment) -> Moment {
        now
    }

    /// Data threads look when they see the number, so that it goes up last.
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether there is something new for a thread that has seen what was so far.
    #[inline]
    pub(crate) fn has_news(&self, seen: u64) -> bool {
        self.changes.load(Ordering::SeqCst) != seen
    }

    /// What there is to do, if there is something new.
    pub(crate) fn news(&self, own: u64, seen: &mut u64) -> Option<Orders> {
        let changes = self.changes.load(Ordering::SeqCst);
        if std::mem::replace(seen, changes) == changes {
            return None;
        }
        let State { orders, known, .. } = &*self.state();
        let has_unknown = orders.view.members().any(|member| member.id != own && !known.contains(&member));
        Some(Orders { has_unknown, ..orders.clone() })
    }

    /// A data thread has done what it was told.
    pub(crate) fn done(&self, thread: Thread, orders: &Orders) {
        self.state().followed[usize::from(thread)] = Followed { life: orders.life, view: orders.view.number };
    }

    /// A data thread sends away as many clients as it is allowed to, but not more than it has.
    pub(crate) fn take_farewells(&self, clients: usize) -> usize {
        let take = |allowed: usize| Some(allowed.saturating_sub(clients));
        let before = self.farewells.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or_default();
        before.min(clients)
    }

    /// All filters of a member are known here, or are not any more.
    pub(crate) fn set_known(&self, member: Member, is_known: bool) {
        let mut state = self.state();
        let is_news = if is_known { state.known.insert(member) } else { state.known.remove(&member) };
        drop(state);
        if is_news {
            self.changed();
        }
    }
}

/// For the control side of a node of a durable cluster ([`crate::NodeSettings::views`]). Data threads sleep: whoever
/// changes something wakes them. Without views all of this does nothing.
impl Node {
    /// This is the view from now on, unless it is not newer.
    pub fn follow(&self, view: &View) {
        let Some(views) = &self.views else { return };
        // SUBACKs wait for a new member before any data thread does, and what it has to confirm counts from here.
        self.interest().follow(view);
        let mut state = views.state();
        if view.number <= state.orders.view.number {
            return;
        }
        state.orders.view = Arc::new(view.clone());
        drop(state);
        views.changed();
    }

    /// Nothing is acknowledged from this moment on; a moment that has passed is as good as none. No thread need be woken.
    pub fn set_acknowledges_until(&self, until: Moment) {
        let Some(views) = &self.views else { return };
        let microseconds = u64::try_from(until.0.as_micros()).unwrap_or(u64::MAX);
        views.acknowledges_until.store(microseconds, Ordering::SeqCst);
    }

    /// Whether what was decided before the clock was read may be told to clients. The clock is read for this question, and
    /// after the bytes that are answered: a time that is remembered may be that of before the process was stopped.
    pub fn may_acknowledge(&self, now: Moment) -> bool {
        let Some(views) = &self.views else { return true };
        let now = if sabotaged!(self, LeaseByCachedClock) { views.cache(now) } else { now };
        if sabotaged!(self, LeaseNotChecked) {
            return true;
        }
        now.0.as_micros() < u128::from(views.acknowledges_until.load(Ordering::SeqCst))
    }

    /// Takes clients, or closes all that there are and refuses those that come.
    pub fn serve(&self, is_serving: bool) {
        let Some(views) = &self.views else { return };
        let mut state = views.state();
        let was_serving = std::mem::replace(&mut state.orders.is_serving, is_serving);
        state.orders.dismissals += u64::from(was_serving && !is_serving);
        drop(state);
        views.changed();
    }

    /// Clients that come are sent to other nodes from now on, and those that are here as [`Node::send_away`] says; or not
    /// any more.
    pub fn drain(&self, is_draining: bool) {
        let Some(views) = &self.views else { return };
        let was_draining = std::mem::replace(&mut views.state().orders.is_draining, is_draining);
        if was_draining != is_draining {
            views.farewells.store(0, Ordering::Relaxed);
            views.changed();
        }
    }

    /// So many clients of a node that drains are sent to other nodes, within a tenth of a second. What was allowed
    /// before and not done is not added to that.
    pub fn send_away(&self, clients: usize) {
        let Some(views) = &self.views else { return };
        views.farewells.store(clients, Ordering::Relaxed);
    }

    /// The life that this node had is over, and this is the next one: clients are closed, lanes and what was known of peers
    /// are dropped. Lanes that come after this belong to the new life.
    pub fn begin_life(&self, incarnation: Incarnation) {
        let Some(views) = &self.views else { return };
        self.set_acknowledges_until(Moment::default());
        self.interest().begin_life();
        let mut state = views.state();
        state.orders = Orders {
            life: incarnation,
            is_serving: false,
            dismissals: state.orders.dismissals + 1,
            ..state.orders.clone()
        };
        state.known.clear();
        drop(state);
        views.changed();
    }

    /// The number of the view that all data threads follow in this life.
    pub fn followed(&self) -> u64 {
        let Some(views) = &self.views else { return 0 };
        let State { orders, followed, .. } = &*views.state();
        let of = |it: &Followed| if it.life == orders.life { it.view } else { 0 };
        followed.iter().map(of).min().unwrap_or(0)
    }

    /// Whether a member of the view has confirmed all filters that this node had when the member came into the view. Those
    /// that came later were confirmed to nobody without it.
    pub fn has_confirmed_interest(&self, member: Member) -> bool {
        self.interest().has_confirmed(member)
    }

    /// Whether all filters of a member are known here: no publish that it wants goes without it.
    pub fn knows_interest_of(&self, member: Member) -> bool {
        self.views.as_ref().is_some_and(|views| views.state().known.contains(&member))
    }
}
