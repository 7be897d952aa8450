//! What happens to the nodes, in which order and for how long: all of it follows from a seed.
//!
//! Faults are cards. A deck has each kind once, and is shuffled anew when it is used up, so that a long run meets every
//! kind as often as any other. Of five nodes two may have something at a time.

use std::time::Duration;

use crate::harness::Dice;

/// Something that happens to a node for a while.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// It is killed, and starts again.
    Kill,
    /// The same together with another one.
    KillBoth,
    /// All nodes lose their power.
    KillAll,
    /// It is told to stop, and starts again.
    Stop,
    /// All its threads stand still.
    Freeze,
    /// The same for so long that everybody has given it up.
    FreezeLong,
    /// It reaches nobody and nobody reaches it.
    Isolate,
    /// It and another one do not reach each other.
    CutLink,
    /// What it sends to another one does not arrive.
    CutOneWay,
    /// Nothing of the others arrives at it, and what it sends does.
    Deaf,
    /// Nothing of what it sends arrives, and it hears everything.
    Mute,
    /// Its disk does a few writes in a second.
    SlowDisk,
    /// It is killed, and starts with an empty folder.
    LoseFolder,
    /// Its wall clock is set forward, and back in the end.
    ClockForward,
    /// Its wall clock is set back, and right in the end.
    ClockBack,
}

/// A fault, where it happens and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    pub fault: Fault,
    pub node: usize,
    /// Where there are two.
    pub other: usize,
    pub hold: Duration,
    /// Writes in a second, where the disk is slow.
    pub writes: u32,
    /// By how much a wall clock is stepped.
    pub seconds: i64,
}

/// An endless number of steps.
pub struct Plan {
    nodes: usize,
    dice: Dice,
    kinds: Vec<Fault>,
    deck: Vec<Fault>,
}

impl Fault {
    const ALL: [Fault; 15] = [
        Fault::Kill,
        Fault::KillBoth,
        Fault::KillAll,
        Fault::Stop,
        Fault::Freeze,
        Fault::FreezeLong,
        Fault::Isolate,
        Fault::CutLink,
        Fault::CutOneWay,
        Fault::Deaf,
        Fault::Mute,
        Fault::SlowDisk,
        Fault::LoseFolder,
        Fault::ClockForward,
        Fault::ClockBack,
    ];

    /// For how long it lasts, in milliseconds.
    fn hold(self) -> (u64, u64) {
        match self {
            Fault::Kill | Fault::KillBoth | Fault::KillAll | Fault::Stop | Fault::LoseFolder => (0, 4_000),
            Fault::Freeze => (500, 6_000),
            Fault::FreezeLong => (30_000, 30_001),
            // Around the lease of 2 s, and far beyond it.
            Fault::Isolate | Fault::CutLink | Fault::CutOneWay | Fault::Deaf | Fault::Mute => (500, 12_000),
            Fault::SlowDisk | Fault::ClockForward | Fault::ClockBack => (3_000, 8_000),
        }
    }

    /// How many of the nodes have something.
    fn takes(self, nodes: usize) -> usize {
        match self {
            Fault::KillAll => nodes,
            Fault::KillBoth | Fault::CutLink | Fault::CutOneWay => 2,
            _ => 1,
        }
    }
}

impl Step {
    /// Whether all nodes must have their copies before it: a folder that is lost was not the last one to have something.
    pub fn needs_whole(&self) -> bool {
        self.fault == Fault::LoseFolder
    }

    /// Whether more than half of the nodes can go on together.
    pub fn leaves_majority(&self, nodes: usize) -> bool {
        let is_link = matches!(self.fault, Fault::CutLink | Fault::CutOneWay);
        is_link || 2 * self.fault.takes(nodes) < nodes
    }
}

impl Plan {
    pub fn new(seed: u64, nodes: usize) -> Plan {
        Plan { nodes, dice: Dice(seed), kinds: Fault::ALL.to_vec(), deck: Vec::new() }
    }

    /// With one kind of fault only, by its name: to look into that.
    pub fn of_kind(self, kind: &str) -> Plan {
        let kinds: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| format!("{fault:?}") == kind).collect();
        assert!(!kinds.is_empty(), "found no fault `{kind}`, wanted one of {:?}", Fault::ALL);
        Plan { kinds, ..self }
    }

    /// The faults that come next, all at the same time: none of them meets a node of another one.
    pub fn next(&mut self) -> Vec<Step> {
        let mut free: Vec<usize> = (0..self.nodes).collect();
        let first = self.draw();
        let mut steps = vec![self.step(first, &mut free)];
        // A majority goes on in any case.
        let is_room = self.nodes >= 5 && first.takes(self.nodes) == 1;
        if is_room && self.dice.between(0, 2) == 0 {
            let second = self.draw();
            if second.takes(self.nodes) == 1 && second != first {
                let step = self.step(second, &mut free);
                steps.push(step);
            } else {
                self.deck.push(second);
            }
        }
        steps
    }

    fn draw(&mut self) -> Fault {
        if self.deck.is_empty() {
            self.deck = self.kinds.clone();
        }
        let at = self.dice.between(0, self.deck.len() as u64) as usize;
        self.deck.swap_remove(at)
    }

    fn step(&mut self, fault: Fault, free: &mut Vec<usize>) -> Step {
        let (min, end) = fault.hold();
        let [node, other] = [(); 2].map(|()| {
            let at = self.dice.between(0, free.len() as u64) as usize;
            free.swap_remove(at)
        });
        if fault.takes(self.nodes) == 1 {
            free.push(other);
        }
        let hold = Duration::from_millis(self.dice.between(min, end));
        let writes = self.dice.between(5, 40) as u32;
        // Beyond the expiry of all sessions, in whole minutes.
        let seconds = 60 * self.dice.between(61, 1000) as i64;
        Step { fault, node, other, hold, writes, seconds }
    }
}

/// One seed has one plan, whose decks are whole and whose steps leave a majority alone.
pub fn check() {
    for nodes in [3, 5] {
        for seed in 0..100 {
            let (mut plan, mut again) = (Plan::new(seed, nodes), Plan::new(seed, nodes));
            let mut seen = Vec::new();
            while seen.len() < Fault::ALL.len() {
                let steps = plan.next();
                assert_eq!(steps, again.next());
                let mut hit: Vec<usize> = steps.iter().map(|step| step.node).collect();
                hit.extend(steps.iter().filter(|step| step.fault.takes(nodes) == 2).map(|step| step.other));
                let count = hit.len();
                hit.sort_unstable();
                hit.dedup();
                assert_eq!(hit.len(), count, "one node has two faults: {steps:?}");
                assert!(hit.iter().all(|node| *node < nodes) && count <= 2, "{steps:?}");
                seen.extend(steps.iter().map(|step| step.fault));
            }
            for fault in Fault::ALL {
                assert!(seen.contains(&fault), "{fault:?} is not in the deck of seed {seed}: {seen:?}");
            }
        }
    }
}
