//! What is found in a folder that nobody has open: the same state as an engine has, and a word for whatever keeps one
//! from opening it.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use fulmar_codec::QoS;
use fulmar_log::disk::SimulatedDisk;
use fulmar_log::{Disk, File, Log, Write};
use fulmar_store::{Ask, WillFate};

use super::fixture::*;
use crate::inspect::{GroupReport, Inspector, Kind, Wanted};
use crate::{Engine, Settings};

const FOLDER: &str = "/data";

fn small() -> Settings {
    let mut settings = Settings { snapshot_log_bytes: 20_000, snapshot_portion_bytes: 1000, ..settings(1) };
    settings.log.segment_bytes = 10_000;
    settings
}

/// A session that left behind a hundred messages, in a snapshot and behind it.
fn filled() -> World {
    let mut world = World::with(small());
    let epoch = world.claim("sub", 1).claimed.epoch;
    world.ask(subscribe("sub", epoch, "t", QoS::AtLeastOnce));
    world.ask(Ask::Disconnect { client: client("sub"), epoch, expiry_seconds: None, will: WillFate::Keep });
    for number in 0..100 {
        world.ask(publish(shard_of("sub"), message("t", &format!("{number:0>300}"))));
    }
    assert!(world.engine.counts().snapshots > 0);
    world
}

fn wanted() -> Wanted {
    Wanted { node: Some(NODE), shards: NonZeroU16::new(4) }
}

fn inspector(disk: &SimulatedDisk) -> Inspector<SimulatedDisk> {
    Inspector::open(disk.clone(), Path::new(FOLDER), wanted())
}

/// All that is found when each group is read, and how many messages wait.
fn inspected(disk: &SimulatedDisk, wanted: Wanted) -> (Vec<Kind>, u64, Vec<GroupReport>) {
    let mut inspector = Inspector::open(disk.clone(), Path::new(FOLDER), wanted);
    let (mut queued, mut reports) = (0, Vec::new());
    for group in inspector.groups() {
        let (report, shard) = inspector.group(group);
        queued += shard.map_or(0, |shard| shard.counts().queued);
        reports.push(report);
    }
    (inspector.findings().iter().map(|finding| finding.kind).collect(), queued, reports)
}

fn files(disk: &SimulatedDisk, fits: fn(&str) -> bool) -> Vec<PathBuf> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| fits(path.file_name().unwrap().to_str().unwrap())).collect()
}

fn opens(world: &World) -> Result<(), String> {
    let mut heard = Heard::default();
    let opened = Engine::open(world.disk.clone(), small(), world.now, world.time, &mut heard);
    opened.map(drop).map_err(|error| error.to_string())
}

#[test]
fn shards_are_read_as_the_engine_has_them_and_nothing_changes() {
    let world = filled();
    let before = world.disk.files();
    let mut inspector = inspector(&world.disk);
    assert_eq!(inspector.identity().map(|it| (it.node, it.incarnation)), Some((NODE, 1)));
    assert_eq!(inspector.groups(), [1, 2, 3, 4]);
    let usage = world.engine.log.usage();
    assert_eq!((inspector.log().segments, inspector.log().intact), (usage.segments, usage.bytes));
    for group in inspector.groups() {
        let (report, shard) = inspector.group(group);
        let replica = &world.engine.replicas[usize::from(group) - 1];
        assert_eq!(
            (report.start, report.applied, report.last),
            (replica.group.kept.start.position.index, replica.group.applied, replica.group.applied)
        );
        assert!(report.is_alone(NODE));
        assert_eq!(report.snapshots.iter().any(|it| it.is_used), report.start > 0);
        let shard = shard.expect("a shard");
        assert_eq!((shard.counts(), shard.applied()), (replica.shard.counts(), replica.shard.applied()));
    }
    assert!(inspector.is_sound() && inspector.findings().is_empty(), "{:?}", inspector.findings());
    assert_eq!(world.disk.files(), before);
}

