//! How long clients wait after each kind of failure of three nodes, measured, and what is lost meanwhile: a table.
//!
//! Each time a session has a client at the node that fails, and a message that waits. Every other node has a client that
//! subscribes and one that publishes something for sessions of all shards in the moment of the failure. All of them come
//! back again and again where they are closed. Publishers go on over everything, and what they were told is done is
//! counted in the end.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use fulmar_codec::{Connect, PublishHead, QoS, ReasonCode, SubscriptionOptions, Version};
use fulmar_store::ShardId;
use serde_json::Value;

use crate::harness::{Client, Dice, Got, Publisher, Subscriber, wait_for};
use crate::run::publish;
use crate::stage::Stage;
use crate::world::{Abort, World, lasting};

const NODES: usize = 3;
const SHARDS: NonZeroU16 = NonZeroU16::new(12).expect("not 0");
/// Somebody in each shard has subscribed to it, and so has a client at each node.
const EVERYWHERE: &str = "everywhere";
/// Between two attempts of a client.
const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);

/// What fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Failure {
    LeaderKilled,
    FollowerKilled,
    Terminated,
    /// The same, when its process has just ended.
    Ended,
    Stopped,
    CutOff,
    FolderLost,
    AllKilled,
    MinorityAlone,
}

/// What clients waited for, one figure for each repetition.
#[derive(Default)]
struct Waited {
    session: Vec<Duration>,
    suback: Vec<Duration>,
    puback: Vec<Duration>,
    /// Until every node served again and had its copies, after the end of the failure.
    whole: Vec<Duration>,
}

impl Failure {
    const ALL: [Failure; 9] = [
        Failure::LeaderKilled,
        Failure::FollowerKilled,
        Failure::Terminated,
        Failure::Ended,
        Failure::CutOff,
        Failure::FolderLost,
        Failure::AllKilled,
        Failure::MinorityAlone,
        Failure::Stopped,
    ];

    fn name(self) -> &'static str {
        match self {
            Failure::LeaderKilled => "`kill -9` of the leader of the session's shard",
            Failure::FollowerKilled => "`kill -9` of another node, where its client is",
            Failure::Terminated => "SIGTERM (drain), counted from the signal",
            Failure::Ended => "SIGTERM (drain), counted from the end of the process",
            Failure::Stopped => "SIGSTOP for 30 s",
            Failure::CutOff => "one node cut off for 5 s",
            Failure::FolderLost => "`kill -9`, and the folder is lost",
            Failure::AllKilled => "`kill -9` of all at once, started at once",
            Failure::MinorityAlone => "two of three killed; counted from their start",
        }
    }

    /// How often it is measured, if others are `wanted` times.
    fn repetitions(self, wanted: usize) -> usize {
        if self == Failure::Stopped { wanted.div_ceil(4) } else { wanted }
    }

    /// For how long the node is away after clients have found their way.
    fn hold(self) -> Duration {
        match self {
            Failure::Stopped => Duration::from_secs(30),
            Failure::CutOff => Duration::from_secs(5),
            _ => Duration::ZERO,
        }
    }

    /// Which nodes are to serve at once.
    fn serving(self, victim: usize) -> Vec<usize> {
        let is_all = matches!(self, Failure::AllKilled | Failure::MinorityAlone);
        (0..NODES).filter(|index| is_all || *index != victim).collect()
    }

    /// Lets it happen to the node; tells since when clients count.
    fn begin(self, stage: &mut Stage, victim: usize) -> Instant {
        let now = Instant::now();
        match self {
            Failure::LeaderKilled | Failure::FollowerKilled => stage.kill(victim),
            Failure::FolderLost => stage.lose(victim),
            Failure::Terminated => stage.broker(victim).signal(libc::SIGTERM),
            Failure::Ended => {
                stage.stop(victim);
                return Instant::now();
            }
            Failure::Stopped => stage.broker(victim).signal(libc::SIGSTOP),
            Failure::CutOff => stage.isolate(victim),
            Failure::AllKilled => {
                (0..NODES).for_each(|index| stage.kill(index));
                (0..NODES).for_each(|index| stage.start(index));
            }
            Failure::MinorityAlone => {
                let two = [victim, (victim + 1) % NODES];
                two.into_iter().for_each(|index| stage.kill(index));
                // The one that is left gives up its lease meanwhile.
                thread::sleep(Duration::from_secs(5));
                let now = Instant::now();
                two.into_iter().for_each(|index| stage.start(index));
                return now;
            }
        }
        now
    }

    fn end(self, stage: &mut Stage, victim: usize) {
        match self {
            Failure::LeaderKilled | Failure::FollowerKilled | Failure::FolderLost | Failure::Ended => {
                stage.start(victim);
            }
            Failure::Terminated => {
                stage.await_end(victim);
                stage.start(victim);
            }
            Failure::Stopped => stage.broker(victim).signal(libc::SIGCONT),
            Failure::CutOff => stage.heal(),
            Failure::AllKilled | Failure::MinorityAlone => {}
        }
    }
}

