//! How entries are measured, and where they end.

use super::random::Source;
use super::*;
use crate::tests::model::Model;

fn weight(targets: u64, bytes: u64) -> Weight {
    Weight { targets, bytes }
}

/// A message of so many bytes for so many sessions.
fn sized(bytes: usize, targets: usize) -> Item {
    item(&"x".repeat(bytes - 1), &vec![target("client", 1, QoS::AtLeastOnce); targets])
}

#[test]
fn an_entry_takes_what_stays_within_the_bounds_and_at_least_one_of_anything() {
    let most = weight(4096, 256 << 10);
    assert!(weight(4000, 0).takes(weight(96, 256 << 10)));
    assert!(!weight(4000, 0).takes(weight(97, 0)));
    assert!(!weight(1, 1).takes(weight(0, 256 << 10)));
    assert!(!most.takes(weight(1, 0)));
    assert!(Weight::default().takes(weight(100_000, 1 << 28)));
    assert!(!weight(u64::MAX, u64::MAX).takes(most), "nothing overflows");
}

#[test]
fn an_entry_weighs_what_its_commands_do() {
    let entry = Entry { time: 0, commands: vec![publish(1, &[sized(1000, 3), sized(500, 2)]), Command::Expire] };
    let parts = entry.commands.iter().map(Command::weight).collect::<Vec<_>>();
    assert_eq!(entry.weight(), parts[0] + parts[1]);
    assert_eq!((parts[0].targets, parts[1].targets), (5, 1), "what has no targets counts as one");
    assert!(parts[0].bytes > 1500 + 5 * 6);
}

#[test]
fn no_entry_is_longer_than_it_weighs() {
    for seed in 0..40 {
        let mut source = Source::new(seed);
        let (mut shard, mut model) = (Shard::new(ShardId(1)), Model::default());
        for index in 1..60 {
            let entry = source.entry(&model);
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            let Weight { targets, bytes: weight } = entry.weight();
            assert!(bytes.len() as u64 <= weight + 64 * targets, "{} {weight} {targets} {entry:?}", bytes.len());
            shard.apply(index, &entry);
            model.apply(index, &entry);
        }
    }
}

#[test]
fn a_publish_is_cut_between_messages() {
    let items = [sized(100_000, 1), sized(100_000, 1), sized(100_000, 1), sized(1, 4096), sized(1, 1), sized(1, 1)];
    let portions = publish(7, &items).split();
    let shown: Vec<_> = portions
        .iter()
        .map(|command| match command {
            Command::Publish { source: Party::Node(A), first, items, .. } => (*first, items.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shown, [(7, 2), (9, 1), (10, 1), (11, 2)]);
    assert!(portions.iter().all(|portion| {
        let Weight { targets, bytes } = portion.weight();
        targets <= Weight::TARGETS_MAX && bytes <= Weight::BYTES_MAX
    }));
}

#[test]
fn a_single_message_and_any_other_command_go_whole() {
    let large = publish(1, &[sized(1 << 20, 10_000), sized(1, 1)]);
    let lengths = large.split().iter().map(|command| command.weight().targets).collect::<Vec<_>>();
    assert_eq!(lengths, [10_000, 1]);
    let acks = vec![(0, Ack::Ack); 10_000];
    for command in [publish(1, &[]), acknowledge("c", 1, &acks), Command::Expire] {
        assert_eq!(command.clone().split(), [command]);
    }
}

#[test]
fn what_was_cut_does_the_same() {
    let [mut whole, mut cut] = [World::new(), World::new()];
    let generation = [&mut whole, &mut cut].map(|world| world.session("client").generation)[0];
    assert_eq!(generation, 1, "as the targets say");
    let command = publish(1, &[sized(200_000, 1), sized(200_000, 1), sized(1, 1)]);
    let whole = match whole.apply(command.clone()) {
        Reply::Published { items, expected } => (items, expected),
        other => panic!("{other:?}"),
    };
    let replies = command.split().into_iter().map(|portion| cut.apply(portion));
    let mut together = (Vec::new(), 0);
    for reply in replies {
        let Reply::Published { items, expected } = reply else { panic!("{reply:?}") };
        together.0.extend(items);
        together.1 = expected;
    }
    assert_eq!(together, whole);
}