#[test]
fn a_folder_without_anything_is_sound() {
    let disk = SimulatedDisk::new(1);
    disk.create_folder(Path::new(FOLDER)).unwrap();
    let (kinds, queued, reports) = inspected(&disk, wanted());
    assert_eq!((kinds, queued, reports.len()), (vec![], 0, 0));
    assert_eq!(inspector(&disk).identity(), None);
}

#[test]
fn whatever_keeps_an_engine_from_opening_is_found_and_the_rest_is_read() {
    type Harm = fn(&World);
    let flip_log: Harm = |world| {
        let log = files(&world.disk, |name| name.ends_with(".log"));
        world.disk.flip(&log[0], 8 * 3000);
    };
    let cases: [(&str, Harm, &[Kind]); 9] = [
        ("identity gone", |world| world.disk.remove(Path::new("/data/identity")).unwrap(), &[Kind::IdentityMissing]),
        ("identity damaged", |world| world.disk.flip(Path::new("/data/identity"), 8 * 40), &[Kind::IdentityDamaged]),
        (
            "identity of a newer release",
            |world| {
                let identity = world.disk.create(Path::new("/data/identity")).unwrap();
                identity.write_at(0, b"fulmar data folder, format 2\n").unwrap();
            },
            &[Kind::IdentityFormat],
        ),
        ("log damaged", flip_log, &[Kind::LogDamaged]),
        (
            "first segments gone",
            |world| {
                let log = files(&world.disk, |name| name.ends_with(".log"));
                log[..log.len() - 1].iter().for_each(|path| world.disk.remove(path).unwrap());
            },
            &[Kind::LogIncomplete],
        ),
        (
            "snapshot gone",
            |world| {
                files(&world.disk, |name| name.starts_with("snap"))
                    .iter()
                    .for_each(|it| world.disk.remove(it).unwrap());
            },
            &[Kind::SnapshotMissing],
        ),
        (
            "snapshot damaged",
            |world| files(&world.disk, |name| name.starts_with("snap")).iter().for_each(|it| world.disk.flip(it, 8000)),
            &[Kind::SnapshotMissing],
        ),
        ("state of a group", |world| write(world, &[Write::State { group: 2, bytes: &[9, 9] }]), &[Kind::GroupState]),
        (
            "entry of a newer release",
            |world| {
                let index = world.engine.replicas[1].group.applied + 1;
                let mut payload = Vec::new();
                fulmar_raft::Payload::Command([2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 99][..].into())
                    .append_to(&mut payload);
                let term = world.engine.replicas[1].group.term();
                write(world, &[Write::Append { group: 2, index, term, payload: &payload }]);
            },
            &[Kind::EntryFormat],
        ),
    ];
    for (name, harm, expected) in cases {
        let world = filled();
        harm(&world);
        let (mut kinds, ..) = inspected(&world.disk, wanted());
        kinds.retain(|kind| kind.is_damage());
        assert_eq!(kinds, expected, "{name}");
        assert!(opens(&world).is_err(), "{name}");
    }
}

/// Something that only a mistake or another release could have written.
fn write(world: &World, writes: &[Write<'_>]) {
    let settings = fulmar_log::Settings { segment_bytes: 10_000, ..fulmar_log::Settings::new(NODE, 1) };
    let (mut log, _) = Log::open(world.disk.clone(), &Path::new(FOLDER).join("log"), settings).unwrap();
    log.write(writes).unwrap();
    log.close().unwrap();
}

#[test]
fn other_nodes_and_numbers_of_shards_are_told_from_what_is_wanted() {
    let world = filled();
    let (kinds, queued, _) = inspected(&world.disk, Wanted { node: Some(7), shards: NonZeroU16::new(5) });
    assert_eq!((kinds, queued), (vec![Kind::OtherNode, Kind::OtherShards], 100));
    let (kinds, queued, _) = inspected(&world.disk, Wanted::default());
    assert_eq!((kinds, queued), (vec![], 100));
}

#[test]
fn what_settles_itself_is_said_and_is_no_damage() {
    let world = filled();
    world.disk.create(Path::new("/data/snapshot-2-999.new")).unwrap();
    let log = files(&world.disk, |name| name.ends_with(".log"));
    let file = world.disk.open(log.last().unwrap()).unwrap();
    file.write_at(file.length().unwrap(), &[0xa5; 100]).unwrap();
    let mut inspector = inspector(&world.disk);
    inspector.groups().into_iter().for_each(|group| drop(inspector.group(group)));
    let kinds: Vec<Kind> = inspector.findings().iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::LeftOver, Kind::TornTail]);
    assert!(inspector.is_sound() && opens(&world).is_ok());
}

