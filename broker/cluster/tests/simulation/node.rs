//! A node as the shell and the worker would make it of the crate's types, in the least code that is still honest:
//! greetings travel as bytes, lanes are written and read in pieces.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fulmar_cluster::frame::{
    CloseReason, FRAME_BYTES_MAX, InterestChange, LinkMessage, LinkPublish, SharedList, Split, split,
};
use fulmar_cluster::hello::{Greeting, Purpose, SplitGreeting, encode_greeting, split_greeting};
use fulmar_cluster::interest::{InterestFeed, InterestLimits, LocalInterest, PeerInterest};
use fulmar_cluster::lane::{Connected, Lane, LaneSettings, Received, Tick};
use fulmar_cluster::peers::{Action, Address, Attempt, LaneUp, LinkState, LostLane, Me, Peers, PeersSettings};
use fulmar_cluster::{Clock, NodeId};
use fulmar_codec::{ForwardProperties, QoS};

use super::network::{Arrival, Network, Socket};
use super::{Ledger, Random, Stream};

const HANDSHAKE: Duration = Duration::from_secs(1);
const BUFFER: usize = 20_000;

pub(crate) struct SimNode {
    index: usize,
    threads: Vec<u16>,
    incarnation: u64,
    clock: Clock,
    peers: Peers,
    /// Connections before they are lanes.
    greeting: Vec<Greeter>,
    lanes: BTreeMap<(usize, u16), SimLane>,
    interest: LocalInterest,
    filters: BTreeSet<String>,
    paused_until: Option<Instant>,
    silent: bool,
}

struct Greeter {
    socket: Option<Socket>,
    attempt: Option<Attempt>,
    said: bool,
    since: Instant,
    bytes: Vec<u8>,
}

struct SimLane {
    lane: Lane,
    connection: Option<(Socket, LostLane)>,
    bytes: Vec<u8>,
    outgoing: Stream,
    waiting: VecDeque<(u64, u64)>,
    /// Frames with the numbers in them.
    unsettled: Vec<(u64, Vec<u64>)>,
    feed: InterestFeed,
    heard: PeerInterest,
    filters: BTreeSet<String>,
}

