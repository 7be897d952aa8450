//! Numbers and parts of letters. Integers are big-endian, lists and parts come after their length.
//!
//! Reading checks everything against the bytes that are there and allocates no more than a fixed multiple of them.

use fulmar_store::{BytesError, Node};
use thiserror::Error;

/// What is wrong with the bytes of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LetterError {
    /// Of another format.
    #[error("letter of format {found}, only {wanted} is known")]
    Format {
        /// What it says.
        found: u8,
        /// The one that is known.
        wanted: u8,
    },
    /// They end too early.
    #[error("{wanted} bytes are wanted at byte {at} of a letter, found {found}")]
    Truncated {
        /// Where.
        at: usize,
        /// How many.
        wanted: usize,
        /// What is left.
        found: usize,
    },
    /// They end too late.
    #[error("{found} bytes follow the end of a letter")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// A kind of thing that nobody defined.
    #[error("unknown kind {found} of what a desk writes")]
    Unknown {
        /// Its number.
        found: u8,
    },
    /// A value that is not among those allowed.
    #[error("yes or no is {found}, which is not allowed")]
    NeitherYesNorNo {
        /// The value.
        found: u8,
    },
    /// A part of it is none.
    #[error(transparent)]
    Part(#[from] BytesError),
}

/// Appends to bytes.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(format: u8, out: &'a mut Vec<u8>) -> Self {
        out.push(format);
        Self { out }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(crate) fn optional(&mut self, value: Option<u64>) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            self.u64(value);
        }
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn node(&mut self, node: Node) {
        self.u64(node.id);
        self.u64(node.incarnation);
    }

    pub(crate) fn length(&mut self, length: usize) {
        self.out.extend_from_slice(&as_length(length));
    }

    /// Something that tells its own bytes.
    pub(crate) fn part(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let at = self.out.len();
        self.length(0);
        encode(self.out);
        let length = self.out.len() - at - size_of::<u32>();
        self.out[at..at + size_of::<u32>()].copy_from_slice(&as_length(length));
    }
}

fn as_length(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("what is in a letter came in packets, and nothing of it comes near 4 GB").to_be_bytes()
}

/// Takes from the front of borrowed bytes.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(wanted: u8, bytes: &'a [u8]) -> Result<Self, LetterError> {
        let mut reader = Self { bytes, at: 0 };
        match reader.array()? {
            [found] if found == wanted => Ok(reader),
            [found] => Err(LetterError::Format { found, wanted }),
        }
    }

    fn take(&mut self, wanted: usize) -> Result<&'a [u8], LetterError> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..wanted) else {
            return Err(LetterError::Truncated { at: self.at, wanted, found: rest.len() });
        };
        self.at += wanted;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LetterError> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, LetterError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn optional(&mut self) -> Result<Option<u64>, LetterError> {
        match self.u8()? {
            0 => Ok(None),
            1 => self.u64().map(Some),
            found => Err(LetterError::NeitherYesNorNo { found }),
        }
    }

    pub(crate) fn u16(&mut self) -> Result<u16, LetterError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, LetterError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn node(&mut self) -> Result<Node, LetterError> {
        Ok(Node { id: self.u64()?, incarnation: self.u64()? })
    }

    fn length(&mut self) -> Result<usize, LetterError> {
        Ok(self.array().map(u32::from_be_bytes)? as usize)
    }

    pub(crate) fn part(&mut self) -> Result<&'a [u8], LetterError> {
        let length = self.length()?;
        self.take(length)
    }

    /// Grows with what is really there, whatever length was written: each item takes a byte at least.
    pub(crate) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, LetterError>,
    ) -> Result<Vec<T>, LetterError> {
        let length = self.length()?;
        (0..length).map(|_| item(self)).collect()
    }

    pub(crate) fn finish(self) -> Result<(), LetterError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            found => Err(LetterError::Trailing { found }),
        }
    }
}
