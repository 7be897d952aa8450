//! MQTT 5.0, by the chapters of the standard. What 3.1.1 says in the same way is tested by the same functions.

pub mod acks;
pub mod bytes;
pub mod connack;
pub mod connect;
pub mod delivery;
pub mod disconnect;
pub mod publish;
pub mod retain;
pub mod session;
pub mod shared;
pub mod subscribe;
pub mod topics;
pub mod unsubscribe;
pub mod will;

use crate::Statement;
use crate::corner::{aliases, choices, five, sessions, windows};

/// Every test of MQTT 5.0.
pub fn all() -> Vec<Statement> {
    [
        bytes::TESTS,
        connect::TESTS,
        session::TESTS,
        will::TESTS,
        connack::TESTS,
        retain::TESTS,
        publish::TESTS,
        acks::TESTS,
        subscribe::TESTS,
        unsubscribe::TESTS,
        disconnect::TESTS,
        delivery::TESTS,
        topics::TESTS,
        shared::TESTS,
        aliases::TESTS,
        five::TESTS,
        sessions::TESTS,
        windows::TESTS,
        choices::TESTS,
    ]
    .concat()
}
