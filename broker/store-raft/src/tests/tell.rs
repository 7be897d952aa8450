//! What is told outside: which filters there are, which messages are retained.

use fulmar_codec::QoS;
use fulmar_log::disk::CrashKeeps;
use fulmar_store::{Answer, Ask, Message, Published, Recipients, Shard, Told, Version};

use super::fixture::*;
use crate::Settings;

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

#[test]
fn a_deletion_is_told_at_open_though_only_a_snapshot_knows_of_it() {
    let settings = Settings { snapshot_log_bytes: 20_000, ..settings(1) };
    let mut world = World::with(settings);
    world.ask(retain("a", "1", 5, None));
    world.ask(retain("a", "", 6, None));
    for number in 0..100 {
        let message = message("t", &format!("{number:0>300}")).with_retain(true);
        let retain = Some(Version { clock: number, node: NODE });
        let published = Published { message, retain, to: Recipients::Nobody };
        world.ask(Ask::Publish { shard: shard_of("a"), published });
    }
    assert!(world.engine.counts().snapshots > 0);
    world.said();
    world.crash(CrashKeeps::Nothing);
    let told: Vec<_> = retained(world.said()).into_iter().filter(|(topic, ..)| topic == "a").collect();
    assert_eq!(told, [("a".to_owned(), None, 6)]);
}

#[test]
fn a_deletion_in_a_snapshot_of_another_node_is_told_though_nothing_was_retained_here() {
    let mut world = World::new();
    world.ask(retain("a", "1", 5, None));
    world.ask(retain("a", "", 6, None));
    world.said();
    let World { engine, time, heard, .. } = &mut world;
    let replica = engine.replicas.iter_mut().find(|replica| replica.id == shard_of("a")).unwrap();
    let ahead = std::mem::replace(&mut replica.shard, Shard::new(shard_of("a")));
    replica.replace(ahead, 1, *time, heard);
    assert_eq!(retained(world.said()), [("a".to_owned(), None, 6)]);
}
