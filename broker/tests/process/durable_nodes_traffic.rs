//! Traffic over whatever happens to three nodes that keep sessions together: killed, stopped for a while, without their
//! folders, without a majority. Clients go to whoever lets them in, as clients do, and nothing that was acknowledged is
//! lost, doubled or out of order.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use fulmar_codec::{Connect, QoS, ReasonCode, Version};

use crate::durable::lasting;
use crate::durable_nodes::{NODES, come_in, places};
use crate::harness::{Broker, Client, Cluster, Dice, Got, PATIENCE, Publisher, Subscriber, wait_until_ready};

/// A node that is silent for so long is left for another.
const SILENCE: Duration = Duration::from_secs(8);
const PUBLISHERS: usize = 3;
const FAULTS: usize = 8;

/// Where nodes are reached that run.
struct Nodes(Mutex<Vec<Option<SocketAddr>>>);

impl Nodes {
    fn set(&self, index: usize, address: Option<SocketAddr>) {
        self.0.lock().unwrap()[index] = address;
    }

    fn pick(&self, dice: &mut Dice) -> Option<SocketAddr> {
        let all: Vec<SocketAddr> = self.0.lock().unwrap().iter().copied().flatten().collect();
        let at = dice.between(0, all.len().max(1) as u64) as usize;
        all.get(at).copied()
    }

    /// A connection to a node that lets the client in. None: that one does not, now.
    fn connect(&self, connect: &Connect<'_>, dice: &mut Dice) -> Option<(Client, bool)> {
        let stream = TcpStream::connect(self.pick(dice)?).ok()?;
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client::on(stream, Version::V5);
        (client.acknowledges, client.gives_up) = (false, true);
        match client.hello(connect) {
            Got::ConnAck { session_present, reason: ReasonCode::SUCCESS } => Some((client, session_present)),
            Got::ConnAck { reason: ReasonCode::SERVER_UNAVAILABLE | ReasonCode::SERVER_BUSY, .. }
            | Got::Disconnect(_)
            | Got::Closed => None,
            got => panic!("{} wanted CONNACK, got {got:?}", connect.client_id),
        }
    }

