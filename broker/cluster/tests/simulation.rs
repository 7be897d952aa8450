//! Three nodes with their control sides, lanes and interest, on a simulated network that cuts, delays and partitions,
//! among nodes that pause and restart: everything from one seed, on virtual time.
//!
//! Checked at every step: within a life of a link each lane delivers exactly what was given to it, in order, once;
//! what was acknowledged was delivered; memory stays bounded. When the faults end, all links come up, everything
//! flows, and every node knows the interest of every other.
//!
//! A failure prints its seed; `FULMAR_SEED=n` runs that one alone.

#![allow(clippy::unwrap_used, reason = "what fails here is meant to fail the test")]

#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/node.rs"]
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fulmar_random::Random;
use network::Network;
use node::SimNode;

/// One direction of one lane in one life of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stream {
    from: (usize, u64),
    to: (usize, u64),
    lane: u16,
    epoch: u64,
}

/// What went in and what came out, from above.
#[derive(Default)]
struct Ledger {
    sent: BTreeMap<Stream, Vec<u64>>,
    delivered: BTreeMap<Stream, usize>,
    settled: BTreeSet<u64>,
    acknowledged: u64,
    resumed: u64,
    lives: u64,
    next: u64,
}

impl Ledger {
    fn send(&mut self, stream: Stream) -> u64 {
        self.next += 1;
        self.sent.entry(stream).or_default().push(self.next);
        self.next
    }

    fn deliver(&mut self, stream: Stream, number: u64) {
        let delivered = self.delivered.entry(stream).or_default();
        let sent = self.sent.get(&stream).map_or(&[][..], Vec::as_slice);
        assert_eq!(sent.get(*delivered), Some(&number), "delivered out of turn on {stream:?}");
        *delivered += 1;
    }

    fn settle(&mut self, numbers: Vec<u64>) {
        self.settled.extend(numbers);
    }

    fn acknowledge(&mut self, stream: Stream, number: u64) {
        assert!(self.settled.remove(&number), "acknowledged but never settled on {stream:?}");
        self.acknowledged += 1;
    }
}

struct Simulation {
    random: Random,
    now: Instant,
    network: Network,
    nodes: Vec<SimNode>,
    ledger: Ledger,
}

const STEP: Duration = Duration::from_millis(10);

impl Simulation {
    fn new(seed: u64, threads: &[u16]) -> Self {
        let mut random = Random::new(seed);
        let now = Instant::now();
        let nodes = (0..threads.len()).map(|index| SimNode::new(index, threads, now, &mut random)).collect();
        Self { random, now, network: Network::default(), nodes, ledger: Ledger::default() }
    }

    fn step(&mut self) {
        let Self { random, now, network, nodes, ledger } = self;
        *now += STEP;
        for node in nodes {
            node.turn(*now, network, random, ledger);
        }
    }

    fn faults(&mut self) {
        let Self { random, now, network, nodes, .. } = self;
        if random.once_in(40) {
            network.cut_one(*now, random);
        }
        if random.once_in(400) {
            let (a, b) = (random.below(3) as usize, random.below(3) as usize);
            network.partition(a, b, *now + random.milliseconds(6000));
        }
        if random.once_in(400) {
            let index = random.below(3) as usize;
            nodes[index].pause(*now + random.milliseconds(4000));
        }
        if random.once_in(1500) {
            let index = random.below(3) as usize;
            network.close_all(index, *now, random);
            nodes[index].restart(*now, random);
        }
    }

    fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    /// What is not as it should be when all is well.
    fn unsettled(&self) -> String {
        let all = |holds: &dyn Fn(&SimNode) -> bool| self.nodes.iter().all(holds);
        let mut unsettled = String::new();
        if !all(&|node| node.is_linked(&self.nodes)) {
            unsettled.push_str("links are not up; ");
        }
        if !all(&|node| node.awaited() == 0) {
            unsettled.push_str("messages are not acknowledged; ");
        }
        if !all(&|node| node.knows_interest(&self.nodes)) {
            unsettled.push_str("nodes disagree about interest; ");
        }
        unsettled
    }

    fn run(&mut self, until: impl Fn(&Self) -> bool, at_most: Duration) -> bool {
        let end = self.now + at_most;
        while !until(self) && self.now < end {
            self.step();
        }
        until(self)
    }
}

fn simulate(seed: u64) -> Ledger {
    let threads = [[1, 1, 1], [1, 2, 2], [3, 2, 1]][(seed % 3) as usize];
    let mut simulation = Simulation::new(seed, &threads);
    for _ in 0..3000 {
        simulation.faults();
        simulation.step();
    }
    simulation.network.heal();
    simulation.nodes.iter_mut().for_each(SimNode::fall_silent);
    // A half-open connection is noticed in time, and the longest back-off with its jitter is over.
    assert!(simulation.run(Simulation::is_settled, Duration::from_secs(80)), "{}", simulation.unsettled());
    simulation.ledger
}

#[test]
fn links_keep_their_promises_whatever_the_network_does() {
    let seeds = match std::env::var("FULMAR_SEED") {
        Ok(seed) => vec![seed.parse().expect("FULMAR_SEED is a number")],
        Err(_) => (0..12).collect(),
    };
    let many = seeds.len() > 1;
    let mut total = Ledger::default();
    for seed in seeds {
        let ledger = std::panic::catch_unwind(|| simulate(seed))
            .unwrap_or_else(|_| panic!("the simulation failed with FULMAR_SEED={seed}"));
        total.acknowledged += ledger.acknowledged;
        total.resumed += ledger.resumed;
        total.lives += ledger.lives;
    }
    println!("{} acknowledged, {} resumed, {} lives", total.acknowledged, total.resumed, total.lives);
    // The faults have met what they are meant to meet.
    assert!(!many || (total.acknowledged > 100_000 && total.resumed > 500 && total.lives > 500));
}
