//! Connections between processes: bytes arrive in order and late, or wait while the way is cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fulmar_cluster::hello::Greeting;
use fulmar_worker::ConnId;

use crate::Time;
use crate::agenda::{Agenda, Event};
use crate::random::{Chance, Random};

/// Names a connection.
pub(crate) type WireId = u64;

/// The side that dialled.
pub(crate) const DIALLER: usize = 0;
/// The other one.
pub(crate) const LISTENER: usize = 1;

/// Where a side of a connection is. Clients are all at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Slot(usize),
    Clients,
}

/// Which port is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    Mqtt,
    Cluster,
}

/// Who has a side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Whoever listens, when it arrives.
    Port(Port),
    /// It is on its way to whoever will have it; what arrives waits.
    Held,
    Control,
    Thread(u16, ConnId),
    Actor(usize),
    Nobody,
}

/// What travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chunk {
    Dial,
    Accepted,
    Bytes(Vec<u8>),
    Greeting(Box<Greeting>),
    Letter(Vec<u8>),
    Beat,
    /// This side says no more.
    End,
    /// There is no connection.
    Reset,
}

#[derive(Debug, Default)]
struct Direction {
    travelling: VecDeque<(Time, Chunk)>,
    /// Nothing overtakes.
    last: Time,
    /// The way is cut.
    waiting: VecDeque<Chunk>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) places: [Place; 2],
    pub(crate) ends: [End; 2],
    /// To each side.
    directions: [Direction; 2],
    /// What has arrived and nobody took.
    held: [Vec<Chunk>; 2],
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Network {
    wires: BTreeMap<WireId, Wire>,
    next: WireId,
    /// Ways on which nothing goes.
    cuts: BTreeSet<(Place, Place)>,
    /// Ways that take so much longer.
    slow: BTreeMap<(Place, Place), Duration>,
    random: Random,
}

impl Network {
    pub(crate) fn new(random: Random) -> Network {
        Network { wires: BTreeMap::new(), next: 1, cuts: BTreeSet::new(), slow: BTreeMap::new(), random }
    }

    /// Dials. What becomes of it arrives at the dialling side: [`Chunk::Accepted`], [`Chunk::Reset`], or nothing.
    pub(crate) fn dial(&mut self, from: (Place, End), to: (Place, Port), now: Time, agenda: &mut Agenda) -> WireId {
        let id = self.next;
        self.next += 1;
        let wire = Wire {
            places: [from.0, to.0],
            ends: [from.1, End::Port(to.1)],
            directions: Default::default(),
            held: Default::default(),
        };
        self.wires.insert(id, wire);
        self.send(id, DIALLER, Chunk::Dial, now, agenda);
        id
    }

