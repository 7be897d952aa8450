//! Random entries against the naive model: the same replies, the same state; and what must hold of every replica.
//!
//! A failure prints its seed; `FULMAR_SEED=n` runs that one alone.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::model::{ITSELF, Model};
use super::random::Source;
use crate::body::Nowhere;
use crate::ledger::Sabotage;
use crate::*;

const SEEDS: u64 = 300;
const ENTRIES: usize = 120;
const ALL: Credit = Credit { messages: usize::MAX, bytes: u64::MAX };

fn snapshot(shard: &Shard, chunk_bytes: usize) -> Vec<Vec<u8>> {
    shard.snapshot(chunk_bytes).collect()
}

fn load(chunks: &[Vec<u8>]) -> Shard {
    let mut loader = Loader::new();
    chunks.iter().for_each(|chunk| loader.chunk(chunk).expect("a snapshot can be loaded"));
    loader.finish().expect("a snapshot is complete")
}

/// What is kept beside the state because it would take long to find: all of it must be what loading a snapshot finds.
fn derived(shard: &Shard) -> impl PartialEq + std::fmt::Debug + use<> {
    let references: Vec<_> = shard.ledger.bodies().iter().map(|(id, body)| (*id, body.references)).collect();
    let queues: Vec<_> = shard.sessions.values().map(|session| session.queue.clone()).collect();
    let due = shard.ledger.due().clone();
    (references, queues, due, shard.owned.clone(), shard.interest.filters().clone(), shard.counts())
}

