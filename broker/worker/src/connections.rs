//! The sockets of a data thread as the worker sees them: an output buffer each, and what they are used for.

use crate::ids::{ConnId, SessionId};
use crate::out::Origin;
use crate::slab::Slab;
use std::time::Instant;

/// Buffers kept for connections that have something to say; idle ones own none.
const POOLED_BUFFERS_MAX: usize = 1024;
/// A buffer that grew beyond this goes back to the allocator.
const POOLED_BYTES_MAX: usize = 64 << 10;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What the socket has not taken yet.
    pub(crate) out: Vec<u8>,
    pub(crate) origin: Origin,
    pub(crate) role: Role,
    dirty: bool,
    /// The reactor offers no bytes until told to.
    pub(crate) paused: bool,
    /// It is not read because a link is full, for which the client cannot be blamed.
    pub(crate) held: bool,
    /// The earliest reminder that is set, so that deadlines that move do not fill the wheel.
    pub(crate) reminder: Option<Instant>,
}

/// What a connection is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    AwaitConnect {
        until: Instant,
    },
    Client(SessionId),
    /// Index of the lane.
    Lane(u32),
}

/// All connections of a thread, and those to write at the end of the turn.
#[derive(Debug)]
pub(crate) struct Connections {
    slab: Slab<Connection>,
    pub(crate) dirty: Vec<ConnId>,
    pool: Vec<Vec<u8>>,
}

impl Connections {
    pub(crate) fn new() -> Connections {
        Connections { slab: Slab::new(), dirty: Vec::new(), pool: Vec::new() }
    }

    pub(crate) fn insert(&mut self, origin: Origin, role: Role) -> ConnId {
        let (slot, generation) = self.slab.insert(Connection {
            out: Vec::new(),
            origin,
            role,
            dirty: false,
            paused: false,
            held: false,
            reminder: None,
        });
        ConnId { slot, generation }
    }

    #[inline]
    pub(crate) fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.slab.get(conn.slot, conn.generation)
    }

    /// For changes that write nothing.
    #[inline]
    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.slab.get_mut(conn.slot, conn.generation)
    }

    /// The output buffer, to append to: the connection is written at the end of this turn.
    #[inline]
    pub(crate) fn output(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        let connection = self.slab.get_mut(conn.slot, conn.generation)?;
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(conn);
            if connection.out.capacity() == 0
                && let Some(buffer) = self.pool.pop()
            {
                connection.out = buffer;
            }
        }
        Some(&mut connection.out)
    }

    /// Forgets the connection and tells what it had left to say.
    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Connection> {
        self.slab.remove(conn.slot, conn.generation)
    }

    /// After the write of a dirty connection: its buffer goes back to the pool once it is empty.
    pub(crate) fn written(&mut self, conn: ConnId) {
        let Some(connection) = self.slab.get_mut(conn.slot, conn.generation) else { return };
        connection.dirty = false;
        if connection.out.is_empty() && connection.out.capacity() > 0 {
            let buffer = std::mem::take(&mut connection.out);
            if buffer.capacity() <= POOLED_BYTES_MAX && self.pool.len() < POOLED_BUFFERS_MAX {
                self.pool.push(buffer);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.slab.iter().map(|(slot, generation, connection)| (ConnId { slot, generation }, connection))
    }

    pub(crate) fn end_turn(&mut self) {
        self.slab.end_turn();
    }
}
