//! How a node comes to its cluster: whom it asks, what it begins, whom it takes in itself.

use fulmar_meta::{Advice, Answer, ClusterId, Command, Life, Member, Meta, Moment};

use super::{Membership, Phase};
use crate::folder::Bond;
use crate::message::{MemberMessage, NodeState, Request};
use crate::output::Output;
use crate::sabotage::sabotaged;
use crate::status::Obstacle;

impl Membership {
    /// What the folder says that does not go with the rest.
    pub(super) fn folder_is_wrong(&self) -> Option<String> {
        let (found, wanted) = (self.folder.node, self.me.member.id);
        if found != wanted {
            return Some(format!("the data folder says that it belongs to node {found:016x}, wanted is {wanted:016x}"));
        }
        let (found, wanted) = (self.folder.bond.cluster()?, self.me.cluster_id?);
        let text = || format!("the data folder belongs to cluster {found}, wanted is {wanted}");
        (found != wanted).then(text)
    }

    /// The cluster that this node belongs to or is to belong to.
    pub(super) fn cluster(&self) -> Option<ClusterId> {
        let only = || self.seek.cluster().filter(|(_, other)| other.is_none()).map(|(cluster, _)| cluster);
        self.folder.bond.cluster().or(self.me.cluster_id).or_else(only)
    }

    /// What this node says of itself.
    pub(super) fn state(&self, meta: &Meta) -> NodeState {
        let cluster = meta.cluster().or(self.folder.bond.cluster());
        let may_begin = cluster.is_none() && self.me.begins.is_some() && self.me.cluster_id.is_none();
        let view = meta.view().members().collect();
        // Before its first entry is committed there is nothing to join.
        let leader = self.leader().filter(|_| meta.cluster().is_some());
        NodeState { cluster, may_begin, leader, applied: meta.applied(), view }
    }

    fn save(&mut self, bond: Bond, out: &mut Vec<Output>) {
        if self.folder.bond != bond {
            self.folder.bond = bond;
            out.push(Output::Save(self.folder));
        }
    }

    /// Binds the folder to the cluster, before anything is asked of it and as soon as it has taken this node in.
    pub(super) fn bind(&mut self, meta: &Meta, out: &mut Vec<Output>) {
        if let Some(cluster) = meta.cluster().filter(|_| meta.node(self.me.member.id).is_some()) {
            return self.save(Bond::Belongs(cluster), out);
        }
        if self.folder.bond != Bond::None {
            return;
        }
        let Some(cluster) = self.cluster().filter(|cluster| self.seek.knows(Some(*cluster))) else { return };
        if self.me.has_data {
            return self.give_up(
                format!(
                    "the data folder holds what a broker kept that was alone, wanted is an empty one to join cluster \
                     {cluster}: move it away, or begin the cluster with this node"
                ),
                out,
            );
        }
        let leader = self.leader().map(|(_, leader)| leader);
        if let Some(made_at) = leader.and_then(|it| self.seek.applied_by(it)).map(|state| state.applied) {
            self.save(Bond::Joins { cluster, made_at }, out);
        }
    }

    /// Begins the cluster if there is none: a name in the folder, a group, its first entry. Whatever was done before the
    /// process ended is done when it goes on; what comes next is done only if still nobody speaks of a cluster.
    pub(super) fn begin(&mut self, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        let Some(begins) = self.me.begins.filter(|_| self.obstacle(meta, now).is_none()) else { return };
        if self.folder.bond == Bond::None {
            self.folder.bond = Bond::Begins(begins.cluster);
            out.push(Output::Save(self.folder));
        }
        let Bond::Begins(cluster) = self.folder.bond else { return };
        let retry = self.settings.leases.retry;
        let is_due = |last: Option<Moment>| last.is_none_or(|at| now.since(at) >= retry);
        if !self.role.leads && is_due(self.begun_at) {
            self.begun_at = Some(now);
            out.push(Output::BeginCluster);
        }
        if self.role.leads && is_due(self.bootstrapped_at) {
            self.bootstrapped_at = Some(now);
            let command = Command::Bootstrap { cluster, shards: begins.shards, first: self.start() };
            out.push(Output::Propose { term: self.role.term, command });
        }
    }

    /// Why this node does not begin a cluster, if there is none.
    pub(super) fn obstacle(&self, meta: &Meta, now: Moment) -> Option<Obstacle> {
        let found = self.seek.found();
        if let Some(cluster) = meta.cluster() {
            return Some(Obstacle::Belongs { node: self.me.member, cluster });
        }
        let has_begun = match self.folder.bond {
            Bond::None => false,
            Bond::Begins(_) => true,
            Bond::Joins { cluster, .. } | Bond::Belongs(cluster) => {
                return Some(Obstacle::Belongs { node: self.me.member, cluster });
            }
        };
        if self.me.begins.is_none() {
            return Some(Obstacle::NotFirst { found });
        }
        if let Some(wanted) = self.me.cluster_id.filter(|_| !sabotaged!(self.settings, ClusterIdIgnored)) {
            return Some(Obstacle::Known { wanted, found });
        }
        self.seek.obstacle(&self.settings, self.me.member, has_begun, now)
    }

