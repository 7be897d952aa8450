//! What will happen, in the order of time.

use crate::Time;
use crate::network::WireId;

/// A part of a node that takes turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// The control side: links.
    Control,
    /// The store's thread.
    Store,
    /// A data thread.
    Thread(u16),
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A part of a process has its turn, or ends it.
    Turn { slot: usize, run: u64, part: Part },
    /// Something arrives at a side of a connection.
    Arrive { wire: WireId, side: usize },
    /// An attempt of a client to connect has taken too long.
    Patience { actor: usize, wire: WireId },
    /// A client is called.
    Wake { actor: usize },
    /// A client finds no node.
    Refuse { actor: usize },
    /// The next step of the plan.
    Plan,
    /// A process is started.
    Start { slot: usize },
    /// A process goes on.
    GoOn { slot: usize },
    /// The run is looked at.
    Look,
}

/// See the [module](self).
pub(crate) type Agenda = fulmar_harness::Agenda<Time, Event>;

/// When a part is to have its next turn: at the earliest time that anybody wanted.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Planned(Option<Time>);

impl Planned {
    /// The part is to have a turn by then.
    pub(crate) fn wake(&mut self, at: Time, event: Event, agenda: &mut Agenda) {
        if self.0.is_none_or(|planned| at < planned) {
            self.0 = Some(at);
            agenda.at(at, event);
        }
    }

    /// Whether an event is the one that was planned last.
    pub(crate) fn is_due(&mut self, now: Time) -> bool {
        self.0.take_if(|planned| *planned <= now).is_some()
    }
}
