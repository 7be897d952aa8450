//! The sending half of a lane: frames are written once into chunks of memory and stay there, to be sent and sent
//! again, until they are acknowledged.
//!
//! Frames outside the sequence (acknowledgements, pings) wait apart and go out between frames of data. A message is
//! copied once, into its chunk; a chunk is used again when all its frames are acknowledged.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::{LaneCounters, LaneError};
use crate::frame::{
    ControlFrame, DATA_FRAME_BYTES, DATA_HEAD_BYTES, LinkMessage, encode_control, open_data, seal_data,
};

/// A chunk takes frames until it holds this much; the last one may reach beyond.
const CHUNK_BYTES: usize = 128 * 1024;

/// Chunks kept for use. A lane that keeps up needs one or two.
const SPARE_CHUNKS: usize = 2;

/// Control frames are tiny, and only pongs are made at a peer's will: they are not answered beyond this, so that a
/// peer that pings and never reads takes no memory.
const CONTROL_BYTES: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Memory of the frames, oldest first. Frames never span chunks.
    chunks: VecDeque<Vec<u8>>,
    /// The number of the first chunk, so that frames can name theirs.
    first_chunk: u64,
    /// The frames that are not acknowledged, without the open one.
    frames: VecDeque<SealedFrame>,
    /// The last frame that was acknowledged.
    acknowledged: u64,
    /// Where the open frame starts in the last chunk.
    open: Option<usize>,
    /// How many of `frames` are sent, and how many bytes of the next.
    sent_frames: usize,
    sent_bytes: usize,
    /// The last frame that was ever sent in this life; what is sent up to it is sent again.
    sent_before: u64,
    bytes: usize,
    control: Vec<u8>,
    control_sent: usize,
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct SealedFrame {
    chunk: u64,
    start: usize,
    end: usize,
}

