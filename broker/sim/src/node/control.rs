//! The control side of a node: carries out what the real `Peers` decides, as `broker/src/link` does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_cluster::NodeId;
use fulmar_cluster::discovery::Discovery;
use fulmar_cluster::hello::{Greeting, Hello, Purpose, RefusalReason};
use fulmar_cluster::letters::Channel as LetterChannel;
use fulmar_cluster::peers::{Action, Attempt, Found, Known, LaneUp, Life, Me, Peers, PeersSettings};
use fulmar_worker::{LaneEnd, LaneSocket, Node, PeerIdentity};

use super::arrivals::Arrivals;
use super::letters::Letters;
use super::sockets::LaneNews;
use super::thread::Letter;
use crate::Time;
use crate::agenda::Planned;
use crate::clock::MachineClock;
use crate::network::{Chunk, DIALLER, End, LISTENER, Place, Port, WireId};
use crate::outside::{Outside, slot_at};
use crate::random::{Chance, Random};

/// Connecting and greeting have to be done within this time.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Names are resolved this often while the answers may still change, and afterwards.
const ROUND_UNSETTLED: Duration = Duration::from_secs(1);
const ROUND_SETTLED: Duration = Duration::from_secs(5);
/// A turn at least this often.
const LOOK: Duration = Duration::from_millis(100);
/// The name of all nodes.
const HOST: &str = "nodes.test";

/// What came for the control side, in its order.
#[derive(Debug)]
pub(crate) enum News {
    /// Something arrived at a side of a connection.
    Chunk(WireId, usize, Chunk),
    /// Somebody dials.
    Dialled(WireId),
    Lane(LaneNews),
}

/// An attempt of this node to make a connection.
#[derive(Debug)]
struct Dial {
    wire: WireId,
    channel: Option<LetterChannel>,
    until: Instant,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Control {
    slot: usize,
    node: Arc<Node>,
    peers: Peers,
    discovery: Discovery,
    random: Random,
    pub(crate) inbox: Vec<News>,
    pub(crate) planned: Planned,
    dials: BTreeMap<Attempt, Dial>,
    /// Accepted, and not greeted.
    greeted_by: BTreeMap<WireId, Instant>,
    letters: Letters,
    next_round: Instant,
    is_stopped: bool,
    refused: Option<RefusalReason>,
}

/// What a turn has for other parts of the node.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) letters: Vec<(u16, Letter)>,
    /// For all threads.
    pub(crate) gone: Vec<(u64, u64)>,
}

impl Control {
    pub(crate) fn new(slot: usize, node: &Arc<Node>, nonce: u64, now: Instant, random: Random) -> Control {
        let me = Me {
            node: NodeId(node.settings.node_id),
            incarnation: node.settings.incarnation,
            nonce,
            name: node.settings.name.clone(),
            cluster: String::new(),
            threads: node.settings.threads,
        };
        let settings = PeersSettings { nodes_max: 64, has_letters: true, ..PeersSettings::default() };
        Control {
            slot,
            node: node.clone(),
            peers: Peers::new(me, settings),
            discovery: Discovery::new([(HOST, 7800)], now),
            random,
            inbox: Vec::new(),
            planned: Planned::default(),
            dials: BTreeMap::new(),
            greeted_by: BTreeMap::new(),
            letters: Letters::default(),
            next_round: now,
            is_stopped: false,
            refused: None,
        }
    }

    /// This node's life begins, or is over and its next begins.
    pub(crate) fn begin_life(&mut self, incarnation: u64) {
        self.peers.begin_life(incarnation);
    }

    /// The last lives of all nodes, as far as this node knows what was committed.
    pub(crate) fn set_lives(&mut self, lives: BTreeMap<NodeId, Life>) {
        self.peers.set_lives(lives);
    }

    /// Why the cluster will not have this process, if somebody has said so.
    pub(crate) fn refused(&self) -> Option<&RefusalReason> {
        self.refused.as_ref()
    }

    /// Nobody is dialled or accepted any more.
    pub(crate) fn stop(&mut self) {
        self.peers.stop();
        self.is_stopped = true;
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.discovery.is_settled(self.peers.found_itself())
    }

