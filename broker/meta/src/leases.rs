//! The leader's side of all leases: whom to grant, and whom to remove, when.
//!
//! What keeps an acknowledgement from being given outside of the view:
//!
//! - A grant waits until the group has confirmed, by a read that began after the renewal came, that nobody else leads.
//!   So a later leader was elected after the renewal was sent, and waits from then on.
//! - A new leader begins with [`Command::Lead`]. When that is committed, so is everything that earlier leaders decided
//!   and that ever will be: what they did not get committed carries their term and counts no more.
//! - A member is removed when no grant can hold: a lease and a margin after the last one, or after this leader began,
//!   or after the member came. From when that is decided it gets no more grants.
//!
//! Every `now` is a clock that is read for the call: a grant that is counted from an older moment would be thought to
//! be over too early.
//!
//! `unreachable.rs` decides whom to give up of two that can't reach each other: it gets no more grants, and so its time
//! comes.

mod unreachable;

use std::collections::BTreeMap;

use crate::command::Command;
use crate::message::{Goodbye, Grant, Renewal};
use crate::meta::Meta;
use crate::names::{Index, Member, Moment, NodeId, Term};
use crate::sabotage::sabotaged;
use crate::settings::Settings;

/// What the leader has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeasesOutput {
    /// Propose this to the group in the term that [`Leases::lead`] was told of, or not at all: never later, and never
    /// by way of another leader.
    Propose(Command),
    /// Ask the group which entry makes a read current, and answer by [`Leases::confirmed`] or [`Leases::unconfirmed`].
    Read(u64),
    /// Send this to its member.
    Grant(Grant),
    /// Transfer the leadership of the group to this node: this one can't reach others that reach each other.
    StepAside(NodeId),
}

/// All leases of the cluster, on each node that may lead the group.
#[derive(Debug, Clone)]
pub struct Leases {
    settings: Settings,
    /// The life of this node.
    me: Member,
    leading: Option<Leading>,
    /// Names of reads are never used again, in whatever term.
    last_read: u64,
}

#[derive(Debug, Clone)]
struct Leading {
    term: Term,
    proposed: Moment,
    /// From when [`Command::Lead`] was applied.
    since: Option<Moment>,
    /// Those of the view with this number.
    members: BTreeMap<Member, Held>,
    view: u64,
    /// Renewals that are granted when the read that is under way is confirmed.
    asked: Option<Asked>,
    /// Renewals that came since.
    waiting: BTreeMap<Member, u64>,
    asked_to_step_aside: Option<Moment>,
    /// When the leader looked last.
    looked: Moment,
}

#[derive(Debug, Clone)]
struct Asked {
    read: u64,
    at: Moment,
    renewals: BTreeMap<Member, u64>,
    /// Once it is confirmed: what has to be applied.
    current_at: Option<Index>,
}

/// What the leader knows of a member.
#[derive(Debug, Clone)]
struct Held {
    /// Its lease is counted from here at the latest: the last grant, or when this leader first knew of the member.
    from: Moment,
    /// It gets no more grants, since it and another can't reach each other.
    is_given_up: bool,
    /// It said goodbye.
    has_stopped: bool,
    /// When its removal was proposed last.
    removing: Option<Moment>,
    /// When it renewed last, and since when it can't reach whom.
    renewed: Option<Moment>,
    unreachable: BTreeMap<NodeId, Moment>,
}

impl Leases {
    /// On a node that does not lead. `me` is the life that it is about to begin, or lives.
    pub fn new(settings: Settings, me: Member) -> Self {
        Self { settings, me, leading: None, last_read: 0 }
    }

    /// The node begins another life.
    pub fn begin_life(&mut self, me: Member) {
        self.me = me;
    }

    /// The node leads the group now.
    pub fn lead(&mut self, term: Term, now: Moment, out: &mut Vec<LeasesOutput>) {
        let leading = Leading {
            term,
            proposed: now,
            since: None,
            members: BTreeMap::new(),
            view: 0,
            asked: None,
            waiting: BTreeMap::new(),
            asked_to_step_aside: None,
            looked: now,
        };
        self.leading = Some(leading);
        out.push(LeasesOutput::Propose(Command::Lead { leader: self.me.id, term }));
    }

