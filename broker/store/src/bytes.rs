//! Entries, replies, snapshots and questions as bytes.
//!
//! Integers are big-endian; text, lists and payloads come after their length; an enum begins with the number of its
//! variant. Every list of fields stands once, in [`ask`], [`entry`], [`reply`] or [`snapshot`], and is both written and
//! read by it, so the two can't differ. Fields are never inserted: what is new gets a new variant and a new [`LEVEL`].
//!
//! Reading checks everything against the bytes that are there and allocates no more than a fixed multiple of them.

mod ask;
mod entry;
mod intake;
mod load;
mod reply;
mod snapshot;

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::sync::Arc;

use fulmar_codec::{PacketId, QoS};
use thiserror::Error;

pub use intake::{Intake, NewMessage, NewPlace, NewSession};
pub use load::{Loader, SnapshotError};
pub use snapshot::Snapshot;

/// The format of entries, replies, questions and chunks of snapshots.
const FORMAT: u8 = 3;

/// What this build knows: commands of this level and of all before it.
pub const LEVEL: u16 = 1;

/// What is wrong with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BytesError {
    /// Of another format.
    #[error("format {found}, only {wanted} is known")]
    Format {
        /// What it says.
        found: u8,
        /// The one that is known.
        wanted: u8,
    },
    /// From a build that knows more.
    #[error("command {found} is unknown to feature level {level}")]
    UnknownCommand {
        /// The number of the command.
        found: u8,
        /// What this build knows.
        level: u16,
    },
    /// A variant that nobody defined.
    #[error("unknown {what} {found}")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// Its number.
        found: u8,
    },
    /// They end too early.
    #[error("{wanted} bytes are wanted at byte {at}, found {found}")]
    Truncated {
        /// Where.
        at: usize,
        /// How many.
        wanted: usize,
        /// What is left.
        found: usize,
    },
    /// They end too late.
    #[error("{found} bytes follow the end")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// Text that is none.
    #[error("text at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Where it begins.
        at: usize,
    },
    /// A value that is not among those allowed.
    #[error("{what} is {found}, which is not allowed")]
    Value {
        /// Of what.
        what: &'static str,
        /// The value.
        found: u64,
    },
}

/// Reads values from the front of borrowed bytes.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Of bytes that say their format first.
    fn new(bytes: &'a [u8]) -> Result<Self, BytesError> {
        Self::of_format(FORMAT, bytes)
    }

    /// The same of another format.
    fn of_format(wanted: u8, bytes: &'a [u8]) -> Result<Self, BytesError> {
        let mut reader = Self { bytes, at: 0 };
        match u8::get(&mut reader)? {
            found if found == wanted => Ok(reader),
            found => Err(BytesError::Format { found, wanted }),
        }
    }

    fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take(&mut self, wanted: usize) -> Result<&'a [u8], BytesError> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..wanted) else {
            return Err(BytesError::Truncated { at: self.at, wanted, found: rest.len() });
        };
        self.at += wanted;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BytesError> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }

    fn finish(self) -> Result<(), BytesError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            found => Err(BytesError::Trailing { found }),
        }
    }
}

/// What can be written, and read again.
trait Bytes: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError>;
}

/// A struct is its fields, one after the other.
macro_rules! bytes_of_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl Bytes for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.put(out);)*
            }
            fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
                Ok(Self { $($field: Bytes::get(reader)?),* })
            }
        }
    };
}

/// An enum is the number of its variant, and its fields. `$unknown` makes the error of a number that is none.
macro_rules! bytes_of_enum {
    ($name:ty, $unknown:expr, {
        $($number:literal => $variant:ident $(($($item:ident),*))? $({ $($field:ident),* })?,)*
    }) => {
        impl Bytes for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $(($($item),*))? $({ $($field),* })? => {
                        out.push($number);
                        $($($item.put(out);)*)?
                        $($($field.put(out);)*)?
                    })*
                }
            }
            fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
                Ok(match u8::get(reader)? {
                    $($number => {
                        $($(let $item = Bytes::get(reader)?;)*)?
                        $($(let $field = Bytes::get(reader)?;)*)?
                        Self::$variant $(($($item),*))? $({ $($field),* })?
                    })*
                    found => return Err($unknown(found)),
                })
            }
        }
    };
}

/// The error of an enum's unknown variant.
macro_rules! unknown {
    ($what:literal) => {
        |found| BytesError::Unknown { what: $what, found }
    };
}

use {bytes_of_enum, bytes_of_struct, unknown};

macro_rules! bytes_of_integer {
    ($($name:ident),*) => {$(
        impl Bytes for $name {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
                reader.array().map(Self::from_be_bytes)
            }
        }
    )*};
}

bytes_of_integer!(u8, u16, u32, u64);

impl Bytes for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        match u8::get(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(BytesError::Value { what: "yes or no", found: found.into() }),
        }
    }
}

/// Appends a length, of text or of a list. What is to be written is in memory and came in packets, so it is short
/// enough.
fn put_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).expect("no text or list of an entry comes near 4 GB").put(out);
}

fn get_length(reader: &mut Reader<'_>) -> Result<usize, BytesError> {
    Ok(u32::get(reader)? as usize)
}

impl Bytes for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let length = get_length(reader)?;
        let at = reader.at;
        let text = str::from_utf8(reader.take(length)?).map_err(|_| BytesError::NotUtf8 { at })?;
        Ok(text.into())
    }
}

impl<T: Bytes> Bytes for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        if bool::get(reader)? { T::get(reader).map(Some) } else { Ok(None) }
    }
}

impl<T: Bytes> Bytes for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }

    /// Grows with what is really there, whatever length was written: each item takes a byte at least.
    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let length = get_length(reader)?;
        (0..length).map(|_| T::get(reader)).collect()
    }
}

impl<T: Bytes> Bytes for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        T::get(reader).map(Self::new)
    }
}

/// As a list that may grow.
impl<T: Bytes> Bytes for Box<[T]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        Vec::get(reader).map(Vec::into_boxed_slice)
    }
}

impl<A: Bytes, B: Bytes> Bytes for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        Ok((A::get(reader)?, B::get(reader)?))
    }
}

impl<A: Bytes, B: Bytes> Bytes for Result<A, B> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_ok().put(out);
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        if bool::get(reader)? { A::get(reader).map(Ok) } else { B::get(reader).map(Err) }
    }
}

impl Bytes for QoS {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.level());
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let found = u8::get(reader)?;
        QoS::new(found).ok_or(BytesError::Value { what: "quality of service", found: found.into() })
    }
}

impl Bytes for PacketId {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        PacketId::new(u16::get(reader)?).ok_or(BytesError::Value { what: "packet identifier", found: 0 })
    }
}

impl Bytes for NonZeroU16 {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        NonZeroU16::new(u16::get(reader)?).ok_or(BytesError::Value { what: "receive maximum or bound of it", found: 0 })
    }
}

impl Bytes for NonZeroU64 {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        NonZeroU64::new(u64::get(reader)?).ok_or(BytesError::Value { what: "shared subscription", found: 0 })
    }
}

impl Bytes for NonZeroU32 {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        NonZeroU32::new(u32::get(reader)?).ok_or(BytesError::Value { what: "subscription identifier", found: 0 })
    }
}