/// Measures all kinds and prints the table, `wanted` times each where that is cheap.
pub fn measure(wanted: usize, only: Option<&str>) {
    println!("| failure | times | session usable | SUBACK | PUBACK | all copies again | lost |");
    println!("|---|---|---|---|---|---|---|");
    for failure in Failure::ALL {
        if only.is_none_or(|only| format!("{failure:?}") == only) {
            let repetitions = failure.repetitions(wanted);
            let (waited, messages) = measure_one(failure, repetitions);
            let Waited { session, suback, puback, whole } = waited;
            println!(
                "| {} | {repetitions} | {} | {} | {} | {} | 0 of {messages} |",
                failure.name(),
                show(session),
                show(suback),
                show(puback),
                show(whole)
            );
        }
    }
}

/// Median and maximum.
fn show(mut all: Vec<Duration>) -> String {
    all.sort_unstable();
    let [median, max] = [all.len() / 2, all.len() - 1].map(|at| all[at].as_secs_f64());
    format!("{median:.2} s, at most {max:.2} s")
}

/// Measures one kind, and tells how many messages were published meanwhile, none of which is lost.
fn measure_one(failure: Failure, repetitions: usize) -> (Waited, u32) {
    let mut stage = Stage::new(NODES);
    let world = World::new(stage.addresses());
    let mut dice = Dice(1);
    let mut absent = Subscriber::new("absent");
    subscribe(&world, absent.name, "traffic/#", &mut dice);
    for shard in 0..SHARDS.get() {
        subscribe(&world, &name_in(ShardId(shard), "keeper"), EVERYWHERE, &mut dice);
    }
    let mut publishers =
        [QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| Publisher::new(format!("traffic/{}", qos.level()), qos));
    let (mut waited, (done, _is_done)) = (Waited::default(), channel());
    let totals: BTreeMap<String, u32> = thread::scope(|scope| {
        let _abort = Abort(&world);
        let publishing: Vec<_> = publishers
            .iter_mut()
            .map(|publisher| {
                let (world, done, dice) = (&world, done.clone(), Dice(dice.between(0, 1 << 30)));
                scope.spawn(move || publish(publisher, world, dice, &done, &Default::default()))
            })
            .collect();
        for repetition in 0..repetitions {
            once(failure, repetition, &mut stage, &world, &mut waited);
        }
        world.end();
        publishing.into_iter().map(|thread| thread.join().expect("publishers come to their ends")).collect()
    });
    world.rove(&lasting(absent.name), &mut dice, |client, session_present, dice| {
        assert!(session_present);
        absent.live(client, Some(&totals), true, dice);
        absent.has_all(&totals)
    });
    absent.check(&publishers);
    (waited, totals.values().sum())
}

fn once(failure: Failure, repetition: usize, stage: &mut Stage, world: &World, waited: &mut Waited) {
    let victim = repetition % NODES;
    let device = device(failure, repetition, stage, victim);
    let topic = format!("device/{repetition}");
    // The client of the session has not acknowledged what it got.
    let (mut client, session_present) = wait_for("CONNACK", || world.connect_to(victim, &lasting(&device)));
    assert!(!session_present);
    client.subscribe(&topic, QoS::AtLeastOnce);
    let serving = failure.serving(victim);
    let mut publisher = enter(world, serving[0], "publisher");
    assert!(acknowledges(&mut publisher, &topic), "everything is well");
    let mut witness = enter(world, victim, "witness");
    witness.subscribe(EVERYWHERE, QoS::AtLeastOnce);
    let clients: Vec<_> = serving
        .iter()
        .map(|index| (*index, ["suback", "puback"].map(|what| enter(world, *index, &format!("{what}-{index}")))))
        .collect();

    // Who is to be closed is not asked before that.
    let begin = failure.begin(stage, victim);
    let (session, suback, puback) = thread::scope(|scope| {
        let (serving, device) = (&serving, &device);
        let session = scope.spawn(move || resume(world, serving, device, begin));
        let asking: Vec<_> = clients
            .into_iter()
            .map(|(index, [subscriber, publisher])| {
                let filter = format!("new/{repetition}/{index}");
                let suback = scope.spawn(move || {
                    until(world, index, &format!("suback-{index}"), subscriber, begin, |client| grants(client, &filter))
                });
                let puback = scope.spawn(move || {
                    until(world, index, &format!("puback-{index}"), publisher, begin, |client| {
                        acknowledges(client, EVERYWHERE)
                    })
                });
                (suback, puback)
            })
            .collect();
        let (mut suback, mut puback) = (Duration::ZERO, Duration::ZERO);
        for (of_suback, of_puback) in asking {
            suback = suback.max(of_suback.join().expect("SUBACK"));
            puback = puback.max(of_puback.join().expect("PUBACK"));
        }
        (session.join().expect("the session"), suback, puback)
    });
    waited.session.push(session);
    waited.suback.push(suback);
    waited.puback.push(puback);
    thread::sleep(failure.hold().saturating_sub(begin.elapsed()));
    let end = Instant::now();
    failure.end(stage, victim);
    stage.wait_until_whole();
    waited.whole.push(end.elapsed());
    eprintln!("{failure:?} {repetition}: session {session:.2?}, SUBACK {suback:.2?}, PUBACK {puback:.2?}");
}