fn node_id(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

fn index_of(node: NodeId) -> usize {
    node.0 as usize - 1
}

fn address(index: usize) -> Address {
    let ip = Ipv4Addr::new(10, 0, 0, index as u8 + 1);
    Address { socket: SocketAddr::new(IpAddr::V4(ip), 7800), host: "nodes".into() }
}

fn settings() -> LaneSettings {
    LaneSettings { buffer_bytes_max: BUFFER, ..LaneSettings::default() }
}

impl SimNode {
    pub(crate) fn new(index: usize, threads: &[u16], now: Instant, random: &mut Random) -> Self {
        let incarnation = random.next();
        let me = Me {
            node: node_id(index),
            incarnation,
            nonce: incarnation,
            name: format!("broker-{index}"),
            cluster: String::new(),
            threads: threads[index],
        };
        let mut peers = Peers::new(me, PeersSettings::default());
        peers.handle_resolved(&(0..threads.len()).map(address).collect(), now);
        Self {
            index,
            threads: threads.to_vec(),
            incarnation,
            clock: Clock::new(node_id(index), 0),
            peers,
            greeting: Vec::new(),
            lanes: BTreeMap::new(),
            interest: LocalInterest::new(InterestLimits { log_bytes_max: 2000 }),
            filters: BTreeSet::new(),
            paused_until: None,
            silent: false,
        }
    }

    pub(crate) fn restart(&mut self, now: Instant, random: &mut Random) {
        *self = Self::new(self.index, &self.threads.clone(), now, random);
    }

    pub(crate) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(until);
    }

    pub(crate) fn fall_silent(&mut self) {
        self.silent = true;
    }

    pub(crate) fn turn(&mut self, now: Instant, network: &mut Network, random: &mut Random, ledger: &mut Ledger) {
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        while let Some(socket) = network.accept(self.index, now) {
            self.greeting.push(Greeter {
                socket: Some(socket),
                attempt: None,
                said: false,
                since: now,
                bytes: Vec::new(),
            });
        }
        self.read_greetings(now, network, random, ledger);
        self.read_lanes(now, network, random, ledger);
        self.use_lanes(random, ledger);
        self.tick_lanes(now, network, random);
        self.carry_out(now, network, random);
        self.write_lanes(now, network, random);
    }

    fn carry_out(&mut self, now: Instant, network: &mut Network, random: &mut Random) {
        while let Some(action) = self.peers.poll(now) {
            match action {
                Action::Dial { attempt, address } => {
                    let IpAddr::V4(ip) = address.socket.ip() else { unreachable!("all addresses are IPv4") };
                    let to = usize::from(ip.octets()[3]) - 1;
                    let socket = network.dial(self.index, to, now, random);
                    let greeter =
                        Greeter { socket, attempt: Some(attempt), said: false, since: now, bytes: Vec::new() };
                    self.greeting.push(greeter);
                }
                Action::Abandon { attempt } => {
                    self.greeting.retain(|greeter| {
                        let abandoned = greeter.attempt == Some(attempt);
                        if abandoned && let Some(socket) = greeter.socket {
                            network.close(socket, now, random);
                        }
                        !abandoned
                    });
                }
                Action::Gone { node, epoch } => self.end(index_of(node), epoch, now, network, random),
                Action::DialLetters { .. } | Action::CloseLetters { .. } | Action::Refused { .. } => {
                    panic!("nodes without stores: {action:?}")
                }
            }
        }
    }

    fn end(&mut self, peer: usize, epoch: u64, now: Instant, network: &mut Network, random: &mut Random) {
        for ((_, _), lane) in self.lanes.range_mut((peer, 0)..=(peer, u16::MAX)) {
            if lane.lane.epoch() <= epoch {
                lane.lane.end(CloseReason::Gone);
                lane.write(now, network, random);
                lane.disconnect(now, network, random);
                lane.waiting.clear();
            }
        }
    }

    fn read_greetings(&mut self, now: Instant, network: &mut Network, random: &mut Random, ledger: &mut Ledger) {
        for mut greeter in std::mem::take(&mut self.greeting) {
            match self.greet(&mut greeter, now, network, random) {
                Some(Some(up)) => self.lane_up(&up, &greeter, now, network, random, ledger),
                Some(None) => {
                    if let Some(socket) = greeter.socket {
                        network.close(socket, now, random);
                    }
                }
                None => self.greeting.push(greeter),
            }
        }
    }

    /// Nothing while it goes on, else what came of it.
    fn greet(
        &mut self,
        greeter: &mut Greeter,
        now: Instant,
        network: &mut Network,
        random: &mut Random,
    ) -> Option<Option<LaneUp>> {
        if let (Some(attempt), false, Some(socket)) = (greeter.attempt, greeter.said, greeter.socket) {
            // Connected, a moment after dialling.
            if now < greeter.since + Duration::from_millis(20) {
                return None;
            }
            let Some(hello) = self.peers.handle_connected(attempt, self.clock.now()) else { return Some(None) };
            greeter.said = true;
            let mut bytes = Vec::new();
            encode_greeting(&mut bytes, &Greeting::Hello(hello));
            network.write(socket, &bytes, now, random);
        }
        let arrival = greeter.socket.map_or(Arrival::Nothing, |socket| network.read(socket, now));
        let failed = match arrival {
            Arrival::Bytes(bytes) => {
                greeter.bytes.extend_from_slice(&bytes);
                false
            }
            Arrival::Closed => true,
            Arrival::Nothing => now >= greeter.since + HANDSHAKE,
        };
        match (split_greeting(&greeter.bytes).unwrap(), greeter.attempt) {
            (SplitGreeting::Incomplete, None) if failed => Some(None),
            (SplitGreeting::Incomplete, Some(attempt)) if failed => {
                self.peers.handle_dial_failed(attempt, now, random.next() as u32);
                Some(None)
            }
            (SplitGreeting::Incomplete, _) => None,
            (SplitGreeting::Whole { greeting, used }, Some(attempt)) => {
                greeter.bytes.drain(..used);
                Some(self.peers.handle_answer(attempt, &greeting, now, random.next() as u32))
            }
            (SplitGreeting::Whole { greeting, used }, None) => {
                greeter.bytes.drain(..used);
                let Greeting::Hello(hello) = greeting else { panic!("a dialler refused") };
                let Purpose::Lane(lane) = hello.purpose else { panic!("a dialler wants {:?}", hello.purpose) };
                let (answer, up) = match self.peers.handle_inbound(&hello, lane, self.clock.now(), now) {
                    Ok((answer, up)) => (Greeting::Hello(answer), Some(up)),
                    Err(refusal) => (Greeting::Refusal(refusal), None),
                };
                let mut bytes = Vec::new();
                encode_greeting(&mut bytes, &answer);
                network.write(greeter.socket?, &bytes, now, random);
                Some(up)
            }
        }
    }

    fn lane_up(
        &mut self,
        up: &LaneUp,
        greeter: &Greeter,
        now: Instant,
        network: &mut Network,
        random: &mut Random,
        ledger: &mut Ledger,
    ) {
        // What the greeting has decided about other lanes comes first.
        self.carry_out(now, network, random);
        let (peer, socket) = (index_of(up.node), greeter.socket.expect("it has been read from"));
        let stream =
            Stream { from: (self.index, self.incarnation), to: (peer, up.incarnation), lane: up.lane, epoch: up.epoch };
        let lane = self.lanes.entry((peer, up.lane)).or_insert_with(|| SimLane {
            lane: Lane::new(settings(), now),
            connection: None,
            bytes: Vec::new(),
            outgoing: stream,
            waiting: VecDeque::new(),
            unsettled: Vec::new(),
            feed: self.interest.new_feed(),
            heard: PeerInterest::new(),
            filters: BTreeSet::new(),
        });
        match lane.lane.connected(up.epoch, now) {
            Err(_) => {
                network.close(socket, now, random);
                self.peers.handle_lane_lost(&up.lost(), now, random.next() as u32);
                return;
            }
            Ok(Connected::Resumed) => {
                assert_eq!(lane.outgoing, stream);
                ledger.resumed += 1;
            }
            Ok(Connected::Began | Connected::BeganAnew) => {
                ledger.lives += 1;
                lane.outgoing = stream;
                lane.waiting.clear();
                lane.unsettled.clear();
                lane.filters.clear();
                lane.feed = self.interest.new_feed();
                lane.heard = PeerInterest::new();
            }
        }
        lane.disconnect(now, network, random);
        lane.connection = Some((socket, up.lost()));
        lane.bytes.clone_from(&greeter.bytes);
    }

    fn read_lanes(&mut self, now: Instant, network: &mut Network, random: &mut Random, ledger: &mut Ledger) {
        let mut over = Vec::new();
        for ((peer, _), lane) in &mut self.lanes {
            let Some((socket, lost)) = lane.connection else { continue };
            loop {
                match network.read(socket, now) {
                    Arrival::Bytes(bytes) => {
                        lane.bytes.extend_from_slice(&bytes);
                        lane.lane.heard(now);
                    }
                    Arrival::Closed => {
                        lane.lane.lost(now);
                        lane.disconnect(now, network, random);
                        self.peers.handle_lane_lost(&lost, now, random.next() as u32);
                        break;
                    }
                    Arrival::Nothing => break,
                }
            }
            if lane.take_frames(ledger, random).is_err() {
                over.push((*peer, lane.outgoing.epoch));
            }
        }
        for (peer, epoch) in over {
            self.peers.handle_gone(node_id(peer), epoch, now, random.next() as u32);
            self.end(peer, epoch, now, network, random);
        }
    }

    fn use_lanes(&mut self, random: &mut Random, ledger: &mut Ledger) {
        if !self.silent && random.once_in(5) {
            let filter = random.below(30).to_string();
            if random.once_in(3) {
                self.interest.remove(None, &filter);
                self.filters.remove(&filter);
            } else {
                self.interest.add(None, &filter);
                self.filters.insert(filter);
            }
        }
        for ((_, number), lane) in &mut self.lanes {
            if !self.silent {
                for _ in 0..random.below(4) {
                    lane.publish(random, ledger);
                }
            }
            if random.once_in(2) {
                lane.settle(ledger);
            }
            if *number == 0 && lane.lane.is_linked() {
                let (feed, link) = (&mut lane.feed, &mut lane.lane);
                let fed = self.interest.feed(feed, 10, |message| !link.is_full() && link.push(message).is_ok());
                if fed.is_err() {
                    // Ends at the next turn, when the peer sees the gap; here it is enough to start the list again.
                    lane.lane.end(CloseReason::OutOfStep);
                    lane.waiting.clear();
                }
                if let Some(version) = lane.heard.take_confirmation() {
                    let _ = lane.lane.push(&LinkMessage::InterestConfirm { version });
                }
            }
        }
    }

    fn tick_lanes(&mut self, now: Instant, network: &mut Network, random: &mut Random) {
        let mut gone = Vec::new();
        for ((peer, _), lane) in &mut self.lanes {
            assert!(lane.lane.buffered_bytes() <= 2 * BUFFER + 1000);
            let was_ended = !lane.lane.is_linked() && lane.connection.is_some();
            if matches!(lane.lane.tick(now), Tick::Gone(_)) || was_ended {
                gone.push((*peer, lane.outgoing.epoch));
            }
        }
        for (peer, epoch) in gone {
            self.peers.handle_gone(node_id(peer), epoch, now, random.next() as u32);
            self.end(peer, epoch, now, network, random);
        }
    }

    fn write_lanes(&mut self, now: Instant, network: &mut Network, random: &mut Random) {
        self.lanes.values_mut().for_each(|lane| lane.write(now, network, random));
    }

    /// Whether all lanes to all others are up, on both sides by the same connection.
    pub(crate) fn is_linked(&self, nodes: &[SimNode]) -> bool {
        let others = nodes.iter().filter(|node| node.index != self.index);
        let lanes: usize = others.map(|node| usize::from(self.threads[node.index].max(self.threads[self.index]))).sum();
        let connected = |((peer, number), lane): (&(usize, u16), &SimLane)| {
            let other = nodes[*peer].lanes.get(&(self.index, *number));
            let same = |other: &SimLane| {
                other.outgoing.from == lane.outgoing.to
                    && other.outgoing.to == lane.outgoing.from
                    && other.outgoing.epoch == lane.outgoing.epoch
            };
            lane.lane.is_connected() && other.is_some_and(same)
        };
        let view = self.peers.view(Instant::now());
        view.len() + 1 == nodes.len()
            && view.iter().all(|peer| peer.state == LinkState::Up)
            && self.lanes.iter().filter(|entry| connected(*entry)).count() == lanes
    }

    /// Messages that are not acknowledged.
    pub(crate) fn awaited(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }

    pub(crate) fn knows_interest(&self, nodes: &[SimNode]) -> bool {
        nodes
            .iter()
            .filter(|node| node.index != self.index)
            .all(|node| self.lanes.get(&(node.index, 0)).is_some_and(|lane| lane.filters == node.filters))
    }
}

