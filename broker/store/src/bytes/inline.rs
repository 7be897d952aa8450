//! The chunks of a snapshot with all bodies in them, made of chunks that say where bodies are.

use super::snapshot::Record;
use super::{Bytes, BytesError, FORMAT, Reader};
use crate::body::{Bodies, BodyPlace};

/// Takes the chunks of a snapshot one after the other, and gives others that need no files beside them. It holds no more
/// than one chunk of each.
pub struct Inlining {
    given: Vec<u8>,
    at: usize,
    /// What is made so far.
    chunk: Vec<u8>,
    number: u32,
    chunk_bytes: usize,
}

/// Format and number.
const HEAD_BYTES: usize = 5;

impl Inlining {
    /// Makes chunks of at most so many bytes, or of exactly one record that is larger.
    pub fn new(chunk_bytes: usize) -> Self {
        let mut inlining = Self { given: Vec::new(), at: 0, chunk: Vec::new(), number: 0, chunk_bytes };
        inlining.begin();
        inlining
    }

    fn begin(&mut self) -> Vec<u8> {
        let mut head = vec![FORMAT];
        self.number.put(&mut head);
        self.number += 1;
        std::mem::replace(&mut self.chunk, head)
    }

    /// The next chunk of the snapshot, when [`next`](Self::next) has asked for it.
    ///
    /// # Errors
    /// If it is none.
    pub fn give(&mut self, chunk: Vec<u8>) -> Result<(), BytesError> {
        let mut reader = Reader::of_format(FORMAT, &chunk)?;
        u32::get(&mut reader)?;
        self.at = HEAD_BYTES;
        self.given = chunk;
        Ok(())
    }

    /// A chunk that is whole; none: another one is to be given, or all were.
    ///
    /// # Errors
    /// If a record or a body can't be read.
    pub fn next<B: Bodies>(&mut self, bodies: &mut B) -> Result<Option<Vec<u8>>, B::Error>
    where
        B::Error: From<BytesError>,
    {
        while let Some((record, end)) = self.record()? {
            let start = self.chunk.len();
            match record {
                Record::BodyAt(id, expires, place, ..) => {
                    let message = bodies.read(id, place)?;
                    Record::Body(id, expires, message).put(&mut self.chunk);
                }
                _ => self.chunk.extend_from_slice(&self.given[self.at..end]),
            }
            self.at = end;
            if self.chunk.len() > self.chunk_bytes && start > HEAD_BYTES {
                let rest = self.chunk.split_off(start);
                let whole = self.begin();
                self.chunk.extend(rest);
                return Ok(Some(whole));
            }
        }
        Ok(None)
    }

    /// The last chunk, when all were given.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        (self.chunk.len() > HEAD_BYTES).then(|| self.begin())
    }

    /// The record at hand, and where it ends.
    fn record(&self) -> Result<Option<(Record, usize)>, BytesError> {
        let mut reader = Reader::new(&self.given[self.at..]);
        if reader.is_empty() {
            return Ok(None);
        }
        let record = Record::get(&mut reader)?;
        Ok(Some((record, self.given.len() - reader.rest().len())))
    }

    /// How many bytes the chunks have that are made of these, each with `head_bytes` around it, without reading a body.
    ///
    /// # Errors
    /// If a chunk is none.
    pub fn length<E: From<BytesError>>(
        chunks: impl Iterator<Item = Result<Vec<u8>, E>>,
        chunk_bytes: usize,
        head_bytes: usize,
    ) -> Result<u64, E> {
        let (mut total, mut chunk) = (0, HEAD_BYTES);
        let mut measuring = Self::new(chunk_bytes);
        for given in chunks {
            measuring.give(given?)?;
            while let Some((record, end)) = measuring.record()? {
                let length = match record {
                    Record::BodyAt(_, expires, BodyPlace { length, .. }, ..) => {
                        // Kind, number, time.
                        1 + 8 + if expires.is_some() { 9 } else { 1 } + length as usize
                    }
                    _ => end - measuring.at,
                };
                measuring.at = end;
                if chunk + length > chunk_bytes && chunk > HEAD_BYTES {
                    total += (head_bytes + chunk) as u64;
                    chunk = HEAD_BYTES;
                }
                chunk += length;
            }
        }
        Ok(total + if chunk > HEAD_BYTES { (head_bytes + chunk) as u64 } else { 0 })
    }
}
