//! Which connections a node makes, takes and refuses: the control side of all its links, without sockets.
//!
//! [`Peers`] knows the addresses that discovery found and the nodes that answered. It says when to dial which address,
//! decides about each connection once the greeting is read, and numbers the lives of each link. The shell carries out
//! [`Action`]s, hands an accepted socket to the data thread named in [`LaneUp`], and reports back.
//!
//! **Epochs.** Each side counts the lives of the link, and the greeting settles on the higher number. A side that
//! still has state of a lower one ends that life first. So both start again together, whoever noticed the loss, and
//! messages of two lives never mix.
//!
//! **Both may dial.** A lane that is up gives way only to a connection of higher rank: a later generation, or in the
//! same generation the one that the lower node id dialled. Both sides see the same ranks, so they keep the same one.

mod action;
mod letters;
mod namesakes;
mod neighbours;
mod node;
mod process;
mod target;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::clock::NodeId;
use crate::dial::BackOffSettings;
use crate::hello::{FEATURE_LEVEL, Greeting, Hello, Purpose, Refusal, RefusalReason};
use letters::Letters;
use node::{Node, Rank};
use target::{Progress, Target};

pub use action::{Action, Attempt, LaneUp, LostLane};
pub use letters::{LettersFrom, LettersUp};
pub use namesakes::namesakes;
pub use neighbours::{Found, Known, Lodger};
pub use process::Life;
pub use view::{LinkState, PeerView};

/// What this node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// Its id.
    pub node: NodeId,
    /// Which of its lives this is.
    pub incarnation: u64,
    /// Random, drawn at each start of a process and kept in memory only.
    pub nonce: u64,
    /// Its name, for people.
    pub name: String,
    /// The cluster's name; may be empty.
    pub cluster: String,
    /// Its data threads, at least one.
    pub threads: u16,
}

/// Bounds and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeersSettings {
    /// Waits between attempts.
    pub back_off: BackOffSettings,
    /// Nodes and addresses that are kept.
    pub nodes_max: u16,
    /// Whether this node has a store, which writes letters to those of others.
    pub has_letters: bool,
}

impl Default for PeersSettings {
    fn default() -> Self {
        Self { back_off: BackOffSettings::default(), nodes_max: 256, has_letters: false }
    }
}

/// Where a node may be: an address, and the name under which it was found, which its certificate must bear.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// IP address and port.
    pub socket: SocketAddr,
    /// The host as written in the configuration.
    pub host: Box<str>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Peers {
    me: Me,
    settings: PeersSettings,
    targets: BTreeMap<Address, Target>,
    nodes: BTreeMap<NodeId, Node>,
    letters: Letters,
    /// As far as this node knows what was committed.
    lives: BTreeMap<NodeId, Life>,
    actions: VecDeque<Action>,
    /// For attempts and connections.
    next_number: u64,
    stopping: bool,
}

impl Peers {
    /// Knows nobody yet.
    pub fn new(me: Me, settings: PeersSettings) -> Self {
        Self {
            me,
            settings,
            targets: BTreeMap::new(),
            nodes: BTreeMap::new(),
            letters: Letters::default(),
            lives: BTreeMap::new(),
            actions: VecDeque::new(),
            next_number: 1,
            stopping: false,
        }
    }

    /// Discovery found these addresses, and no others. A change ends all waits. Answers how many were too many.
    pub fn handle_resolved(&mut self, addresses: &BTreeSet<Address>, now: Instant) -> usize {
        let kept: BTreeSet<&Address> = addresses.iter().take(usize::from(self.settings.nodes_max)).collect();
        if !self.targets.keys().eq(kept.iter().copied()) {
            let (actions, mut old) = (&mut self.actions, std::mem::take(&mut self.targets));
            for address in &kept {
                let mut target = old.remove(*address).unwrap_or_else(|| Target::new(now));
                target.end_waits();
                self.targets.insert((*address).clone(), target);
            }
            actions.extend(old.values().flat_map(Target::attempts).map(|attempt| Action::Abandon { attempt }));
        }
        addresses.len() - kept.len()
    }