impl SimLane {
    fn publish(&mut self, random: &mut Random, ledger: &mut Ledger) {
        if !self.lane.is_linked() || self.lane.is_full() {
            return;
        }
        let number = ledger.send(self.outgoing);
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(8 + random.below(100) as usize, 0);
        let publish = LinkMessage::Publish(LinkPublish {
            qos: QoS::AtLeastOnce,
            retain: false,
            live: true,
            retain_as: None,
            shared: SharedList::EMPTY,
            hops: 0,
            topic: "t",
            expiry: None,
            forward: ForwardProperties::EMPTY,
            payload: &payload,
        });
        let frame = self.lane.push(&publish).expect("there was room");
        self.waiting.push_back((frame, number));
        if random.once_in(3) {
            self.lane.flush();
        }
    }

    fn take_frames(&mut self, ledger: &mut Ledger, random: &mut Random) -> Result<(), ()> {
        let bytes = std::mem::take(&mut self.bytes);
        let Stream { from, to, lane, epoch } = self.outgoing;
        let incoming = Stream { from: to, to: from, lane, epoch };
        let mut rest = bytes.as_slice();
        while self.lane.is_connected()
            && let Split::Whole { frame, used } = split(rest, FRAME_BYTES_MAX).unwrap()
        {
            rest = &rest[used..];
            match self.lane.handle_frame(frame).unwrap() {
                Received::Nothing => {}
                Received::Closed(_) => return Err(()),
                Received::Acknowledged { sequence } => {
                    while let Some((_, number)) = self.waiting.pop_front_if(|(frame, _)| *frame <= sequence) {
                        ledger.acknowledge(self.outgoing, number);
                    }
                }
                Received::Messages { sequence, messages } => {
                    let mut numbers = Vec::new();
                    for message in messages {
                        numbers.extend(self.take_message(&message.unwrap(), incoming, ledger));
                    }
                    // Some are settled later, and not in order.
                    if random.once_in(2) {
                        ledger.settle(numbers);
                        self.lane.settle(sequence);
                    } else {
                        self.unsettled.push((sequence, numbers));
                    }
                }
            }
        }
        self.bytes = rest.to_vec();
        Ok(())
    }

