//! Clients at the cluster: connections are opened and closed as they want, bytes come in pieces.

use crate::Time;
use crate::agenda::{Event, Planned};
use crate::history::History;
use crate::link::{Actor, Wants, Where};
use crate::network::{Chunk, DIALLER, WireId};
use crate::random::Chance;
use crate::world::World;

use std::time::Duration;

/// Whoever has not got through after so long tries elsewhere.
const PATIENCE: Duration = Duration::from_secs(3);

/// A client, and the connection that it has.
pub(crate) struct Seat {
    pub(crate) actor: Box<dyn Actor>,
    wire: Option<WireId>,
    is_connected: bool,
    /// Where the last connection went.
    last: Option<usize>,
    wake: Planned,
}

impl Seat {
    /// Whether it is waited for. Those that take one session from each other may never come to rest: see `known.rs`.
    pub(crate) fn is_busy(&self) -> bool {
        !self.actor.is_at_rest() && !self.actor.name().starts_with("rival-")
    }

    pub(crate) fn new(actor: Box<dyn Actor>) -> Seat {
        Seat { actor, wire: None, is_connected: false, last: None, wake: Planned::default() }
    }
}

impl World {
    /// Calls a client, and does what it wants.
    pub(crate) fn call(&mut self, at: usize, call: impl FnOnce(&mut dyn Actor, Time, &mut History) -> Wants) {
        let now = self.now();
        let before = self.history.records().len();
        let wants = call(&mut *self.seats[at].actor, now, &mut self.history);
        if self.outside.trace.is_on() {
            let node = self.seats[at].last.filter(|_| self.seats[at].is_connected);
            for record in &self.history.records()[before..] {
                let name = self.seats[at].actor.name();
                self.outside
                    .trace
                    .line(now, || format!("{name} at {node:?} ({}): {:?}", record.connection, record.event));
            }
        }
        let Wants { close, connect, send, wake_at } = wants;
        let seat = &mut self.seats[at];
        if let Some(wire) = seat.wire.filter(|_| seat.is_connected && !send.is_empty()) {
            self.send_in_pieces(wire, &send);
        }
        let seat = &mut self.seats[at];
        if close && let Some(wire) = seat.wire.take() {
            seat.is_connected = false;
            self.hang_up_for(wire, false);
        }
        if let Some(to) = connect
            && self.seats[at].wire.is_none()
        {
            self.connect(at, to);
        }
        if let Some(wake_at) = wake_at {
            let event = Event::Wake { actor: at };
            let seat = &mut self.seats[at];
            seat.wake = Planned::default();
            seat.wake.wake(wake_at.max(Time(now.0 + 1)), event, &mut self.outside.agenda);
        }
    }

    fn send_in_pieces(&mut self, wire: WireId, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = if self.random.percent(70) { rest.len() } else { 1 + self.random.index(rest.len()) };
            let (piece, after) = rest.split_at(count);
            self.outside.send(wire, DIALLER, Chunk::Bytes(piece.to_vec()));
            rest = after;
        }
    }

    fn connect(&mut self, at: usize, to: Where) {
        let last = self.seats[at].last;
        let all: Vec<usize> = (0..self.slots.len()).filter(|slot| !self.slots[*slot].is_gone).collect();
        let ready: Vec<usize> = all.iter().copied().filter(|slot| self.is_ready(*slot)).collect();
        // What a service knows of nodes is a little old.
        let mut candidates = if ready.is_empty() || self.random.percent(5) { all } else { ready };
        if to == Where::Elsewhere && candidates.len() > 1 {
            candidates.retain(|slot| Some(*slot) != last);
        }
        if candidates.is_empty() {
            let refused_at = self.now() + Duration::from_millis(50);
            self.outside.agenda.at(refused_at, Event::Refuse { actor: at });
            return;
        }
        let slot = self.random.pick(&candidates);
        let wire = self.dial_for(at, slot);
        let patience = self.now() + PATIENCE;
        let seat = &mut self.seats[at];
        (seat.wire, seat.last, seat.is_connected) = (Some(wire), Some(slot), false);
        self.outside.agenda.at(patience, Event::Patience { actor: at, wire });
    }

    pub(crate) fn lose_patience(&mut self, at: usize, wire: WireId) {
        let seat = &mut self.seats[at];
        if seat.wire == Some(wire) && !seat.is_connected {
            seat.wire = None;
            self.hang_up_for(wire, true);
            self.call(at, |actor, now, history| actor.closed(now, history));
        }
    }

    pub(crate) fn refuse_actor(&mut self, at: usize) {
        if self.seats[at].wire.is_none() {
            self.call(at, |actor, now, history| actor.closed(now, history));
        }
    }

    pub(crate) fn wake_actor(&mut self, at: usize) {
        let now = self.now();
        if self.seats[at].wake.is_due(now) {
            self.call(at, |actor, now, history| actor.wake(now, history));
        }
    }

    pub(crate) fn arrive_at_actor(&mut self, at: usize, wire: WireId, chunk: Chunk) {
        if self.seats[at].wire != Some(wire) {
            return;
        }
        match chunk {
            Chunk::Accepted => {
                let seat = &mut self.seats[at];
                seat.is_connected = true;
                let node = seat.last.expect("it was dialled");
                self.call(at, |actor, now, history| actor.connected(node, now, history));
            }
            Chunk::Bytes(bytes) => {
                self.call(at, |actor, now, history| actor.received(&bytes, now, history));
            }
            Chunk::End | Chunk::Reset => {
                let seat = &mut self.seats[at];
                (seat.wire, seat.is_connected) = (None, false);
                self.hang_up_for(wire, false);
                self.call(at, |actor, now, history| actor.closed(now, history));
            }
            other => unreachable!("clients are sent bytes, found {other:?}"),
        }
    }

    /// The connection of a client breaks, for both sides.
    pub(crate) fn break_connection(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        if let Some(wire) = seat.wire.take() {
            seat.is_connected = false;
            self.hang_up_for(wire, true);
            self.call(at, |actor, now, history| actor.closed(now, history));
        }
    }
}
