//! What has arrived for the store, in the order of `broker/src/link/letters/arrivals.rs`: control first, then bulk up to
//! a turn's bytes. That peers wait when there is no room is left out here.

use std::collections::VecDeque;

use fulmar_store::Node as Life;
use fulmar_store_node::Channel;

/// Something for the store's thread.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A new outgoing connection stands.
    Connected(Life),
    /// It does not stand any more.
    Lost(Life),
    /// A new incoming connection.
    Reset(Life),
    /// A letter.
    Letter(Life, Vec<u8>),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Arrivals([VecDeque<Arrival>; 2]);

const fn place(channel: Channel) -> usize {
    match channel {
        Channel::Control => 0,
        Channel::Bulk => 1,
    }
}

impl Arrivals {
    pub(crate) fn push(&mut self, channel: Channel, arrival: Arrival) {
        self.0[place(channel)].push_back(arrival);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(VecDeque::is_empty)
    }

    /// All of control, then bulk up to about so many bytes.
    pub(crate) fn take(&mut self, bulk_bytes_max: usize) -> Vec<(Channel, Arrival)> {
        let mut taken: Vec<_> = self.0[0].drain(..).map(|arrival| (Channel::Control, arrival)).collect();
        let mut bytes = 0;
        while bytes < bulk_bytes_max
            && let Some(arrival) = self.0[1].pop_front()
        {
            if let Arrival::Letter(_, letter) = &arrival {
                bytes += letter.len();
            }
            taken.push((Channel::Bulk, arrival));
        }
        taken
    }
}
