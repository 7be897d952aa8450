//! The sockets of a data thread by connection, in chunks that never move.
//!
//! One growing vector would be copied at each doubling and leave holes of its old sizes behind; chunks keep the memory
//! of an idle connection at what it holds.

use fulmar_worker::ConnId;

use crate::reactor::socket::Socket;

const CHUNK: usize = 512;

/// A connection as the reactor sees it.
#[derive(Debug)]
pub(crate) struct Entry {
    generation: u32,
    pub(crate) kind: Kind,
    pub(crate) socket: Socket,
    /// Received and not consumed.
    #[expect(clippy::box_collection, reason = "an idle connection has none and shall not pay for one")]
    pub(crate) carry: Option<Box<Vec<u8>>>,
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
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    chunks: Vec<Box<[Option<Entry>]>>,
}

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
}

impl Sockets {
    /// Keeps `entry` under `conn`, whose slot is free.
    pub(crate) fn insert(&mut self, conn: ConnId, entry: Entry) {
        let (chunk, index) = place(conn.slot);
        while self.chunks.len() <= chunk {
            self.chunks.push((0..CHUNK).map(|_| None).collect());
        }
        debug_assert!(self.chunks[chunk][index].is_none(), "{conn} is taken");
        self.chunks[chunk][index] = Some(entry);
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Entry> {
        let (chunk, index) = place(conn.slot);
        let entry = self.chunks.get_mut(chunk)?[index].as_mut()?;
        (entry.generation == conn.generation).then_some(entry)
    }

    /// The connection that has this slot now. Events know no generation; a slot is not used again within a turn.
    #[inline]
    pub(crate) fn at(&mut self, slot: u32) -> Option<(ConnId, &mut Entry)> {
        let (chunk, index) = place(slot);
        let entry = self.chunks.get_mut(chunk)?[index].as_mut()?;
        Some((ConnId { slot, generation: entry.generation }, entry))
    }

    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Entry> {
        self.get_mut(conn)?;
        let (chunk, index) = place(conn.slot);
        self.chunks[chunk][index].take()
    }
}

fn place(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}
