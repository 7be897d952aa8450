//! Several nodes of several data threads in one process, driven by one seed: the reactor, the links and the clients
//! around real workers. Bytes travel in pieces of random size, threads take turns in random order, time moves only when
//! the test says so.

// Each test binary uses its own part of this.
#![allow(dead_code, unreachable_pub)]

pub mod client;

use client::Client;
use fulmar_auth::hooks::{Hooks, Step, Ticket as HookTicket};
use fulmar_auth::identity::CertificateNames;
use fulmar_auth::passwords::Scratch;
use fulmar_codec::ReasonCode;
use fulmar_meta::{Member, Moment, View};
use fulmar_store::{Answer, Ask, Ticket, Told};
use fulmar_worker::{
    AuthSettings, Batch, Closed, ConnId, Event, LaneEnd, LaneSocket, Limits, Node, NodeSettings, Origin, Out,
    PeerIdentity, Question, Rules, Worker,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a connection is plugged into.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Plug {
    Client(usize),
    Lane { link: usize, lane: usize, side: usize },
}

#[derive(Debug)]
struct Socket {
    plug: Plug,
    /// On the wire.
    arriving: VecDeque<u8>,
    /// Read, not yet consumed.
    unread: Vec<u8>,
    offer: bool,
    paused: bool,
    closing: bool,
}

struct Thread {
    worker: Worker,
    /// Clients that may not be written while the lease is over.
    withheld: Vec<ConnId>,
    sockets: BTreeMap<(u32, u32), Socket>,
    letters: VecDeque<Batch>,
}

/// A node: its workers and what they share.
pub struct SimNode {
    pub node: Arc<Node>,
    threads: Vec<Thread>,
    /// Passwords that wait to be verified.
    questions: Vec<Question>,
    identity: PeerIdentity,
}

/// Everything between two nodes.
#[derive(Debug)]
struct Link {
    nodes: [usize; 2],
    epoch: u64,
    /// Per lane and side the connection, if there is one.
    lanes: Vec<[Option<ConnId>; 2]>,
    /// Bytes move.
    flows: bool,
}

/// See the [module](self).
pub struct World {
    pub now: Instant,
    random: u64,
    pub nodes: Vec<SimNode>,
    links: Vec<Link>,
    pub clients: Vec<Client>,
    /// Of the nodes that come.
    pub auth: AuthSettings,
    /// Of the next node.
    pub hooks: Hooks,
    /// By which clients come.
    pub listener: u16,
    /// That clients show.
    pub certificate: Option<Arc<CertificateNames>>,
    /// Passwords that may wait on each node.
    pub questions_max: usize,
    /// Hashes that were computed.
    pub verifications: usize,
    /// Nodes that come follow views.
    pub views: bool,
    /// Nodes that come have a store, which the test answers for.
    pub store_shards: Option<NonZeroU16>,
    /// What the clock of leases shows.
    pub clock: Arc<AtomicU64>,
    /// In its next turn with bytes this node's process is stopped between reading and writing, for so long.
    pub stops: Option<(usize, Duration)>,
    /// Nobody verifies passwords for now.
    pub is_pool_busy: bool,
    /// Everything that happened, as text, to compare two runs.
    pub trace: Vec<String>,
}

struct Recorder {
    node: Arc<Node>,
    clock: Arc<AtomicU64>,
    actions: Vec<Action>,
    /// As many questions may be asked.
    room: usize,
}

#[derive(Debug)]
enum Action {
    Pause(ConnId, bool),
    Close(ConnId, Vec<u8>),
    HandOver(ConnId, u16, Origin, Option<Arc<CertificateNames>>),
    LaneClosed,
    Verify(Question),
    Abandon(HookTicket),
    Event(String),
}

impl Out for Recorder {
    fn pause_reading(&mut self, conn: ConnId, paused: bool) {
        self.actions.push(Action::Pause(conn, paused));
    }
    fn close(&mut self, conn: ConnId, last_bytes: Vec<u8>) {
        self.actions.push(Action::Close(conn, last_bytes));
    }
    fn hand_over(&mut self, conn: ConnId, thread: u16, origin: Origin, certificate: Option<Arc<CertificateNames>>) {
        self.actions.push(Action::HandOver(conn, thread, origin, certificate));
    }
    fn verify(&mut self, question: Question) -> bool {
        let Some(room) = self.room.checked_sub(1) else { return false };
        self.room = room;
        self.actions.push(Action::Verify(question));
        true
    }
    fn abandon(&mut self, ticket: HookTicket) {
        self.actions.push(Action::Abandon(ticket));
    }
    fn may_acknowledge(&mut self) -> bool {
        self.node.may_acknowledge(Moment(Duration::from_micros(self.clock.load(Ordering::Relaxed))))
    }
    fn lane_closed(&mut self, _peer: u64, _lane: u16, _epoch: u64, _why: LaneEnd) {
        self.actions.push(Action::LaneClosed);
    }
    fn event(&mut self, event: Event<'_>) {
        self.actions.push(Action::Event(format!("{event:?}")));
    }
}

const ORIGIN: Origin =
    Origin { listener: 0, address: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9), trace: 0 };

