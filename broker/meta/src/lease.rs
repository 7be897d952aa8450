//! A member's side of its lease: when to renew it, whether it holds, and what to do when it does not.
//!
//! A lease is counted from when the renewal was *sent*: whatever happened to the messages since, the leader counts from
//! a later moment. It is compared with a clock that is read for the purpose ([`Lease::may_acknowledge`]): a process
//! that was stopped does not know it, and every time that it remembers is old.

use std::collections::VecDeque;

use crate::message::{Goodbye, Grant, Renewal};
use crate::meta::{Life, Meta};
use crate::names::{Incarnation, Member, Moment, NodeId};
use crate::sabotage::sabotaged;
use crate::settings::Settings;

/// Renewals that may be answered still. Older ones are of no use when later ones are.
const SENT_MAX: usize = 16;

/// What a member has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseOutput {
    /// Send this to the leader of the group; to all voters if nobody knows who leads.
    Renew(Renewal),
    /// Clients may come, and be acknowledged to as long as [`Lease::may_acknowledge`] says so.
    Serve,
    /// Close all clients and take no more. Acknowledging has ended before, without being told.
    CloseClients,
    /// The cluster has given this life up. Close links and forget what peers said; then write a boot counter above this
    /// one to the folder, and send [`Command::Boot`](crate::Command::Boot).
    BeginNextLife {
        /// The counter must be higher.
        above: Incarnation,
    },
}

/// What the cluster thinks of this life, as far as this node has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It has not begun.
    Awaited,
    Joining,
    Up,
    /// It will not come back.
    Over,
}

/// The lease of one life of a node. Each life has one of its own.
#[derive(Debug, Clone)]
pub struct Lease {
    settings: Settings,
    me: Member,
    nonce: u64,
    standing: Standing,
    /// The view that this node knows.
    view: u64,
    until: Option<Moment>,
    /// A grant in a view that this node does not know yet. It counts from then on.
    parked: Option<(u64, Moment)>,
    /// When renewals were sent, by number.
    sent: VecDeque<(u64, Moment)>,
    last_number: u64,
    renew_at: Moment,
    unreachable: Vec<NodeId>,
    is_serving: bool,
    #[cfg(any(test, feature = "sabotage"))]
    cached: Moment,
}

impl Lease {
    /// A life that is about to begin: as in its [`Start`](crate::Start).
    pub fn new(settings: Settings, me: Member, nonce: u64) -> Self {
        Self {
            settings,
            me,
            nonce,
            standing: Standing::Awaited,
            view: 0,
            until: None,
            parked: None,
            sent: VecDeque::new(),
            last_number: 0,
            renew_at: Moment::default(),
            unreachable: Vec::new(),
            is_serving: false,
            #[cfg(any(test, feature = "sabotage"))]
            cached: Moment::default(),
        }
    }

    /// Whose it is.
    pub fn member(&self) -> Member {
        self.me
    }

    /// Whether this member may acknowledge a message. `now` is a clock read after the bytes in question were, never one
    /// that was kept.
    pub fn may_acknowledge(&self, now: Moment) -> bool {
        self.is_admitted() && self.holds(now)
    }

    /// Until when that is so, if nothing comes: what other threads compare the clock with. It is to be published after
    /// each call that changes this value; one that is older by a moment is safe, but for [`Lease::stop`], which must
    /// have reached all threads before the goodbye is sent.
    pub fn acknowledges_until(&self) -> Option<Moment> {
        self.until.filter(|_| self.is_admitted())
    }

    /// Whether the lease holds. A joiner has one too, but may not acknowledge.
    pub fn holds(&self, now: Moment) -> bool {
        #[cfg(any(test, feature = "sabotage"))]
        let now = if sabotaged!(self.settings, CachedClock) { self.cached } else { now };
        self.until.is_some_and(|until| now < until)
    }

    /// When it ends, whatever anybody thinks the time is.
    #[cfg(test)]
    pub(crate) fn runs_until(&self) -> Option<Moment> {
        self.until
    }

    fn is_admitted(&self) -> bool {
        self.standing == Standing::Up
            || (self.standing == Standing::Joining && sabotaged!(self.settings, JoinerNotConfirmed))
    }