    /// The next thing to do, until there is none. To be asked after each event and at the deadline.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if self.stopping {
            return None;
        }
        self.poll_lanes(now).or_else(|| self.poll_letters(now))
    }

    fn poll_lanes(&mut self, now: Instant) -> Option<Action> {
        let (address, lane) = self.targets.iter().find_map(|(address, target)| {
            let due = target.is_idle() && target.back_off.is_over(now);
            let lane = if due { self.wanted_lane(target)? } else { return None };
            Some((address.clone(), lane))
        })?;
        let attempt = Attempt(number(&mut self.next_number));
        let target = self.targets.get_mut(&address).expect("the address was just found");
        target.progress = Progress::AwaitConnection { attempt, lane };
        Some(Action::Dial { attempt, address })
    }

    /// The lane for which a connection to this address is wanted: the first that is down and nobody dials.
    fn wanted_lane(&self, target: &Target) -> Option<u16> {
        let Some((id, node)) = target.node.and_then(|id| Some((id, self.nodes.get(&id)?))) else {
            return Some(0);
        };
        let dialled = |lane| self.targets.values().any(|other| other.dials(id, lane));
        node.lanes_down().find(|lane| !dialled(*lane))
    }

    /// When [`poll`](Self::poll) has something to do next, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let waits = |target: &&Target| target.is_idle() && self.wanted_lane(target).is_some();
        let lanes = self.targets.values().filter(waits).filter_map(|target| target.back_off.until());
        lanes.chain(self.letters_deadlines()).min()
    }

    /// The connection of an attempt stands, encrypted if it has to be. Returns what to say; nothing if the attempt was
    /// given up meanwhile.
    pub fn handle_connected(&mut self, attempt: Attempt, clock: u64) -> Option<Hello> {
        let target = self.targets.values_mut().find(|target| target.attempt() == Some(attempt))?;
        let Progress::AwaitConnection { lane, .. } = target.progress else { return None };
        target.progress = Progress::AwaitAnswer { attempt, lane };
        let mut hello = self.me.hello(clock, Purpose::Lane(lane));
        if let Some(node) = target.node.and_then(|id| self.nodes.get_mut(&id)) {
            hello.epoch = node.epoch;
            hello.generation = node.next_generation(lane);
        }
        Some(hello)
    }

    /// An attempt came to nothing: no connection, no TLS, no answer, or bytes that are no greeting. `random` is any
    /// number.
    pub fn handle_dial_failed(&mut self, attempt: Attempt, now: Instant, random: u32) {
        if let Some(target) = self.targets.values_mut().find(|target| target.attempt() == Some(attempt)) {
            target.progress = Progress::Idle;
            target.back_off.failed(&self.settings.back_off, now, random);
        }
    }

    /// The dialled node answered. Returns the lane that the connection becomes; nothing if it is to be closed.
    pub fn handle_answer(&mut self, attempt: Attempt, answer: &Greeting, now: Instant, random: u32) -> Option<LaneUp> {
        let dials = |target: &Target| target.attempt() == Some(attempt);
        let address = self.targets.iter().find(|(_, target)| dials(target)).map(|(address, _)| address.clone())?;
        let target = self.targets.get_mut(&address)?;
        let lane = target.lane()?;
        target.progress = Progress::Idle;
        target.last_heard = now;
        match answer {
            Greeting::Hello(hello) if hello.purpose == Purpose::Lane(lane) => {
                target.node = Some(hello.node);
                target.refusal = None;
                let lane = self.accept_answer(hello, lane, now);
                let back_off = &mut self.targets.get_mut(&address)?.back_off;
                match &lane {
                    Some(_) => back_off.accepted(),
                    None => back_off.failed(&self.settings.back_off, now, random),
                }
                lane
            }
            Greeting::Hello(_) => {
                target.back_off.failed(&self.settings.back_off, now, random);
                None
            }
            Greeting::Refusal(Refusal { reason: RefusalReason::Itself, .. }) => {
                target.progress = Progress::Itself;
                None
            }
            Greeting::Refusal(Refusal { node, reason }) => {
                target.node = Some(*node);
                target.refusal = (!reason.is_usual()).then(|| reason.clone());
                target.back_off.failed(&self.settings.back_off, now, random);
                self.hear_refusal(reason);
                None
            }
        }
    }

    fn accept_answer(&mut self, hello: &Hello, lane: u16, now: Instant) -> Option<LaneUp> {
        if self.check(hello).is_err() || self.agree(hello).is_err() {
            return None;
        }
        let dialled_by_lower = self.me.node < hello.node;
        let node = self.nodes.get_mut(&hello.node)?;
        // The other side has not heard yet that an older life is over: the next greeting tells it.
        if hello.epoch != node.epoch {
            return None;
        }
        let rank = Rank { generation: hello.generation, dialled_by_lower };
        let connection = number(&mut self.next_number);
        node.take(lane, rank, connection, now).then(|| self.lane_up(hello.node, lane))?
    }

    /// Somebody dialled us for a lane. Returns the answer to write and the lane that the connection becomes, or the
    /// refusal to write before closing.
    pub fn handle_inbound(
        &mut self,
        hello: &Hello,
        lane: u16,
        clock: u64,
        now: Instant,
    ) -> Result<(Hello, LaneUp), Refusal> {
        self.accept_inbound(hello, lane, clock, now).map_err(|reason| Refusal { node: self.me.node, reason })
    }

    fn accept_inbound(
        &mut self,
        hello: &Hello,
        lane: u16,
        clock: u64,
        now: Instant,
    ) -> Result<(Hello, LaneUp), RefusalReason> {
        self.check(hello)?;
        let lanes = hello.threads.max(self.me.threads);
        if lane >= lanes {
            return Err(RefusalReason::NoSuchLane { lanes });
        }
        let knows_epoch = self.nodes.get(&hello.node).is_none_or(|node| hello.epoch >= node.epoch);
        self.agree(hello)?;
        let me_lower = self.me.node < hello.node;
        let node = self.nodes.get_mut(&hello.node).ok_or(RefusalReason::AlreadyLinked)?;
        let lanes = node.lanes();
        let slot = node.slot(lane).ok_or(RefusalReason::NoSuchLane { lanes })?;
        let we_dial = self.targets.values().any(|target| target.awaits_answer(hello.node, lane));
        if me_lower && we_dial && slot.up.is_none() {
            return Err(RefusalReason::LowerDials);
        }
        // Who dials with an epoch that is over has no connection, whatever we believe. Who dials with none does not
        // know us by this address, and may well have one.
        let outdated = hello.epoch != 0 && !knows_epoch;
        let generation = if outdated || slot.up.is_none() {
            hello.generation.max(slot.rank.generation.saturating_add(1))
        } else {
            hello.generation
        };
        let connection = number(&mut self.next_number);
        if !node.take(lane, Rank { generation, dialled_by_lower: !me_lower }, connection, now) {
            return Err(RefusalReason::AlreadyLinked);
        }
        let mut answer = self.me.hello(clock, hello.purpose);
        answer.epoch = node.epoch;
        answer.generation = generation;
        self.give_up_dials(hello.node, lane);
        for target in self.targets.values_mut() {
            target.end_waits();
            if target.node == Some(hello.node) {
                target.last_heard = now;
            }
        }
        let lane = self.lane_up(hello.node, lane).ok_or(RefusalReason::AlreadyLinked)?;
        Ok((answer, lane))
    }

    /// Brings our count of lives, and what we know of the node, up to what its greeting says.
    fn agree(&mut self, hello: &Hello) -> Result<(), RefusalReason> {
        let lanes = hello.threads.max(self.me.threads);
        let Some(known) = self.nodes.get_mut(&hello.node) else {
            self.make_room()?;
            self.nodes.insert(hello.node, Node::new(hello, lanes));
            return Ok(());
        };
        // Copies of one folder may come one after the other in the same life.
        let is_another = known.nonce != hello.nonce;
        if is_another || known.incarnation != hello.incarnation || hello.epoch > known.epoch {
            if let Some(life) = known.end_life() {
                self.actions.push_back(Action::Gone { node: hello.node, epoch: life.epoch });
            }
            known.meet(hello, lanes);
        }
        if is_another {
            self.end_letters(|id| id == hello.node);
        }
        Ok(())
    }

    /// A node that is neither linked nor found by discovery makes room for one that is.
    fn make_room(&mut self) -> Result<(), RefusalReason> {
        let max = self.settings.nodes_max;
        if self.nodes.len() < usize::from(max) {
            return Ok(());
        }
        let needed: BTreeSet<NodeId> = self.targets.values().filter_map(|target| target.node).collect();
        let idle = self.nodes.iter().filter(|(id, node)| !node.is_alive() && !needed.contains(id)).map(|(id, _)| *id);
        let idle = idle.min_by_key(|id| self.letters.has(*id)).ok_or(RefusalReason::TooManyNodes { max })?;
        self.nodes.remove(&idle);
        self.end_letters(|id| id == idle);
        Ok(())
    }

    /// An inbound connection takes the place of our own attempts.
    fn give_up_dials(&mut self, node: NodeId, lane: u16) {
        for target in self.targets.values_mut() {
            if target.dials(node, lane)
                && let Some(attempt) = target.attempt()
            {
                target.progress = Progress::Idle;
                self.actions.push_back(Action::Abandon { attempt });
            }
        }
    }

    fn lane_up(&self, id: NodeId, lane: u16) -> Option<LaneUp> {
        let node = self.nodes.get(&id)?;
        Some(LaneUp {
            node: id,
            name: node.name.clone(),
            incarnation: node.incarnation,
            epoch: node.epoch,
            lane,
            lanes: node.lanes(),
            connection: node.slot(lane)?.connection,
            thread: lane % self.me.threads,
        })
    }

    /// A data thread, or the shell while it still had it, lost the connection of a lane. Whether that is the end of
    /// the life, the lane decides ([`handle_gone`](Self::handle_gone)).
    pub fn handle_lane_lost(&mut self, lost: &LostLane, now: Instant, random: u32) {
        let LostLane { node, epoch, lane, connection } = *lost;
        let known = self.nodes.get_mut(&node).filter(|known| known.epoch == epoch);
        if let Some(since) = known.and_then(|known| known.lose(lane, connection)) {
            self.redial(node, since, now, random);
        }
    }

    /// A lane has ended this life of the link: the peer is gone, for all lanes.
    pub fn handle_gone(&mut self, node: NodeId, epoch: u64, now: Instant, random: u32) {
        let known = self.nodes.get_mut(&node).filter(|known| known.epoch == epoch);
        if let Some(life) = known.and_then(Node::end_life) {
            self.actions.push_back(Action::Gone { node, epoch });
            self.redial(node, life.since, now, random);
        }
    }

    /// A connection that stood since then is lost: the first redial is immediate, but not over and over.
    fn redial(&mut self, node: NodeId, since: Instant, now: Instant, random: u32) {
        let settings = &self.settings.back_off;
        for target in self.targets.values_mut().filter(|target| target.node == Some(node)) {
            target.last_heard = now;
            target.back_off.lost(settings, since, now, random);
        }
    }

    /// The data threads have what a node must know of this peer: its interest, and it has ours.
    pub fn handle_synchronised(&mut self, node: NodeId, epoch: u64) {
        if let Some(known) = self.nodes.get_mut(&node).filter(|known| known.epoch == epoch) {
            known.synchronised = true;
        }
    }

    /// This node's life is over, and its next begins: all connections end and are made anew, with greetings that say so.
    pub fn begin_life(&mut self, incarnation: u64) {
        self.me.incarnation = incarnation;
        let attempts = self.targets.values_mut().flat_map(Target::give_up);
        self.actions.extend(attempts.map(|attempt| Action::Abandon { attempt }));
        self.end_letters(|_| true);
        for (id, node) in &mut self.nodes {
            let life = node.end_life();
            self.actions.extend(life.map(|life| Action::Gone { node: *id, epoch: life.epoch }));
        }
    }

    /// The node stops: nobody is dialled or accepted any more. What connections there are, stand.
    pub fn stop(&mut self) {
        self.stopping = true;
        let attempts = self.targets.values().flat_map(Target::attempts);
        self.actions.extend(attempts.map(|attempt| Action::Abandon { attempt }));
        self.targets.clear();
    }

    /// Every peer as it is now, one row each, for metrics and readiness.
    pub fn view(&self, now: Instant) -> Vec<PeerView> {
        view::view(&self.targets, &self.nodes, now)
    }

    /// Whether an address was found to be this node's own.
    pub fn found_itself(&self) -> bool {
        self.targets.values().any(|target| target.progress == Progress::Itself)
    }
}

fn number(next: &mut u64) -> u64 {
    *next += 1;
    *next
}

impl Me {
    fn hello(&self, clock: u64, purpose: Purpose) -> Hello {
        let Me { node, incarnation, nonce, name, cluster, threads } = self.clone();
        Hello {
            feature_level: FEATURE_LEVEL,
            cluster,
            node,
            incarnation,
            nonce,
            name,
            threads,
            purpose,
            epoch: 0,
            generation: 0,
            clock,
        }
    }
}

#[cfg(test)]
mod tests;