    /// The node does not lead the group any more, as far as it knows.
    pub fn follow(&mut self) {
        self.leading = None;
    }

    /// Whether it grants leases.
    pub fn is_granting(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| leading.since.is_some())
    }

    /// The node has applied entries of the group.
    pub fn applied(&mut self, meta: &Meta, now: Moment, out: &mut Vec<LeasesOutput>) {
        let Some(leading) = &mut self.leading else { return };
        let recorded = meta.leader();
        if recorded.term > leading.term {
            return self.follow();
        }
        if leading.since.is_none() && (recorded.node, recorded.term) == (self.me.id, leading.term) {
            leading.since = Some(now);
        }
        leading.follow_view(meta, &self.settings, now);
        self.grant(meta, now, out);
    }

    /// A member renews.
    pub fn renewed(&mut self, renewal: &Renewal, meta: &Meta, now: Moment, out: &mut Vec<LeasesOutput>) {
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.since.is_some()) else { return };
        leading.follow_view(meta, &self.settings, now);
        let Some(held) = leading.members.get_mut(&renewal.member) else { return };
        held.renewed = Some(now);
        let reported = renewal.unreachable.iter().copied().filter(|id| meta.view().member(*id).is_some());
        held.unreachable = reported.map(|id| (id, held.unreachable.get(&id).copied().unwrap_or(now))).collect();
        let number = leading.waiting.entry(renewal.member).or_default();
        *number = renewal.number.max(*number);
        self.tick(meta, now, out);
    }

    /// Asks the group, for all renewals that wait, whether this node leads still.
    fn ask(&mut self, meta: &Meta, now: Moment, out: &mut Vec<LeasesOutput>) {
        let Some(leading) = &mut self.leading else { return };
        let is_old = |asked: &Asked| now.since(asked.at) >= self.settings.retry;
        if leading.waiting.is_empty() || !leading.asked.as_ref().is_none_or(is_old) {
            return;
        }
        self.last_read += 1;
        let renewals = std::mem::take(&mut leading.waiting);
        let is_trusting = sabotaged!(self.settings, UnconfirmedGrant);
        let current_at = is_trusting.then_some(0);
        leading.asked = Some(Asked { read: self.last_read, at: now, renewals, current_at });
        if is_trusting {
            return self.grant(meta, now, out);
        }
        out.push(LeasesOutput::Read(self.last_read));
    }

    /// The group confirmed a read: it is current when entry `at` is applied.
    pub fn confirmed(&mut self, read: u64, at: Index, meta: &Meta, now: Moment, out: &mut Vec<LeasesOutput>) {
        let asked = self.leading.as_mut().and_then(|leading| leading.asked.as_mut());
        if let Some(asked) = asked.filter(|asked| asked.read == read) {
            asked.current_at = Some(at);
            self.grant(meta, now, out);
        }
    }

    /// The group did not: another node leads, or too much waits. What was to be granted is not.
    pub fn unconfirmed(&mut self, read: u64) {
        if let Some(leading) = &mut self.leading {
            leading.asked.take_if(|asked| asked.read == read);
        }
    }

    /// Grants what is confirmed, if all that counted then is applied here.
    fn grant(&mut self, meta: &Meta, now: Moment, out: &mut Vec<LeasesOutput>) {
        let Some(leading) = &mut self.leading else { return };
        let is_current = |asked: &mut Asked| asked.current_at.is_some_and(|at| at <= meta.applied());
        let Some(asked) = leading.asked.take_if(is_current) else { return };
        let view = meta.view().number;
        leading.follow_view(meta, &self.settings, now);
        for (member, number) in asked.renewals {
            let Some(held) = leading.members.get_mut(&member) else { continue };
            let is_leaving = held.removing.is_some() && !sabotaged!(self.settings, GrantWhileRemoving);
            if is_leaving || held.is_given_up || held.has_stopped {
                continue;
            }
            held.from = now;
            out.push(LeasesOutput::Grant(Grant { member, number, view }));
        }
        self.ask(meta, now, out);
    }

    /// A member stopped, and acknowledges nothing any more.
    pub fn stopped(&mut self, goodbye: Goodbye, meta: &Meta, now: Moment, out: &mut Vec<LeasesOutput>) {
        if let Some(leading) = &mut self.leading {
            leading.follow_view(meta, &self.settings, now);
            if let Some(held) = leading.members.get_mut(&goodbye.member) {
                held.has_stopped = true;
            }
        }
        self.tick(meta, now, out);
    }

    /// Time has passed.
    pub fn tick(&mut self, meta: &Meta, now: Moment, out: &mut Vec<LeasesOutput>) {
        let Some(leading) = &mut self.leading else { return };
        if leading.since.is_none() {
            if now.since(leading.proposed) >= self.settings.retry {
                leading.proposed = now;
                out.push(LeasesOutput::Propose(Command::Lead { leader: self.me.id, term: leading.term }));
            }
            return;
        }
        leading.follow_view(meta, &self.settings, now);
        leading.look(&self.settings, now);
        leading.give_up(&self.settings, self.me, now, out);
        let term = leading.term;
        for (member, held) in &mut leading.members {
            // Who leads is alive, and knows best whether it leads.
            if *member == self.me || (held.removing.is_none() && !held.is_over(&self.settings, now)) {
                continue;
            }
            if held.removing.is_none_or(|at| now.since(at) >= self.settings.retry) {
                held.removing = Some(now);
                out.push(LeasesOutput::Propose(Command::Remove { member: *member, term }));
            }
        }
        self.ask(meta, now, out);
    }

    /// When [`tick`](Self::tick) has something to do, if nothing comes before.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let leading = self.leading.as_ref()?;
        let Settings { report_stands, retry, .. } = self.settings;
        if leading.since.is_none() {
            return Some(leading.proposed + retry);
        }
        let removal = |held: &Held| held.removing.map_or(held.from + self.settings.over_after(), |at| at + retry);
        let mut others = leading.members.iter().filter(|(member, _)| **member != self.me).peekable();
        let look = others.peek().map(|_| leading.looked + self.settings.lease / 4);
        let removals = others.map(|(_, held)| removal(held));
        let reports = leading.members.values().flat_map(|held| held.unreachable.values());
        let steps = reports.chain(&leading.asked_to_step_aside).map(|since| *since + report_stands);
        let reads = leading.asked.as_ref().filter(|_| !leading.waiting.is_empty()).map(|asked| asked.at + retry);
        removals.chain(steps.filter(|at| *at > now)).chain(reads).chain(look).min()
    }
}