    /// The node has applied entries of the group, or begun with a state of it.
    pub fn applied(&mut self, meta: &Meta, now: Moment, out: &mut Vec<LeaseOutput>) {
        let was = self.standing;
        self.view = meta.view().number;
        self.standing = self.standing_in(meta);
        if let Some((_, until)) = self.parked.take_if(|(view, _)| *view <= meta.view().number) {
            self.extend(until);
        }
        match (was, self.standing) {
            (Standing::Over, _) => {}
            (_, Standing::Over) => {
                self.until = None;
                self.close(out);
                out.push(LeaseOutput::BeginNextLife { above: self.me.incarnation });
            }
            (Standing::Awaited, Standing::Joining | Standing::Up) => self.renew_at = now,
            _ => {}
        }
        self.tick(now, out);
    }

    fn standing_in(&self, meta: &Meta) -> Standing {
        let is_mine = |nonce| nonce == self.nonce || sabotaged!(self.settings, CopyTrusted);
        let Some(node) = meta.node(self.me.id) else {
            let is_retired = meta.tombstone(self.me.id).is_some();
            return if is_retired || self.standing != Standing::Awaited { Standing::Over } else { Standing::Awaited };
        };
        match &node.life {
            _ if self.standing == Standing::Over || node.member.incarnation > self.me.incarnation => Standing::Over,
            // The same counter with another nonce: a copy of this folder runs elsewhere, and was there first.
            _ if node.member != self.me || !is_mine(node.nonce) => Standing::Awaited,
            Life::Down => Standing::Over,
            Life::Joining { .. } => Standing::Joining,
            Life::Up => Standing::Up,
        }
    }

    /// The leader granted a renewal.
    pub fn granted(&mut self, grant: &Grant, now: Moment, out: &mut Vec<LeaseOutput>) {
        let sent = self.sent.iter().find(|(number, _)| *number == grant.number).map(|(_, at)| *at);
        let Some(sent) = sent.filter(|_| grant.member == self.me) else { return };
        self.sent.retain(|(number, _)| *number > grant.number);
        let from = if sabotaged!(self.settings, CountedFromGrant) { now } else { sent };
        let until = from + self.settings.lease;
        if grant.view <= self.view {
            self.extend(until);
        } else {
            self.parked = self.parked.max(Some((grant.view, until)));
        }
        self.tick(now, out);
    }

    fn extend(&mut self, until: Moment) {
        if self.standing != Standing::Over {
            self.until = self.until.max(Some(until));
        }
    }

    /// There is another leader, or its address is another: it is asked at once.
    pub fn leader_changed(&mut self, now: Moment) {
        self.renew_at = self.renew_at.min(now);
    }

    /// Members that this one can't reach, and has not for as long as links wait. Told with the next renewal.
    pub fn set_unreachable(&mut self, nodes: Vec<NodeId>) {
        self.unreachable = nodes;
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment, out: &mut Vec<LeaseOutput>) {
        #[cfg(any(test, feature = "sabotage"))]
        {
            self.cached = now;
        }
        if !self.holds(now) {
            self.close(out);
        } else if self.is_admitted() && !self.is_serving {
            self.is_serving = true;
            out.push(LeaseOutput::Serve);
        }
        if self.is_in_view() && self.renew_at <= now {
            self.renew(now, out);
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn next_deadline(&self) -> Option<Moment> {
        let renewal = self.is_in_view().then_some(self.renew_at);
        let end = self.until.filter(|_| self.is_serving);
        renewal.into_iter().chain(end).min()
    }

    /// The node stops: nothing is acknowledged from here on. Clients and links must be closed before the answer is
    /// sent, to the leader. None if the life is not in the view that this node knows: then it may be that of a copy.
    pub fn stop(&mut self) -> Option<Goodbye> {
        let goodbye = self.is_in_view().then_some(Goodbye { member: self.me });
        self.standing = Standing::Over;
        (self.until, self.parked, self.is_serving) = (None, None, false);
        goodbye
    }

    fn is_in_view(&self) -> bool {
        matches!(self.standing, Standing::Joining | Standing::Up)
    }

    fn renew(&mut self, now: Moment, out: &mut Vec<LeaseOutput>) {
        self.renew_at = now + self.settings.renewal_interval;
        self.last_number += 1;
        self.sent.push_back((self.last_number, now));
        if self.sent.len() > SENT_MAX {
            self.sent.pop_front();
        }
        let (member, number, unreachable) = (self.me, self.last_number, self.unreachable.clone());
        out.push(LeaseOutput::Renew(Renewal { member, number, unreachable }));
    }

    fn close(&mut self, out: &mut Vec<LeaseOutput>) {
        if std::mem::take(&mut self.is_serving) {
            out.push(LeaseOutput::CloseClients);
        }
    }
}

#[cfg(test)]
mod tests;