    pub(crate) fn found(&self) -> Vec<Found> {
        self.peers.found()
    }

    pub(crate) fn known(&self) -> Vec<Known> {
        self.peers.known()
    }

    /// A letter of the store. What is not sent is lost, which every part of a store must bear.
    pub(crate) fn send(&mut self, to: u64, channel: LetterChannel, letter: Vec<u8>, outside: &mut Outside) {
        self.letters.send(to, channel, letter, outside);
    }

    pub(crate) fn turn(&mut self, clock: &MachineClock, arrivals: &mut Arrivals, outside: &mut Outside) -> Orders {
        let now = clock.instant(outside.now);
        let mut orders = Orders::default();
        for news in std::mem::take(&mut self.inbox) {
            match news {
                News::Dialled(wire) => {
                    self.greeted_by.insert(wire, now + GREETING_TIMEOUT);
                    outside.send(wire, LISTENER, Chunk::Accepted);
                    for chunk in outside.network.attach(wire, LISTENER, End::Control) {
                        self.chunk((wire, LISTENER), chunk, now, &mut orders, arrivals, outside);
                    }
                }
                News::Chunk(wire, side, chunk) => {
                    self.chunk((wire, side), chunk, now, &mut orders, arrivals, outside);
                }
                News::Lane(news) => self.lane_ended(&news, now),
            }
        }
        self.look_up(now, outside);
        self.expire(now, outside);
        self.beat(now, arrivals, outside);
        self.act(now, &mut orders, arrivals, outside);
        orders
    }

    /// When to come again at the latest.
    pub(crate) fn next(&self, clock: &MachineClock, now: Time) -> Time {
        let here = clock.instant(now);
        let next = self.peers.deadline().map_or(here + LOOK, |deadline| deadline.min(here + LOOK));
        clock.when(next).max(Time(now.0 + 100))
    }

    fn random(&mut self) -> u32 {
        (self.random.next() >> 32) as u32
    }

    fn look_up(&mut self, now: Instant, outside: &mut Outside) {
        if now < self.next_round || self.is_stopped {
            return;
        }
        // The name server does not always answer.
        if !self.random.percent(5) {
            self.discovery.handle_answer(0, outside.addresses(), now);
            self.peers.handle_resolved(&self.discovery.addresses(), now);
        }
        self.next_round = now + if self.is_settled() { ROUND_SETTLED } else { ROUND_UNSETTLED };
    }

    fn expire(&mut self, now: Instant, outside: &mut Outside) {
        let late: Vec<Attempt> =
            self.dials.iter().filter(|(_, dial)| dial.until <= now).map(|(attempt, _)| *attempt).collect();
        for attempt in late {
            self.dial_failed(attempt, now, outside);
        }
        for (wire, _) in self.greeted_by.extract_if(.., |_, until| *until <= now) {
            outside.reset(wire, LISTENER);
        }
    }

    fn dial_failed(&mut self, attempt: Attempt, now: Instant, outside: &mut Outside) {
        let Some(dial) = self.dials.remove(&attempt) else { return };
        outside.reset(dial.wire, DIALLER);
        let random = self.random();
        match dial.channel {
            None => self.peers.handle_dial_failed(attempt, now, random),
            Some(_) => self.peers.handle_letters_ended(attempt, now, random),
        }
    }

    /// Both sides of connections for letters beat, and give the other up when nothing came of it for too long.
    fn beat(&mut self, now: Instant, arrivals: &mut Arrivals, outside: &mut Outside) {
        for wire in self.letters.beat(now, outside) {
            self.letters_lost(wire, now, arrivals, outside);
        }
    }