    fn settle(&mut self, ledger: &mut Ledger) {
        for (sequence, numbers) in self.unsettled.drain(..) {
            ledger.settle(numbers);
            self.lane.settle(sequence);
        }
    }

    /// The number of a publish.
    fn take_message(&mut self, message: &LinkMessage<'_>, incoming: Stream, ledger: &mut Ledger) -> Option<u64> {
        match message {
            LinkMessage::Publish(publish) => {
                let number = u64::from_be_bytes(*publish.payload.first_chunk().expect("a number was sent"));
                ledger.deliver(incoming, number);
                return Some(number);
            }
            LinkMessage::InterestSnapshotBegin { version } => self.heard.handle_snapshot_begin(*version).unwrap(),
            LinkMessage::InterestSnapshotEnd => self.heard.handle_snapshot_end().unwrap(),
            LinkMessage::Interest(delta) => {
                self.heard.handle_delta(delta).unwrap();
                match delta.change {
                    InterestChange::Add => self.filters.insert(delta.filter.to_owned()),
                    InterestChange::Remove => self.filters.remove(delta.filter),
                };
            }
            LinkMessage::InterestConfirm { .. } => {}
            other => panic!("nobody sent {other:?}"),
        }
        None
    }

    fn write(&mut self, now: Instant, network: &mut Network, random: &mut Random) {
        self.lane.flush();
        let Some((socket, _)) = self.connection else { return };
        // A socket may take less than all of it.
        let mut room = random.below(4000) as usize;
        while room > 0 && !self.lane.unsent().is_empty() {
            let unsent = self.lane.unsent();
            let length = unsent.len().min(room);
            network.write(socket, &unsent[..length], now, random);
            self.lane.sent(length);
            room -= length;
        }
    }

    fn disconnect(&mut self, now: Instant, network: &mut Network, random: &mut Random) {
        self.bytes.clear();
        if let Some((socket, _)) = self.connection.take() {
            network.close(socket, now, random);
        }
    }
}