/// What can be seen of both.
fn compare(shard: &Shard, model: &Model) {
    let now = model.time;
    assert_eq!(shard.time(), now);
    let counts = Counts {
        sessions: model.sessions.len(),
        subscriptions: model.sessions.values().map(|session| session.subscriptions.len() as u64).sum(),
        queued: model.sessions.values().map(|session| session.queue.len() as u64).sum(),
        messages: model.bodies(),
        retained: model.retained.len(),
        tombstones: model.tombstones.len(),
        wills: model.wills.len(),
        bytes: model.bytes(),
        bytes_on_disk: 0,
    };
    assert_eq!(shard.counts(), counts);
    assert_eq!(shard.totals(), model.totals);
    assert_eq!(shard.next_due(), model.next_due());
    for (client, expected) in &model.sessions {
        let owner = expected.left_at.is_none().then_some(expected.node).filter(|node| !model.is_gone(*node));
        let view = SessionView {
            epoch: expected.answer.epoch,
            generation: expected.generation,
            owner,
            queued: expected.queue.len(),
            queued_bytes: expected.queue_bytes(),
            in_flight: expected.in_flight() as u32,
            subscriptions: expected.subscriptions.len(),
            received: expected.received.len(),
        };
        assert_eq!(shard.session(client), Some(view));
        let window = expected.queue.iter().filter(|place| owner.is_some() && place.sequence < expected.sent_until);
        let window: Vec<_> = window
            .map(|place| {
                let message = place.kept.as_ref().map(|kept| kept.message.clone());
                (place.sequence, place.qos, place.retain, place.ids.clone(), message)
            })
            .collect();
        let deliverable: Vec<_> =
            shard.deliverable(client, 0, ALL, now, &mut Nowhere).unwrap().into_iter().map(delivered).collect();
        assert_eq!(deliverable, window.into_iter().map(without_lifetime).collect::<Vec<_>>());
    }
    let subscriptions = model.sessions.iter().flat_map(|(client, session)| {
        let each = session.subscriptions.iter();
        each.map(move |(filter, subscription)| (client, session.generation, filter, subscription))
    });
    assert!(shard.subscriptions().eq(subscriptions));
    assert!(shard.pending_wills().eq(model.wills.iter().map(|(id, pending)| (*id, pending))));
    let users = model.sessions.iter().map(|(client, session)| (client, session.generation, session.user.as_ref()));
    assert!(shard.users_after(None).eq(users));
    let retained: Vec<_> = shard.retained.iter().map(|(topic, it)| (topic.to_string(), it.version)).collect();
    let expected: Vec<_> = model.retained.iter().map(|(topic, (_, version))| (topic.clone(), *version)).collect();
    assert_eq!(retained, expected);
    let tombstones: Vec<_> =
        shard.tombstones.iter().map(|(topic, it)| (topic.to_string(), it.version, it.ends)).collect();
    assert_eq!(tombstones, model.tombstones);
    for (destination, (_, waiting)) in &model.outbox {
        let found = shard.outbox(*destination, 0, ALL, now, &mut Nowhere).unwrap().into_iter();
        let found: Vec<_> = found.map(|it| (it.number, it.message.payload().to_vec(), it.to)).collect();
        let expected = waiting.iter().map(|(number, kept, to)| (*number, kept.message.payload().to_vec(), to.clone()));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}

type Shown = (Sequence, fulmar_codec::QoS, bool, Vec<std::num::NonZeroU32>, Option<Message>);

fn delivered(delivery: Delivery) -> Shown {
    let Delivery { sequence, packet_id, qos, retain, subscription_ids, message } = delivery;
    assert_eq!(u64::from(packet_id.get()), 1 + sequence % 65_535);
    without_lifetime((sequence, qos, retain, subscription_ids.to_vec(), message))
}

fn without_lifetime((sequence, qos, retain, ids, message): Shown) -> Shown {
    (sequence, qos, retain, ids, message.map(|message| message.with_lifetime(None)))
}

/// Which messages each life of a session has, whether the client has them already or not.
fn held(shard: &Shard) -> BTreeMap<(ClientId, Generation), Vec<Sequence>> {
    let sessions = shard.sessions.iter();
    sessions
        .map(|(client, it)| ((client.clone(), it.generation), it.queue.places().keys().copied().collect()))
        .collect()
}

/// How many messages others are to get if a session ends.
fn owed_to_others(shard: &Shard, client: &str) -> usize {
    let queue = &shard.sessions[client].queue;
    let may_move = |sequence, qos| sequence >= queue.window_end() || qos == fulmar_codec::QoS::AtLeastOnce;
    let shared = queue.places().iter().filter(|(_, place)| place.share.is_some());
    shared.filter(|(sequence, place)| may_move(**sequence, place.qos)).count()
}

/// No message disappears but by acknowledgement, expiry, a policy that counts, or the end of its session; and then
/// those of shared subscriptions go on.
fn account_for_what_disappeared(before: &Shard, after: &Shard, command: &Command, reply: &Reply) {
    let went_on = |shard: &Shard| {
        let last = shard.outbox.get(&ITSELF).map_or(0, |outbox| outbox.last());
        let Totals { expired, stranded, .. } = shard.totals();
        (last + expired + stranded) as usize
    };
    let now = held(after);
    let (mut missing, mut shared) = (0, 0);
    for (life, sequences) in held(before) {
        let Some(left) = now.get(&life) else {
            shared += owed_to_others(before, &life.0);
            continue;
        };
        missing += sequences.iter().filter(|sequence| !left.contains(sequence)).count();
    }
    let went_on = went_on(after) - went_on(before);
    assert!(shared <= went_on, "{shared} messages of shared subscriptions should have gone on, with {command:?}");
    let dropped = |stored: &Stored| stored.dropped as usize;
    let allowed = match reply {
        Reply::Acknowledged(each) => each.iter().filter(|it| **it == AckReply::Done).count(),
        Reply::Cleared(cleared) => cleared.messages as usize,
        Reply::Unsubscribed(_) => went_on,
        Reply::Routed(stored) => dropped(stored),
        Reply::Published { items, .. } => {
            let each = items.iter().map(|item| if let ItemReply::Stored(stored) = item { dropped(stored) } else { 0 });
            // One that came with this entry may make room for another one of it: that one was never there before.
            let all: usize = each.sum();
            assert!(missing <= all, "{missing} messages disappeared, {all} were dropped, with {command:?}");
            return;
        }
        _ => 0,
    };
    assert!(missing <= allowed, "{missing} messages disappeared, {allowed} may have, with {command:?}: {reply:?}");
}

/// A command that did what it is for, sent again because its answer was lost.
fn is_settled(command: &Command, reply: &Reply) -> bool {
    match (command, reply) {
        (Command::NodeGone(_) | Command::Expire, _) | (_, Reply::Refused(_)) => false,
        // A part is looked at again, and nobody gets it again.
        (Command::Publish { goes_on, .. }, _) => !goes_on,
        (_, Reply::Acknowledged(each)) => each.iter().all(|it| matches!(it, AckReply::Done | AckReply::DoneBefore)),
        (Command::Subscribe { .. }, Reply::Subscribed(each)) => each.iter().all(Result::is_ok),
        _ => true,
    }
}

fn check_again_changes_nothing(shard: &Shard, command: &Command, reply: &Reply) {
    let mut again = shard.clone();
    let entry = Entry { time: 0, commands: vec![command.clone()] };
    let found = again.apply(shard.applied + 1, &entry);
    again.applied = shard.applied;
    assert_eq!(snapshot(&again, 1 << 20), snapshot(shard, 1 << 20), "{command:?} was sent again");
    // One SUBSCRIBE may name a filter twice with different options, and then changes it to and fro.
    assert!(found.subscriptions.is_empty() || matches!(command, Command::Subscribe { .. }), "{command:?}");
    if let Reply::Claimed(_) = reply {
        assert_eq!(found.replies, std::slice::from_ref(reply));
    }
}

/// The names of what was answered, so that it can be said what all seeds together have met.
fn answers(reply: &Reply) -> Vec<String> {
    let bound = |bound: &Bound| format!("{bound:?}");
    let of_stored = |stored: &Stored| {
        let mut names: Vec<_> = stored.refused.iter().map(|(_, it)| bound(it)).collect();
        let retained = stored.retained.iter().map(|it| match it {
            RetainReply::Applied => "retained".to_owned(),
            RetainReply::Older => "older".to_owned(),
            RetainReply::Refused(it) => bound(it),
        });
        names.extend(retained);
        let flags = [
            (stored.is_expired, "expired"),
            (stored.dropped > 0, "dropped"),
            (stored.ignored > 0, "ignored"),
            (stored.again > 0, "again"),
        ];
        names.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| (*name).to_owned()));
        names
    };
    match reply {
        Reply::Refused(Refusal::Bound(it)) => vec![bound(it)],
        Reply::Refused(refusal) => vec![name(refusal)],
        Reply::Subscribed(each) => each.iter().filter_map(|it| it.as_ref().err()).map(bound).collect(),
        Reply::Published { items, .. } => {
            let each = items.iter().flat_map(|item| match item {
                ItemReply::DoneBefore => vec![name(item)],
                ItemReply::Stored(stored) => of_stored(stored),
            });
            each.collect()
        }
        Reply::Acknowledged(each) => each.iter().map(|it| format!("ack {it:?}")).collect(),
        Reply::Routed(stored) => of_stored(stored),
        Reply::Disconnected { ended, will } => vec![format!("{} {ended}", name(will))],
        Reply::Cleared(cleared) => {
            let Cleared { left, ended, wills, messages, retained, tombstones, more } = cleared;
            let counts = [("left", *left), ("ended", *ended), ("wills", *wills), ("messages", *messages)];
            let counts = counts.into_iter().chain([("old retained", *retained)]);
            let counts = counts.chain([("old tombstones", *tombstones), ("more", u32::from(*more))]);
            counts.filter(|(_, count)| *count > 0).map(|(name, _)| name.to_owned()).collect()
        }
        Reply::Ended { was_there, owner } => vec![format!("end {was_there} {}", owner.is_some())],
        other => vec![name(other)],
    }
}

