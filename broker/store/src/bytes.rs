//! Entries, replies, snapshots and questions as bytes, as `fulmar-bytes` writes and reads them.
//!
//! Every list of fields stands once, in [`ask`], [`entry`], [`reply`] or [`snapshot`]. Fields are never inserted: what is
//! new gets a new variant and a new [`LEVEL`].

mod ask;
mod entry;
mod inline;
mod intake;
mod load;
mod outbox;
mod reply;
mod snapshot;

pub use fulmar_bytes::BytesError;
use fulmar_bytes::{Bytes, Reader, bytes_of_enum, bytes_of_struct, decode, encode, unknown};

pub use inline::Inlining;
pub use intake::{Intake, NewMessage, NewPlace, NewSession};
pub use load::{Loader, SnapshotError};
pub use snapshot::Snapshot;

/// The format of entries, replies and chunks of snapshots.
const FORMAT: u8 = 4;

/// What this build knows: commands of this level and of all before it.
pub const LEVEL: u16 = 1;
