//! What a session was told last about its topics, so that an access list costs a publish next to nothing.
//!
//! A few topics with their answers, the most used first. A session that never publishes owns no memory. Decisions belong
//! to a generation of the rules: give each new access file the next number, and old answers are gone wherever they are.

/// So many topics are remembered; devices seldom publish to more.
pub const TOPICS_MAX: usize = 8;
/// Longer topics are judged anew each time, so that a session's memory stays small: at most [`TOPICS_MAX`] of these.
pub const TOPIC_BYTES_MAX: usize = 256;

/// The last decisions about the topics of one session.
#[derive(Debug, Default)]
pub struct Decisions {
    generation: u32,
    recent: Vec<Decision>,
}

#[derive(Debug)]
struct Decision {
    topic: Box<str>,
    allowed: bool,
}

impl Decisions {
    /// The decision about `topic` by the rules of `generation`; `judge` is asked where it is not known.
    #[inline]
    pub fn decide(&mut self, generation: u32, topic: &str, judge: impl FnOnce() -> bool) -> bool {
        if self.generation == generation
            && let Some(at) = self.recent.iter().position(|decision| *decision.topic == *topic)
        {
            // One step towards the front: the most used are found first.
            let to = at.saturating_sub(1);
            self.recent.swap(at, to);
            return self.recent[to].allowed;
        }
        let allowed = judge();
        self.remember(generation, topic, allowed);
        allowed
    }

    #[cold]
    fn remember(&mut self, generation: u32, topic: &str, allowed: bool) {
        if self.generation != generation {
            self.recent.clear();
            self.generation = generation;
        }
        if topic.len() <= TOPIC_BYTES_MAX {
            self.recent.truncate(TOPICS_MAX - 1);
            self.recent.push(Decision { topic: topic.into(), allowed });
        }
    }

    /// Gives the memory back, for a session whose client is away.
    pub fn clear(&mut self) {
        self.recent = Vec::new();
    }

    /// The bytes that it owns.
    pub fn bytes(&self) -> usize {
        let topics: usize = self.recent.iter().map(|decision| decision.topic.len()).sum();
        self.recent.capacity() * size_of::<Decision>() + topics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_known_topic_is_not_judged_again() {
        let mut decisions = Decisions::default();
        let asked = Cell::new(0);
        let mut decide = |topic: &str, answer: bool| {
            decisions.decide(0, topic, || {
                asked.set(asked.get() + 1);
                answer
            })
        };
        assert!(decide("a", true));
        assert!(!decide("b", false));
        for _ in 0..10 {
            // What `judge` would say now does not matter.
            assert!(decide("a", false));
            assert!(!decide("b", true));
        }
        assert_eq!(asked.get(), 2);
        // A beginning or a longer topic is another topic.
        assert!(!decide("", false));
        assert!(!decide("aa", false));
        assert_eq!(asked.get(), 4);
    }

    #[test]
    fn new_rules_are_asked_at_once() {
        let mut decisions = Decisions::default();
        assert!(decisions.decide(1, "a", || true));
        assert!(decisions.decide(1, "b", || true));
        assert!(!decisions.decide(2, "a", || false));
        assert!(!decisions.decide(2, "b", || false));
        assert!(!decisions.decide(2, "a", || true));
        // Also where the answer itself is too long to be kept.
        let long = "x".repeat(TOPIC_BYTES_MAX + 1);
        assert!(decisions.decide(3, &long, || true));
        assert!(decisions.decide(3, "a", || true));
    }

    #[test]
    fn the_bounds_are_reached_and_not_passed() {
        let mut decisions = Decisions::default();
        assert_eq!(decisions.bytes(), 0);
        for number in 0..1000 {
            let topic = format!("{number:0>length$}", length = TOPIC_BYTES_MAX + number % 2);
            assert_eq!(decisions.decide(0, &topic, || number % 3 == 0), number % 3 == 0);
        }
        assert_eq!(decisions.recent.len(), TOPICS_MAX);
        assert_eq!(decisions.bytes(), TOPICS_MAX * (TOPIC_BYTES_MAX + size_of::<Decision>()));
        decisions.clear();
        assert_eq!(decisions.bytes(), 0);
    }

    #[test]
    fn a_topic_in_use_stays_while_others_pass_by() {
        let mut decisions = Decisions::default();
        assert!(decisions.decide(0, "often", || true));
        for number in 0..100 {
            decisions.decide(0, &number.to_string(), || false);
            assert!(decisions.decide(0, "often", || unreachable!("it is known")));
        }
    }
}
