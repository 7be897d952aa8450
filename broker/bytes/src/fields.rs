//! Structs and enums as lists of their fields.

/// A struct is its fields, one after the other.
#[macro_export]
macro_rules! bytes_of_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::Bytes for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($crate::Bytes::put($field, out);)*
            }

            fn get(reader: &mut $crate::Reader<'_>) -> Result<Self, $crate::BytesError> {
                Ok(Self { $($field: $crate::Bytes::get(reader)?),* })
            }
        }
    };
}

/// An enum is the number of its variant, and its fields. `$unknown` makes the error of a number that is none.
#[macro_export]
macro_rules! bytes_of_enum {
    ($name:ty, $unknown:expr, {
        $($number:literal => $variant:ident $(($($item:ident),*))? $({ $($field:ident),* })?,)*
    }) => {
        impl $crate::Bytes for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $(($($item),*))? $({ $($field),* })? => {
                        out.push($number);
                        $($($crate::Bytes::put($item, out);)*)?
                        $($($crate::Bytes::put($field, out);)*)?
                    })*
                }
            }

            fn get(reader: &mut $crate::Reader<'_>) -> Result<Self, $crate::BytesError> {
                Ok(match <u8 as $crate::Bytes>::get(reader)? {
                    $($number => {
                        $($(let $item = $crate::Bytes::get(reader)?;)*)?
                        $($(let $field = $crate::Bytes::get(reader)?;)*)?
                        Self::$variant $(($($item),*))? $({ $($field),* })?
                    })*
                    found => return Err($unknown(found)),
                })
            }
        }
    };
}

/// The error of an enum's unknown variant.
#[macro_export]
macro_rules! unknown {
    ($what:literal) => {
        |found| $crate::BytesError::Unknown { what: $what, found }
    };
}
