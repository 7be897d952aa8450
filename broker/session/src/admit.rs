//! Whether a client is let in, and on what terms: the rules of CONNECT that are matters of policy and not of bytes.

use std::num::NonZeroU32;

use fulmar_codec::{
    ConnAck, ConnAckProperties, Connect, QoS, ReasonCode, UserProperties, Version, check_topic_name, connack_length,
};

use crate::limit::{Excess, Limit};
use crate::limits::Limits;
use crate::will::Will;

/// Who a client is. A session is resumed by the identity that made it and by no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Nobody vouches for the client.
    Anonymous,
    /// The user that authentication named.
    User(Box<str>),
}

/// What the listener asks of its clients.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// Clients may connect without proving who they are.
    pub allow_anonymous: bool,
    /// The bounds of their sessions.
    pub limits: &'a Limits,
    /// The extended authentication that the client has gone through.
    pub authentication: Option<Authentication<'a>>,
}

/// An extended authentication that has succeeded (MQTT 5.0, 4.12).
#[derive(Debug, Clone, Copy)]
pub struct Authentication<'a> {
    /// The method of CONNECT.
    pub method: &'a str,
    /// What goes into CONNACK.
    pub data: &'a [u8],
}

/// A client that is let in, and the terms of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The version of the connection.
    pub version: Version,
    /// The client is a bridge to another broker.
    pub bridge: bool,
    /// The client's name for itself, or the one that we made up.
    pub client_id: Box<str>,
    /// We made it up.
    pub client_id_assigned: bool,
    /// Who the client is.
    pub identity: Identity,
    /// An existing session is to be ended, not resumed.
    pub clean_start: bool,
    /// The keep alive that holds, in seconds; 0: none.
    pub keep_alive_seconds: u16,
    /// It is not the one that the client asked for.
    pub keep_alive_changed: bool,
    /// How long the session outlives its connection, in seconds; `u32::MAX`: for ever.
    pub session_expiry_seconds: u32,
    /// It is not what the client asked for.
    pub session_expiry_changed: bool,
    /// How many publishes of QoS 1 and 2 may be open with the client.
    pub receive_maximum: u16,
    /// The longest packet that the client takes.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// How many topic aliases the client keeps.
    pub topic_alias_max: u16,
    /// What to publish when it is gone.
    pub will: Option<Box<Will>>,
    /// Method and data of the extended authentication, for CONNACK.
    pub authentication: Option<Box<(String, Vec<u8>)>>,
}

/// Lets a client in or says why not, with the code for CONNACK.
///
/// `identity` is what authentication found. `assign` makes up a name that nobody has for a client without one.
pub fn admit(
    connect: &Connect<'_>,
    policy: Policy<'_>,
    identity: Identity,
    assign: impl FnOnce() -> Box<str>,
) -> Result<Admitted, ReasonCode> {
    let Policy { allow_anonymous, limits, authentication } = policy;
    // A method that nobody has gone through with (MQTT 5.0, 4.12.0-1).
    if connect.authentication_method != authentication.map(|authentication| authentication.method) {
        return Err(ReasonCode::BAD_AUTHENTICATION_METHOD);
    }
    if identity == Identity::Anonymous && !allow_anonymous {
        return Err(ReasonCode::NOT_AUTHORIZED);
    }
    let client_id_assigned = connect.client_id.is_empty();
    if client_id_assigned {
        // In MQTT 3.1.1 a nameless client has no session to come back to (3.1.3-8).
        if connect.version == Version::V311 && !connect.clean_start {
            return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
        }
    } else if connect.client_id.len() > limits.client_id_bytes_max || connect.client_id.contains(char::is_control) {
        return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
    }
    if let Some(will) = &connect.will {
        check_will(will, limits)?;
    }
    let keep_alive_seconds = decide_keep_alive(connect, limits);
    let session_expiry_seconds = connect.session_expiry.min(limits.session_expiry_seconds_max);
    let admitted = Admitted {
        version: connect.version,
        bridge: connect.bridge,
        client_id: if client_id_assigned { assign() } else { connect.client_id.into() },
        client_id_assigned,
        identity,
        clean_start: connect.clean_start,
        keep_alive_seconds,
        keep_alive_changed: keep_alive_seconds != connect.keep_alive,
        session_expiry_seconds,
        session_expiry_changed: session_expiry_seconds != connect.session_expiry,
        receive_maximum: connect.receive_maximum.get(),
        packet_bytes_max: connect.packet_bytes_max,
        topic_alias_max: connect.topic_alias_max,
        will: connect.will.as_ref().map(|will| Box::new(Will::new(will))),
        authentication: authentication.map(|Authentication { method, data }| Box::new((method.into(), data.into()))),
    };
    // Who cannot be told the terms cannot be let in (MQTT 5.0, 3.1.2.11.4).
    let packet_bytes_max = connect.packet_bytes_max.map_or(u32::MAX, NonZeroU32::get);
    if connack_length(&admitted.connack(false, limits)) > packet_bytes_max as usize {
        return Err(ReasonCode::PACKET_TOO_LARGE);
    }
    Ok(admitted)
}

