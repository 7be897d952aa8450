//! Takes bytes from the front of borrowed ones, and knows where it is.

use crate::{Bytes, BytesError};

/// See the [module](self).
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Before the first byte.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Behind the format, which the bytes say first.
    ///
    /// # Errors
    /// If they say another one, or nothing.
    pub fn of_format(wanted: u8, bytes: &'a [u8]) -> Result<Self, BytesError> {
        let mut reader = Self::new(bytes);
        match u8::get(&mut reader)? {
            found if found == wanted => Ok(reader),
            found => Err(BytesError::Format { found, wanted }),
        }
    }

    /// Whether everything was read.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// So many bytes.
    ///
    /// # Errors
    /// If fewer are left.
    #[inline]
    pub fn take(&mut self, wanted: usize) -> Result<&'a [u8], BytesError> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..wanted) else {
            return Err(BytesError::Truncated { at: self.at, wanted, found: rest.len() });
        };
        self.at += wanted;
        Ok(taken)
    }

    /// So many bytes, as an array.
    ///
    /// # Errors
    /// If fewer are left.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], BytesError> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }

    /// Text of so many bytes.
    ///
    /// # Errors
    /// If fewer are left, or they are no UTF-8.
    pub fn utf8(&mut self, bytes: usize) -> Result<&'a str, BytesError> {
        let at = self.at;
        str::from_utf8(self.take(bytes)?).map_err(|_| BytesError::NotUtf8 { at })
    }

    /// The length of text, of a list or of a part.
    ///
    /// # Errors
    /// If it is cut off.
    #[inline]
    pub fn length(&mut self) -> Result<usize, BytesError> {
        Ok(u32::get(self)? as usize)
    }

    /// A part, which has bytes of its own: see [`put_part`](crate::put_part).
    ///
    /// # Errors
    /// If it is cut off.
    pub fn part(&mut self) -> Result<&'a [u8], BytesError> {
        let length = self.length()?;
        self.take(length)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    /// Says that everything was read.
    ///
    /// # Errors
    /// If something is left.
    #[inline]
    pub const fn finish(self) -> Result<(), BytesError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            found => Err(BytesError::Trailing { found }),
        }
    }
}
