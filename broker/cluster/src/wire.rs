//! The primitives that frames and greetings are made of: big-endian integers and length-prefixed strings.
//!
//! Reading borrows and checks every length against the bytes that are there; nothing here allocates for a peer.

use crate::frame::FrameError;

/// Reads values from the front of borrowed bytes.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What has not been read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], FrameError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return Err(FrameError::Truncated { what, wanted: length, found: self.bytes.len() });
        };
        self.bytes = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FrameError> {
        let Some((taken, rest)) = self.bytes.split_first_chunk::<N>() else {
            return Err(FrameError::Truncated { what, wanted: N, found: self.bytes.len() });
        };
        self.bytes = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, FrameError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, FrameError> {
        self.array(what).map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, FrameError> {
        self.array(what).map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, FrameError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// Bytes after their length in 32 bits.
    #[inline]
    pub(crate) fn bytes32(&mut self, what: &'static str) -> Result<&'a [u8], FrameError> {
        let length = self.u32(what)? as usize;
        self.take(length, what)
    }

    /// UTF-8 after its length in 16 bits.
    #[inline]
    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, FrameError> {
        let length = usize::from(self.u16(what)?);
        str::from_utf8(self.take(length, what)?).map_err(|_| FrameError::NotUtf8 { what })
    }

    /// Says that everything was read.
    #[inline]
    pub(crate) const fn finish(self, what: &'static str) -> Result<(), FrameError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(FrameError::Trailing { what, found: self.bytes.len() }) }
    }
}

#[inline]
pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends bytes after their length in 32 bits.
#[inline]
pub(crate) fn put_bytes32(out: &mut Vec<u8>, bytes: &[u8]) {
    // MQTT bounds a packet to 256 MB, so no payload comes near 4 GB (MQTT 5.0, 1.5.5).
    put_u32(out, u32::try_from(bytes.len()).expect("an MQTT payload fits in 32 bits of length"));
    out.extend_from_slice(bytes);
}

/// Appends UTF-8 after its length in 16 bits.
#[inline]
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    // Topics, filters, group names and client identifiers come from strings of MQTT (MQTT 5.0, 1.5.4).
    put_u16(out, u16::try_from(text.len()).expect("an MQTT string fits in 16 bits of length"));
    out.extend_from_slice(text.as_bytes());
}