    /// Calls `live` with one connection after the other until it is done.
    fn rove(&self, connect: &Connect<'_>, mut dice: Dice, mut live: impl FnMut(&mut Client, bool, &mut Dice) -> bool) {
        let until = Instant::now() + 10 * PATIENCE;
        loop {
            assert!(Instant::now() < until, "{} comes to no end", connect.client_id);
            match self.connect(connect, &mut dice) {
                Some((mut client, session_present)) => {
                    if live(&mut client, session_present, &mut dice) {
                        return;
                    }
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// Three nodes, some of which run.
struct Stage<'a> {
    cluster: &'a Cluster,
    running: Vec<Option<Broker>>,
    nodes: &'a Nodes,
}

impl Stage<'_> {
    fn kill(&mut self, index: usize) {
        self.nodes.set(index, None);
        if let Some(broker) = self.running[index].take() {
            broker.kill();
        }
    }

    fn start(&mut self, index: usize) {
        let broker = self.cluster.start(index);
        self.nodes.set(index, Some(broker.address("mqtt")));
        self.running[index] = Some(broker);
    }

    fn all_ready(&self) {
        self.running.iter().flatten().for_each(wait_until_ready);
    }

    fn fault(&mut self, dice: &mut Dice) {
        let index = dice.between(0, NODES as u64) as usize;
        let other = (index + 1) % NODES;
        match dice.between(0, 5) {
            0 | 1 => {
                println!("node {index} is killed");
                self.kill(index);
                self.start(index);
            }
            2 => {
                println!("nodes {index} and {other} are killed");
                self.kill(index);
                self.kill(other);
                self.start(other);
                self.start(index);
            }
            3 => {
                println!("node {index} stands still");
                let broker = self.running[index].as_ref().expect("it runs");
                broker.freeze();
                // As long as this lasts the others take it for dead.
                std::thread::sleep(Duration::from_millis(dice.between(500, 6000)));
                broker.signal(libc::SIGCONT);
            }
            _ => {
                println!("node {index} loses its folder");
                self.kill(index);
                std::fs::remove_dir_all(self.cluster.folder(index).path().join("data")).expect("remove the folder");
                self.start(index);
            }
        }
        self.all_ready();
    }
}

fn survives(qos: QoS) {
    let mut dice = Dice::new();
    let mut cluster = places(NODES);
    // What waits for the absent one is not dropped for want of room.
    cluster.arguments =
        ["--set", "limits.queuedMessages=1000000", "--set", "log.level=info"].map(str::to_owned).to_vec();
    let nodes = Nodes(Mutex::new(vec![None; NODES]));
    let mut stage = Stage { cluster: &cluster, running: (0..NODES).map(|_| None).collect(), nodes: &nodes };
    (0..NODES).for_each(|index| stage.start(index));
    stage.all_ready();
    let mut publishers: Vec<Publisher> =
        (0..PUBLISHERS).map(|number| Publisher::new(format!("traffic/{number}"), qos)).collect();
    let (mut present, mut absent) = (Subscriber::new("present"), Subscriber::new("absent"));
    for name in [present.name, absent.name] {
        let address = stage.running[0].as_ref().expect("it runs").address("mqtt");
        let (mut client, _) = come_in(address, &lasting(name));
        client.subscribe("traffic/#", qos);
    }
    let is_over = AtomicBool::new(false);
    let (done, is_done) = channel();
    let seeds: Vec<u64> = (0..=PUBLISHERS).map(|_| dice.between(0, 1 << 30)).collect();
    let mut totals = BTreeMap::new();
    let expected = Mutex::new(None);
    std::thread::scope(|scope| {
        let publishing: Vec<_> = publishers
            .iter_mut()
            .zip(&seeds)
            .map(|(publisher, seed)| {
                let (done, nodes, is_over): (Sender<()>, _, _) = (done.clone(), &nodes, &is_over);
                scope.spawn(move || publish_on(publisher, nodes, Dice(*seed), is_over, &done))
            })
            .collect();
        let (expected, nodes, present, seed) = (&expected, &nodes, &mut present, seeds[PUBLISHERS]);
        let receiving = scope.spawn(move || {
            let connect = lasting(present.name);
            nodes.rove(&connect, Dice(seed), |client, session_present, dice| {
                assert!(session_present, "the session of {} is gone", connect.client_id);
                let totals: Option<BTreeMap<String, u32>> = expected.lock().unwrap().clone();
                present.live(client, totals.as_ref(), true, dice);
                totals.is_some_and(|totals| present.has_all(&totals))
            });
        });
        for _ in 0..FAULTS {
            // Some are done between two faults.
            for _ in 0..50 {
                is_done.recv_timeout(2 * PATIENCE).expect("publishers are acknowledged");
            }
            stage.fault(&mut dice);
        }
        is_over.store(true, Ordering::Relaxed);
        totals = publishing.into_iter().map(|it| it.join().expect("a publisher comes to its end")).collect();
        *expected.lock().unwrap() = Some(totals.clone());
        // Who is connected learns of the end with its next connection.
        (0..NODES).for_each(|index| stage.kill(index));
        (0..NODES).for_each(|index| stage.start(index));
        receiving.join().expect("the subscriber comes to its end");
    });
    present.check(&publishers);
    let connect = lasting(absent.name);
    nodes.rove(&connect, Dice(seeds[0]), |client, session_present, dice| {
        assert!(session_present, "the session of {} is gone", connect.client_id);
        absent.live(client, Some(&totals), true, dice);
        absent.has_all(&totals)
    });
    absent.check(&publishers);
}

/// Publishes until it is over, and returns how many there were.
fn publish_on(
    publisher: &mut Publisher,
    nodes: &Nodes,
    dice: Dice,
    is_over: &AtomicBool,
    done: &Sender<()>,
) -> (String, u32) {
    let id = publisher.name.replace('/', "-");
    let connect = Connect { receive_maximum: 100.try_into().unwrap(), ..lasting(&id) };
    nodes.rove(&connect, dice, |client, _, _| {
        loop {
            // In portions, to see whether it is over.
            let end = if is_over.load(Ordering::Relaxed) { publisher.next } else { publisher.next + 50 };
            publisher.live(client, end, true, done);
            if !publisher.is_done(end) {
                return false;
            }
            if is_over.load(Ordering::Relaxed) {
                return true;
            }
        }
    });
    (publisher.name.clone(), publisher.next)
}

#[test]
fn what_was_acknowledged_at_qos_1_survives_whatever_happens_to_nodes() {
    survives(QoS::AtLeastOnce);
}

#[test]
fn what_was_sent_at_qos_2_arrives_exactly_once_whatever_happens_to_nodes() {
    survives(QoS::ExactlyOnce);
}