/// A new client id in a shard that the victim leads, or does not lead where a follower is to fail.
fn device(failure: Failure, repetition: usize, stage: &Stage, victim: usize) -> String {
    let leaders = wait_for("a leader of each shard", || leaders(stage));
    let is_led = |shard: &u16| (leaders[usize::from(*shard)] == victim) == (failure != Failure::FollowerKilled);
    let shard = wait_for("a shard", || (0..SHARDS.get()).find(is_led));
    name_in(ShardId(shard), &format!("device-{repetition}"))
}

/// Of each shard the node that leads it.
fn leaders(stage: &Stage) -> Option<Vec<usize>> {
    let cluster = stage.ask(0, "/v1/cluster")?;
    let node_of = |id: &Value| {
        let member = cluster["members"].as_array()?.iter().find(|member| member["nodeId"] == *id)?;
        member["name"].as_str()?.strip_prefix("node-")?.parse().ok()
    };
    cluster["shards"].as_array()?.iter().map(|shard| node_of(&shard["leader"])).collect()
}

/// A client id that begins like that and belongs to a shard.
fn name_in(shard: ShardId, start: &str) -> String {
    let names = (0_u32..).map(|number| format!("{start}-{number}"));
    names.into_iter().find(|name| ShardId::of(name, SHARDS) == shard).expect("numbers are endless")
}

fn subscribe(world: &World, id: &str, filter: &str, dice: &mut Dice) {
    world.rove(&lasting(id), dice, |client, _, _| {
        client.subscribe(filter, QoS::ExactlyOnce);
        true
    });
}

fn enter(world: &World, index: usize, id: &str) -> Client {
    wait_for("CONNACK", || world.connect_to(index, &Connect::new(Version::V5, id))).0
}

/// When the session was found at one of the nodes, with the message that waits.
fn resume(world: &World, serving: &[usize], device: &str, begin: Instant) -> Duration {
    for index in serving.iter().cycle() {
        if let Some((mut client, session_present)) = world.connect_to(*index, &lasting(device)) {
            assert!(session_present, "the session of {device} is gone");
            if matches!(client.next(), Got::Message { .. }) {
                return begin.elapsed();
            }
        }
        assert!(begin.elapsed() < PATIENCE, "nobody has the session of {device}");
        thread::sleep(PAUSE);
    }
    unreachable!("there is a node that serves")
}

/// When a node did what it was asked for, with a new connection each time the last one was closed.
fn until(
    world: &World,
    index: usize,
    id: &str,
    client: Client,
    begin: Instant,
    does: impl Fn(&mut Client) -> bool,
) -> Duration {
    let mut client = Some(client);
    loop {
        if client.take().is_some_and(|mut client| does(&mut client)) {
            return begin.elapsed();
        }
        assert!(begin.elapsed() < PATIENCE, "{id} waits in vain");
        thread::sleep(PAUSE);
        client = world.connect_to(index, &Connect::new(Version::V5, id)).map(|(client, _)| client);
    }
}

fn grants(client: &mut Client, filter: &str) -> bool {
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
    client.ask_to_subscribe(filter, options) == Got::SubAck(vec![ReasonCode::GRANTED_QOS_1])
}

fn acknowledges(client: &mut Client, topic: &str) -> bool {
    let id = client.publish_with(topic, "1", PublishHead { qos: QoS::AtLeastOnce, ..PublishHead::default() });
    client.next() == Got::PubAck(id, ReasonCode::SUCCESS)
}
