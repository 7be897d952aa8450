//! Topic aliases that we set on a connection, for a client that keeps some (MQTT 5.0, 3.3.2.3.4).
//!
//! Topics get aliases as they come. When all aliases are in use, those whose topics are sent again and again stay, and
//! the others move on: a client that subscribes with a wildcard is first sent retained messages, each topic once, and
//! these must not keep the aliases from the topics that follow all day. Each topic therefore has a few credits: it earns
//! one when it is sent, and loses one when another topic finds no alias and it is its turn to give way, which it does
//! when it has none left. So a topic stays that is sent about as often as others come along in vain, and where no topic
//! is sent twice at most every other message pays for an alias of no use.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU16;

use crate::quota::Held;

/// What a topic alias adds to a packet: the property (MQTT 5.0, 3.3.2.3.4). A topic that is no longer costs less.
const PROPERTY_BYTES: usize = 3;

/// Longer topics get no alias: what a client can make us hold is this times the number of its aliases.
const TOPIC_BYTES_MAX: usize = 256;

/// What an alias takes beside its topic: its place, of which a list that grew has twice as many, and the allocator's share.
const PLACE_BYTES: usize = 2 * size_of::<Aliased>() + 16;

/// A topic with so many does not earn more, or it would keep its alias for long after its last message.
const CREDITS_MAX: u8 = 3;

/// The topics that have an alias on this connection, in the order of their aliases. Grows as they come.
#[derive(Debug)]
pub(crate) struct OutboundAliases {
    topics: Vec<Aliased>,
    aliases_max: NonZeroU16,
    /// Whose turn it is to give way.
    next: u16,
    topic_bytes: usize,
    /// What all of it takes of the memory for sessions, and one that was not written yet.
    memory: Held,
}

/// A topic that the client knows by an alias.
#[derive(Debug)]
struct Aliased {
    topic: Box<str>,
    /// Of the topic: most of those that are not looked for need not be looked at.
    hash: u32,
    credits: u8,
}

/// How a packet names its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// By itself.
    Topic,
    /// By itself, and says which alias stands for it from now on.
    TopicAndAlias(NonZeroU16),
    /// By the alias alone.
    Alias(NonZeroU16),
}

impl OutboundAliases {
    /// None yet. `memory` grows with them as long as some can be spared: nobody needs an alias.
    pub(crate) fn new(aliases_max: NonZeroU16, memory: Held) -> Self {
        Self { topics: Vec::new(), aliases_max, next: 0, topic_bytes: 0, memory }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// How the next packet is to name this topic. A new alias holds once [`Self::set`] was told that the packet is
    /// written.
    pub(crate) fn naming(&mut self, topic: &str) -> Naming {
        if !(PROPERTY_BYTES + 1..=TOPIC_BYTES_MAX).contains(&topic.len()) {
            return Naming::Topic;
        }
        let hash = hash_of(topic);
        let is_same = |aliased: &Aliased| aliased.hash == hash && *aliased.topic == *topic;
        if let Some(at) = self.topics.iter().position(is_same) {
            let credits = &mut self.topics[at].credits;
            *credits = (*credits + 1).min(CREDITS_MAX);
            return Naming::Alias(alias_at(at));
        }
        match self.place().filter(|at| self.make_room(*at, topic)) {
            Some(at) => Naming::TopicAndAlias(alias_at(at)),
            None => Naming::Topic,
        }
    }

    /// The packet that sets this alias is written.
    pub(crate) fn set(&mut self, alias: NonZeroU16, topic: &str) {
        // Its first credit is for a whole round in which it may come again.
        let aliased = Aliased { topic: topic.into(), hash: hash_of(topic), credits: 1 };
        let at = usize::from(alias.get()) - 1;
        let (topic_bytes, bytes) = self.bytes_with(at, topic);
        self.topic_bytes = topic_bytes;
        self.memory.shrink(self.memory.bytes().saturating_sub(bytes));
        match self.topics.get_mut(at) {
            Some(held) => *held = aliased,
            None => self.topics.push(aliased),
        }
    }

    /// Takes memory for a topic in that place. What is taken and then not written is there for the next.
    fn make_room(&mut self, at: usize, topic: &str) -> bool {
        let (_, bytes) = self.bytes_with(at, topic);
        let held = self.memory.bytes();
        bytes <= held || self.memory.grow_spare(bytes - held)
    }

    /// The bytes of the topics, and all that they take, with this one in that place.
    fn bytes_with(&self, at: usize, topic: &str) -> (usize, usize) {
        let old = self.topics.get(at).map_or(0, |aliased| aliased.topic.len());
        let topic_bytes = self.topic_bytes - old + topic.len();
        (topic_bytes, self.topics.len().max(at + 1) * PLACE_BYTES + topic_bytes)
    }

    /// Where a new topic goes: behind the others, or in place of one that gives way.
    fn place(&mut self) -> Option<usize> {
        let count = self.topics.len();
        if count < self.aliases_max.get().into() {
            return Some(count);
        }
        let at = usize::from(self.next);
        self.next = (self.next + 1) % self.aliases_max;
        let credits = &mut self.topics[at].credits;
        let gives_way = *credits == 0;
        *credits = credits.saturating_sub(1);
        gives_way.then_some(at)
    }
}

fn alias_at(at: usize) -> NonZeroU16 {
    u16::try_from(at + 1).ok().and_then(NonZeroU16::new).expect("there are at most 65,535 aliases")
}

fn hash_of(topic: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    topic.hash(&mut hasher);
    hasher.finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Quota, QuotaShare};

