//! Shards go to another folder, and what is on its way between them arrives first.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fulmar_codec::{PacketId, QoS};
use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
use fulmar_store::{Ask, Destination, Published, Recipients, Shard};

use super::fixture::*;
use super::inspect::bootstrap;
use crate::{Engine, Identity, Inspector, Mode, Settings, Wanted, establish, is_settled, settle};

fn identity(node: u64) -> Identity {
    Identity { node, shards: NonZeroU16::new(4).unwrap(), incarnation: 6, mode: Mode::Alone }
}

fn shards(world: &World) -> Vec<Shard> {
    world.engine.replicas.iter().map(|replica| replica.shard.clone()).collect()
}

#[test]
fn a_folder_made_of_shards_is_opened_with_all_that_is_in_them() {
    let mut world = World::new();
    let epoch = world.claim("sub", 1).claimed.epoch;
    world.ask(subscribe("sub", epoch, "t", QoS::AtLeastOnce));
    for payload in ["1", "2", "3"] {
        world.ask(publish(shard_of("sub"), message("t", payload)));
    }
    let shards = shards(&world);
    let folder = Path::new("/new");
    world.disk = SimulatedDisk::new(2);
    establish(&world.disk, folder, identity(7), &shards, 5).unwrap();

    let mut inspector = Inspector::open(world.disk.clone(), folder, Wanted::default());
    let counts: Vec<_> = [1, 2, 3, 4].map(|group| inspector.group(group).1.expect("a shard").counts()).to_vec();
    assert_eq!(counts, shards.iter().map(Shard::counts).collect::<Vec<_>>());
    assert!(inspector.findings().is_empty(), "{:?}", inspector.findings());

    // A crash leaves all of it, and another node serves it.
    world.settings = Settings { node: 7, voters: vec![7], folder: PathBuf::from("/new"), ..world.settings };
    world.crash(CrashKeeps::Nothing);
    assert_eq!(world.engine.node(), fulmar_store::Node { id: 7, incarnation: 7 });
    assert!(world.claim("sub", 2).claimed.present);
    assert_eq!(payloads(&world.delivered(2)), ["1", "2", "3"]);
    world.ask(publish(shard_of("sub"), message("t", "4")));
    assert_eq!(payloads(&world.delivered(2)), ["4"]);
}

#[test]
fn a_message_between_two_shards_arrives_before_they_go_elsewhere() {
    let mut world = World::new();
    let other = (0..).map(|it| format!("o{it}")).find(|it| shard_of(it) != shard_of("pub")).unwrap();
    let epoch = world.claim(&other, 1).claimed.epoch;
    world.ask(subscribe(&other, epoch, "t", QoS::ExactlyOnce));
    let epoch = world.claim("pub", 2).claimed.epoch;
    assert!(is_settled(&shards(&world)));
    let to = Recipients::Matching { publisher: Some(client("pub")) };
    world.ask_only(Ask::ReceiveQos2 {
        client: client("pub"),
        epoch,
        packet_id: PacketId::new(7).unwrap(),
        published: Published { message: message_of(QoS::ExactlyOnce, "t", "on its way"), retain: None, to },
        destinations: Destination::subscribers_of(&[shard_of(&other)]),
    });
    let on_its_way = loop {
        world.engine.turn(world.now, world.time, &mut world.heard).unwrap();
        let shards = shards(&world);
        if !is_settled(&shards) {
            break shards;
        }
    };
    let queued = |shards: &[Shard]| shards.iter().map(|shard| shard.counts().queued).sum::<u64>();
    assert_eq!(queued(&on_its_way), 0);
    let settled = settle(&on_its_way, identity(NODE), world.now, world.time).unwrap();
    assert!(is_settled(&settled));
    assert_eq!((queued(&settled), settled.len()), (1, 4));
    let received =
        |shards: &[Shard]| shards.iter().filter_map(|it| it.session("pub")).map(|it| it.received).sum::<usize>();
    assert_eq!((received(&on_its_way), received(&settled)), (1, 1), "a retry is still known");
}

#[test]
fn the_node_that_begins_a_cluster_has_what_was_laid_down_for_it() {
    let mut world = World::new();
    let epoch = world.claim("sub", 1).claimed.epoch;
    world.ask(subscribe("sub", epoch, "t", QoS::AtLeastOnce));
    world.ask(publish(shard_of("sub"), message("t", "waits")));
    let (disk, folder) = (SimulatedDisk::new(2), PathBuf::from("/new"));
    let member = Identity { mode: Mode::Member, ..identity(NODE) };
    establish(&disk, &folder, member, &shards(&world), 5).unwrap();

    let settings = Settings { shards: member.shards, ..Settings::of_member(NODE, folder, 6) };
    let mut heard = Heard::default();
    let mut engine = Engine::open(disk, settings, world.now, world.time, &mut heard).unwrap();
    engine.begin_cluster(world.now).unwrap();
    let mut is_proposed = false;
    for _ in 0..1000 {
        world.pass(Duration::from_millis(10));
        engine.turn(world.now, world.time, &mut heard).unwrap();
        let meta = engine.cluster.as_ref().expect("a member has group 0");
        if !is_proposed && meta.group.is_serving() {
            let term = meta.group.term();
            engine.propose_meta(term, bootstrap(), world.now, world.time).unwrap();
            is_proposed = true;
        }
    }
    let meta = engine.meta().expect("a member has group 0");
    assert!(meta.shards().iter().all(|shard| shard.voters() == [NODE]) && meta.shards().len() == 4);
    let counts = engine.counts();
    assert_eq!((counts.leaders, counts.sessions, counts.queued), (4, 1, 1));
}
