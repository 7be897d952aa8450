//! The connections for letters of a node that stand, and their silence, as in `broker/src/link/letters`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fulmar_cluster::heartbeat::{Beat, Heartbeat, Settings};
use fulmar_cluster::letters::Channel as LetterChannel;
use fulmar_cluster::peers::{Attempt, LettersFrom, LettersUp};
use fulmar_store::Node as Life;
use fulmar_store_node::Channel;

use super::arrivals::{Arrival, Arrivals};
use crate::network::{Chunk, DIALLER, LISTENER, WireId};
use crate::outside::Outside;

/// A side that has nothing to say says so this often.
const BEAT: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Pulse {
    heard: Heartbeat,
    next_beat: Instant,
}

#[derive(Debug)]
struct Outgoing {
    to: Life,
    attempt: Attempt,
    wire: WireId,
    pulse: Pulse,
}

#[derive(Debug)]
struct Incoming {
    from: Life,
    channel: Channel,
    connection: u64,
    pulse: Pulse,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Letters {
    outgoing: BTreeMap<(u64, LetterChannel), Outgoing>,
    incoming: BTreeMap<WireId, Incoming>,
    /// A newer connection has taken their place, and they are about to be closed.
    replaced: BTreeMap<Attempt, WireId>,
}

fn channel(channel: LetterChannel) -> Channel {
    match channel {
        LetterChannel::Control => Channel::Control,
        LetterChannel::Bulk => Channel::Bulk,
    }
}

impl Pulse {
    fn new(now: Instant) -> Pulse {
        Pulse { heard: Heartbeat::new(Settings::default(), now), next_beat: now + BEAT }
    }

    /// Whether it is time to beat; none: the other side is silent for too long.
    fn tick(&mut self, now: Instant) -> Option<bool> {
        if self.heard.tick(now) == Beat::Silent {
            return None;
        }
        let is_due = now >= self.next_beat;
        if is_due {
            self.next_beat = now + BEAT;
        }
        Some(is_due)
    }
}

impl Letters {
    pub(crate) fn send(&mut self, to: u64, channel: LetterChannel, letter: Vec<u8>, outside: &mut Outside) {
        if let Some(outgoing) = self.outgoing.get(&(to, channel)) {
            outside.send(outgoing.wire, DIALLER, Chunk::Letter(letter));
        }
    }

    /// An outgoing connection stands; the one before, if there is one, is over.
    pub(crate) fn stands(
        &mut self,
        up: &LettersUp,
        attempt: Attempt,
        wire: WireId,
        now: Instant,
        arrivals: &mut Arrivals,
    ) {
        let to = Life { id: up.node.0, incarnation: up.incarnation };
        let outgoing = Outgoing { to, attempt, wire, pulse: Pulse::new(now) };
        if let Some(before) = self.outgoing.insert((to.id, up.channel), outgoing) {
            arrivals.push(channel(up.channel), Arrival::Lost(before.to));
            self.replaced.insert(before.attempt, before.wire);
        }
        arrivals.push(channel(up.channel), Arrival::Connected(to));
    }

    /// An incoming connection was accepted: an older one of the same node brings nothing any more.
    pub(crate) fn begins(&mut self, letters: &LettersFrom, wire: WireId, now: Instant, arrivals: &mut Arrivals) {
        let from = Life { id: letters.node.0, incarnation: letters.incarnation };
        let on = channel(letters.channel);
        let incoming = Incoming { from, channel: on, connection: letters.connection, pulse: Pulse::new(now) };
        self.incoming.insert(wire, incoming);
        arrivals.push(on, Arrival::Reset(from));
    }

    /// A letter, or a beat.
    pub(crate) fn received(&mut self, wire: WireId, letter: Option<Vec<u8>>, now: Instant, arrivals: &mut Arrivals) {
        if let Some(incoming) = self.incoming.get_mut(&wire) {
            incoming.pulse.heard.heard(now);
            let (from, on, connection) = (incoming.from, incoming.channel, incoming.connection);
            let of_source = |other: &&Incoming| other.from.id == from.id && other.channel == on;
            let is_newest = self.incoming.values().filter(of_source).all(|other| other.connection <= connection);
            if let Some(letter) = letter.filter(|_| is_newest) {
                arrivals.push(on, Arrival::Letter(from, letter));
            }
        } else if let Some(outgoing) = self.outgoing.values_mut().find(|outgoing| outgoing.wire == wire) {
            outgoing.pulse.heard.heard(now);
        }
    }

    /// Beats where it is time. Gives the connections whose other side is silent.
    pub(crate) fn beat(&mut self, now: Instant, outside: &mut Outside) -> Vec<WireId> {
        let outgoing = self.outgoing.values_mut().map(|outgoing| (outgoing.wire, DIALLER, &mut outgoing.pulse));
        let incoming = self.incoming.iter_mut().map(|(wire, incoming)| (*wire, LISTENER, &mut incoming.pulse));
        let mut silent = Vec::new();
        for (wire, side, pulse) in outgoing.chain(incoming) {
            match pulse.tick(now) {
                None => silent.push(wire),
                Some(true) => outside.send(wire, side, Chunk::Beat),
                Some(false) => {}
            }
        }
        silent
    }

    /// An outgoing connection is not wanted any more. Gives it, if it stands.
    pub(crate) fn abandon(&mut self, attempt: Attempt, arrivals: &mut Arrivals) -> Option<WireId> {
        if let Some(wire) = self.replaced.remove(&attempt) {
            return Some(wire);
        }
        let wire = self.outgoing.values().find(|outgoing| outgoing.attempt == attempt)?.wire;
        self.outgoing_lost(wire, arrivals);
        Some(wire)
    }

    pub(crate) fn outgoing_lost(&mut self, wire: WireId, arrivals: &mut Arrivals) -> Option<Attempt> {
        let key = *self.outgoing.iter().find(|(_, outgoing)| outgoing.wire == wire)?.0;
        let Outgoing { to, attempt, .. } = self.outgoing.remove(&key)?;
        arrivals.push(channel(key.1), Arrival::Lost(to));
        Some(attempt)
    }

    pub(crate) fn incoming_lost(&mut self, wire: WireId) -> Option<u64> {
        self.incoming.remove(&wire).map(|incoming| incoming.connection)
    }

    pub(crate) fn close_incoming(&mut self, connection: u64) -> Option<WireId> {
        let wire = *self.incoming.iter().find(|(_, incoming)| incoming.connection == connection)?.0;
        self.incoming.remove(&wire);
        Some(wire)
    }
}
