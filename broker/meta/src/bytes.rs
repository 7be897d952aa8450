//! Entries, snapshots and messages as bytes.
//!
//! Integers are big-endian; text and lists come after their length; an enum begins with the number of its variant.
//! Every list of fields stands once and is both written and read by it, so the two can't differ. Fields are never
//! inserted: what is new gets a new variant and a new [`LEVEL`].
//!
//! Reading checks everything against the bytes that are there and allocates no more than a fixed multiple of them.

mod entry;
mod message;

mod snapshot;

use std::collections::BTreeSet;

use thiserror::Error;

use crate::names::Level;
pub use snapshot::SnapshotError;

/// The format of everything here.
const FORMAT: u8 = 1;

/// What this build knows: commands of this level and of all before it.
pub const LEVEL: Level = 1;

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
        level: Level,
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
    /// A list that is no set.
    #[error("{what} are not in order, or twice the same")]
    Disorder {
        /// Of what.
        what: &'static str,
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
        let mut reader = Self { bytes, at: 0 };
        match u8::get(&mut reader)? {
            FORMAT => Ok(reader),
            found => Err(BytesError::Format { found, wanted: FORMAT }),
        }
    }

    fn take(&mut self, wanted: usize) -> Result<&'a [u8], BytesError> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..wanted) else {
            return Err(BytesError::Truncated { at: self.at, wanted, found: rest.len() });
        };
        self.at += wanted;
        Ok(taken)
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

/// A value with its format in front, and nothing behind it.
fn encode<T: Bytes>(value: &T, out: &mut Vec<u8>) {
    FORMAT.put(out);
    value.put(out);
}

fn decode<T: Bytes>(bytes: &[u8]) -> Result<T, BytesError> {
    let mut reader = Reader::new(bytes)?;
    let value = T::get(&mut reader)?;
    reader.finish()?;
    Ok(value)
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
    ($name:ident, $unknown:expr, {
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
                let bytes = reader.take(size_of::<Self>())?;
                Ok(Self::from_be_bytes(bytes.try_into().expect("so many were taken")))
            }
        }
    )*};
}

bytes_of_integer!(u8, u16, u32, u64, u128);

/// Appends a length, of text or of a list.
fn put_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).expect("no text or list comes near 4 GB").put(out);
}

fn get_length(reader: &mut Reader<'_>) -> Result<usize, BytesError> {
    Ok(u32::get(reader)? as usize)
}

impl Bytes for Box<str> {
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
        u8::from(self.is_some()).put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        match u8::get(reader)? {
            0 => Ok(None),
            1 => T::get(reader).map(Some),
            found => Err(BytesError::Unknown { what: "presence", found }),
        }
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

/// In order, so that equal sets are equal bytes.
impl<T: Bytes + Ord> Bytes for BTreeSet<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let items: Vec<T> = Bytes::get(reader)?;
        if items.is_sorted_by(|before, after| before < after) {
            Ok(items.into_iter().collect())
        } else {
            Err(BytesError::Disorder { what: "items of a set" })
        }
    }
}