/// The name of a variant.
fn name(of: &impl std::fmt::Debug) -> String {
    format!("{of:?}").split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// All that the seeds are to meet: every refusal, every bound, whatever can become of a message or of a session.
const ANSWERS: &[&str] = &[
    "NodeGone",
    "NoSession",
    "OtherUser",
    "Epoch",
    "NotOwned",
    "Superseded",
    "OutOfOrder",
    "NeverSent",
    "NoWill",
    "NoMember",
    "Sessions",
    "ShardBytes",
    "QueueMessages",
    "QueueBytes",
    "Subscriptions",
    "WillBytes",
    "ReceivedIds",
    "Retained",
    "Outbox",
    "Nodes",
    "Duplicate",
    "Claimed",
    "Released",
    "DoneBefore",
    "retained",
    "older",
    "expired",
    "dropped",
    "ignored",
    "again",
    "to Member",
    "to Destination",
    "to Nobody",
    "stranded",
    "forgotten",
    "ack Done",
    "ack DoneBefore",
    "ack Unexpected",
    "ack NotSent",
    "None false",
    "None true",
    "DueAt false",
    "Pending false",
    "Pending true",
    "end true true",
    "end true false",
    "end false false",
    "left",
    "ended",
    "wills",
    "messages",
    "old retained",
    "old tombstones",
    "more",
];

fn simulate(seed: u64, sabotage: Option<Sabotage>) -> BTreeSet<String> {
    let mut met = BTreeSet::new();
    let mut source = Source::new(seed);
    let mut shard = Shard::new(ShardId(1));
    shard.ledger.sabotage = sabotage;
    let mut model = Model::default();
    let mut other: Option<Shard> = None;
    let loaded_at = source.random.below(ENTRIES as u64) as usize;
    let settings = Entry { time: 0, commands: vec![Command::Settings(source.settings())] };
    shard.apply(1, &settings);
    model.apply(1, &settings);
    for number in 0..ENTRIES {
        let index = shard.applied() + 1;
        let entry = source.entry(&model);
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        assert_eq!(Entry::decode(&bytes).as_ref(), Ok(&entry));

        let before = shard.clone();
        let applied = shard.apply(index, &entry);
        assert_eq!(applied.replies, model.apply(index, &entry), "{entry:?}");
        if let ([command], [reply]) = (&*entry.commands, &*applied.replies) {
            account_for_what_disappeared(&before, &shard, command, reply);
        }
        if let Some(other) = &mut other {
            assert_eq!(other.apply(index, &entry), applied);
        }
        let (command, reply) = (entry.commands.last().unwrap(), applied.replies.last().unwrap());
        if number % 4 == 0 && is_settled(command, reply) {
            check_again_changes_nothing(&shard, command, reply);
        }
        if number % 8 == 0 || number + 1 == ENTRIES {
            compare(&shard, &model);
            let loaded = load(&snapshot(&shard, 1 + source.random.below(2000) as usize));
            assert_eq!(derived(&loaded), derived(&shard));
        }
        if number == loaded_at {
            let mut loaded = load(&snapshot(&shard, 100));
            loaded.ledger.sabotage = sabotage;
            other = Some(loaded);
        }
        for (command, reply) in entry.commands.iter().zip(applied.replies) {
            if let (Command::RouteAgain { to, .. }, Reply::Routed(_)) = (command, &reply) {
                met.insert(format!("to {}", name(to)));
            }
            met.extend(answers(&reply));
            let mut bytes = Vec::new();
            reply.encode(&mut bytes);
            assert_eq!(Reply::decode(&bytes), Ok(reply));
        }
    }
    let other = other.expect("a snapshot was loaded on the way");
    let Totals { stranded, forgotten, .. } = shard.totals();
    let counts = [("stranded", stranded), ("forgotten", forgotten)];
    met.extend(counts.into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name.to_owned()));
    assert_eq!(snapshot(&other, 512), snapshot(&shard, 512), "replicas have the same bytes");
    met
}