#[test]
fn the_group_of_the_cluster_is_told_with_its_entries_and_is_no_shard() {
    let world = filled();
    let (members, mut state, mut entry) = ([NODE, 5, 6], Vec::new(), Vec::new());
    let hard_state = fulmar_raft::HardState { term: 3, vote: Some(5) };
    let start = fulmar_raft::Snapshot::initial(fulmar_raft::Membership::new(members, []).unwrap());
    fulmar_raft::State { hard_state, start }.append_to(&mut state);
    let mut bytes = Vec::new();
    fulmar_meta::Entry { time: 0, commands: vec![bootstrap()] }.encode(&mut bytes);
    fulmar_raft::Payload::Command(bytes.into()).append_to(&mut entry);
    let append = Write::Append { group: 0, index: 1, term: 3, payload: &entry };
    write(&world, &[Write::State { group: 0, bytes: &state }, append]);
    let (kinds, queued, reports) = inspected(&world.disk, wanted());
    assert_eq!((kinds, queued, reports.len()), (vec![], 100, 5));
    let report = &reports[0];
    assert_eq!((report.group, report.shard, report.term, report.vote), (0, None, 3, Some(5)));
    assert_eq!((report.voters.as_slice(), report.entries(), report.is_alone(NODE)), (&[5, 6, NODE][..], 1, false));
    let cluster = report.cluster.as_ref().expect("the state of the cluster");
    assert_eq!(cluster.cluster(), Some(fulmar_meta::ClusterId(9)));
    assert_eq!(cluster.nodes().map(|(id, _)| id).collect::<Vec<_>>(), [NODE]);
}

/// A cluster begins, on this node.
pub(super) fn bootstrap() -> fulmar_meta::Command {
    let first = fulmar_meta::Start {
        member: fulmar_meta::Member { id: NODE, incarnation: 1 },
        nonce: 1,
        name: "broker-0".into(),
        addresses: vec!["broker-0:7000".into()],
        zone: "".into(),
        level: fulmar_meta::LEVEL,
    };
    fulmar_meta::Command::Bootstrap { cluster: fulmar_meta::ClusterId(9), shards: 4, first }
}

#[test]
fn without_its_log_a_folder_still_has_what_is_in_snapshots() {
    let world = filled();
    files(&world.disk, |name| name.ends_with(".log")).iter().for_each(|path| world.disk.remove(path).unwrap());
    let (kinds, queued, reports) = inspected(&world.disk, wanted());
    assert_eq!(kinds, [Kind::LogGone]);
    assert!(queued > 0 && reports.len() == 1, "{queued} messages of {} shards", reports.len());
}

#[test]
fn behind_damage_in_the_log_what_stands_before_is_read() {
    let World { disk, engine, .. } = filled();
    engine.close().unwrap();
    let log = files(&disk, |name| name.ends_with(".log"));
    let last = log.last().unwrap();
    let length = disk.open(last).unwrap().length().unwrap();
    disk.flip(last, 8 * (length / 2));
    let (kinds, queued, _) = inspected(&disk, wanted());
    assert_eq!(kinds, [Kind::LogDamaged]);
    assert!((50..100).contains(&queued), "{queued} messages");
}
