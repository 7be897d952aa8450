//! Where received bytes are: in the thread's buffer, behind what was carried over, or for a large packet in a buffer
//! of its own that grows with it.

use std::io;

use crate::reactor::socket::Then;
use crate::reactor::sockets::Entry;

/// Read at a time behind a large carry.
const LARGE_READ_BYTES: usize = 64 << 10;

/// What there is to offer to the worker.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    /// How many of them were just read.
    pub(crate) fresh: usize,
    /// The other side has closed its direction, and there is nothing behind these bytes.
    pub(crate) is_eof: bool,
    is_offered_again: bool,
}

/// Received bytes, those carried over first.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// The first so many of the thread's buffer.
    Shared(usize),
    /// A packet that outgrew a part of the thread's buffer.
    Own(Vec<u8>),
}

impl Read {
    /// Whether the worker has not seen all of it before.
    pub(crate) fn is_news(&self) -> bool {
        self.fresh > 0 || self.is_offered_again
    }
}

impl Bytes {
    pub(crate) fn as_slice<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        match self {
            Bytes::Shared(length) => &buffer[..*length],
            Bytes::Own(bytes) => bytes,
        }
    }

    /// What is left after `consumed`, in memory of its own. It allocates only if there is something.
    pub(crate) fn into_rest(self, consumed: usize, buffer: &[u8]) -> Vec<u8> {
        match self {
            Bytes::Shared(length) => buffer[consumed..length].to_vec(),
            Bytes::Own(mut bytes) => {
                bytes.drain(..consumed);
                // A small rest does not keep the memory of the large packet before it.
                if bytes.len() < bytes.capacity() / 2 {
                    bytes.shrink_to_fit();
                }
                bytes
            }
        }
    }
}

/// Goes on from what a connection has carried over, and reads its socket once and not more than `budget` bytes, unless the
/// worker paused it and must first see the carry again.
#[inline]
pub(crate) fn fill(
    entry: &mut Entry,
    carry: Option<Vec<u8>>,
    buffer: &mut [u8],
    cipher: &mut [u8],
    budget: usize,
) -> io::Result<Read> {
    let is_offered_again = std::mem::take(&mut entry.is_resumed);
    let carried = carry.as_ref().map_or(0, Vec::len);
    // Copying a short carry is cheaper than a buffer for each connection; a large one would be copied at each read.
    let mut own = match carry {
        Some(carry) if carried > buffer.len() / 2 => Some(carry),
        Some(carry) => {
            buffer[..carried].copy_from_slice(&carry);
            None
        }
        None => None,
    };
    let (mut fresh, mut is_eof) = (0, false);
    if !is_offered_again {
        let space = match &mut own {
            None => &mut buffer[carried..],
            Some(own) => {
                own.resize(carried + LARGE_READ_BYTES, 0);
                &mut own[carried..]
            }
        };
        let reading = entry.socket.read(space, cipher, budget, entry.is_read_closed)?;
        fresh = reading.bytes;
        is_eof = reading.then == Then::Eof;
        entry.is_readable = reading.then != Then::Wait;
    }
    let bytes = match own {
        None => Bytes::Shared(carried + fresh),
        Some(mut own) => {
            own.truncate(carried + fresh);
            Bytes::Own(own)
        }
    };
    Ok(Read { bytes, fresh, is_eof, is_offered_again })
}