#[test]
fn replicas_do_what_the_model_does_and_a_snapshot_at_any_point_goes_on_alike() {
    let seeds = match std::env::var("FULMAR_SEED") {
        Ok(seed) => vec![seed.parse().expect("FULMAR_SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    };
    let many = seeds.len() > 1;
    let mut met = BTreeSet::new();
    for seed in seeds {
        let answers = catch_unwind(|| simulate(seed, None));
        met.extend(answers.unwrap_or_else(|_| panic!("failed with FULMAR_SEED={seed}")));
    }
    let missed: Vec<_> = ANSWERS.iter().filter(|name| many && !met.contains(**name)).collect();
    assert!(missed.is_empty(), "never met {missed:?}, but {met:?}");
}

/// The first seed that notices a mistake.
fn noticed(sabotage: Sabotage) -> Option<u64> {
    (0..SEEDS).find(|seed| catch_unwind(AssertUnwindSafe(|| simulate(*seed, Some(sabotage)))).is_err())
}

#[test]
fn deliberate_mistakes_are_noticed() {
    for sabotage in [
        Sabotage::EpochNotChecked,
        Sabotage::GapAccepted,
        Sabotage::PartsForgotten,
        Sabotage::GenerationNotChecked,
        Sabotage::WillFiredTwice,
        Sabotage::RetryMatchedAgain,
        Sabotage::InFlightDropped,
        Sabotage::ClaimRepeated,
        Sabotage::SnapshotWithoutInFlight,
        Sabotage::OlderVersionRetained,
        Sabotage::TombstoneForgotten,
        Sabotage::InheritedByAnotherUser,
        Sabotage::SharedLostAtEnd,
        Sabotage::SentQos2Moved,
    ] {
        let seed = noticed(sabotage);
        println!("{sabotage:?} is noticed with seed {seed:?}");
        assert!(seed.is_some(), "{sabotage:?} is not noticed");
    }
}
