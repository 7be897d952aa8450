//! Bounds and times.

use std::time::Duration;

/// Of a courier.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Asks of one shard that are not answered.
    pub shard_asks_max: usize,
    /// Their bytes, unless it is one ask that has more.
    pub shard_bytes_max: usize,
    /// Asks of all shards that are not answered.
    pub asks_max: usize,
    /// Their bytes, unless it is one ask that has more.
    pub bytes_max: usize,
    /// Of a letter, unless it has one ask that is larger.
    pub letter_bytes_max: usize,
    /// Of what is on its way to the leader of a shard, unless it is one ask that is larger.
    pub in_flight_bytes_max: usize,
    /// Sessions of a shard that attach at a time, beside those of which something is asked: each may be sent as much as
    /// its client takes.
    pub attaches_max: usize,
    /// A data thread waits no longer.
    pub give_up_after: Duration,
    /// The first pause when nobody was there to decide. It doubles.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// A deliberate mistake, to see that the tests find it.
    #[cfg(any(test, feature = "sabotage"))]
    pub sabotage: Option<Sabotage>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shard_asks_max: 16_384,
            shard_bytes_max: 16 << 20,
            asks_max: 65_536,
            bytes_max: 64 << 20,
            letter_bytes_max: 64 << 10,
            in_flight_bytes_max: 1 << 20,
            attaches_max: 64,
            give_up_after: Duration::from_secs(10),
            pause_min: Duration::from_millis(20),
            pause_max: Duration::from_millis(500),
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        }
    }
}

/// Of a desk.
#[derive(Debug, Clone)]
pub struct DeskSettings {
    /// Of a letter, unless it has one thing told that is larger.
    pub letter_bytes_max: usize,
    /// Nodes whose runs are remembered. Of more, those are forgotten that were not heard of for longest.
    pub origins_max: usize,
    /// A deliberate mistake, to see that the tests find it.
    #[cfg(any(test, feature = "sabotage"))]
    pub sabotage: Option<Sabotage>,
}

impl Default for DeskSettings {
    fn default() -> Self {
        Self {
            letter_bytes_max: 64 << 10,
            origins_max: 256,
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        }
    }
}

/// Mistakes that the tests must notice.
#[cfg(any(test, feature = "sabotage"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Publishes get new numbers when they are sent again.
    NumberedAnew,
    /// A desk takes what is for an earlier leadership.
    OldTermTaken,
    /// A desk does not say that a leadership is over.
    EndNotTold,
    /// Sessions are not attached to the next leader.
    AttachForgotten,
    /// Deliveries of an older attachment are told.
    OldAttachmentTold,
    /// A change of subscriptions is told before an earlier one that goes again.
    ToldOutOfOrder,
    /// With a new run it is forgotten what clients were told.
    ToldAgain,
    /// What a claim has got that nobody waits for is kept.
    ClaimNotGivenUp,
}

/// Whether the test at hand asks for this mistake. Other builds have none of them.
macro_rules! sabotaged {
    ($settings:expr, $mistake:ident) => {{
        #[cfg(any(test, feature = "sabotage"))]
        let sabotaged = $settings.sabotage == Some($crate::settings::Sabotage::$mistake);
        #[cfg(not(any(test, feature = "sabotage")))]
        let sabotaged = {
            let _ = &$settings;
            false
        };
        sabotaged
    }};
}
pub(crate) use sabotaged;
