//! The state of one MQTT client as a pure machine: events and times in, packets and actions out.
//!
//! A [`Session`] knows the rules of MQTT 3.1.1 and 5.0 for one client: its quality of service both ways, flow control,
//! aliases, keep alive, expiry and will. It appends packets to the output buffer of its connection and says what else
//! is to be done. Reading packets is the codec's, matching them to subscribers the router's, and sockets, timers and
//! the clock are the caller's: time comes in as an argument.
//!
//! The life of a session, as its owner leads it:
//!
//! 1. [`admit`] decides on a CONNECT. [`Session::new`], or the session that there is, then [`Session::attach`].
//! 2. Packets go to `handle_*`, messages for the client to [`Session::deliver`]. After acknowledgements, and when the
//!    socket took bytes, [`Session::drain`].
//! 3. Whatever ends the connection, [`Session::connection_lost`] says how long to keep the session and what becomes of
//!    the will.

#![deny(unsafe_code)]

mod admit;
mod aliases;
mod in_flight;
mod kept;
mod limit;
mod limits;
mod mailbox;
mod message;
mod outbound_aliases;
mod packet_ids;
mod quota;
mod session;
mod subscriptions;
mod will;

pub use admit::{Admitted, Authentication, Identity, Policy, admit, check_connect};
pub use kept::SharedMessage;
pub use limit::{Excess, Limit};
pub use limits::Limits;
pub use message::{Message, Outgoing};
pub use quota::{Held, Quota, QuotaShare};
pub use session::{
    AckAction, AckToken, Deliver, Delivered, DisconnectAction, Drained, DropReason, Ended, PublishAction, Session,
    TopicSource, Written,
};
pub use subscriptions::{SubscribeAction, Subscription};
pub use will::{Will, WillFate};