    fn act(&mut self, now: Instant, orders: &mut Orders, arrivals: &mut Arrivals, outside: &mut Outside) {
        while let Some(action) = self.peers.poll(now) {
            match action {
                Action::Dial { attempt, address } => self.dial(attempt, None, address.socket, now, outside),
                Action::DialLetters { attempt, address, channel } => {
                    self.dial(attempt, Some(channel), address.socket, now, outside);
                }
                Action::CloseLetters { connection } => {
                    if let Some(wire) = self.letters.close_incoming(connection) {
                        outside.close(wire, LISTENER);
                    }
                }
                Action::Refused { reason } => {
                    // The store asks for it.
                    self.refused.get_or_insert(reason);
                }
                Action::Abandon { attempt } => {
                    if let Some(dial) = self.dials.remove(&attempt) {
                        outside.reset(dial.wire, DIALLER);
                    } else if let Some(wire) = self.letters.abandon(attempt, arrivals) {
                        outside.close(wire, DIALLER);
                    }
                }
                Action::Gone { node, epoch } => orders.gone.push((node.0, epoch)),
            }
        }
    }

    fn dial(
        &mut self,
        attempt: Attempt,
        channel: Option<LetterChannel>,
        address: std::net::SocketAddr,
        now: Instant,
        outside: &mut Outside,
    ) {
        let to = slot_at(address).expect("addresses are those of slots");
        let wire = outside.dial((Place::Slot(self.slot), End::Control), (Place::Slot(to), Port::Cluster));
        self.dials.insert(attempt, Dial { wire, channel, until: now + GREETING_TIMEOUT });
    }

    fn chunk(
        &mut self,
        (wire, side): (WireId, usize),
        chunk: Chunk,
        now: Instant,
        orders: &mut Orders,
        arrivals: &mut Arrivals,
        outside: &mut Outside,
    ) {
        match outside.network.wire(wire).map(|it| it.ends[side]) {
            Some(End::Control) => {}
            // It was just given to a data thread.
            Some(End::Held) => return outside.network.hold(wire, side, Some(chunk)),
            _ => return,
        }
        match chunk {
            Chunk::Accepted => self.connected(wire, outside),
            Chunk::Greeting(greeting) if side == DIALLER => {
                if let Some(attempt) = self.attempt_of(wire) {
                    self.answered(attempt, wire, &greeting, now, orders, arrivals, outside);
                }
            }
            Chunk::Greeting(greeting) => self.greeted(wire, &greeting, now, orders, arrivals, outside),
            Chunk::Letter(letter) => self.letters.received(wire, Some(letter), now, arrivals),
            Chunk::Beat => self.letters.received(wire, None, now, arrivals),
            Chunk::End | Chunk::Reset => {
                if let Some(attempt) = self.attempt_of(wire).filter(|_| side == DIALLER) {
                    self.dial_failed(attempt, now, outside);
                } else if self.greeted_by.remove(&wire).is_some() {
                    outside.close(wire, LISTENER);
                } else {
                    self.letters_lost(wire, now, arrivals, outside);
                }
            }
            other => unreachable!("the control side is sent greetings and letters, found {other:?}"),
        }
    }

    fn attempt_of(&self, wire: WireId) -> Option<Attempt> {
        self.dials.iter().find(|(_, dial)| dial.wire == wire).map(|(attempt, _)| *attempt)
    }

    /// The connection stands: the greeting is said.
    fn connected(&mut self, wire: WireId, outside: &mut Outside) {
        let Some(attempt) = self.attempt_of(wire) else { return };
        let clock = self.node.clock_now();
        let hello = match self.dials[&attempt].channel {
            None => self.peers.handle_connected(attempt, clock),
            Some(_) => self.peers.handle_letters_connected(attempt, clock),
        };
        match hello {
            Some(hello) => outside.send(wire, DIALLER, Chunk::Greeting(Box::new(Greeting::Hello(hello)))),
            None => {
                self.dials.remove(&attempt);
                outside.reset(wire, DIALLER);
            }
        }
    }

