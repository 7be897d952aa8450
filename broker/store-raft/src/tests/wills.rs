//! Wills and what is due, on nodes that go on and on those that were stopped.

use std::time::Duration;

use fulmar_codec::QoS;
use fulmar_log::disk::CrashKeeps;
use fulmar_store::{
    Answer, Ask, Destination, PendingWill, Refusal, Reply, ShardId, Stored, Told, Version, Will, WillFate, WillState,
};

use super::fixture::*;

fn claim_with_will(name: &str, slot: u32, delay_seconds: u32) -> Ask {
    let Ask::Claim { owner, mut claim } = claim(name, slot) else { unreachable!("a claim is one") };
    claim.will = Some(Will { message: message("will", name).with_retain(true), delay_seconds });
    Ask::Claim { owner, claim }
}

/// Wills that were told to the first thread.
fn wills(said: &[Said]) -> Vec<(ShardId, u64, &PendingWill)> {
    fn will(said: &Said) -> Option<(ShardId, u64, &PendingWill)> {
        match said {
            Said::Told(_, 0, Told::Will { shard, id, pending }) => Some((*shard, *id, pending)),
            _ => None,
        }
    }
    said.iter().filter_map(will).collect()
}

fn connect(world: &mut World, name: &str, delay_seconds: u32) -> u64 {
    match world.ask(claim_with_will(name, 1, delay_seconds)) {
        Answer::Claimed(session) => session.claimed.epoch,
        other => panic!("the claim was answered with {other:?}"),
    }
}

#[test]
fn a_will_is_told_once_and_goes_to_subscribers_of_all_shards_that_want_it() {
    let mut world = World::new();
    let other = (0..).map(|it| format!("o{it}")).find(|it| shard_of(it) != shard_of("sub")).unwrap();
    for (slot, name) in [(5, "sub"), (6, other.as_str())] {
        let epoch = world.claim(name, slot).claimed.epoch;
        world.ask(subscribe(name, epoch, "will", QoS::AtLeastOnce));
    }
    let name = (0..).map(|it| format!("w{it}")).find(|it| shard_of(it) == shard_of("sub")).unwrap();
    let epoch = connect(&mut world, &name, 0);
    world.said();
    let leave = Ask::Disconnect { client: client(&name), epoch, expiry_seconds: None, will: WillFate::Keep };
    assert_eq!(world.ask(leave), Answer::Reply(Reply::Disconnected { ended: false, will: WillState::Pending(1) }));
    let said = world.said();
    let [(shard, id, pending)] = wills(&said)[..] else { panic!("{said:?}") };
    assert_eq!((shard, &*pending.client, pending.will.message.payload()), (shard_of(&name), &*name, name.as_bytes()));

    let destinations = Destination::subscribers_of(&[shard_of("sub"), shard_of(&other)]);
    let version = Version { clock: 3, node: NODE };
    let done = Ask::WillDone { shard, will: id, retain: Some(version), destinations };
    let retained = Some(fulmar_store::RetainReply::Applied);
    let routed = Reply::Routed(Stored { queued: 1, retained, ..Stored::default() });
    assert_eq!(world.ask(done.clone()), Answer::Reply(routed));
    assert_eq!((payloads(&world.delivered(5)), payloads(&world.delivered(6))), (vec![name.clone()], vec![name]));
    assert!(world.said().contains(&Said::Retained("will".to_owned(), Some(pending.will.message.clone()), version)));
    assert_eq!(world.ask(done), Answer::Reply(Reply::Refused(Refusal::NoWill(id))));
}

#[test]
fn a_will_waits_for_its_delay_and_for_nothing_else() {
    let mut world = World::new();
    let epoch = connect(&mut world, "w", 30);
    world.ask(Ask::Disconnect { client: client("w"), epoch, expiry_seconds: None, will: WillFate::Keep });
    let next = |world: &mut World| world.engine.turn(world.now, world.time, &mut world.heard).unwrap();
    assert_eq!(next(&mut world), Some(world.now + Duration::from_secs(1)), "for the log, as it is idle");
    world.pass(Duration::from_secs(1));
    assert_eq!(next(&mut world), Some(world.now + Duration::from_secs(29)));
    world.pass(Duration::from_millis(28_999));
    world.settle();
    assert_eq!(wills(&world.said()), []);
    world.pass(Duration::from_millis(1));
    world.settle();
    assert_eq!(wills(&world.said()).len(), 1);
    world.pass(Duration::from_secs(3));
    world.settle();
    assert_eq!(wills(&world.said()), []);
}

#[test]
fn sessions_of_a_node_that_was_stopped_are_absent_and_their_wills_are_told() {
    let mut world = World::new();
    let sessions: Vec<String> = (0..20).map(|it| format!("w{it}")).collect();
    for name in &sessions {
        connect(&mut world, name, 0);
    }
    world.crash(CrashKeeps::Nothing);
    world.settle();
    let said = world.said();
    let mut told: Vec<String> = wills(&said).iter().map(|(_, _, pending)| pending.client.to_string()).collect();
    told.sort();
    let mut wanted = sessions.clone();
    wanted.sort();
    assert_eq!(told, wanted);
    let session = world.claim("w1", 9).claimed;
    assert_eq!((session.present, session.took_over), (true, None));
}

#[test]
fn sessions_and_messages_end_when_their_time_is_over_and_not_before() {
    let mut world = World::with(crate::Settings {
        store: fulmar_store::Settings { portion: 3, ..fulmar_store::Settings::default() },
        ..settings(1)
    });
    for number in 0..20 {
        let name = format!("c{number}");
        let epoch = world.claim(&name, number).claimed.epoch;
        let leave = Ask::Disconnect { client: client(&name), epoch, expiry_seconds: Some(60), will: WillFate::Keep };
        world.ask(leave);
    }
    assert_eq!(world.engine.counts().sessions, 20);
    world.pass(Duration::from_millis(59_999));
    world.settle();
    assert_eq!(world.engine.counts().sessions, 20);
    world.pass(Duration::from_millis(1));
    world.settle();
    assert_eq!(world.engine.counts().sessions, 0);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.engine.turn(world.now, world.time, &mut world.heard).unwrap(), None, "nothing is to be done");
}