    fn aliases(max: u16) -> OutboundAliases {
        aliases_within(max, usize::MAX)
    }

    fn aliases_within(max: u16, bytes: usize) -> OutboundAliases {
        let memory = QuotaShare::new(Quota::new(bytes)).hold_nothing();
        OutboundAliases::new(NonZeroU16::new(max).unwrap(), memory)
    }

    /// Names the topic in a packet that is written.
    fn write(aliases: &mut OutboundAliases, topic: &str) -> Naming {
        let naming = aliases.naming(topic);
        if let Naming::TopicAndAlias(alias) = naming {
            aliases.set(alias, topic);
        }
        naming
    }

    fn alias(number: u16) -> Naming {
        Naming::Alias(NonZeroU16::new(number).unwrap())
    }

    fn new_alias(number: u16) -> Naming {
        Naming::TopicAndAlias(NonZeroU16::new(number).unwrap())
    }

    /// How many messages of the last of so many rounds through the topics name theirs by an alias alone.
    fn hits(aliases: &mut OutboundAliases, topics: u16, rounds: u16) -> usize {
        let topics: Vec<String> = (0..topics).map(|number| format!("topic/{number}")).collect();
        let mut hits = 0;
        for _ in 0..rounds {
            hits = topics.iter().filter(|topic| matches!(write(aliases, topic), Naming::Alias(_))).count();
        }
        hits
    }

    #[test]
    fn a_topic_is_named_once_and_then_its_alias() {
        let mut aliases = aliases(10);
        assert_eq!(
            ["a/b/1", "a/b/2", "a/b/1"].map(|topic| write(&mut aliases, topic)),
            [new_alias(1), new_alias(2), alias(1)]
        );
        // What is not written sets nothing.
        assert_eq!(["a/b/3", "a/b/3"].map(|topic| aliases.naming(topic)), [new_alias(3); 2]);
    }

    #[test]
    fn topics_that_are_not_worth_it_or_too_long_get_no_alias() {
        let mut aliases = aliases(10);
        let topics = [3, 4, TOPIC_BYTES_MAX, TOPIC_BYTES_MAX + 1].map(|length| "x".repeat(length));
        let namings = topics.map(|topic| write(&mut aliases, &topic));
        assert_eq!(namings, [Naming::Topic, new_alias(1), new_alias(2), Naming::Topic]);
    }

    #[test]
    fn there_are_never_more_topics_than_aliases() {
        for max in [1, 3, u16::MAX] {
            let mut aliases = aliases(max);
            hits(&mut aliases, 100, 3);
            assert_eq!(aliases.topics.len(), usize::from(max.min(100)));
        }
    }

    #[test]
    fn where_there_is_no_memory_no_alias_is_set_and_those_that_are_go_on() {
        // Three quarters of it are for what can be spared: two places and 100 bytes of topics.
        let mut aliases = aliases_within(3, (2 * PLACE_BYTES + 100) * 4 / 3);
        let topics = [20, 80, 21, 80].map(|length| "x".repeat(length));
        let namings = topics.each_ref().map(|topic| write(&mut aliases, topic));
        assert_eq!(namings, [new_alias(1), new_alias(2), Naming::Topic, alias(2)]);
        assert_eq!(aliases.bytes(), 2 * PLACE_BYTES + 100);
    }

    #[test]
    fn what_was_not_written_is_not_held_twice_and_a_shorter_topic_gives_memory_back() {
        let mut aliases = aliases(1);
        let topics = ["long/topic/that/is/not/written", "long/topic/that/is/written", "short"];
        assert_eq!((aliases.naming(topics[0]), aliases.bytes()), (new_alias(1), PLACE_BYTES + topics[0].len()));
        for topic in &topics[1..] {
            while write(&mut aliases, topic) == Naming::Topic {}
            assert_eq!(aliases.bytes(), PLACE_BYTES + topic.len());
        }
    }

    #[test]
    fn topics_that_come_once_give_way_to_those_that_come_again() {
        let mut aliases = aliases(8);
        for number in 0..100 {
            write(&mut aliases, &format!("retained/{number}"));
        }
        assert_eq!(hits(&mut aliases, 8, 5), 8);
        // And those stay, whatever else comes now and then.
        for number in 0..100 {
            write(&mut aliases, &format!("rare/{number}"));
            if number % 8 == 0 {
                assert_eq!(hits(&mut aliases, 8, 1), 8);
            }
        }
    }

    #[test]
    fn of_more_topics_than_aliases_some_keep_theirs() {
        assert_eq!([8, 9, 16].map(|topics| hits(&mut aliases(8), topics, 20)), [8; 3]);
    }

    #[test]
    fn where_no_topic_comes_twice_every_other_one_sets_no_alias() {
        let mut aliases = aliases(8);
        let namings: Vec<Naming> = (0..1032).map(|number| write(&mut aliases, &format!("once/{number}"))).collect();
        let set = namings.iter().filter(|naming| matches!(naming, Naming::TopicAndAlias(_))).count();
        assert_eq!(set, 8 + 512);
    }
}
