//! MQTT 3.1.1, by the chapters of the standard. What it says as 5.0 does is tested by the same functions, which then
//! speak 3.1.1: no properties, no DISCONNECT from the server, and only what its codes can say.

pub mod connect;
pub mod messages;

use crate::Statement;
use crate::corner::{choices, sessions, windows};

/// Every test of MQTT 3.1.1.
pub fn all() -> Vec<Statement> {
    [connect::TESTS, messages::TESTS, sessions::TESTS, windows::TESTS, choices::TESTS].concat()
}