impl World {
    /// `nodes` nodes of `threads` data threads, all linked.
    pub fn new(seed: u64, nodes: usize, threads: u16) -> World {
        World::with_limits(seed, nodes, threads, &Limits::default())
    }

    pub fn with_limits(seed: u64, nodes: usize, threads: u16, limits: &Limits) -> World {
        World::with_auth(seed, nodes, threads, limits, AuthSettings::new([7; 32]))
    }

    pub fn with_auth(seed: u64, nodes: usize, threads: u16, limits: &Limits, auth: AuthSettings) -> World {
        let mut world = World {
            now: Instant::now(),
            random: seed,
            nodes: vec![],
            links: vec![],
            clients: vec![],
            auth,
            hooks: Hooks::default(),
            listener: 0,
            certificate: None,
            questions_max: usize::MAX,
            verifications: 0,
            views: false,
            store_shards: None,
            clock: Arc::new(AtomicU64::new(1_000_000_000)),
            stops: None,
            is_pool_busy: false,
            trace: vec![],
        };
        for _ in 0..nodes {
            world.add_node(threads, limits);
        }
        for a in 0..nodes {
            for b in a + 1..nodes {
                world.link(a, b);
            }
        }
        world.settle();
        world
    }

    /// Nodes of a durable cluster, all of them in the first view, serving clients under leases that do not end.
    pub fn of_cluster(seed: u64, nodes: usize, threads: u16) -> World {
        World::of_cluster_with(seed, nodes, threads, None)
    }

    /// The same with a store.
    pub fn of_cluster_with(seed: u64, nodes: usize, threads: u16, store_shards: Option<NonZeroU16>) -> World {
        let mut world = World::new(seed, 0, threads);
        world.views = true;
        world.store_shards = store_shards;
        for _ in 0..nodes {
            world.add_node(threads, &Limits::default());
        }
        let all: Vec<_> = (0..nodes).collect();
        world.follow(1, &all);
        for a in 0..nodes {
            for b in a + 1..nodes {
                world.link(a, b);
            }
            world.nodes[a].node.serve(true);
            world.nodes[a].node.set_acknowledges_until(Moment(Duration::from_secs(1 << 30)));
        }
        world.settle();
        world
    }

    /// A node as a member of views.
    pub fn member(&self, node: usize) -> Member {
        self.nodes[node].identity.member()
    }

    /// All nodes are told of a view of these.
    pub fn follow(&mut self, number: u64, members: &[usize]) {
        let view = View::new(number, members.iter().map(|node| self.member(*node)));
        self.nodes.iter().for_each(|node| node.node.follow(&view));
        self.settle();
    }

    /// The lease of a node ends so long from now.
    pub fn lease(&self, node: usize, time: Duration) {
        let until = Duration::from_micros(self.clock.load(Ordering::Relaxed)) + time;
        self.nodes[node].node.set_acknowledges_until(Moment(until));
    }

    /// The node's next life begins in the same process.
    pub fn begin_life(&mut self, node: usize) {
        self.nodes[node].identity.incarnation += 1;
        self.nodes[node].node.begin_life(self.nodes[node].identity.incarnation);
        self.settle();
    }

    /// What the store of a node is asked, all of its threads.
    pub fn asked(&mut self, node: usize) -> Vec<(Ticket, Ask)> {
        let mut all = Vec::new();
        for thread in &mut self.nodes[node].threads {
            all.append(thread.worker.asked().0);
            thread.worker.posted();
        }
        all
    }