    /// The other side has answered.
    #[expect(clippy::too_many_arguments, reason = "a turn's surroundings are handed through")]
    fn answered(
        &mut self,
        attempt: Attempt,
        wire: WireId,
        answer: &Greeting,
        now: Instant,
        orders: &mut Orders,
        arrivals: &mut Arrivals,
        outside: &mut Outside,
    ) {
        let random = self.random();
        let Some(dial) = self.dials.remove(&attempt) else { return };
        if dial.channel.is_some() {
            let up = self.peers.handle_letters_answer(attempt, answer, now, random);
            if let Greeting::Hello(hello) = answer {
                self.node.observe_clock(hello.clock);
            }
            match up {
                Some(up) => self.letters.stands(&up, attempt, wire, now, arrivals),
                None => {
                    outside.close(wire, DIALLER);
                    self.peers.handle_letters_ended(attempt, now, random);
                }
            }
            return;
        }
        let lane = self.peers.handle_answer(attempt, answer, now, random);
        match (answer, lane) {
            (Greeting::Hello(hello), Some(lane)) => self.hand_over((wire, DIALLER), &lane, hello, orders, outside),
            // What has ended the attempt is known already.
            _ => {
                outside.close(wire, DIALLER);
                self.peers.handle_dial_failed(attempt, now, random);
            }
        }
    }

    /// Somebody greets.
    fn greeted(
        &mut self,
        wire: WireId,
        greeting: &Greeting,
        now: Instant,
        orders: &mut Orders,
        arrivals: &mut Arrivals,
        outside: &mut Outside,
    ) {
        if self.greeted_by.remove(&wire).is_none() {
            return;
        }
        let Greeting::Hello(hello) = greeting else { return outside.reset(wire, LISTENER) };
        let clock = self.node.clock_now();
        let refused = match hello.purpose {
            Purpose::Lane(lane) => match self.peers.handle_inbound(hello, lane, clock, now) {
                Ok((answer, lane)) => {
                    outside.send(wire, LISTENER, Chunk::Greeting(Box::new(Greeting::Hello(answer))));
                    self.hand_over((wire, LISTENER), &lane, hello, orders, outside);
                    None
                }
                Err(refusal) => Some(refusal),
            },
            Purpose::Letters(channel) => match self.peers.handle_letters_inbound(hello, channel, clock) {
                Ok((answer, from)) => {
                    self.node.observe_clock(hello.clock);
                    self.letters.begins(&from, wire, now, arrivals);
                    outside.send(wire, LISTENER, Chunk::Greeting(Box::new(Greeting::Hello(answer))));
                    None
                }
                Err(refusal) => Some(refusal),
            },
        };
        if let Some(refusal) = refused {
            outside.send(wire, LISTENER, Chunk::Greeting(Box::new(Greeting::Refusal(refusal))));
            outside.close(wire, LISTENER);
        }
    }

    /// Gives a greeted connection to the data thread that the lane belongs to.
    fn hand_over(
        &mut self,
        (wire, side): (WireId, usize),
        lane: &LaneUp,
        hello: &Hello,
        orders: &mut Orders,
        outside: &mut Outside,
    ) {
        self.node.observe_clock(hello.clock);
        let peer = PeerIdentity {
            node_id: lane.node.0,
            incarnation: lane.incarnation,
            name: lane.name.clone(),
            threads: hello.threads,
        };
        let socket = Box::new(LaneSocket { peer, lane: lane.lane, epoch: lane.epoch });
        outside.network.hold(wire, side, None);
        orders.letters.push((lane.thread, Letter::Lane { wire, side, socket, connection: lane.connection }));
    }

    fn letters_lost(&mut self, wire: WireId, now: Instant, arrivals: &mut Arrivals, outside: &mut Outside) {
        if let Some(attempt) = self.letters.outgoing_lost(wire, arrivals) {
            outside.close(wire, DIALLER);
            let random = self.random();
            self.peers.handle_letters_ended(attempt, now, random);
            self.next_round = self.next_round.min(now);
        } else if let Some(connection) = self.letters.incoming_lost(wire) {
            outside.close(wire, LISTENER);
            self.peers.handle_letters_closed(connection);
        }
    }

    fn lane_ended(&mut self, news: &LaneNews, now: Instant) {
        let LaneNews { lost, why } = news;
        let random = self.random();
        match why {
            LaneEnd::Lost => self.peers.handle_lane_lost(lost, now, random),
            LaneEnd::Gone => self.peers.handle_gone(lost.node, lost.epoch, now, random),
            LaneEnd::Replaced => return,
        }
        // The peer may be back elsewhere.
        self.next_round = self.next_round.min(now);
    }
}