impl Leading {
    /// Whoever looks late, since it was stopped itself, does not blame the members for it: what they sent meanwhile is
    /// still on its way through this node. To wait longer is always safe.
    fn look(&mut self, settings: &Settings, now: Moment) {
        if now.since(self.looked) > settings.lease / 2 && !sabotaged!(settings, NewLeaderDoesNotWait) {
            self.members.values_mut().for_each(|held| held.from = now);
        }
        self.looked = now;
    }

    /// Members come and go with the view.
    fn follow_view(&mut self, meta: &Meta, settings: &Settings, now: Moment) {
        if self.view == meta.view().number {
            return;
        }
        let is_hasty = sabotaged!(settings, NewLeaderDoesNotWait) && self.view == 0;
        let now = if is_hasty { Moment::default() } else { now };
        self.view = meta.view().number;
        self.members.retain(|member, _| meta.view().contains(*member));
        self.waiting.retain(|member, _| meta.view().contains(*member));
        for member in meta.view().members() {
            self.members.entry(member).or_insert_with(|| Held::since(now));
        }
    }
}

impl Held {
    fn since(now: Moment) -> Self {
        Self {
            from: now,
            is_given_up: false,
            has_stopped: false,
            removing: None,
            renewed: None,
            unreachable: BTreeMap::new(),
        }
    }

    /// Whether no lease of the member can hold, whatever its clock and the network did.
    fn is_over(&self, settings: &Settings, now: Moment) -> bool {
        let wait = if sabotaged!(settings, RemovalWithoutWaiting) { settings.lease / 4 } else { settings.over_after() };
        self.has_stopped || now.since(self.from) >= wait
    }
}

#[cfg(test)]
mod tests;
