//! The value itself: what it knows, and what it does about each event. `membership/settle.rs` is what
//! follows from every event, `membership/cluster.rs` how it begins and joins a cluster, `membership/leader.rs` what it does
//! on the leader of group 0, `membership/report.rs` what it says.

mod alone;
mod cluster;
mod departed;
mod leader;
mod report;
mod settle;

use fulmar_meta::{
    ClusterId, Command, Index, Lease, LeaseOutput, Leases, LeasesOutput, Level, Member, Meta, Moment, NodeId, Reply,
    Term,
};
use thiserror::Error;

use departed::Departed;

use crate::asks::Asks;
use crate::folder::Folder;
use crate::links::{Link, Links};
use crate::message::MemberMessage;
use crate::output::Output;
use crate::proposals::Proposals;
use crate::seek::{Found, Seek};
use crate::settings::Settings;
use crate::status::Counts;

/// What this node is, as configuration and data folder say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// Its id and boot counter.
    pub member: Member,
    /// Random, drawn at each start and kept in memory only.
    pub nonce: u64,
    /// Its pod.
    pub name: Box<str>,
    /// Where it is reached.
    pub addresses: Vec<Box<str>>,
    /// Where it runs; empty if nobody said.
    pub zone: Box<str>,
    /// What its build knows.
    pub level: Level,
    /// The cluster that it is to belong to, if the operator knows. Then nobody begins one: volumes that were lost must
    /// not look like a healthy empty cluster.
    pub cluster_id: Option<ClusterId>,
    /// Whether this node may begin a cluster, and what that would be. Of all nodes one at most should.
    pub begins: Option<Begins>,
    /// This node decides alone in its group 0, if the folder says the truth: how far that is. Until [`Output::DecideAlone`]
    /// it does not go on, since the folder may be an old copy.
    pub alone: Option<Alone>,
    /// The folder holds shards of a time when the broker was alone. It may begin a cluster with them, but not join one.
    pub has_data: bool,
}

/// A cluster that may be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begins {
    /// Its name: random, drawn at each start.
    pub cluster: ClusterId,
    /// How many shards it has for ever.
    pub shards: u16,
}

/// How far group 0 is on a node that has its only vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alone {
    /// The last entry.
    pub last: Index,
    /// The latest term.
    pub term: Term,
}

/// Too many commands are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{max} commands are open, and no more may be")]
pub struct TooManyAsks {
    /// How many there may be.
    pub max: usize,
}

/// A node's part in the cluster. See the [crate].
#[derive(Debug, Clone)]
pub struct Membership {
    settings: Settings,
    me: Me,
    folder: Folder,
    phase: Phase,
    lease: Lease,
    leases: Leases,
    role: Role,
    /// The term in which [`Leases::lead`] was called.
    leading: Option<Term>,
    links: Links,
    seek: Seek,
    asks: Asks,
    proposals: Proposals,
    /// Whom this node asked last.
    asked: Option<NodeId>,
    /// Nodes that seem to have left for ever, as the leader sees them.
    departed: Departed,
    /// Since when this process asks others whether it may decide alone, if it does.
    asks_alone: Option<Moment>,
    /// Why this node was not taken in when it asked last.
    refused: Option<Box<str>>,
    /// The view that was put out last, and the one that all data threads follow.
    view: u64,
    followed: u64,
    /// The view that this life came with, and whether the shards have told it their filters since.
    entered: Option<u64>,
    is_fed: bool,
    /// When the lease was seen to hold last, or the life to begin.
    held_at: Moment,
    /// The lease says that clients may come.
    is_leased: bool,
    /// What was put out last.
    until: Option<Moment>,
    serves: bool,
    /// When [`Output::BeginCluster`] was put out last, the first entry proposed, and the leadership transferred.
    begun_at: Option<Moment>,
    bootstrapped_at: Option<Moment>,
    handed_over_at: Option<Moment>,
    counts: Counts,
    of_lease: Vec<LeaseOutput>,
    of_leases: Vec<LeasesOutput>,
}

/// Where this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Lives,
    /// The life is over; the shell begins another one.
    AwaitsLife,
    Stopped,
    /// There will be no other.
    Ended(Box<str>),
}

/// What the group says of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Role {
    term: Term,
    leader: Option<NodeId>,
    leads: bool,
}

