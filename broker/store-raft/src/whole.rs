//! A snapshot for another node, which has none of the files that ours refers to: made of it and of them while it is sent.
//!
//! The same bytes come out however often they are asked for. Only what was asked for last is in memory, so whoever goes
//! back further than that begins again from the front.

use fulmar_log::File;
use fulmar_store::Inlining;

use crate::bodies::HeldFiles;
use crate::errors::Failed;
use crate::snapshot::{CHUNK_BYTES, CHUNK_HEAD_BYTES, HEAD_BYTES, MAGIC, VERSION, put_chunk, read_chunk};

/// See the [module](self).
pub(crate) struct Whole<F> {
    snapshot: F,
    length: u64,
    /// How far the snapshot was read.
    at: u64,
    bodies: HeldFiles<F>,
    /// None: the last chunk was made.
    inlining: Option<Inlining>,
    /// What was made and may be asked for, and where that begins.
    made: Vec<u8>,
    made_from: u64,
}

impl<F: File> Whole<F> {
    /// The snapshot that refers to these files, and how long it becomes. The error says what is wrong with it.
    pub(crate) fn new(snapshot: F, bodies: HeldFiles<F>) -> Result<(Self, u64), String> {
        let length = snapshot.length().map_err(|error| error.to_string())?;
        let mut whole = Self { snapshot, length, at: 0, bodies, inlining: None, made: Vec::new(), made_from: 0 };
        let total = whole.measure()?;
        whole.begin()?;
        Ok((whole, total))
    }

    /// The next chunk of our snapshot.
    fn chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        if self.at >= self.length {
            return Ok(None);
        }
        let chunk = read_chunk(&self.snapshot, self.at, self.length)?;
        self.at += (CHUNK_HEAD_BYTES + chunk.len()) as u64;
        Ok(Some(chunk))
    }

    fn measure(&mut self) -> Result<u64, String> {
        self.at = HEAD_BYTES as u64;
        let start = self.chunk()?.ok_or("it has no beginning")?;
        let rest = std::iter::from_fn(|| self.chunk().map_err(Unreadable).transpose());
        let rest = Inlining::length(rest, CHUNK_BYTES, CHUNK_HEAD_BYTES).map_err(|Unreadable(what)| what)?;
        Ok((HEAD_BYTES + CHUNK_HEAD_BYTES + start.len()) as u64 + rest)
    }

    /// From the front.
    fn begin(&mut self) -> Result<(), String> {
        self.at = HEAD_BYTES as u64;
        let start = self.chunk()?.ok_or("it has no beginning")?;
        self.made = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        self.made_from = 0;
        put_chunk(&mut self.made, &start);
        self.inlining = Some(Inlining::new(CHUNK_BYTES));
        Ok(())
    }

    /// The bytes from `offset` on, as many as are wanted or are left.
    pub(crate) fn read(&mut self, offset: u64, wanted: usize) -> Result<Vec<u8>, WholeError> {
        if offset < self.made_from {
            self.begin()?;
        }
        loop {
            let passed = usize::try_from(offset - self.made_from).unwrap_or(usize::MAX).min(self.made.len());
            self.made.drain(..passed);
            self.made_from += passed as u64;
            if (self.made_from == offset && self.made.len() >= wanted) || !self.make()? {
                return Ok(self.made[..wanted.min(self.made.len())].to_vec());
            }
        }
    }

    /// Makes the next chunk, if there is one.
    fn make(&mut self) -> Result<bool, WholeError> {
        let Some(mut inlining) = self.inlining.take() else { return Ok(false) };
        loop {
            if let Some(chunk) = inlining.next(&mut self.bodies)? {
                put_chunk(&mut self.made, &chunk);
                self.inlining = Some(inlining);
                return Ok(true);
            }
            let Some(chunk) = self.chunk()? else { break };
            inlining.give(chunk).map_err(Failed::from)?;
        }
        let last = inlining.finish();
        last.iter().for_each(|chunk| put_chunk(&mut self.made, chunk));
        Ok(last.is_some())
    }
}

/// Why a part of a snapshot can't be sent.
pub(crate) enum WholeError {
    /// Our snapshot is damaged.
    Snapshot(String),
    /// A body is.
    Body(Failed),
}

impl From<String> for WholeError {
    fn from(what: String) -> Self {
        Self::Snapshot(what)
    }
}

impl From<Failed> for WholeError {
    fn from(failed: Failed) -> Self {
        Self::Body(failed)
    }
}

struct Unreadable(String);

impl From<fulmar_store::BytesError> for Unreadable {
    fn from(error: fulmar_store::BytesError) -> Self {
        Self(error.to_string())
    }
}
