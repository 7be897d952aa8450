//! Events in the order of their time; those of one time in the order in which they were put down.

use std::collections::BTreeMap;

/// See the [module](self). Times are what the simulation counts in.
#[derive(Debug)]
pub struct Agenda<T, E> {
    events: BTreeMap<(T, u64), E>,
    put_down: u64,
}

impl<T: Ord, E> Agenda<T, E> {
    /// With nothing on it.
    pub const fn new() -> Self {
        Self { events: BTreeMap::new(), put_down: 0 }
    }

    /// Puts down an event. One that is put off comes again this way, behind those that are there already.
    pub fn at(&mut self, time: T, event: E) {
        self.put_down += 1;
        self.events.insert((time, self.put_down), event);
    }

    /// Takes the next event, and its time.
    pub fn pop(&mut self) -> Option<(T, E)> {
        self.events.pop_first().map(|((time, _), event)| (time, event))
    }
}

impl<T: Ord, E> Default for Agenda<T, E> {
    fn default() -> Self {
        Self::new()
    }
}