    /// Asks the leader for what this node wants, again and again.
    pub(super) fn ask_leader(&mut self, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        let wanted = if self.lives() { self.wanted(meta) } else { Vec::new() };
        self.asks.follow(wanted);
        let leader = self.leader().map(|(_, leader)| leader);
        if leader != self.asked {
            self.asked = leader;
            self.asks.hurry();
            self.lease.leader_changed(now);
        }
        let Some(to) = leader else { return };
        for (number, command) in self.asks.due(now, self.settings.ask_interval) {
            if self.is_over() {
                return;
            }
            if self.role.leads {
                self.ask_itself(number, command, meta, now, out);
            } else {
                let request = Request { nonce: self.me.nonce, number, command };
                out.push(Output::Send { to, message: MemberMessage::Request(request) });
            }
        }
    }

    /// To be taken in, or to take others in.
    fn wanted(&self, meta: &Meta) -> Vec<Command> {
        if !self.is_in_view(meta) {
            let start = self.start();
            let command = match self.folder.bond {
                Bond::Joins { cluster, made_at } => Command::Join { cluster, made_at, start },
                Bond::Belongs(cluster) => Command::Boot { cluster, start },
                Bond::None | Bond::Begins(_) => return Vec::new(),
            };
            // All others would wait for it: so it comes only when it can talk to all.
            let is_linked_with_all = self.unlinked(meta).is_some_and(|others| others.is_empty());
            return if is_linked_with_all { vec![command] } else { Vec::new() };
        }
        let me = self.me.member;
        let follows = self.followed >= meta.view().number || sabotaged!(self.settings, ThreadsNotAwaited);
        let joining = meta.nodes().filter_map(|(_, node)| match &node.life {
            Life::Joining { confirmed } if !confirmed.contains(&me) => Some(node.member),
            _ => None,
        });
        let ready = joining.filter(|member| member.id != me.id && follows && self.links.is_level(*member));
        ready.map(|member| Command::Confirm { member, by: me }).collect()
    }

    /// With whom of the latest view that anybody told of there is no link; nothing if none is known.
    pub(super) fn unlinked(&self, meta: &Meta) -> Option<Vec<Member>> {
        let later = self.seek.view_after(meta.applied(), self.cluster());
        let view: Vec<Member> = later.map_or_else(|| meta.view().members().collect(), |state| state.view.clone());
        // The leader may have given everybody up, but not before it has begun.
        (later.is_some() || meta.cluster().is_some()).then_some(())?;
        let others = view.into_iter().filter(|member| member.id != self.me.member.id);
        Some(others.filter(|member| !self.links.is_linked(*member)).collect())
    }

    /// The leader answered something that this process asked.
    pub(super) fn answered(&mut self, number: u64, answer: &Answer, meta: &Meta, out: &mut Vec<Output>) {
        let is_done = answer.advice != Advice::Retry;
        let Some(command) = self.asks.answered(number, is_done) else { return };
        if let Some(at) = self.asks.of_program.iter().position(|it| *it == command) {
            if is_done {
                let command = self.asks.of_program.swap_remove(at);
                out.push(Output::Answered { command, answer: answer.clone() });
            }
            return;
        }
        let is_of_life = matches!(command, Command::Join { .. } | Command::Boot { .. });
        if !is_of_life || self.is_in_view(meta) || !self.lives() {
            return;
        }
        let text = &answer.text;
        match answer.advice {
            Advice::Done => self.refused = None,
            Advice::Retry => self.refused = Some(text.clone()),
            Advice::NextLife => {
                if let Some(cluster) = self.folder.bond.cluster() {
                    self.save(Bond::Belongs(cluster), out);
                }
                self.end_life(out);
            }
            Advice::StartAnew => {
                let text = format!(
                    "this node can't come back to the cluster: {text}; its data folder is set aside, and it joins as \
                     another node"
                );
                self.close(out);
                self.phase = Phase::Ended(text.as_str().into());
                out.push(Output::StartAnew(text.into()));
            }
            Advice::GiveUp => self.give_up(format!("the cluster does not take this node in: {text}"), out),
        }
    }

    /// Asks all others what they are, while this node is not in the view or nobody renews its lease.
    pub(super) fn look(&mut self, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        self.seek.forget(&self.settings, now);
        let is_due = self.seek.looked.is_none_or(|at| now.since(at) >= self.settings.look_interval);
        if !is_due || !self.is_looking(meta, now) {
            return;
        }
        self.seek.looked = Some(now);
        self.counts.looks += 1;
        let hearing = self.links.hearing().map(|member| member.id);
        out.extend(hearing.map(|to| Output::Send { to, message: MemberMessage::Look }));
    }

    pub(super) fn is_looking(&self, meta: &Meta, now: Moment) -> bool {
        self.lives() && (!self.is_in_view(meta) || self.is_forlorn(now))
    }

    /// Whether nobody has renewed the lease for long.
    fn is_forlorn(&self, now: Moment) -> bool {
        now.since(self.held_at) >= self.settings.look_counts()
    }

    /// A node that was cut off for long may have left the group as well, which then tells it nothing any more: it
    /// believes others who have applied more.
    pub(super) fn look_whether_removed(&mut self, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        if !self.lives() || !self.is_in_view(meta) || !self.is_forlorn(now) {
            return;
        }
        let later = self.seek.view_after(meta.applied(), meta.cluster());
        if later.is_some_and(|state| !state.view.contains(&self.me.member)) {
            self.end_life(out);
        }
    }
}
