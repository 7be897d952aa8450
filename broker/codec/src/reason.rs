//! Reason codes: how a request ended (MQTT 5.0, 2.4), and what the few return codes of 3.1.1 make of them.

use std::fmt;

/// A reason code of MQTT 5.0. Codes from 0x80 on are errors.
///
/// Any byte fits; which codes a packet may carry is checked when the packet is decoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ReasonCode(u8);

macro_rules! reason_codes {
    ($($value:literal $constant:ident $name:literal;)+) => {
        impl ReasonCode {
            $(#[doc = concat!("`", stringify!($value), "`: ", $name, ".")] pub const $constant: Self = Self($value);)+

            /// The name that the specification gives the code, in lower case.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($value => $name,)+
                    _ => "unknown reason code",
                }
            }
        }
    };
}

reason_codes! {
    0x00 SUCCESS "success";
    0x01 GRANTED_QOS_1 "granted QoS 1";
    0x02 GRANTED_QOS_2 "granted QoS 2";
    0x04 DISCONNECT_WITH_WILL "disconnect with will message";
    0x10 NO_MATCHING_SUBSCRIBERS "no matching subscribers";
    0x11 NO_SUBSCRIPTION_EXISTED "no subscription existed";
    0x18 CONTINUE_AUTHENTICATION "continue authentication";
    0x19 REAUTHENTICATE "re-authenticate";
    0x80 UNSPECIFIED_ERROR "unspecified error";
    0x81 MALFORMED_PACKET "malformed packet";
    0x82 PROTOCOL_ERROR "protocol error";
    0x83 IMPLEMENTATION_SPECIFIC_ERROR "implementation specific error";
    0x84 UNSUPPORTED_PROTOCOL_VERSION "unsupported protocol version";
    0x85 CLIENT_IDENTIFIER_NOT_VALID "client identifier not valid";
    0x86 BAD_USER_NAME_OR_PASSWORD "bad user name or password";
    0x87 NOT_AUTHORIZED "not authorized";
    0x88 SERVER_UNAVAILABLE "server unavailable";
    0x89 SERVER_BUSY "server busy";
    0x8a BANNED "banned";
    0x8b SERVER_SHUTTING_DOWN "server shutting down";
    0x8c BAD_AUTHENTICATION_METHOD "bad authentication method";
    0x8d KEEP_ALIVE_TIMEOUT "keep alive timeout";
    0x8e SESSION_TAKEN_OVER "session taken over";
    0x8f TOPIC_FILTER_INVALID "topic filter invalid";
    0x90 TOPIC_NAME_INVALID "topic name invalid";
    0x91 PACKET_IDENTIFIER_IN_USE "packet identifier in use";
    0x92 PACKET_IDENTIFIER_NOT_FOUND "packet identifier not found";
    0x93 RECEIVE_MAXIMUM_EXCEEDED "receive maximum exceeded";
    0x94 TOPIC_ALIAS_INVALID "topic alias invalid";
    0x95 PACKET_TOO_LARGE "packet too large";
    0x96 MESSAGE_RATE_TOO_HIGH "message rate too high";
    0x97 QUOTA_EXCEEDED "quota exceeded";
    0x98 ADMINISTRATIVE_ACTION "administrative action";
    0x99 PAYLOAD_FORMAT_INVALID "payload format invalid";
    0x9a RETAIN_NOT_SUPPORTED "retain not supported";
    0x9b QOS_NOT_SUPPORTED "QoS not supported";
    0x9c USE_ANOTHER_SERVER "use another server";
    0x9d SERVER_MOVED "server moved";
    0x9e SHARED_SUBSCRIPTIONS_NOT_SUPPORTED "shared subscriptions not supported";
    0x9f CONNECTION_RATE_EXCEEDED "connection rate exceeded";
    0xa0 MAXIMUM_CONNECT_TIME "maximum connect time";
    0xa1 SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED "subscription identifiers not supported";
    0xa2 WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED "wildcard subscriptions not supported";
}

impl ReasonCode {
    /// `0x00` as SUBACK says it: granted QoS 0.
    pub const GRANTED_QOS_0: Self = Self::SUCCESS;
    /// `0x00` as DISCONNECT says it: normal disconnection.
    pub const NORMAL_DISCONNECTION: Self = Self::SUCCESS;

    /// The code of that number.
    #[inline]
    pub const fn new(value: u8) -> Self {
        Self(value)
    }

    /// The number on the wire.
    #[inline]
    pub const fn value(self) -> u8 {
        self.0
    }

    /// Whether the code tells of a failure.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// The code with which SUBACK grants a quality of service.
    #[inline]
    pub const fn granted(qos: crate::QoS) -> Self {
        Self(qos.level())
    }

    /// The return code with which a 3.1.1 CONNACK says this (MQTT 3.1.1, 3.2.2.3).
    ///
    /// Nothing where no return code fits: then a 3.1.1 server closes the connection without a CONNACK.
    pub const fn to_connack_v311(self) -> Option<u8> {
        match self {
            Self::SUCCESS => Some(0),
            Self::UNSUPPORTED_PROTOCOL_VERSION => Some(1),
            Self::CLIENT_IDENTIFIER_NOT_VALID => Some(2),
            Self::UNSPECIFIED_ERROR
            | Self::IMPLEMENTATION_SPECIFIC_ERROR
            | Self::SERVER_UNAVAILABLE
            | Self::SERVER_BUSY
            | Self::SERVER_SHUTTING_DOWN
            | Self::QUOTA_EXCEEDED
            | Self::USE_ANOTHER_SERVER
            | Self::SERVER_MOVED
            | Self::CONNECTION_RATE_EXCEEDED => Some(3),
            Self::BAD_USER_NAME_OR_PASSWORD => Some(4),
            Self::NOT_AUTHORIZED | Self::BANNED | Self::BAD_AUTHENTICATION_METHOD => Some(5),
            _ => None,
        }
    }

    /// The reason code that a 3.1.1 return code stands for; nothing for the numbers reserved there.
    pub const fn from_connack_v311(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::SUCCESS),
            1 => Some(Self::UNSUPPORTED_PROTOCOL_VERSION),
            2 => Some(Self::CLIENT_IDENTIFIER_NOT_VALID),
            3 => Some(Self::SERVER_UNAVAILABLE),
            4 => Some(Self::BAD_USER_NAME_OR_PASSWORD),
            5 => Some(Self::NOT_AUTHORIZED),
            _ => None,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.name(), self.0)
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_by_its_name_and_number() {
        assert_eq!(ReasonCode::SESSION_TAKEN_OVER.to_string(), "session taken over (0x8e)");
        assert_eq!(ReasonCode::new(0x7f).to_string(), "unknown reason code (0x7f)");
    }

    #[test]
    fn errors_begin_at_0x80() {
        assert!(!ReasonCode::REAUTHENTICATE.is_error());
        assert!(ReasonCode::UNSPECIFIED_ERROR.is_error());
    }

    #[test]
    fn every_return_code_of_3_1_1_comes_back_as_itself() {
        for code in 0..=5 {
            let reason = ReasonCode::from_connack_v311(code).unwrap();
            assert_eq!(reason.to_connack_v311(), Some(code), "{reason}");
        }
        assert_eq!(ReasonCode::from_connack_v311(6), None);
        assert_eq!(ReasonCode::MALFORMED_PACKET.to_connack_v311(), None);
    }
}
