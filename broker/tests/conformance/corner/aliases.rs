//! Topic aliases that the broker sets, for clients that keep some.

use std::collections::BTreeMap;

use crate::bed::Bed;
use crate::wire::{Client, Property, Publish};

crate::statements! {
    corner_outbound_topic_aliases,
    corner_outbound_topic_aliases_end_with_their_connection,
    corner_a_client_that_keeps_more_topic_aliases_than_we_set,
}

/// The topics that a client knows by an alias, of so many that it keeps.
struct Aliases {
    max: u16,
    topics: BTreeMap<u16, String>,
}

impl Aliases {
    fn new(max: u16) -> Aliases {
        Aliases { max, topics: BTreeMap::new() }
    }

    /// The topic of a message.
    fn resolve(&mut self, publish: &Publish) -> String {
        let Some(alias) = alias(publish) else { return publish.topic.clone() };
        assert!((1..=self.max).contains(&alias), "{publish:?}, {} kept", self.max);
        if !publish.topic.is_empty() {
            self.topics.insert(alias, publish.topic.clone());
        }
        self.topics.get(&alias).unwrap_or_else(|| panic!("nothing has set the alias of {publish:?}")).clone()
    }
}

fn alias(publish: &Publish) -> Option<u16> {
    publish.properties.iter().find_map(|property| match property {
        Property::TopicAlias(alias) => Some(*alias),
        _ => None,
    })
}

fn topic(bed: &Bed, number: usize) -> String {
    bed.name(&format!("/fleet/meter-{number}/power"))
}

/// Publishes to these topics in turn; the payload is the topic.
fn publish(bed: &Bed, publisher: &mut Client, qos: u8, numbers: impl IntoIterator<Item = usize>) {
    for topic in numbers.into_iter().map(|number| topic(bed, number)) {
        publisher.publish(Publish::new(&topic, &topic).qos(qos));
    }
}

/// The client gets so many messages, each with its own topic. Shows how many of them name it.
fn named(client: &mut Client, aliases: &mut Aliases, count: usize) -> usize {
    let got: Vec<Publish> = (0..count).map(|_| client.take()).collect();
    for publish in &got {
        assert_eq!(aliases.resolve(publish), publish.text(), "{publish:?}");
    }
    got.iter().filter(|publish| !publish.topic.is_empty()).count()
}

fn corner_outbound_topic_aliases(bed: &Bed) {
    let mut aliases = Aliases::new(4);
    let mut client = bed.join(&bed.hello("sub").with(Property::TopicAliasMaximum(4)));
    client.subscribe(&[(&topic(bed, 0).replace("meter-0", "+"), 2)]);
    let mut publisher = bed.connect("pub");
    for qos in 0..3 {
        publish(bed, &mut publisher, qos, [0, 1, 2, 3].repeat(3));
        // The topic once, and then its alias.
        assert_eq!(named(&mut client, &mut aliases, 12), if qos == 0 { 4 } else { 0 });
    }
    // More topics than aliases: whichever have one, each message is what it was.
    publish(bed, &mut publisher, 1, (0..100).map(|number| number * number % 13));
    let named_by_topic = named(&mut client, &mut aliases, 100);
    assert!((1..100).contains(&named_by_topic), "{named_by_topic} of 100");
}

fn corner_outbound_topic_aliases_end_with_their_connection(bed: &Bed) {
    let hello = bed.hello("sub").lasting().with(Property::TopicAliasMaximum(4));
    let mut client = bed.join(&hello);
    client.subscribe(&[(&topic(bed, 0).replace("meter-0", "+"), 2)]);
    let mut publisher = bed.connect("pub");
    // Sent by topic and by alias, and not acknowledged.
    publish(bed, &mut publisher, 2, [0, 1, 1, 0]);
    let mut aliases = Aliases::new(4);
    let sent: Vec<Publish> = (0..4).map(|_| client.message()).collect();
    assert_eq!(sent.iter().map(alias).collect::<Vec<_>>(), [Some(1), Some(2), Some(2), Some(1)]);
    assert!(sent.iter().all(|publish| aliases.resolve(publish) == publish.text()), "{sent:?}");
    client.vanish();
    publish(bed, &mut publisher, 1, [1, 2, 1]);

    // What is sent again and what waited begin anew.
    let mut client = bed.join_beside(&client, &hello);
    let mut aliases = Aliases::new(4);
    assert_eq!(named(&mut client, &mut aliases, 7), 3);
    publish(bed, &mut publisher, 0, [0, 1, 2]);
    assert_eq!(named(&mut client, &mut aliases, 3), 0);
    client.quiet();
    client.vanish();

    // The next connection keeps none.
    publish(bed, &mut publisher, 1, [0, 1]);
    let mut client = bed.join_beside(&client, &bed.hello("sub").lasting());
    assert_eq!(named(&mut client, &mut Aliases::new(0), 2), 2);
}

fn corner_a_client_that_keeps_more_topic_aliases_than_we_set(bed: &Bed) {
    let bed = bed.alone(&["limits.outboundTopicAliases=2"]);
    let mut client = bed.join(&bed.hello("sub").with(Property::TopicAliasMaximum(u16::MAX)));
    client.subscribe(&[(&topic(&bed, 0).replace("meter-0", "+"), 1)]);
    let mut publisher = bed.connect("pub");
    publish(&bed, &mut publisher, 1, [0, 1].repeat(2));
    publish(&bed, &mut publisher, 1, 2..10);
    let mut aliases = Aliases::new(2);
    named(&mut client, &mut aliases, 12);
    assert_eq!(aliases.topics.len(), 2);
    let hits = "fulmar_limit_hits_total{limit=\"outboundTopicAliases\"}";
    bed.wait_for_metric(client.node, hits, 1);
}
