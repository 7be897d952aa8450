//! AUTH (MQTT 5.0, 3.15): a step of an extended authentication. MQTT 3.1.1 has no such packet.

use crate::forward::UserProperties;
use crate::packet::{PacketType, Sender};
use crate::property::{Property, PropertyReader};
use crate::reader::Reader;
use crate::write::{PropertyList, put_header};
use crate::{DecodeError, ReasonCode};

/// A step of an extended authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, from a server only; continue; or re-authenticate, from a client only.
    pub reason: ReasonCode,
    /// The method, the one of CONNECT. Absent only in the shortest form of success.
    pub method: Option<&'a str>,
    /// What the method wants to say.
    pub data: Option<&'a [u8]>,
    /// Words for a person who looks for the cause.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    /// A step of a method, without data.
    pub const fn new(reason: ReasonCode, method: Option<&'a str>) -> Self {
        Self { reason, method, data: None, reason_string: None, user: UserProperties::EMPTY }
    }

    pub(crate) fn decode(body: &'a [u8], sender: Sender) -> Result<Self, DecodeError> {
        let packet = PacketType::Auth;
        let mut reader = Reader::new(body);
        // No body at all is success without properties (MQTT 5.0, 3.15.2.1).
        let short = reader.is_empty();
        let reason = if short { ReasonCode::SUCCESS } else { ReasonCode::new(reader.byte("reason code")?) };
        let mut auth = Self::new(reason, None);
        match (reason, sender) {
            (ReasonCode::CONTINUE_AUTHENTICATION, _)
            | (ReasonCode::SUCCESS, Sender::Server)
            | (ReasonCode::REAUTHENTICATE, Sender::Client) => {}
            _ => return Err(DecodeError::ReasonCodeNotAllowed { packet, found: reason.value() }),
        }
        if short {
            return Ok(auth);
        }
        let mut properties = PropertyReader::new(&mut reader, packet.name())?;
        while let Some(property) = properties.next()? {
            match property {
                Property::AuthenticationMethod(method) => auth.method = Some(method),
                Property::AuthenticationData(data) => auth.data = Some(data),
                Property::ReasonString(text) => auth.reason_string = Some(text),
                Property::User(..) => auth.user = UserProperties::of_block(properties.block()),
                other => return Err(properties.refuse(&other)),
            }
        }
        reader.finish(packet)?;
        match auth.method {
            Some(_) => Ok(auth),
            None => Err(DecodeError::NoAuthenticationMethod { packet }),
        }
    }
}

/// Appends an AUTH.
pub fn encode_auth(out: &mut Vec<u8>, auth: &Auth<'_>) {
    let Auth { reason, method, data, reason_string, user } = *auth;
    let first = PacketType::Auth.first_byte();
    let properties = PropertyList::new(
        [
            method.map(Property::AuthenticationMethod),
            data.map(Property::AuthenticationData),
            reason_string.map(Property::ReasonString),
        ],
        user,
    );
    if reason == ReasonCode::SUCCESS && properties.is_empty() {
        out.extend_from_slice(&[first, 0]);
        return;
    }
    put_header(out, first, 1 + properties.length());
    out.push(reason.value());
    properties.write_to(out);
}
