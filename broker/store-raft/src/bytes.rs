//! What letters of engines are made of: integers, little-endian, and text after its length. All else is as
//! `fulmar-bytes` has it.

use std::sync::Arc;

use fulmar_bytes::{Bytes, BytesError, Reader};

/// Reads what letters are made of.
pub(crate) trait LittleEndian {
    fn u8(&mut self) -> Result<u8, BytesError>;
    fn u16(&mut self) -> Result<u16, BytesError>;
    fn u32(&mut self) -> Result<u32, BytesError>;
    fn u64(&mut self) -> Result<u64, BytesError>;
    fn flag(&mut self) -> Result<bool, BytesError>;
    fn text(&mut self) -> Result<Arc<str>, BytesError>;
}

impl LittleEndian for Reader<'_> {
    fn u8(&mut self) -> Result<u8, BytesError> {
        Bytes::get(self)
    }

    fn u16(&mut self) -> Result<u16, BytesError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, BytesError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, BytesError> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, BytesError> {
        Bytes::get(self)
    }

    fn text(&mut self) -> Result<Arc<str>, BytesError> {
        let length = self.u32()?;
        self.utf8(length as usize).map(Arc::from)
    }
}

/// A filter has at most 65,535 bytes beside the name of a group (MQTT 5.0, 1.5.4).
pub(crate) fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend(u32::try_from(text.len()).expect("a filter is short").to_le_bytes());
    out.extend(text.as_bytes());
}