impl Membership {
    /// A process begins, in the life that `me` names, with what its folder says and the engine has applied.
    pub fn new(settings: Settings, me: Me, folder: Folder, meta: &Meta, now: Moment, out: &mut Vec<Output>) -> Self {
        let mut membership = Self {
            settings,
            lease: Lease::new(settings.leases, me.member, me.nonce),
            leases: Leases::new(settings.leases, me.member),
            me,
            folder,
            phase: Phase::Lives,
            role: Role::default(),
            leading: None,
            links: Links::default(),
            seek: Seek::default(),
            asks: Asks::default(),
            proposals: Proposals::default(),
            asked: None,
            departed: Departed::default(),
            asks_alone: None,
            refused: None,
            view: 0,
            followed: 0,
            entered: None,
            is_fed: false,
            held_at: now,
            is_leased: false,
            until: None,
            serves: false,
            begun_at: None,
            bootstrapped_at: None,
            handed_over_at: None,
            counts: Counts::default(),
            of_lease: Vec::new(),
            of_leases: Vec::new(),
        };
        membership.asks_alone = membership.me.alone.map(|_| now);
        if let Some(text) = membership.folder_is_wrong() {
            membership.give_up(text, out);
        } else {
            membership.applied(&[], meta, now, out);
        }
        membership
    }

    /// Another life begins, after [`Output::BeginNextLife`].
    pub fn begin_life(&mut self, member: Member, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        if self.phase != Phase::AwaitsLife {
            return;
        }
        self.phase = Phase::Lives;
        self.me.member = member;
        self.lease = Lease::new(self.settings.leases, member, self.me.nonce);
        self.leases.begin_life(member);
        self.asks.forget();
        self.held_at = now;
        self.applied(&[], meta, now, out);
    }

    /// Group 0 says who leads it, and whether that is this node.
    pub fn role(
        &mut self,
        term: Term,
        leader: Option<NodeId>,
        leads: bool,
        meta: &Meta,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let was = std::mem::replace(&mut self.role, Role { term, leader, leads });
        if !leads {
            self.leading = None;
            self.leases.follow();
        }
        if (was.leads, was.term) != (leads, term) {
            self.bootstrapped_at = None;
            self.forget_proposals(out);
        }
        self.settle(meta, now, out);
    }

    /// Entries of group 0 were applied, or a snapshot was taken over: their commands and what became of them.
    pub fn applied(&mut self, commands: &[(Command, Reply)], meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        if meta.view().number != self.view {
            self.view = meta.view().number;
            out.push(Output::View(meta.view().clone()));
        }
        self.links.follow(meta.view(), self.me.member, now);
        if self.lives() {
            self.lease.set_unreachable(self.links.unreachable(self.settings.link_wait, now));
            self.lease.applied(meta, now, &mut self.of_lease);
        }
        self.leases.applied(meta, now, &mut self.of_leases);
        for (command, reply) in commands {
            self.tell_askers(command, reply, meta, out);
        }
        self.settle(meta, now, out);
    }

    /// Group 0 confirmed a read: it is current when entry `at` is applied.
    pub fn confirmed(&mut self, read: u64, at: Index, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        self.leases.confirmed(read, at, meta, now, &mut self.of_leases);
        self.settle(meta, now, out);
    }

    /// Group 0 did not confirm a read.
    pub fn read_failed(&mut self, read: u64, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        self.leases.unconfirmed(read);
        self.settle(meta, now, out);
    }

    /// A letter of another node came.
    pub fn received(&mut self, from: Member, message: MemberMessage, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        if self.is_over() || from.id == self.me.member.id {
            return;
        }
        match message {
            MemberMessage::Look => out.push(self.state_for(from.id, meta)),
            MemberMessage::State(state) => {
                self.seek.heard(from, state, now);
                self.look_whether_removed(meta, now, out);
            }
            MemberMessage::Request(request) => self.requested(from.id, &request, meta, now, out),
            MemberMessage::Answer { nonce, number, answer } => {
                if nonce == self.me.nonce {
                    self.answered(number, &answer, meta, out);
                }
            }
            MemberMessage::Renewal(renewal) => {
                if renewal.member.id == from.id {
                    self.leases.renewed(&renewal, meta, now, &mut self.of_leases);
                }
            }
            MemberMessage::Grant(grant) => {
                if self.lives() {
                    self.lease.granted(&grant, now, &mut self.of_lease);
                }
            }
            MemberMessage::Goodbye(goodbye) => {
                if goodbye.member.id == from.id {
                    self.leases.stopped(goodbye, meta, now, &mut self.of_leases);
                }
            }
        }
        self.settle(meta, now, out);
    }

    /// These are all lives of other nodes to which there is any connection.
    pub fn links(&mut self, links: &[Link], meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        let new = self.links.set(links, self.me.member);
        self.links.follow(meta.view(), self.me.member, now);
        if self.is_looking(meta, now) {
            out.extend(new.iter().map(|member| Output::Send { to: member.id, message: MemberMessage::Look }));
        }
        self.settle(meta, now, out);
    }

    /// Discovery found these addresses and no others. It is settled if it can be trusted: the same answer came twice, a
    /// second apart, and this node was in it. To be said each time that it answers.
    pub fn discovered(&mut self, found: &[Found], is_settled: bool, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        self.seek.discovered(found, is_settled, now);
        self.settle(meta, now, out);
    }

