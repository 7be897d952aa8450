//! The sockets of a data thread by connection, in chunks that never move.
//!
//! One growing vector would be copied at each doubling and leave holes of its old sizes behind; chunks keep the memory
//! of an idle connection at what it holds.

use fulmar_worker::ConnId;

use crate::reactor::carried::{Carried, Carry, Why};
use crate::reactor::socket::Socket;

const CHUNK: usize = 512;

/// A connection as the reactor sees it.
#[derive(Debug)]
pub(crate) struct Entry {
    generation: u32,
    pub(crate) kind: Kind,
    pub(crate) socket: Socket,
    /// Received and not consumed. Boxed: an idle connection has none and shall not pay for one.
    carry: Option<Box<Carry>>,
    /// Bytes may wait in the socket: no event will come before it was read.
    pub(crate) is_readable: bool,
    /// The other side has closed its direction; its last bytes may not have been read.
    pub(crate) is_read_closed: bool,
    /// It stands in the list of connections to read.
    pub(crate) is_ready: bool,
    /// The worker wants no bytes.
    pub(crate) is_paused: bool,
    /// The carry must be offered before the socket is read.
    pub(crate) is_resumed: bool,
    /// The socket is full: an event tells when it takes more.
    pub(crate) is_blocked: bool,
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Client,
    Lane,
}

/// All sockets of one data thread.
#[derive(Debug)]
pub(crate) struct Sockets {
    chunks: Chunks,
    carried: Carried,
}

#[derive(Debug, Default)]
struct Chunks(Vec<Box<[Option<Entry>]>>);

impl Entry {
    /// A connection that may have something to read already.
    pub(crate) fn new(conn: ConnId, kind: Kind, socket: Socket) -> Entry {
        Entry {
            generation: conn.generation,
            kind,
            socket,
            carry: None,
            is_readable: false,
            is_read_closed: false,
            is_ready: false,
            is_paused: false,
            is_resumed: false,
            is_blocked: false,
        }
    }

    fn why(&self) -> Why {
        match self.kind {
            Kind::Lane => Why::OfLane,
            Kind::Client if self.is_paused => Why::HeldBack,
            Kind::Client => Why::Partial,
        }
    }

    pub(crate) fn has_carry(&self) -> bool {
        self.carry.is_some()
    }
}

impl Chunks {
    #[inline]
    fn get_mut(&mut self, conn: ConnId) -> Option<&mut Entry> {
        let (chunk, index) = place(conn.slot);
        let entry = self.0.get_mut(chunk)?[index].as_mut()?;
        (entry.generation == conn.generation).then_some(entry)
    }

    fn carry(&self, conn: ConnId) -> Option<&Carry> {
        let (chunk, index) = place(conn.slot);
        let entry = self.0.get(chunk)?[index].as_ref()?;
        entry.carry.as_deref().filter(|_| entry.generation == conn.generation)
    }
}

impl Sockets {
    /// Without sockets. `carried_bytes_max` bounds what their connections hold together: see [`Carried`].
    pub(crate) fn new(carried_bytes_max: usize) -> Sockets {
        Sockets { chunks: Chunks::default(), carried: Carried::new(carried_bytes_max) }
    }

    /// Keeps `entry` under `conn`, whose slot is free.
    pub(crate) fn insert(&mut self, conn: ConnId, entry: Entry) {
        let (chunk, index) = place(conn.slot);
        let Chunks(chunks) = &mut self.chunks;
        while chunks.len() <= chunk {
            chunks.push((0..CHUNK).map(|_| None).collect());
        }
        debug_assert!(chunks[chunk][index].is_none(), "{conn} is taken");
        chunks[chunk][index] = Some(entry);
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Entry> {
        self.chunks.get_mut(conn)
    }

    /// Takes what a connection has carried over; the second value names a packet that is not whole.
    #[inline]
    pub(crate) fn take_carry(&mut self, conn: ConnId) -> (Option<Vec<u8>>, Option<u64>) {
        let Some(carry) = self.chunks.get_mut(conn).and_then(|entry| entry.carry.take()) else { return (None, None) };
        self.carried.release(&carry);
        let (bytes, since) = carry.into_parts();
        (Some(bytes), since)
    }

    /// Keeps what a connection carries over. `earlier` names the packet if it is the same as before.
    #[inline]
    pub(crate) fn put_carry(&mut self, conn: ConnId, bytes: Vec<u8>, earlier: Option<u64>) {
        if bytes.is_empty() {
            return;
        }
        let Sockets { chunks, carried } = self;
        let Some(why) = chunks.get_mut(conn).map(|entry| entry.why()) else { return };
        let carry = carried.hold(conn, bytes, why, earlier, |conn| chunks.carry(conn));
        if let Some(entry) = chunks.get_mut(conn) {
            entry.carry = Some(Box::new(carry));
        }
    }

    /// The worker wants bytes of this connection, or no more.
    pub(crate) fn set_paused(&mut self, conn: ConnId, is_paused: bool) {
        let Some(entry) = self.chunks.get_mut(conn) else { return };
        if std::mem::replace(&mut entry.is_paused, is_paused) != is_paused {
            let (bytes, _) = self.take_carry(conn);
            self.put_carry(conn, bytes.unwrap_or_default(), None);
        }
    }

    /// See [`Carried::is_tight`].
    #[inline]
    pub(crate) fn is_tight(&self) -> bool {
        self.carried.is_tight()
    }

    /// A connection that has to be closed because all together hold too many bytes.
    pub(crate) fn surplus(&mut self) -> Option<ConnId> {
        let Sockets { chunks, carried } = self;
        carried.surplus(|conn| chunks.carry(conn))
    }

    /// The connection that has this slot now. Events know no generation; a slot is not used again within a turn.
    #[inline]
    pub(crate) fn at(&mut self, slot: u32) -> Option<(ConnId, &mut Entry)> {
        let (chunk, index) = place(slot);
        let entry = self.chunks.0.get_mut(chunk)?[index].as_mut()?;
        Some((ConnId { slot, generation: entry.generation }, entry))
    }

    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Entry> {
        let carry = self.chunks.get_mut(conn)?.carry.take();
        if let Some(carry) = carry {
            self.carried.release(&carry);
        }
        let (chunk, index) = place(conn.slot);
        self.chunks.0[chunk][index].take()
    }
}

fn place(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}
