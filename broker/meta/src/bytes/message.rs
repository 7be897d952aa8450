//! Messages: format, kind of message by the type that is asked for, fields.

use super::{BytesError, bytes_of_enum, bytes_of_struct, decode, encode, unknown};
use crate::message::{Advice, Answer, Goodbye, Grant, Renewal};

macro_rules! message {
    ($($name:ident),*) => {$(
        impl $name {
            /// Appends the message.
            pub fn encode(&self, out: &mut Vec<u8>) {
                encode(self, out);
            }

            /// Reads what [`encode`](Self::encode) wrote, and nothing else.
            pub fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
                decode(bytes)
            }
        }
    )*};
}

message!(Renewal, Grant, Goodbye, Answer);

bytes_of_struct!(Renewal { member, number, unreachable });
bytes_of_struct!(Grant { member, number, view });
bytes_of_struct!(Goodbye { member });
bytes_of_struct!(Answer { advice, text });
bytes_of_enum!(Advice, unknown!("advice"), {
    1 => Done,
    2 => Retry,
    3 => NextLife,
    4 => StartAnew,
    5 => GiveUp,
});
