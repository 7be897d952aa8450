//! What is known of another node, and the connections of its lanes.

use std::time::Instant;

use crate::hello::Hello;

/// Orders the connections of one lane in one life: the highest is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) generation: u32,
    pub(super) dialled_by_lower: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slot {
    /// Since when there is a connection.
    pub(super) up: Option<Instant>,
    /// Of the connection that is up, or of the last attempt.
    pub(super) rank: Rank,
    /// The number of that connection.
    pub(super) connection: u64,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) incarnation: u64,
    /// Of its process.
    pub(super) nonce: u64,
    /// The number of the life that is, or of the next one.
    pub(super) epoch: u64,
    /// Since when there is a life: its first lane was up then.
    alive: Option<Instant>,
    pub(super) synchronised: bool,
    lanes: Vec<Slot>,
}

impl Node {
    pub(super) fn new(hello: &Hello, lanes: u16) -> Self {
        let mut node = Self {
            name: String::new(),
            incarnation: hello.incarnation,
            nonce: hello.nonce,
            // 0 says "not known" in greetings.
            epoch: 1,
            alive: None,
            synchronised: false,
            lanes: Vec::new(),
        };
        node.meet(hello, lanes);
        node
    }

    /// Takes over what a greeting says, before a life begins.
    pub(super) fn meet(&mut self, hello: &Hello, lanes: u16) {
        self.name.clone_from(&hello.name);
        self.incarnation = hello.incarnation;
        self.nonce = hello.nonce;
        self.epoch = self.epoch.max(hello.epoch);
        self.lanes = vec![Slot::default(); usize::from(lanes)];
    }

    pub(super) fn lanes(&self) -> u16 {
        u16::try_from(self.lanes.len()).expect("made from a number of 16 bits")
    }

    pub(super) fn lanes_up(&self) -> u16 {
        self.lanes() - u16::try_from(self.lanes_down().count()).expect("no more than there are lanes")
    }

    pub(super) fn lanes_down(&self) -> impl Iterator<Item = u16> {
        (0u16..).zip(&self.lanes).filter(|(_, slot)| slot.up.is_none()).map(|(lane, _)| lane)
    }

    pub(super) fn slot(&self, lane: u16) -> Option<Slot> {
        self.lanes.get(usize::from(lane)).copied()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.is_some()
    }

    /// The number for our next connection on a lane: attempts count too, so that one whose answer was lost is behind.
    pub(super) fn next_generation(&mut self, lane: u16) -> u32 {
        let Some(slot) = self.lanes.get_mut(usize::from(lane)) else { return 0 };
        let next = slot.rank.generation.saturating_add(1);
        if slot.up.is_none() {
            slot.rank.generation = next;
        }
        next
    }

    /// Takes a connection for a lane, unless the one it has ranks as high.
    pub(super) fn take(&mut self, lane: u16, rank: Rank, connection: u64, now: Instant) -> bool {
        let slot = self.lanes.get_mut(usize::from(lane)).filter(|slot| slot.up.is_none() || rank > slot.rank);
        let Some(slot) = slot else { return false };
        *slot = Slot { up: Some(now), rank, connection };
        self.alive.get_or_insert(now);
        true
    }

    /// The connection of a lane is lost. Answers since when it stood.
    pub(super) fn lose(&mut self, lane: u16, connection: u64) -> Option<Instant> {
        self.lanes.get_mut(usize::from(lane)).filter(|slot| slot.connection == connection)?.up.take()
    }

    /// Ends the life, if there is one. The next has a higher number.
    pub(super) fn end_life(&mut self) -> Option<Life> {
        let life = Life { epoch: self.epoch, since: self.alive.take()? };
        self.epoch += 1;
        self.synchronised = false;
        self.lanes.fill(Slot::default());
        Some(life)
    }
}

/// A life of the link that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) epoch: u64,
    pub(super) since: Instant,
}
