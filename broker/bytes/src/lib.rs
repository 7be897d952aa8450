//! Values as bytes and back: what entries, snapshots and letters between nodes are made of.
//!
//! Integers are big-endian; text, lists and parts come after their length in 32 bits; an enum begins with the number of
//! its variant. The fields of a struct or an enum stand once, in [`bytes_of_struct`] or [`bytes_of_enum`], and are both
//! written and read by it, so the two can't differ. A value that stands alone says its format first: [`encode`] and
//! [`decode`].
//!
//! Reading checks everything against the bytes that are there and allocates no more than a fixed multiple of them. Which
//! values there are, their formats and what they mean is left to the crates that have them. Packets of clients have
//! other rules and a reader of their own (`fulmar-codec`), frames of links as well (`fulmar-cluster`).

mod error;
mod fields;
mod reader;
mod values;

pub use error::BytesError;
pub use reader::Reader;
pub use values::{put_length, put_part};

/// What can be written, and read again.
pub trait Bytes: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);

    /// Takes what [`put`](Self::put) wrote from the front of what is left to read.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError>;
}

/// Appends a value with its format in front.
pub fn encode(format: u8, value: &impl Bytes, out: &mut Vec<u8>) {
    out.push(format);
    value.put(out);
}

/// Reads what [`encode`] wrote, and nothing else.
///
/// # Errors
/// Says what is wrong with the bytes.
pub fn decode<T: Bytes>(format: u8, bytes: &[u8]) -> Result<T, BytesError> {
    let mut reader = Reader::of_format(format, bytes)?;
    let value = T::get(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests;