    /// The store of a node answers.
    pub fn answer_ask(&mut self, node: usize, ticket: Ticket, answer: Answer) {
        let (now, thread) = (self.now, usize::from(ticket.thread));
        let mut out = self.recorder(node);
        let told = vec![Told::Answer { number: ticket.number, answer }];
        self.nodes[node].threads[thread].worker.told(told, now, &mut out);
        self.carry_out(node, thread, out);
        self.end_turn(node, thread);
        self.settle();
    }

    fn recorder(&self, node: usize) -> Recorder {
        let (node, clock) = (Arc::clone(&self.nodes[node].node), Arc::clone(&self.clock));
        Recorder { node, clock, actions: Vec::new(), room: 0 }
    }

    /// One more node, not linked yet.
    pub fn add_node(&mut self, threads: u16, limits: &Limits) -> usize {
        let number = self.nodes.len() as u64;
        let settings = NodeSettings {
            node_id: 100 + number,
            incarnation: 1,
            name: format!("node-{number}"),
            threads,
            limits: limits.clone(),
            anonymous: vec![true, false],
            auth: self.auth.clone(),
            seed: 7 + number,
            views: self.views,
            store_shards: self.store_shards,
            wall_clock_microseconds: 1_000_000,
            start: self.now,
        };
        let identity = PeerIdentity { node_id: 100 + number, incarnation: 1, name: settings.name.clone(), threads };
        let node = Arc::new(Node::with_hooks(settings, std::mem::take(&mut self.hooks)));
        let thread = |thread| Thread {
            worker: Worker::new(Arc::clone(&node), thread, self.now, 1000 * number + u64::from(thread)),
            withheld: Vec::new(),
            sockets: BTreeMap::new(),
            letters: VecDeque::new(),
        };
        let threads = (0..threads).map(thread).collect();
        self.nodes.push(SimNode { node, threads, questions: Vec::new(), identity });
        self.nodes.len() - 1
    }

