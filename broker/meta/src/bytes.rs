//! Entries, snapshots and messages as bytes, as `fulmar-bytes` writes and reads them.
//!
//! Every list of fields stands once, in [`entry`], [`message`] or [`snapshot`]. Fields are never inserted: what is new
//! gets a new variant and a new [`LEVEL`].

mod entry;
mod message;
mod snapshot;

pub use fulmar_bytes::BytesError;
use fulmar_bytes::{Bytes, Reader, bytes_of_enum, bytes_of_struct, unknown};

use crate::names::Level;
pub use snapshot::SnapshotError;

/// The format of everything here.
const FORMAT: u8 = 1;

/// What this build knows: commands of this level and of all before it.
///
/// | level | since then |
/// |---|---|
/// | 1 | the first |
/// | 2 | names of retired nodes are remembered |
pub const LEVEL: Level = 2;

/// A value with its format in front, and nothing behind it.
fn encode(value: &impl Bytes, out: &mut Vec<u8>) {
    fulmar_bytes::encode(FORMAT, value, out);
}

fn decode<T: Bytes>(bytes: &[u8]) -> Result<T, BytesError> {
    fulmar_bytes::decode(FORMAT, bytes)
}