impl Outgoing {
    /// The number of the last frame, sealed or open.
    fn last(&self) -> u64 {
        self.acknowledged + self.frames.len() as u64 + u64::from(self.open.is_some())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn frames(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn push(&mut self, message: &LinkMessage<'_>) -> u64 {
        if let (Some(start), Some(chunk)) = (self.open, self.chunks.back())
            && chunk.len() - start + message.length_max() > DATA_FRAME_BYTES
        {
            self.seal();
        }
        if self.open.is_none() {
            self.open_frame(message.length_max());
        }
        let chunk = self.chunks.back_mut().expect("an open frame is in the last chunk");
        let before = chunk.len();
        message.append_to(chunk);
        self.bytes += chunk.len() - before;
        self.last()
    }

    fn open_frame(&mut self, message_bytes: usize) {
        let sequence = self.last() + 1;
        if self.chunks.back().is_none_or(|chunk| chunk.len() + DATA_HEAD_BYTES + message_bytes > CHUNK_BYTES) {
            self.chunks.push_back(self.spare.pop().unwrap_or_default());
        }
        let chunk = self.chunks.back_mut().expect("there is a chunk with room, or it was just added");
        self.open = Some(chunk.len());
        open_data(chunk, sequence);
        self.bytes += DATA_HEAD_BYTES;
    }

    pub(super) fn seal(&mut self) {
        if let (Some(start), Some(chunk)) = (self.open.take(), self.chunks.back_mut()) {
            seal_data(chunk, start);
            let (number, end) = (self.first_chunk + self.chunks.len() as u64 - 1, chunk_end(&self.chunks));
            self.frames.push_back(SealedFrame { chunk: number, start, end });
        }
    }

    pub(super) fn control(&mut self, frame: ControlFrame) {
        encode_control(&mut self.control, frame);
    }

    pub(super) fn pong(&mut self) {
        if self.control.len() < CONTROL_BYTES {
            self.control(ControlFrame::Pong);
        }
    }

    /// Whether the next byte on the connection starts a frame.
    pub(super) fn is_between_frames(&self) -> bool {
        self.sent_bytes == 0 && self.control_sent == 0
    }

    fn next_is_control(&self) -> bool {
        self.sent_bytes == 0 && self.control_sent < self.control.len()
    }

    /// The next bytes in one piece; without data until the peer has said where to go on.
    pub(super) fn unsent(&self, with_data: bool) -> &[u8] {
        if self.next_is_control() {
            return &self.control[self.control_sent..];
        }
        let Some(next) = self.frames.get(self.sent_frames).filter(|_| with_data) else { return &[] };
        let chunk = &self.chunks[self.chunk_index(next)];
        // While something waits to go between the frames, only this one is finished.
        let end = if self.control.is_empty() { self.sealed_end(next.chunk) } else { next.end };
        &chunk[next.start + self.sent_bytes..end]
    }

    /// Where the sealed frames of a chunk end.
    fn sealed_end(&self, chunk: u64) -> usize {
        let last = self.first_chunk + self.chunks.len() as u64 - 1;
        match self.open {
            Some(start) if chunk == last => start,
            _ => self.chunks[usize::try_from(chunk - self.first_chunk).expect("chunks are in memory")].len(),
        }
    }

    fn chunk_index(&self, frame: &SealedFrame) -> usize {
        usize::try_from(frame.chunk - self.first_chunk).expect("chunks are in memory, so their count fits")
    }

    pub(super) fn sent(&mut self, mut bytes: usize, counters: &mut LaneCounters) {
        if self.next_is_control() {
            self.control_sent += bytes;
            if self.control_sent >= self.control.len() {
                self.control.clear();
                self.control_sent = 0;
            }
            return;
        }
        while let Some(frame) = self.frames.get(self.sent_frames) {
            let left = frame.end - frame.start - self.sent_bytes;
            if bytes < left {
                self.sent_bytes += bytes;
                return;
            }
            bytes -= left;
            self.sent_bytes = 0;
            self.sent_frames += 1;
            counters.frames_sent += 1;
            self.sent_before = self.sent_before.max(self.acknowledged + self.sent_frames as u64);
        }
    }

    pub(super) fn acknowledge(&mut self, sequence: u64) -> Result<(), LaneError> {
        let sent = self.acknowledged + self.sent_frames as u64;
        if sequence > sent {
            return Err(LaneError::Acknowledged { found: sequence, sent });
        }
        while self.acknowledged < sequence {
            let frame = self.frames.pop_front().expect("frames up to the last one sent are kept");
            self.bytes -= frame.end - frame.start;
            self.acknowledged += 1;
            self.sent_frames -= 1;
        }
        self.free_chunks();
        Ok(())
    }

    /// Takes back the chunks whose frames are all acknowledged.
    fn free_chunks(&mut self) {
        let needed = match (self.frames.front(), self.open) {
            (Some(frame), _) => self.chunk_index(frame),
            (None, Some(_)) => self.chunks.len().saturating_sub(1),
            (None, None) => self.chunks.len(),
        };
        for _ in 0..needed {
            let Some(chunk) = self.chunks.pop_front() else { return };
            self.first_chunk += 1;
            keep_spare(&mut self.spare, chunk);
        }
    }

    /// The connection is lost: what was half sent is sent again, what stood outside the sequence is not.
    pub(super) fn disconnect(&mut self) {
        self.control.clear();
        self.control_sent = 0;
        self.sent_bytes = 0;
    }

    /// After which frames the peer may ask to go on.
    pub(super) fn resumable(&self) -> RangeInclusive<u64> {
        self.acknowledged..=self.sent_before.max(self.acknowledged)
    }

    /// The peer has all frames up to `received`: the next one goes out next.
    pub(super) fn resume_after(&mut self, received: u64, counters: &mut LaneCounters) {
        self.sent_frames = usize::try_from(received - self.acknowledged).expect("checked against the frames kept");
        self.sent_bytes = 0;
        counters.frames_resent += self.sent_before.saturating_sub(received);
    }

    /// The life has ended.
    pub(super) fn reset(&mut self) {
        let mut spare = std::mem::take(&mut self.spare);
        self.chunks.drain(..).for_each(|chunk| keep_spare(&mut spare, chunk));
        *self = Self { spare, ..Self::default() };
    }
}

fn chunk_end(chunks: &VecDeque<Vec<u8>>) -> usize {
    chunks.back().map_or(0, Vec::len)
}

fn keep_spare(spare: &mut Vec<Vec<u8>>, mut chunk: Vec<u8>) {
    // A chunk that held one large message is not worth keeping.
    if spare.len() < SPARE_CHUNKS && chunk.capacity() <= 2 * CHUNK_BYTES {
        chunk.clear();
        spare.push(chunk);
    }
}
