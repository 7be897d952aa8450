//! Letters between the stores of nodes: bytes in order on connections of their own, at most once, lost at most where a
//! connection is.
//!
//! [`Mail`] is what a store's thread writes to and [`ArrivalQueue`] what it reads; neither ever makes it wait. Each
//! connection has a task: `write` those that this node has dialled, `read` those that others have. Who is dialled and
//! accepted is decided by the pure `Peers`, what stands on a connection by `fulmar_cluster::letters`.

mod accept;
mod arrivals;
mod dial;
mod mail;
mod outbox;
mod read;
mod silence;
mod tally;
#[cfg(test)]
mod tests;
mod write;

pub(super) use accept::Incoming;
pub(crate) use arrivals::{Arrival, ArrivalQueue};
pub(crate) use mail::Mail;
pub(super) use silence::Patience;
pub(crate) use tally::TallyView;
