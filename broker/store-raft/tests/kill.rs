//! A process that is killed in the middle of its work, on the real disk: what it had answered is there.

use std::io::{BufRead, BufReader, Write as _};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fulmar_codec::{QoS, SubscriptionOptions};
use fulmar_log::StdDisk;
use fulmar_raft::NodeId;
use fulmar_store::{
    Ack, Answer, Ask, Asked, Claim, Delivery, Epoch, Message, Node, Owner, Published, Recipients, Reply, ShardId,
    Subscription, Takeover, Ticket, Told, Version,
};
use fulmar_store_raft::{Engine, Letter, Out, Settings};

const FOLDER: &str = "FULMAR_STORE_KILL_FOLDER";
const CLIENT: &str = "meter";

#[derive(Default)]
struct Heard(Vec<Told>);

impl Out for Heard {
    fn tell(&mut self, _: Node, _: u16, told: Told) {
        self.0.push(told);
    }

    fn interest(&mut self, _: ShardId, _: Option<&str>, _: &str, _: bool) {}

    fn retained(&mut self, _: &str, _: Option<&Message>, _: Version) {}

    fn send(&mut self, _: NodeId, _: Letter) {}
}

struct World {
    engine: Engine<StdDisk>,
    heard: Heard,
    asked: u64,
}

fn settings(folder: &Path) -> Settings {
    let mut settings = Settings::new(7, folder.to_owned(), u64::from(std::process::id()));
    // Small enough for snapshots in the short life of a test.
    (settings.snapshot_log_bytes, settings.log.segment_bytes) = (100_000, 50_000);
    settings.store.queue_messages_max = 1_000_000;
    settings.store.queue_bytes_max = 100 << 20;
    settings
}

fn time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_millis()).expect("it is before the year 584,556,019")
}

impl World {
    fn open(folder: &Path) -> Self {
        let mut heard = Heard::default();
        let engine = Engine::open(StdDisk, settings(folder), Instant::now(), time(), &mut heard).expect("it opens");
        Self { engine, heard, asked: 0 }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        self.asked += 1;
        let ticket = Ticket { thread: 0, number: self.asked };
        self.engine.ask(Asked { origin: self.engine.node(), ticket, number: None, ask });
        self.engine.turn(Instant::now(), time(), &mut self.heard).expect("the disk works");
        let is_answer = |told: &Told| matches!(told, Told::Answer { number, .. } if *number == self.asked);
        let at = self.heard.0.iter().position(is_answer).expect("a question is answered in its turn");
        let Told::Answer { answer, .. } = self.heard.0.remove(at) else { unreachable!("it was found as one") };
        answer
    }

    fn claim(&mut self) -> Epoch {
        let claim = Claim {
            client: CLIENT.into(),
            user: None,
            takeover: Takeover::default(),
            node: Node { id: 0, incarnation: 0 },
            nonce: 0,
            clean: false,
            expiry_seconds: u32::MAX,
            receive_maximum: NonZeroU16::new(100).expect("100 is not 0"),
            will: None,
        };
        let owner = Owner { thread: 0, slot: 0, generation: 0 };
        match self.ask(Ask::Claim { owner, claim }) {
            Answer::Claimed(session) => session.claimed.epoch,
            other => panic!("the claim was answered with {other:?}"),
        }
    }

    /// What is sent and acknowledged until there is no more.
    fn drain(&mut self, epoch: Epoch) -> Vec<u64> {
        let mut numbers = Vec::new();
        loop {
            let deliveries: Vec<Delivery> = self.heard.0.drain(..).flat_map(deliveries).collect();
            if deliveries.is_empty() {
                return numbers;
            }
            let payloads = deliveries.iter().filter_map(|it| it.message.as_ref()).map(Message::payload);
            numbers.extend(payloads.map(|it| u64::from_be_bytes(it[..8].try_into().expect("eight bytes"))));
            let acks = deliveries.iter().map(|it| (it.sequence, Ack::Ack)).collect();
            self.ask(Ask::Acknowledge { client: CLIENT.into(), epoch, acks });
        }
    }
}

fn deliveries(told: Told) -> Vec<Delivery> {
    if let Told::Deliver { deliveries, .. } = told { deliveries } else { Vec::new() }
}

/// What the other process does: it subscribes, leaves, and publishes for ever, and says what was answered.
fn publish_until_killed(folder: &Path) {
    let mut world = World::open(folder);
    let epoch = world.claim();
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
    let subscriptions = vec![("t".into(), Subscription { options, id: None })];
    world.ask(Ask::Subscribe { client: CLIENT.into(), epoch, subscriptions });
    let shard = ShardId::of(CLIENT, settings(folder).shards);
    let life = world.engine.node().incarnation;
    for number in life << 32.. {
        let payload = [&number.to_be_bytes()[..], &[0; 300]].concat();
        let message = Message::new("t", QoS::AtLeastOnce, &[], &payload);
        let to = Recipients::Matching { publisher: None };
        let answer = world.ask(Ask::Publish { shard, published: Published { message, retain: None, to } });
        assert!(matches!(answer, Answer::Reply(Reply::Published { .. })), "{answer:?}");
        writeln!(std::io::stdout(), "answered {number}").expect("the test listens");
    }
}

#[test]
fn what_a_killed_process_answered_is_delivered() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return publish_until_killed(Path::new(&folder));
    }
    let folder = TestFolder::new();
    for lines in [1, 2000, 30] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_a_killed_process_answered_is_delivered", "--nocapture"])
            .env(FOLDER, &folder.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut answered =
            output.lines().filter_map(|line| line.unwrap().strip_prefix("answered ")?.parse::<u64>().ok());
        let answered: Vec<u64> = answered.by_ref().take(lines).collect();
        child.kill().unwrap();
        child.wait().unwrap();

        let mut world = World::open(&folder.0);
        assert_eq!(world.engine.node().incarnation, (answered[0] >> 32) + 1, "each life has its own number");
        let epoch = world.claim();
        let found = world.drain(epoch);
        assert_eq!(found[..lines], answered, "in order, and nothing from before");
        world.engine.close().unwrap();
    }
}

/// A folder that goes with the test.
struct TestFolder(PathBuf);

impl TestFolder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fulmar-store-kill-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