    /// All data threads follow the view with this number.
    pub fn followed(&mut self, view: u64, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        self.followed = self.followed.max(view);
        self.settle(meta, now, out);
    }

    /// The view that the leaders of all shards must have known when they told this node their filters. None once they
    /// have, and before this life is in the view.
    pub fn awaits_feeds(&self) -> Option<u64> {
        self.entered.filter(|_| !self.is_fed && self.lives())
    }

    /// They have: each knew this view, or a later one.
    pub fn fed(&mut self, view: u64, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        self.is_fed |= self.entered.is_some_and(|entered| view >= entered);
        self.settle(meta, now, out);
    }

    /// The program wants a command committed: a drain, a step of a replica. It is sent to the leader until it is
    /// answered ([`Output::Answered`]) with anything but [`Advice::Retry`](fulmar_meta::Advice::Retry). One that is
    /// open already is asked for once. What is asked for about a node's drain takes the place of what was asked before.
    ///
    /// # Errors
    /// When too many are open.
    pub fn ask(
        &mut self,
        command: Command,
        meta: &Meta,
        now: Moment,
        out: &mut Vec<Output>,
    ) -> Result<(), TooManyAsks> {
        if !self.asks.of_program.contains(&command) {
            if let Some(node) = drained(&command) {
                self.asks.of_program.retain(|other| drained(other) != Some(node));
            }
            if self.asks.of_program.len() >= self.settings.asks_max {
                self.counts.asks_refused += 1;
                return Err(TooManyAsks { max: self.settings.asks_max });
            }
            self.asks.of_program.push(command);
        }
        self.settle(meta, now, out);
        Ok(())
    }

    /// Where this node runs, as far as that is known by now. It counts for a life that has not begun yet.
    pub fn set_zone(&mut self, zone: &str) {
        if *self.me.zone != *zone {
            self.me.zone = zone.into();
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        if self.lives() {
            self.lease.set_unreachable(self.links.unreachable(self.settings.link_wait, now));
            self.lease.tick(now, &mut self.of_lease);
        }
        self.leases.tick(meta, now, &mut self.of_leases);
        self.settle(meta, now, out);
    }

    /// When [`tick`](Self::tick) has something to do, if nothing comes before.
    pub fn next_deadline(&self, meta: &Meta, now: Moment) -> Option<Moment> {
        if self.is_over() {
            return None;
        }
        let settings = &self.settings;
        let of_leases = self.leases.next_deadline(now);
        let of_lease = self.lease.next_deadline().filter(|_| self.lives());
        let asks = self.asks.next_deadline(settings.ask_interval).filter(|_| self.leader().is_some());
        let look = self.is_looking(meta, now).then(|| self.seek.looked.map_or(now, |at| at + settings.look_interval));
        let forlorn = Some(self.held_at + settings.look_counts()).filter(|at| *at > now);
        let begins = self.seek.next_deadline(settings, now);
        let again = |at: Option<Moment>| at.map(|at| at + settings.leases.retry).filter(|at| *at > now);
        let (begun, bootstrap) = (again(self.begun_at), again(self.bootstrapped_at));
        let hand_over = self.handed_over_at.map(|at| at + settings.leases.retry);
        let alone = self.asks_alone.map(|since| since + settings.alone_wait).filter(|at| *at > now);
        let departed = self.departed.next_deadline(settings);
        let unreachable = self.links.next_deadline(settings.link_wait, now);
        [of_lease, of_leases, asks, look, forlorn, begins, begun, bootstrap, hand_over, alone, unreachable, departed]
            .into_iter()
            .flatten()
            .min()
    }

    /// The node stops: nothing is acknowledged from here on, and clients are closed. If it leads, another one is to.
    pub fn stop(&mut self, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        if self.is_over() {
            return;
        }
        self.close(out);
        self.handed_over_at = None;
        self.hand_over(meta, now, out);
        self.phase = Phase::Stopped;
    }

    /// All clients are closed: the last word, so that others need not wait for the lease to end.
    pub fn farewell(&mut self, out: &mut Vec<Output>) {
        if self.phase != Phase::Stopped {
            return;
        }
        let Some(goodbye) = self.lease.stop() else { return };
        // Whoever leads is among them, though this node may not know who that is by now.
        let hearing = self.links.hearing().map(|member| member.id);
        out.extend(hearing.map(|to| Output::Send { to, message: MemberMessage::Goodbye(goodbye) }));
    }
}

/// Of which node a command begins or ends the drain.
fn drained(command: &Command) -> Option<NodeId> {
    match command {
        Command::Drain { node, .. } | Command::CancelDrain { node } => Some(*node),
        _ => None,
    }
}
