//! What the parts of a node have around them: time, connections, chance, and the record of a run.

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use crate::Time;
use crate::agenda::Agenda;
use crate::network::{Chunk, End, Network, Place, Port, WireId};
use crate::random::Random;

/// The port of links.
const PORT: u16 = 7800;
/// Lines of a trace that are kept.
const LINES_MAX: usize = 400;

/// See the [module](self).
pub(crate) struct Outside {
    pub(crate) now: Time,
    pub(crate) agenda: Agenda,
    pub(crate) network: Network,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    /// The name server's answer: which slots there are.
    pub(crate) named: BTreeSet<usize>,
}

impl Outside {
    pub(crate) fn send(&mut self, wire: WireId, side: usize, chunk: Chunk) {
        self.network.send(wire, side, chunk, self.now, &mut self.agenda);
    }

    pub(crate) fn close(&mut self, wire: WireId, side: usize) {
        self.network.close(wire, side, self.now, &mut self.agenda);
    }

    pub(crate) fn reset(&mut self, wire: WireId, side: usize) {
        self.network.reset(wire, side, self.now, &mut self.agenda);
    }

    pub(crate) fn dial(&mut self, from: (Place, End), to: (Place, Port)) -> WireId {
        self.network.dial(from, to, self.now, &mut self.agenda)
    }

    /// What the name server says.
    pub(crate) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.named.iter().map(|slot| address_of(*slot)).collect()
    }
}

/// Where a slot's node listens for others.
pub(crate) fn address_of(slot: usize) -> SocketAddr {
    let last = u8::try_from(slot + 1).expect("there are few slots");
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), PORT))
}

/// The slot at an address.
pub(crate) fn slot_at(address: SocketAddr) -> Option<usize> {
    match address {
        SocketAddr::V4(address) => usize::from(address.ip().octets()[3]).checked_sub(1),
        SocketAddr::V6(_) => None,
    }
}

/// What happened, as far as somebody wants to read it; and a number that two runs have in common only if they were the
/// same.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    is_on: bool,
    /// All lines are wanted, at once.
    is_loud: bool,
    lines: VecDeque<String>,
    hash: u64,
}

impl Trace {
    pub(crate) fn new(is_on: bool, is_loud: bool) -> Trace {
        Trace { is_on, is_loud, ..Trace::default() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Something happened that is the same in each run of the seed.
    pub(crate) fn count(&mut self, what: u64) {
        self.hash = (self.hash ^ what).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    #[expect(clippy::print_stderr, reason = "whoever wants a loud trace reads it there")]
    pub(crate) fn line(&mut self, now: Time, line: impl FnOnce() -> String) {
        if !self.is_on {
            return;
        }
        let line = format!("{now} {}", line());
        if self.is_loud {
            eprintln!("{line}");
        }
        if self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
