//! Nodes of a durable cluster whose links are lost and made again while members come and go, from a seed: whoever has
//! SUBACK, and whose node is a member all the time, has each message that its publisher was acknowledged.

mod world;

use fulmar_codec::QoS;
use std::collections::BTreeSet;
use std::time::Duration;
use world::World;
use world::client::Got;

const NODES: usize = 3;
const TOPICS: [&str; 3] = ["a", "b", "c"];

/// A subscription that was asked for.
struct Subscriber {
    client: usize,
    node: usize,
    topic: &'static str,
}

/// A message on its way.
struct Sent {
    publisher: usize,
    packet_id: u16,
    payload: String,
    /// Clients that had SUBACK before it was sent.
    wanted_by: Vec<usize>,
}

struct Run {
    world: World,
    view: u64,
    members: BTreeSet<usize>,
    subscribers: Vec<Subscriber>,
    publishers: Vec<(usize, usize)>,
    sent: Vec<Sent>,
    clients: usize,
}

impl Run {
    fn new(seed: u64) -> Run {
        let world = World::of_cluster(seed, NODES, 2);
        let (members, view) = ((0..NODES).collect(), 1);
        Run { world, view, members, subscribers: vec![], publishers: vec![], sent: vec![], clients: 0 }
    }

    fn pick_member(&mut self) -> usize {
        let at = self.world.pick(self.members.len());
        *self.members.iter().nth(at).expect("there is one")
    }

    fn come(&mut self, node: usize) -> usize {
        self.clients += 1;
        self.world.connect(node, &format!("client-{}", self.clients))
    }

    fn subscribe(&mut self) {
        let node = self.pick_member();
        let (client, topic) = (self.come(node), TOPICS[self.world.pick(TOPICS.len())]);
        self.world.subscribe(client, topic, QoS::AtLeastOnce);
        self.subscribers.push(Subscriber { client, node, topic });
    }

    fn publish(&mut self) {
        let members = &self.members;
        let world = &self.world;
        self.publishers.retain(|(client, node)| members.contains(node) && world.clients[*client].is_connected());
        if self.publishers.len() < NODES {
            let node = self.pick_member();
            let publisher = (self.come(node), node);
            self.publishers.push(publisher);
        }
        let at = self.world.pick(self.publishers.len());
        let (publisher, topic) = (self.publishers[at].0, TOPICS[self.world.pick(TOPICS.len())]);
        let has_suback = |client: usize| self.world.clients[client].got.iter().any(|got| matches!(got, Got::SubAck(_)));
        let wanted = self.subscribers.iter().filter(|it| it.topic == topic && has_suback(it.client));
        let wanted_by = wanted.map(|it| it.client).collect();
        let payload = self.sent.len().to_string();
        let packet_id = self.world.publish(publisher, topic, &payload, QoS::AtLeastOnce);
        self.sent.push(Sent { publisher, packet_id, payload, wanted_by });
    }

    /// The lease of a member ends, it is removed, and comes back some time later as another life.
    fn replace_a_member(&mut self) {
        let node = self.pick_member();
        self.world.lease(node, Duration::ZERO);
        self.members.remove(&node);
        // Its clients have no promise any more.
        self.subscribers.retain(|subscriber| subscriber.node != node);
        self.follow_one_after_the_other();
        self.some_steps();
        self.world.begin_life(node);
        for other in (0..NODES).filter(|other| *other != node) {
            self.world.link(node.min(other), node.max(other));
        }
        self.some_steps();
        self.members.insert(node);
        self.follow_one_after_the_other();
        let new = self.world.member(node);
        for _ in 0..100 {
            let others = (0..NODES).filter(|other| *other != node).map(|other| &self.world.nodes[other].node);
            let is_ready = |it: &fulmar_worker::Node| {
                it.followed() >= self.view && it.knows_interest_of(new) && it.has_confirmed_interest(new)
            };
            if others.clone().all(|other| is_ready(other)) {
                self.world.nodes[node].node.serve(true);
                self.world.lease(node, Duration::from_secs(1 << 20));
                self.world.settle();
                return;
            }
            self.relink();
            self.world.pass(Duration::from_millis(50));
        }
        panic!("the others never confirm {new}");
    }

    fn follow_one_after_the_other(&mut self) {
        self.view += 1;
        let members = self.members.iter().map(|node| self.world.member(*node));
        let view = fulmar_meta::View::new(self.view, members);
        let first = self.world.pick(NODES);
        for node in (first..NODES).chain(0..first) {
            self.world.nodes[node].node.follow(&view);
            self.some_steps();
        }
    }

    fn some_steps(&mut self) {
        for _ in 0..self.world.pick(40) {
            self.world.step();
        }
    }

    fn pick_link(&mut self) -> (usize, usize) {
        let one = self.world.pick(NODES);
        let other = (one + 1 + self.world.pick(NODES - 1)) % NODES;
        (one.min(other), one.max(other))
    }

    fn relink(&mut self) {
        let (one, other) = self.pick_link();
        self.world.link(one, other);
    }

    fn act(&mut self) {
        match self.world.pick(20) {
            0..=2 => self.subscribe(),
            3..=11 => self.publish(),
            12 => {
                let (one, other) = self.pick_link();
                self.world.cut(one, other);
            }
            13 => {
                let (one, other) = self.pick_link();
                self.world.stall(one, other, true);
            }
            14 | 15 => self.relink(),
            16 => {
                let (one, other) = self.pick_link();
                self.world.reconnect(one, other);
            }
            17 => {
                let time = self.world.pick(3000) as u64;
                self.world.pass(Duration::from_millis(time));
            }
            18 if self.world.pick(3) == 0 => self.replace_a_member(),
            18 => self.follow_one_after_the_other(),
            _ => {
                let at = self.world.pick(self.subscribers.len());
                if let Some(Subscriber { client, topic, .. }) = self.subscribers.get(at) {
                    self.world.unsubscribe(*client, topic);
                    self.subscribers.remove(at);
                }
            }
        }
        self.some_steps();
    }

    /// How many messages were acknowledged, each of which is where it has to be.
    fn check(&self, seed: u64) -> usize {
        let stays = |client: usize| {
            self.subscribers.iter().any(|it| it.client == client) && self.world.clients[client].is_connected()
        };
        let mut acknowledged = 0;
        for Sent { publisher, packet_id, payload, wanted_by } in &self.sent {
            if !self.world.clients[*publisher].got.contains(&Got::PubAck(*packet_id)) {
                continue;
            }
            acknowledged += 1;
            for subscriber in wanted_by.iter().filter(|client| stays(**client)) {
                let has_it = self.world.clients[*subscriber].payloads().contains(&payload.as_str());
                assert!(has_it, "seed {seed}: message {payload} is acknowledged, client {subscriber} has not got it");
            }
        }
        acknowledged
    }
}

#[test]
fn whoever_has_suback_gets_what_is_acknowledged_whatever_becomes_of_links_and_members() {
    let mut acknowledged = 0;
    for seed in 0..30 {
        let mut run = Run::new(seed);
        (0..6).for_each(|_| run.subscribe());
        (0..60).for_each(|_| run.act());
        run.world.settle();
        run.check(seed);
        // At last all is well, and it is not for nothing that nobody waits.
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            run.world.link(one, other);
        }
        run.world.settle();
        run.publish();
        run.world.settle();
        acknowledged += run.check(seed);
    }
    assert!(acknowledged > 150, "{acknowledged} messages were acknowledged in all runs");
}
