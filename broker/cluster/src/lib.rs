//! What nodes say to each other, as pure values: link frames and states, interest, retained versions.
//!
//! Every two nodes are linked by *lanes*, connections that belong to one data thread on each side: as many as the node
//! with more threads has, lane `i` to thread `i` modulo its threads. The control side of a broker finds peers, dials
//! and greets them; then the socket is the data thread's.
//!
//! - [`frame`]: the bytes of a lane. [`lane`]: who owes whom what, across lost connections. [`heartbeat`]: silence.
//! - [`interest`]: which node wants which filters, and when a SUBACK may go out.
//! - [`discovery`], [`peers`], [`dial`], [`hello`], [`readiness`]: the control side: who is found, dialled, greeted,
//!   accepted and waited for.
//! - [`letters`]: what the stores of nodes write to each other, on connections of their own.
//! - [`clock`] and [`claims`]: which of two events on different nodes is the later one.
//!
//! Nothing here does I/O, reads a clock or draws a random number.

pub mod claims;
pub mod clock;
pub mod dial;
pub mod discovery;
pub mod frame;
pub mod heartbeat;
pub mod hello;
pub mod interest;
pub mod lane;
pub mod letters;
pub mod peers;
pub mod readiness;
mod wire;

pub use clock::{Clock, NodeId, Version};
