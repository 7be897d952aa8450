//! Reads what letters are made of: integers, little-endian, and text after its length. Nothing is believed.

use std::sync::Arc;

use thiserror::Error;

/// What is wrong with the bytes of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Wrong {
    /// They end too early.
    #[error("{found} bytes are left, wanted {wanted}")]
    Short {
        /// How many are left.
        found: usize,
        /// How many there must be.
        wanted: usize,
    },
    /// They end too late.
    #[error("{found} bytes follow the end")]
    Long {
        /// How many.
        found: usize,
    },
    /// A variant that this build does not know.
    #[error("a part of kind {found}, which is unknown")]
    Kind {
        /// What it says it is.
        found: u8,
    },
    /// Text that is none.
    #[error("text that is not UTF-8")]
    NotUtf8,
    /// A message of the shards' own bytes.
    #[error("messages: {0}")]
    Store(#[from] fulmar_store::BytesError),
}

/// See the [module](self).
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, wanted: usize) -> Result<&'a [u8], Wrong> {
        let (taken, rest) = self.0.split_at_checked(wanted).ok_or(Wrong::Short { found: self.0.len(), wanted })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Wrong> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Wrong> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Wrong> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Wrong> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Wrong> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(Wrong::Kind { found }),
        }
    }

    pub(crate) fn text(&mut self) -> Result<Arc<str>, Wrong> {
        let length = u32::from_le_bytes(self.array()?);
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        Ok(str::from_utf8(bytes).map_err(|_| Wrong::NotUtf8)?.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn finish(&self) -> Result<(), Wrong> {
        if self.is_empty() { Ok(()) } else { Err(Wrong::Long { found: self.0.len() }) }
    }
}

/// A filter has at most 65,535 bytes beside the name of a group (MQTT 5.0, 1.5.4).
pub(crate) fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend(u32::try_from(text.len()).expect("a filter is short").to_le_bytes());
    out.extend(text.as_bytes());
}
