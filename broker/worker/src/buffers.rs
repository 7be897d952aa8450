//! Output buffers for those who have something to say. Idle connections own none, so that there are few and they are warm.
//!
//! A buffer grows with what passes through it. If all were kept as they are, each would one day be as large as it may, and
//! what they were before would lie about as holes between other things. So all begin with the same room, and of those that
//! have grown as much is kept as of those that have not.

/// The room of a new one: for the answers and messages of a client that gets little at a time.
const ROOM: usize = 1024;
/// Of those with that room so many bytes are kept.
const BYTES_MAX: usize = 256 << 10;
/// Of those that have grown so many bytes are kept, for clients that get much at a time.
const GROWN_BYTES_MAX: usize = 256 << 10;

/// Buffers that nobody needs at the moment.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    kept: Vec<Vec<u8>>,
    bytes: usize,
    grown_bytes: usize,
}

impl Buffers {
    /// One with room: the one that was given back last, if there is one.
    #[inline]
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let Some(buffer) = self.kept.pop() else { return Vec::with_capacity(ROOM) };
        *self.bytes_of(buffer.capacity()).0 -= buffer.capacity();
        buffer
    }

    /// An empty buffer is kept, if there is room for it.
    #[inline]
    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        let room = buffer.capacity();
        let (bytes, bytes_max) = self.bytes_of(room);
        if room >= ROOM && *bytes + room <= bytes_max {
            *bytes += room;
            self.kept.push(buffer);
        }
    }

    /// What is kept of buffers like one with so much room, and how much may be.
    #[inline]
    fn bytes_of(&mut self, room: usize) -> (&mut usize, usize) {
        if room <= ROOM { (&mut self.bytes, BYTES_MAX) } else { (&mut self.grown_bytes, GROWN_BYTES_MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_in_bytes_whether_it_has_grown_or_not() {
        // Buffers that are given back, the room of each, and how many of them are kept.
        for (count, room, wanted) in [(2000, ROOM, 256), (2000, 4096, 64), (3, 100, 0), (3, 0, 0), (3, 257 << 10, 0)] {
            let mut buffers = Buffers::default();
            (0..count).for_each(|_| buffers.give_back(Vec::with_capacity(room)));
            assert_eq!(buffers.kept.len(), wanted, "{count} of {room} bytes");
            (0..wanted).for_each(|_| assert_eq!(buffers.take().capacity(), room));
            assert_eq!((buffers.take().capacity(), buffers.bytes, buffers.grown_bytes), (ROOM, 0, 0));
        }
    }

    #[test]
    fn a_buffer_that_has_grown_counts_as_what_it_is() {
        let mut buffers = Buffers::default();
        buffers.give_back(Vec::with_capacity(ROOM));
        let mut buffer = buffers.take();
        buffer.reserve_exact(5000);
        let room = buffer.capacity();
        buffers.give_back(buffer);
        assert_eq!((buffers.bytes, buffers.grown_bytes, buffers.take().capacity()), (0, room, room));
    }
}
