//! What is between clients and the simulated cluster: a client is a value that the world calls, and that says what it
//! wants. Bytes are those of MQTT.

use crate::{History, Time};

/// To which node a connection is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// Any that runs, as a service chooses.
    Anywhere,
    /// Any that runs, but if possible not the one that the last connection went to.
    Elsewhere,
}

/// What a client wants. It is done in this order: send, close, connect, wake. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants {
    /// The connection is closed after the bytes in `send` of this same answer. [`Actor::closed`] is not called for
    /// it, and nothing that arrives on it is given to the client any more.
    pub close: bool,
    /// A connection is wanted: [`Actor::connected`] or [`Actor::closed`] tells what became of it. Ignored while there is
    /// one or while one is on its way, unless it is closed by this same answer.
    pub connect: Option<Where>,
    /// Goes over the connection that there was when the client was called. Lost if there was none.
    pub send: Vec<u8>,
    /// When to call [`Actor::wake`] at the latest. It replaces what was wanted before; none: what was wanted before counts.
    pub wake_at: Option<Time>,
}

/// What a run is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Faults happen.
    Faults,
    /// The last fault is over: a client begins nothing new (no publish, no change of subscriptions), but has a connection,
    /// finishes what it began, and takes what is there for it.
    Heals,
}

/// A client.
pub trait Actor {
    /// Names it in traces.
    fn name(&self) -> &str;

    /// The run begins, when the cluster has formed. Called once, before all else.
    fn begin(&mut self, now: Time, history: &mut History) -> Wants;

    /// The connection that was wanted is there; nothing was sent on it. `node` is the place of the node in the run.
    fn connected(&mut self, node: usize, now: Time, history: &mut History) -> Wants;

    /// These bytes arrived.
    fn received(&mut self, bytes: &[u8], now: Time, history: &mut History) -> Wants;

    /// The connection ended without the client's doing, or did not come to be.
    fn closed(&mut self, now: Time, history: &mut History) -> Wants;

    /// It is as late as was wanted.
    fn wake(&mut self, now: Time, history: &mut History) -> Wants;

    /// The run goes over to another phase.
    fn enter(&mut self, phase: Phase, now: Time, history: &mut History) -> Wants;

    /// Whether all that it began is finished, as far as it can know: it is connected, no acknowledgement is missing. A run
    /// ends when all clients have been at rest, and have received nothing, for a while.
    fn is_at_rest(&self) -> bool;
}
