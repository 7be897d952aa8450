//! Output buffers for those who have something to say. Idle connections own none, so that there are few and they are warm.

/// Buffers that are kept for the next one.
const COUNT_MAX: usize = 1024;
/// Their room altogether: buffers grow with what passes through them, and each would one day be as large as it may.
const BYTES_MAX: usize = 512 << 10;
/// A buffer that grew beyond this goes back to the allocator.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Buffers that nobody needs at the moment.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    kept: Vec<Vec<u8>>,
    /// The capacity of all of them.
    bytes: usize,
}

impl Buffers {
    /// One with room, if there is one: the one that was given back last.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        let buffer = self.kept.pop()?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// An empty buffer is kept, if there is room for it.
    #[inline]
    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        let room = buffer.capacity();
        if (1..=BUFFER_BYTES_MAX).contains(&room) && self.kept.len() < COUNT_MAX && self.bytes + room <= BYTES_MAX {
            self.bytes += room;
            self.kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_bytes() {
        // Buffers that are given back, the room of each, and how many of them are kept.
        for (count, room, wanted) in
            [(2000, 100, COUNT_MAX), (2000, 4096, 128), (3, BUFFER_BYTES_MAX + 1, 0), (3, 0, 0)]
        {
            let mut buffers = Buffers::default();
            (0..count).for_each(|_| buffers.give_back(Vec::with_capacity(room)));
            let taken: Vec<_> = std::iter::from_fn(|| buffers.take()).collect();
            assert_eq!((taken.len(), buffers.bytes), (wanted, 0), "{count} of {room} bytes");
        }
    }

    #[test]
    fn a_buffer_that_has_grown_counts_as_what_it_is() {
        let mut buffers = Buffers::default();
        buffers.give_back(Vec::with_capacity(64));
        let mut buffer = buffers.take().expect("it is there");
        buffer.reserve_exact(5000);
        let room = buffer.capacity();
        buffers.give_back(buffer);
        assert_eq!((buffers.bytes, buffers.take().map(|buffer| buffer.capacity())), (room, Some(room)));
    }
}