    fn random(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) as usize) % below.max(1)
    }

    /// A number below `below`, from the seed.
    pub fn pick(&mut self, below: usize) -> usize {
        self.random(below)
    }

    /// Dials every lane between two nodes, for a new life of their link.
    pub fn link(&mut self, a: usize, b: usize) -> usize {
        let lanes = self.nodes[a].threads.len().max(self.nodes[b].threads.len());
        let found = self.links.iter().position(|link| link.nodes == [a, b]);
        let link = found.unwrap_or_else(|| {
            self.links.push(Link { nodes: [a, b], epoch: 0, lanes: vec![[None; 2]; lanes], flows: true });
            self.links.len() - 1
        });
        self.cut(a, b);
        self.links[link].epoch += 1;
        self.links[link].flows = true;
        (0..lanes).rev().for_each(|lane| self.dial(link, lane));
        link
    }

    /// Connects the lanes of a link that have no connection, in the same life.
    pub fn reconnect(&mut self, a: usize, b: usize) {
        let link = self.find_link(a, b);
        self.links[link].flows = true;
        for lane in 0..self.links[link].lanes.len() {
            if self.links[link].lanes[lane].iter().all(Option::is_none) {
                self.dial(link, lane);
            }
        }
    }

    fn find_link(&self, a: usize, b: usize) -> usize {
        self.links.iter().position(|link| link.nodes == [a.min(b), a.max(b)]).expect("these nodes were linked")
    }

    fn dial(&mut self, link: usize, lane: usize) {
        let Link { nodes, epoch, .. } = self.links[link];
        for side in 0..2 {
            let (here, there) = (nodes[side], nodes[1 - side]);
            let socket = LaneSocket { peer: self.nodes[there].identity.clone(), lane: lane as u16, epoch };
            let thread = lane % self.nodes[here].threads.len();
            let now = self.now;
            let mut out = self.recorder(here);
            let worker = &mut self.nodes[here].threads[thread].worker;
            match worker.lane_up(&socket, now, &mut out) {
                Ok(conn) => {
                    self.plug(here, thread, conn, Plug::Lane { link, lane, side }, Vec::new());
                    self.links[link].lanes[lane][side] = Some(conn);
                }
                Err(refused) => self.trace.push(format!("lane {lane} of {here} refused: {refused}")),
            }
            self.carry_out(here, thread, out);
        }
        // Only now is there somebody at the other end to hear what each side says first.
        for node in nodes {
            self.end_turn(node, lane % self.nodes[node].threads.len());
        }
    }

    /// Breaks every connection between two nodes; what was on the wire is lost.
    pub fn cut(&mut self, a: usize, b: usize) {
        let link = self.find_link(a, b);
        let nodes = self.links[link].nodes;
        for lane in 0..self.links[link].lanes.len() {
            for (side, node) in nodes.into_iter().enumerate() {
                if let Some(conn) = self.links[link].lanes[lane][side].take() {
                    let thread = lane % self.nodes[node].threads.len();
                    self.close_socket(node, thread, conn, Closed::Error);
                }
            }
        }
    }

    /// Bytes between two nodes stop (or go on) without any connection closing.
    pub fn stall(&mut self, a: usize, b: usize, stalled: bool) {
        let link = self.find_link(a, b);
        self.links[link].flows = !stalled;
    }

    fn close_socket(&mut self, node: usize, thread: usize, conn: ConnId, how: Closed) {
        let now = self.now;
        let mut out = self.recorder(node);
        let at = &mut self.nodes[node].threads[thread];
        if at.sockets.remove(&(conn.slot, conn.generation)).is_some() {
            at.worker.closed(conn, how, now, &mut out);
            self.carry_out(node, thread, out);
            self.end_turn(node, thread);
        }
    }

    fn plug(&mut self, node: usize, thread: usize, conn: ConnId, plug: Plug, unread: Vec<u8>) {
        let offer = !unread.is_empty();
        let socket = Socket { plug, arriving: VecDeque::new(), unread, offer, paused: false, closing: false };
        self.nodes[node].threads[thread].sockets.insert((conn.slot, conn.generation), socket);
        if let Plug::Client(client) = plug {
            self.clients[client].at = Some((node, thread, conn));
        }
    }

    /// A client's socket reaches a node, on a thread of the seed's choice.
    pub(crate) fn plug_client(&mut self, client: usize, node: usize) {
        let thread = self.random(self.nodes[node].threads.len());
        let now = self.now;
        let origin = Origin { listener: self.listener, ..ORIGIN };
        let worker = &mut self.nodes[node].threads[thread].worker;
        let conn = worker.accepted(origin, now).expect("the limit is far away");
        if let Some(certificate) = &self.certificate {
            worker.certified(conn, Arc::clone(certificate));
        }
        self.plug(node, thread, conn, Plug::Client(client), Vec::new());
    }

    /// The client's socket closes without a word.
    pub fn vanish(&mut self, client: usize) {
        if let Some((node, thread, conn)) = self.clients[client].at.take() {
            self.close_socket(node, thread, conn, Closed::Eof);
        }
    }

    /// Runs until nothing moves any more.
    pub fn settle(&mut self) {
        for _ in 0..1_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass in small steps, everything moving meanwhile.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let next = (self.now + Duration::from_millis(50)).min(end);
            self.clock.fetch_add((next - self.now).as_micros() as u64, Ordering::Relaxed);
            self.now = next;
            for node in 0..self.nodes.len() {
                for thread in 0..self.nodes[node].threads.len() {
                    let now = self.now;
                    let mut out = self.recorder(node);
                    self.nodes[node].threads[thread].worker.tick(now, &mut out);
                    self.carry_out(node, thread, out);
                    self.end_turn(node, thread);
                }
            }
            self.settle();
        }
    }

    /// One turn of a thread that has something to do; false when there is none.
    pub fn step(&mut self) -> bool {
        self.clients_send();
        let mut ready = Vec::new();
        for (node, at) in self.nodes.iter().enumerate() {
            for (thread, at) in at.threads.iter().enumerate() {
                let bytes = |socket: &Socket| !socket.paused && (socket.offer || !socket.arriving.is_empty());
                if !at.letters.is_empty() || at.worker.has_news() || at.sockets.values().any(bytes) {
                    ready.push((node, Some(thread)));
                }
            }
            if !at.questions.is_empty() && !self.is_pool_busy {
                ready.push((node, None));
            }
        }
        if ready.is_empty() {
            return false;
        }
        match ready[self.random(ready.len())] {
            (node, Some(thread)) => self.turn(node, thread),
            (node, None) => self.answer(node),
        }
        true
    }

    /// Verifies one of the passwords that wait.
    fn answer(&mut self, node: usize) {
        let at = self.random(self.nodes[node].questions.len());
        let mut scratch = Scratch::default();
        let answer = self.nodes[node].questions.remove(at).answer(&mut scratch);
        // It owns memory once a hash was computed.
        self.verifications += usize::from(scratch.bytes() > 0);
        let thread = usize::from(answer.thread);
        let mut out = self.recorder(node);
        self.nodes[node].threads[thread].worker.answered(answer, &mut out);
        self.carry_out(node, thread, out);
        self.end_turn(node, thread);
    }

    /// New files of users and access rules, for all threads of all nodes.
    pub fn reload(&mut self, rules: Rules) {
        let rules = Arc::new(rules);
        for node in 0..self.nodes.len() {
            for thread in 0..self.nodes[node].threads.len() {
                self.nodes[node].threads[thread].worker.reload(Arc::clone(&rules));
                self.end_turn(node, thread);
            }
        }
    }

    /// A node begins to stop: one of its threads hears of it first and tells the others.
    pub fn shut_down(&mut self, node: usize) {
        let now = self.now;
        let mut out = self.recorder(node);
        self.nodes[node].threads[0].worker.shut_down(now, &mut out);
        self.carry_out(node, 0, out);
        self.end_turn(node, 0);
    }

    /// What a hook owed; every thread is told, and the one that waits knows.
    pub fn stepped(&mut self, node: usize, ticket: HookTicket, step: &Step) {
        for thread in 0..self.nodes[node].threads.len() {
            let now = self.now;
            let mut out = self.recorder(node);
            self.nodes[node].threads[thread].worker.stepped(ticket, step.clone(), now, &mut out);
            self.carry_out(node, thread, out);
            self.end_turn(node, thread);
        }
        self.settle();
    }

    /// What a node tells of itself. Whether a thread had to be told.
    pub fn set_sys(&mut self, node: usize, topic: &str, value: &str) -> bool {
        let changed = self.nodes[node].node.set_sys([(topic, value)], self.now);
        let thread = self.random(self.nodes[node].threads.len());
        self.nodes[node].threads[thread].worker.tell(&changed, self.now);
        self.end_turn(node, thread);
        self.settle();
        !changed.is_empty()
    }

    /// How many passwords wait to be verified.
    pub fn questions(&self, node: usize) -> usize {
        self.nodes[node].questions.len()
    }

    fn turn(&mut self, node: usize, thread: usize) {
        let now = self.now;
        let mut out = self.recorder(node);
        if let Some(batch) = self.nodes[node].threads[thread].letters.pop_front() {
            self.nodes[node].threads[thread].worker.letters(batch, now, &mut out);
            self.carry_out(node, thread, out);
            out = self.recorder(node);
        }
        let keys: Vec<_> = self.nodes[node].threads[thread].sockets.keys().copied().collect();
        for (slot, generation) in keys {
            let portion = self.random(200) + 1;
            let at = &mut self.nodes[node].threads[thread];
            let Some(socket) = at.sockets.get_mut(&(slot, generation)) else { continue };
            if socket.paused || (socket.arriving.is_empty() && !socket.offer) {
                continue;
            }
            let portion = portion.min(socket.arriving.len());
            socket.unread.extend(socket.arriving.drain(..portion));
            socket.offer = false;
            let conn = ConnId { slot, generation };
            out.room = self.questions_max.saturating_sub(self.nodes[node].questions.len());
            let at = &mut self.nodes[node].threads[thread];
            let Some(socket) = at.sockets.get_mut(&(slot, generation)) else { continue };
            let consumed = at.worker.received(conn, &socket.unread, now, &mut out);
            socket.unread.drain(..consumed.bytes);
            if let Some((_, time)) = self.stops.take_if(|(stopped, _)| *stopped == node) {
                self.clock.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
            }
            let fresh = self.recorder(node);
            self.carry_out(node, thread, std::mem::replace(&mut out, fresh));
        }
        self.nodes[node].threads[thread].worker.tick(now, &mut out);
        self.carry_out(node, thread, out);
        self.end_turn(node, thread);
    }

    fn carry_out(&mut self, node: usize, thread: usize, out: Recorder) {
        for action in out.actions {
            match action {
                Action::Pause(conn, paused) => {
                    let sockets = &mut self.nodes[node].threads[thread].sockets;
                    if let Some(socket) = sockets.get_mut(&(conn.slot, conn.generation)) {
                        socket.paused = paused;
                        socket.offer |= !paused;
                    }
                }
                Action::Close(conn, last) => {
                    let sockets = &mut self.nodes[node].threads[thread].sockets;
                    if let Some(socket) = sockets.remove(&(conn.slot, conn.generation)) {
                        self.transmit(socket.plug, &last);
                        self.closed_by_broker(socket.plug);
                    }
                }
                Action::HandOver(conn, to, origin, certificate) => {
                    let now = self.now;
                    let sockets = &mut self.nodes[node].threads[thread].sockets;
                    let socket =
                        sockets.remove(&(conn.slot, conn.generation)).expect("a connection is handed over once");
                    let to = usize::from(to);
                    let worker = &mut self.nodes[node].threads[to].worker;
                    let moved = worker.accepted(origin, now).expect("the limit is far away");
                    if let Some(certificate) = certificate {
                        worker.certified(moved, certificate);
                    }
                    self.plug(node, to, moved, socket.plug, socket.unread);
                    let there = self.nodes[node].threads[to].sockets.get_mut(&(moved.slot, moved.generation));
                    there.expect("it was just plugged in").arriving = socket.arriving;
                }
                Action::Verify(question) => self.nodes[node].questions.push(question),
                Action::Abandon(ticket) => self.nodes[node].questions.retain(|question| question.ticket != ticket),
                Action::LaneClosed => {}
                Action::Event(text) => self.trace.push(format!("node-{node}: {text}")),
            }
        }
    }

    fn closed_by_broker(&mut self, plug: Plug) {
        match plug {
            Plug::Client(client) => self.clients[client].closed(),
            Plug::Lane { link, lane, side } => {
                self.links[link].lanes[lane][side] = None;
                // The other side reads what is still on the wire, then the end.
                if let Some(conn) = self.links[link].lanes[lane][1 - side] {
                    let node = self.links[link].nodes[1 - side];
                    let thread = lane % self.nodes[node].threads.len();
                    let sockets = &mut self.nodes[node].threads[thread].sockets;
                    if let Some(socket) = sockets.get_mut(&(conn.slot, conn.generation)) {
                        socket.closing = true;
                    }
                }
            }
        }
    }

    fn end_turn(&mut self, node: usize, thread: usize) {
        let now = self.now;
        let is_withholding = !self.recorder(node).may_acknowledge();
        for _ in 0..64 {
            let at = &mut self.nodes[node].threads[thread];
            let mut dirty = std::mem::take(at.worker.dirty());
            if !is_withholding {
                dirty.splice(..0, at.withheld.drain(..));
            }
            if dirty.is_empty() {
                break;
            }
            for conn in dirty {
                let at = &mut self.nodes[node].threads[thread];
                if let Some(Socket { plug: Plug::Client(client), .. }) = at.sockets.get(&(conn.slot, conn.generation))
                    && self.clients[*client].deaf
                {
                    at.worker.written(conn, 0);
                    continue;
                }
                let plug = at.sockets.get(&(conn.slot, conn.generation)).map(|socket| socket.plug);
                if is_withholding && matches!(plug, Some(Plug::Client(_))) {
                    at.withheld.push(conn);
                    continue;
                }
                let mut out = self.recorder(node);
                let at = &mut self.nodes[node].threads[thread];
                let Some(bytes) = at.worker.output(conn).map(std::mem::take) else { continue };
                at.worker.written(conn, bytes.len());
                at.worker.drained(conn, now, &mut out);
                if let Some(plug) = at.sockets.get(&(conn.slot, conn.generation)).map(|socket| socket.plug) {
                    self.transmit(plug, &bytes);
                }
                self.carry_out(node, thread, out);
            }
        }
        let threads = self.nodes[node].threads.len();
        for to in 0..threads {
            let batch = std::mem::take(self.nodes[node].threads[thread].worker.outbox(to as u16));
            if !batch.is_empty() {
                assert_ne!(to, thread, "a thread writes no letters to itself");
                self.nodes[node].threads[to].letters.push_back(batch);
            }
        }
        self.nodes[node].threads[thread].worker.end_turn();
        let finished: Vec<_> = self.nodes[node].threads[thread]
            .sockets
            .iter()
            .filter(|(_, socket)| socket.closing && socket.arriving.is_empty())
            .map(|((slot, generation), _)| ConnId { slot: *slot, generation: *generation })
            .collect();
        for conn in finished {
            if let Some(Socket { plug: Plug::Lane { link, lane, side }, .. }) =
                self.nodes[node].threads[thread].sockets.get(&(conn.slot, conn.generation))
            {
                self.links[*link].lanes[*lane][*side] = None;
            }
            self.close_socket(node, thread, conn, Closed::Eof);
        }
    }

    /// Bytes from the broker to whatever is at the other end.
    fn transmit(&mut self, plug: Plug, bytes: &[u8]) {
        match plug {
            Plug::Client(client) => self.clients[client].receive(bytes),
            Plug::Lane { link, lane, side } => {
                let link = &self.links[link];
                if !link.flows {
                    return;
                }
                let Some(conn) = link.lanes[lane][1 - side] else { return };
                let node = link.nodes[1 - side];
                let thread = lane % self.nodes[node].threads.len();
                let sockets = &mut self.nodes[node].threads[thread].sockets;
                if let Some(socket) = sockets.get_mut(&(conn.slot, conn.generation)) {
                    socket.arriving.extend(bytes);
                }
            }
        }
    }

    fn clients_send(&mut self) {
        for client in &mut self.clients {
            let Some((node, thread, conn)) = client.at else { continue };
            let bytes = client.take_output();
            if let Some(socket) = self.nodes[node].threads[thread].sockets.get_mut(&(conn.slot, conn.generation)) {
                socket.arriving.extend(bytes);
            }
        }
    }

    /// The client's socket takes nothing any more.
    pub fn deafen(&mut self, client: usize) {
        self.clients[client].deaf = true;
    }

    /// What its broker has for a client that does not read.
    pub fn unsent_bytes(&mut self, client: usize) -> usize {
        let (node, thread, conn) = self.clients[client].at.expect("it is connected");
        self.nodes[node].threads[thread].worker.output(conn).map_or(0, |buffer| buffer.len())
    }

    /// The client reads again: its socket takes what waits.
    pub fn hear_again(&mut self, client: usize) {
        self.clients[client].deaf = false;
        for _ in 0..1000 {
            let Some((node, thread, conn)) = self.clients[client].at else { return };
            let now = self.now;
            let mut out = self.recorder(node);
            let worker = &mut self.nodes[node].threads[thread].worker;
            let Some(bytes) = worker.output(conn).map(std::mem::take) else { return };
            worker.drained(conn, now, &mut out);
            self.clients[client].receive(&bytes);
            self.carry_out(node, thread, out);
            self.settle();
        }
    }

    /// The control side of a node says that a life of its link to a peer has ended.
    pub fn tell_peer_gone(&mut self, node: usize, peer: usize, epoch: u64) {
        let id = self.nodes[peer].identity.node_id;
        let now = self.now;
        let mut out = self.recorder(node);
        self.nodes[node].threads[0].worker.peer_gone(id, epoch, now, &mut out);
        self.carry_out(node, 0, out);
        self.end_turn(node, 0);
    }

    /// `to` learns where the Lamport time of `from` stands, as from a greeting.
    pub fn observe_all(&mut self, from: usize, to: usize) {
        let clock = self.nodes[from].node.clock_now();
        self.nodes[to].node.observe_clock(clock);
    }

    /// Sums over the node's threads: publishes sent to and received from a peer.
    pub fn link_publishes(&self, node: usize, peer: usize) -> (u64, u64) {
        let name = &self.nodes[peer].identity.name;
        let counters = self.nodes[node].threads.iter().flat_map(|thread| thread.worker.link_counters());
        counters
            .filter(|link| link.peer == *name)
            .fold((0, 0), |(sent, received), link| (sent + link.publishes_sent, received + link.publishes_received))
    }

    pub fn counter(&self, node: usize, of: impl Fn(&fulmar_worker::Counters) -> u64) -> u64 {
        self.nodes[node].threads.iter().map(|thread| of(thread.worker.counters())).sum()
    }

    pub fn gauges(&self, node: usize) -> fulmar_worker::Gauges {
        let mut sum = fulmar_worker::Gauges::default();
        self.nodes[node].threads.iter().for_each(|thread| sum.add(&thread.worker.gauges()));
        sum
    }

    /// Whether a node told the client to go, and why.
    pub fn farewell(&self, client: usize) -> Option<ReasonCode> {
        self.clients[client].farewell
    }
}