    /// Sends from a side to the other.
    pub(crate) fn send(&mut self, id: WireId, side: usize, chunk: Chunk, now: Time, agenda: &mut Agenda) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let way = (wire.places[side], wire.places[1 - side]);
        let direction = &mut wire.directions[1 - side];
        if way.0 != way.1 && self.cuts.contains(&way) || !direction.waiting.is_empty() {
            direction.waiting.push_back(chunk);
            return;
        }
        let usual = if way.0 == way.1 { self.random.micros(5, 40) } else { self.random.micros(50, 400) };
        // Now and then a packet is lost and sent again.
        let again = if self.random.below(500) == 0 { self.random.millis(1, 40) } else { Duration::ZERO };
        let slow = self.slow.get(&way).copied().unwrap_or_default();
        let at = (now + usual + again + slow).max(direction.last);
        direction.last = at;
        direction.travelling.push_back((at, chunk));
        agenda.at(at, Event::Arrive { wire: id, side: 1 - side });
    }

    /// What arrives now.
    pub(crate) fn arrive(&mut self, id: WireId, side: usize, now: Time) -> Option<(End, Chunk)> {
        let wire = self.wires.get_mut(&id)?;
        let (_, chunk) = wire.directions[side].travelling.pop_front_if(|(at, _)| *at <= now)?;
        match wire.ends[side] {
            End::Held => {
                wire.held[side].push(chunk);
                None
            }
            end => Some((end, chunk)),
        }
    }

    pub(crate) fn wire(&self, id: WireId) -> Option<&Wire> {
        self.wires.get(&id)
    }

    /// Somebody has a side from now on. Gives what waited for it.
    pub(crate) fn attach(&mut self, id: WireId, side: usize, end: End) -> Vec<Chunk> {
        let Some(wire) = self.wires.get_mut(&id) else { return vec![Chunk::Reset] };
        wire.ends[side] = end;
        std::mem::take(&mut wire.held[side])
    }

    /// What arrives at a side waits from now on, after what has come already.
    pub(crate) fn hold(&mut self, id: WireId, side: usize, come: Option<Chunk>) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.ends[side] = End::Held;
            wire.held[side].extend(come);
        }
    }

    /// A side is closed: what it said arrives, then the end.
    pub(crate) fn close(&mut self, id: WireId, side: usize, now: Time, agenda: &mut Agenda) {
        self.send(id, side, Chunk::End, now, agenda);
        self.leave(id, side);
    }

    /// A side is gone with all that it had not sent.
    pub(crate) fn reset(&mut self, id: WireId, side: usize, now: Time, agenda: &mut Agenda) {
        self.send(id, side, Chunk::Reset, now, agenda);
        self.leave(id, side);
    }

    /// A side is gone without a word.
    pub(crate) fn leave(&mut self, id: WireId, side: usize) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        wire.ends[side] = End::Nobody;
        wire.directions[side] = Direction::default();
        wire.held[side].clear();
        if wire.ends.iter().all(|end| matches!(end, End::Nobody | End::Port(_))) {
            self.wires.remove(&id);
        }
    }

    /// The connections that have a side at this place, by side.
    pub(crate) fn at(&self, place: Place) -> Vec<(WireId, usize)> {
        let sides = |(id, wire): (&WireId, &Wire)| {
            let (id, places, ends) = (*id, wire.places, wire.ends);
            (0..2)
                .filter(move |side| places[*side] == place && !matches!(ends[*side], End::Nobody | End::Port(_)))
                .map(move |side| (id, side))
        };
        self.wires.iter().flat_map(sides).collect()
    }

    /// The connections between nodes, and those of clients.
    pub(crate) fn all(&self) -> Vec<WireId> {
        self.wires.keys().copied().collect()
    }

    /// What is on its way is lost, and both sides find out that the connection is.
    pub(crate) fn drop_all(&mut self, id: WireId, now: Time, agenda: &mut Agenda) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        wire.directions = Default::default();
        self.send(id, DIALLER, Chunk::Reset, now, agenda);
        self.send(id, LISTENER, Chunk::Reset, now, agenda);
    }

    /// From now on nothing goes this way.
    pub(crate) fn cut(&mut self, from: Place, to: Place) {
        self.cuts.insert((from, to));
    }

    /// From now on it takes so much longer this way.
    pub(crate) fn slow_down(&mut self, from: Place, to: Place, by: Duration) {
        self.slow.insert((from, to), by);
    }

    /// All ways are as they were. What waited goes on.
    pub(crate) fn mend(&mut self, is_mended: impl Fn(Place, Place) -> bool, now: Time, agenda: &mut Agenda) {
        self.cuts.retain(|(from, to)| !is_mended(*from, *to));
        self.slow.retain(|(from, to), _| !is_mended(*from, *to));
        for id in self.all() {
            for side in 0..2 {
                let Some(wire) = self.wires.get_mut(&id) else { continue };
                let way = (wire.places[side], wire.places[1 - side]);
                if is_mended(way.0, way.1) {
                    let waiting = std::mem::take(&mut wire.directions[1 - side].waiting);
                    waiting.into_iter().for_each(|chunk| self.send(id, side, chunk, now, agenda));
                }
            }
        }
    }
}
