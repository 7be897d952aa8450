//! The places of a port that anybody can reach and few need, for probes or for greetings of peers: how many connections
//! there may be, and who has to go.
//!
//! A connection has done something when it came, and whenever it made progress. Who has done nothing for too long goes.
//! When all places are taken, the newest beats whoever has done nothing for the longest time: a probe that just came is
//! served, however many idle connections somebody keeps open.

use std::time::{Duration, Instant};

/// The connections there are. What a place holds (`T`) is dropped when the place is taken away.
#[derive(Debug)]
pub(crate) struct Places<T> {
    max: usize,
    patience: Duration,
    taken: Vec<Place<T>>,
    next: u64,
}

#[derive(Debug)]
struct Place<T> {
    number: u64,
    active: Instant,
    _held: T,
}

/// What came of taking a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The place's number, never used again.
    pub(crate) number: u64,
    /// Somebody had to go for it.
    pub(crate) was_crowded: bool,
}

impl<T> Places<T> {
    /// `max` places; who does nothing for `patience` is overdue.
    pub(crate) fn new(max: usize, patience: Duration) -> Places<T> {
        Places { max, patience, taken: Vec::new(), next: 0 }
    }

    /// A connection came.
    pub(crate) fn take(&mut self, held: T, now: Instant) -> Taken {
        let was_crowded = self.taken.len() >= self.max;
        if was_crowded {
            let idlest = self.taken.iter().enumerate().min_by_key(|(_, place)| place.active).map(|(index, _)| index);
            idlest.map(|index| self.taken.swap_remove(index));
        }
        let number = self.next;
        self.next += 1;
        self.taken.push(Place { number, active: now, _held: held });
        Taken { number, was_crowded }
    }

    /// A connection made progress.
    pub(crate) fn touch(&mut self, number: u64, now: Instant) {
        if let Some(place) = self.taken.iter_mut().find(|place| place.number == number) {
            place.active = now;
        }
    }

    /// When the connection is overdue, unless it does something before; none: its place was taken away.
    pub(crate) fn deadline(&self, number: u64) -> Option<Instant> {
        self.taken.iter().find(|place| place.number == number).map(|place| place.active + self.patience)
    }

    /// Since when the one has done nothing that has done nothing for the longest time.
    pub(crate) fn idlest(&self) -> Option<Instant> {
        self.taken.iter().map(|place| place.active).min()
    }

    /// Takes the place of the idlest away, if it has done nothing since then.
    pub(crate) fn give_up_idle(&mut self, since: Instant) -> bool {
        let idle = self.taken.iter().enumerate().filter(|(_, place)| place.active <= since);
        let idlest = idle.min_by_key(|(_, place)| place.active).map(|(index, _)| index);
        idlest.map(|index| self.taken.swap_remove(index)).is_some()
    }

    /// The connection ended.
    pub(crate) fn leave(&mut self, number: u64) {
        self.taken.retain(|place| place.number != number);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_newest_takes_the_place_of_whoever_did_nothing_for_the_longest_time() {
        let start = Instant::now();
        let mut places = Places::new(2, SECOND * 10);
        let held: Vec<Rc<()>> = (0..3).map(|_| Rc::new(())).collect();
        let first = places.take(held[0].clone(), start);
        let second = places.take(held[1].clone(), start + SECOND);
        assert!(!first.was_crowded && !second.was_crowded);
        places.touch(first.number, start + SECOND * 2);
        let third = places.take(held[2].clone(), start + SECOND * 3);
        assert!(third.was_crowded);
        assert_eq!([&held[0], &held[1], &held[2]].map(Rc::strong_count), [2, 1, 2]);
        assert_eq!(places.deadline(second.number), None);
    }

    #[test]
    fn only_who_has_been_idle_for_long_is_given_up_and_the_idlest_first() {
        let start = Instant::now();
        let mut places = Places::new(3, SECOND * 10);
        let [one, two] = [2, 1].map(|second| places.take((), start + SECOND * second).number);
        assert_eq!(places.idlest(), Some(start + SECOND));
        assert!(!places.give_up_idle(start));
        assert!(places.give_up_idle(start + SECOND * 2));
        assert_eq!([one, two].map(|number| places.deadline(number).is_some()), [true, false]);
        assert!(places.give_up_idle(start + SECOND * 2) && !places.give_up_idle(start + SECOND * 2));
        assert_eq!(places.idlest(), None);
    }

    #[test]
    fn patience_is_counted_from_the_last_progress() {
        let start = Instant::now();
        let mut places = Places::new(2, SECOND * 10);
        let Taken { number, .. } = places.take((), start);
        assert_eq!(places.deadline(number), Some(start + SECOND * 10));
        places.touch(number, start + SECOND * 4);
        assert_eq!(places.deadline(number), Some(start + SECOND * 14));
        places.leave(number);
        assert_eq!(places.deadline(number), None);
        assert!(!places.take((), start).was_crowded && !places.take((), start).was_crowded);
    }
}
