//! What is told outside: which filters there are, which messages are retained.

use fulmar_codec::QoS;
use fulmar_log::disk::CrashKeeps;
use fulmar_store::{Answer, Ask, Message, Published, Recipients, Told, Version};

use super::fixture::*;

fn interests(said: &[Said]) -> Vec<(Option<&str>, &str, bool)> {
    fn interest(said: &Said) -> Option<(Option<&str>, &str, bool)> {
        match said {
            Said::Interest(_, share, filter, begins) => Some((share.as_deref(), filter, *begins)),
            _ => None,
        }
    }
    said.iter().filter_map(interest).collect()
}

#[test]
fn interest_begins_before_the_answer_and_ends_with_the_last_session() {
    let mut world = World::new();
    let names: Vec<String> =
        (0..).map(|it| format!("c{it}")).filter(|it| shard_of(it) == shard_of("sub")).take(2).collect();
    let epochs: Vec<u64> = (0..).zip(&names).map(|(slot, name)| world.claim(name, slot).claimed.epoch).collect();
    world.said();
    let number = world.ask_only(subscribe(&names[0], epochs[0], "t", QoS::AtLeastOnce));
    world.settle();
    let said = world.said();
    assert_eq!(said[0], Said::Interest(shard_of("sub"), None, "t".to_owned(), true));
    assert!(matches!(&said[1..], [Said::Told(.., Told::Answer { number: it, .. })] if *it == number), "{said:?}");

    world.ask(subscribe(&names[1], epochs[1], "t", QoS::AtLeastOnce));
    world.ask(subscribe(&names[1], epochs[1], "$share/g/t", QoS::AtLeastOnce));
    let unsubscribe = |at: usize| {
        let (client, filters) = (client(&names[at]), vec!["t".into(), "$share/g/t".into()]);
        Ask::Unsubscribe { client, epoch: epochs[at], filters }
    };
    world.ask(unsubscribe(0));
    assert_eq!(interests(&world.said()), [(Some("g"), "t", true)]);
    world.ask(unsubscribe(1));
    assert_eq!(interests(&world.said()), [(None, "t", false), (Some("g"), "t", false)]);
}

#[test]
fn interest_is_told_again_when_a_node_comes_back() {
    let mut world = World::new();
    let epoch = world.claim("sub", 1).claimed.epoch;
    world.ask(subscribe("sub", epoch, "a/+", QoS::AtLeastOnce));
    world.ask(subscribe("sub", epoch, "b", QoS::AtLeastOnce));
    world.crash(CrashKeeps::Nothing);
    assert_eq!(interests(&world.said()), [(None, "a/+", true), (None, "b", true)]);
}

fn retain(topic: &str, payload: &str, clock: u64, lifetime: Option<u32>) -> Ask {
    let message = message(topic, payload).with_retain(true).with_lifetime(lifetime);
    let retain = Some(Version { clock, node: NODE });
    let published = Published { message, retain, to: Recipients::Nobody };
    Ask::Publish { shard: shard_of(topic), published }
}

fn retained(said: Vec<Said>) -> Vec<(String, Option<String>, u64)> {
    let payload = |message: Message| String::from_utf8(message.payload().to_vec()).unwrap();
    let retained = |said| match said {
        Said::Retained(topic, message, version) => Some((topic, message.map(payload), version.clock)),
        _ => None,
    };
    said.into_iter().filter_map(retained).collect()
}

#[test]
fn retained_messages_are_told_as_they_are_committed_and_all_at_open() {
    let mut world = World::new();
    for ask in [
        retain("a", "1", 5, None),
        retain("a", "0", 4, None),
        retain("b", "2", 6, None),
        retain("b", "", 7, None),
        retain("c", "3", 8, Some(60)),
    ] {
        let answer = world.ask(ask);
        assert!(matches!(answer, Answer::Reply(_)), "{answer:?}");
    }
    let is = |topic: &str, payload: Option<&str>, clock| (topic.to_owned(), payload.map(str::to_owned), clock);
    let all = [is("a", Some("1"), 5), is("b", Some("2"), 6), is("b", None, 7), is("c", Some("3"), 8)];
    assert_eq!(retained(world.said()), all);

    world.pass(std::time::Duration::from_secs(20));
    world.crash(CrashKeeps::Nothing);
    let left = world.heard.0.iter().find_map(|said| match said {
        Said::Retained(topic, message, _) if topic == "c" => message.as_ref()?.lifetime_seconds,
        _ => None,
    });
    assert_eq!(left, Some(40));
    let mut again = retained(world.said());
    again.sort();
    let mut all = all.to_vec();
    all.sort();
    assert_eq!(again, all, "from the log, change by change");
}