/// Whether a CONNECT keeps to the bounds on what it carries. To be asked before anything is done about it.
pub fn check_connect(connect: &Connect<'_>, limits: &Limits) -> Result<(), Excess> {
    let exceed = |user: UserProperties<'_>| user.exceed(limits.user_properties_max);
    if exceed(connect.user) || connect.will.is_some_and(|will| exceed(will.forward.user_properties())) {
        return Err(Excess::of_quota(Limit::UserProperties));
    }
    let Some(will) = &connect.will else { return Ok(()) };
    if will.topic.len() + will.forward.len() + will.payload.len() > limits.will_bytes_max {
        return Err(Excess::of_quota(Limit::WillBytes));
    }
    match check_topic_name(will.topic, limits.topic) {
        Ok(()) => Ok(()),
        Err(error) => match Limit::of_topic(&error) {
            Some(limit) => Err(Excess { limit, reason: error.reason() }),
            // The grammar is looked at by `admit`.
            None => Ok(()),
        },
    }
}

impl Admitted {
    /// The CONNACK that tells the terms.
    pub(crate) fn connack<'a>(&'a self, session_present: bool, limits: &Limits) -> ConnAck<'a> {
        let properties = ConnAckProperties {
            session_expiry: self.session_expiry_changed.then_some(self.session_expiry_seconds),
            receive_maximum: limits.inflight_max,
            qos_max: limits.qos_max,
            retain_available: limits.retain_available,
            packet_bytes_max: NonZeroU32::new(limits.packet_bytes_max),
            assigned_client_id: self.client_id_assigned.then_some(&*self.client_id),
            topic_alias_max: limits.topic_aliases_max,
            server_keep_alive: self.keep_alive_changed.then_some(self.keep_alive_seconds),
            authentication_method: self.authentication.as_deref().map(|(method, _)| method.as_str()),
            authentication_data: self
                .authentication
                .as_deref()
                .map(|(_, data)| data.as_slice())
                .filter(|data| !data.is_empty()),
            ..ConnAckProperties::NONE
        };
        ConnAck { session_present, reason: ReasonCode::SUCCESS, properties }
    }
}

fn check_will(will: &fulmar_codec::Will<'_>, limits: &Limits) -> Result<(), ReasonCode> {
    check_topic_name(will.topic, limits.topic).map_err(|error| error.reason())?;
    check_publishable(will.qos, will.retain, limits)
}

/// What we said in CONNACK that we do not take, we do not take (MQTT 5.0, 3.2.2.3.4 and 3.2.2.3.5).
#[inline]
pub(crate) fn check_publishable(qos: QoS, retain: bool, limits: &Limits) -> Result<(), ReasonCode> {
    if qos > limits.qos_max {
        return Err(ReasonCode::QOS_NOT_SUPPORTED);
    }
    if retain && !limits.retain_available {
        return Err(ReasonCode::RETAIN_NOT_SUPPORTED);
    }
    Ok(())
}

/// A client without a keep alive asks for the longest there is. Only MQTT 5.0 can tell it of another (3.2.2.3.14).
fn decide_keep_alive(connect: &Connect<'_>, limits: &Limits) -> u16 {
    match (connect.version, limits.keep_alive_seconds_max) {
        (Version::V5, Some(max)) if connect.keep_alive == 0 || connect.keep_alive > max.get() => max.get(),
        _ => connect.keep_alive,
    }
}
