//! Numbers, text, lists and what else the standard library has.

use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::sync::Arc;

use crate::{Bytes, BytesError, Reader};

macro_rules! bytes_of_integer {
    ($($name:ident),*) => {$(
        impl Bytes for $name {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            #[inline]
            fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
                reader.array().map(Self::from_be_bytes)
            }
        }
    )*};
}

bytes_of_integer!(u8, u16, u32, u64, u128);

macro_rules! bytes_of_non_zero {
    ($($name:ident: $integer:ident),*) => {$(
        impl Bytes for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.get().put(out);
            }

            fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
                Self::new($integer::get(reader)?).ok_or(BytesError::Value { what: "number that counts from 1", found: 0 })
            }
        }
    )*};
}

bytes_of_non_zero!(NonZeroU16: u16, NonZeroU32: u32, NonZeroU64: u64);

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

/// Appends the length of text, of a list or of a part.
///
/// # Panics
/// From 4 GB on: what is to be written is in memory and came in packets, which have at most 256 MB (MQTT 5.0, 1.5.5).
pub fn put_length(length: usize, out: &mut Vec<u8>) {
    as_length(length).put(out);
}

/// Appends a part, which tells its own bytes, after its length: see [`Reader::part`].
///
/// # Panics
/// As [`put_length`] does.
pub fn put_part(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    put_length(0, out);
    encode(out);
    let start = at + size_of::<u32>();
    let length = as_length(out.len() - start);
    out[at..start].copy_from_slice(&length.to_be_bytes());
}

fn as_length(length: usize) -> u32 {
    u32::try_from(length).expect("no text, list or part comes near 4 GB")
}

fn put_list<'a, T: Bytes + 'a>(items: impl ExactSizeIterator<Item = &'a T>, out: &mut Vec<u8>) {
    put_length(items.len(), out);
    items.for_each(|item| item.put(out));
}

macro_rules! bytes_of_text {
    ($($name:ty),*) => {$(
        impl Bytes for $name {
            fn put(&self, out: &mut Vec<u8>) {
                put_length(self.len(), out);
                out.extend_from_slice(self.as_bytes());
            }

            fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
                let length = reader.length()?;
                reader.utf8(length).map(Self::from)
            }
        }
    )*};
}

bytes_of_text!(Arc<str>, Box<str>);

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

impl<A: Bytes, B: Bytes> Bytes for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        Ok((A::get(reader)?, B::get(reader)?))
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

impl<T: Bytes> Bytes for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), out);
    }

    /// Grows with what is really there, whatever length was written: each item takes a byte at least.
    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let length = reader.length()?;
        (0..length).map(|_| T::get(reader)).collect()
    }
}

/// As a list that may grow.
impl<T: Bytes> Bytes for Box<[T]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        Vec::get(reader).map(Vec::into_boxed_slice)
    }
}

/// In order, so that equal sets are equal bytes.
impl<T: Bytes + Ord> Bytes for BTreeSet<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), out);
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
