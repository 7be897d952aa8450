//! What queues of absent clients cost that are larger than memory, on a real disk:
//! `cargo run --release -p fulmar-store-raft --example measure_tails [FOLDER [MESSAGES [BYTES [SHARD_MEMORY]]]]`.
//!
//! 120 sessions in 12 shards whose clients are away get as many messages in turn, 100 in a turn of the engine, with one
//! sync for them. Then the folder is opened again, and all clients come and take what waits. Memory is that of the process.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use fulmar_codec::{QoS, SubscriptionOptions};
use fulmar_log::StdDisk;
use fulmar_raft::NodeId;
use fulmar_store::{
    Ack, Answer, Ask, Asked, Claim, Epoch, Message, Node, Owner, Published, Recipients, ShardId, Subscription,
    Takeover, Ticket, Told, Version, WillFate,
};
use fulmar_store_raft::{Engine, Letter, Out, Settings};

const SESSIONS: usize = 120;
const IN_A_TURN: usize = 100;
/// Nothing expires here.
const TIME: u64 = 1_000_000;

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

#[derive(Clone, Copy)]
struct Measure {
    messages: usize,
    bytes: usize,
    shard_memory_bytes: u64,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let mut number = |otherwise| arguments.next().map_or(Ok(otherwise), |text| text.parse());
    let measure =
        Measure { messages: number(1_000_000)?, bytes: number(1024)?, shard_memory_bytes: number(4 << 20)? as u64 };
    let folder = parent.join(format!("fulmar-tails-measure-{}", std::process::id()));
    let measured = run(&folder, measure);
    std::fs::remove_dir_all(&folder).context("remove the folder")?;
    measured
}

fn run(folder: &Path, measure: Measure) -> anyhow::Result<()> {
    let Measure { messages, bytes, .. } = measure;
    let mut world = World::open(folder, measure)?;
    for at in 0..SESSIONS {
        let epoch = world.claim(at)?;
        world.subscribe(at, epoch)?;
        world.ask(Ask::Disconnect { client: client(at).into(), epoch, expiry_seconds: None, will: WillFate::Keep });
        world.turn()?;
    }
    let shards: Vec<ShardId> = (0..SESSIONS).map(|at| world.shard_of(at)).collect();
    let payload = vec![0x5a; bytes];
    let (start, processor) = (Instant::now(), processor_time()?);
    for first in (0..messages).step_by(IN_A_TURN) {
        for to in (first..messages.min(first + IN_A_TURN)).map(|at| at % SESSIONS) {
            let message = Message::new(&topic(to), QoS::AtLeastOnce, &[], &payload);
            let published = Published { message, retain: None, to: Recipients::Matching { publisher: None } };
            world.ask(Ask::Publish { shard: shards[to], published });
        }
        world.turn()?;
        world.heard.0.clear();
    }
    tell("stored", messages, start.elapsed(), processor_time()? - processor);
    let counts = world.engine.counts();
    ensure!(counts.queued == messages as u64, "{} wait, wanted {messages}", counts.queued);
    println!(
        "  {} snapshots, {} bytes of log, {} of {} bytes on the disk, in files of {}",
        counts.snapshots, counts.log_bytes, counts.bytes_on_disk, counts.bytes, counts.body_file_bytes
    );
    println!("  memory: {}", memory()?);
    println!("  folder: {} MiB", folder_bytes(folder)? >> 20);
    drop(world);

    let start = Instant::now();
    let mut world = World::open(folder, measure)?;
    println!("opened again in {:?}, memory: {}", start.elapsed(), memory()?);
    let (start, processor) = (Instant::now(), processor_time()?);
    let epochs = (0..SESSIONS).map(|at| world.claim(at)).collect::<anyhow::Result<Vec<Epoch>>>()?;
    let mut taken = 0;
    while taken < messages {
        taken += world.acknowledge(&epochs);
        world.turn()?;
    }
    tell("taken", messages, start.elapsed(), processor_time()? - processor);
    println!("  memory: {}", memory()?);
    for _ in 0..100 {
        world.turn()?;
    }
    println!("  folder: {} MiB", folder_bytes(folder)? >> 20);
    Ok(())
}

fn tell(what: &str, messages: usize, elapsed: Duration, processor: Duration) {
    let (messages, by_clock, by_processor) = (messages as f64, elapsed.as_secs_f64(), processor.as_secs_f64());
    println!(
        "{what}: {:.0} messages a second, {:.0} for each second of processor time",
        messages / by_clock,
        messages / by_processor
    );
}

/// User and system time of the process, in ticks of 10 ms.
fn processor_time() -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields = text.rsplit(')').next().context("fields behind the name")?.split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}

fn memory() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let lines = text.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    Ok(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", "))
}

fn folder_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn client(at: usize) -> String {
    format!("client-{at:06}")
}

fn topic(at: usize) -> String {
    format!("plant/{at}/state")
}

impl World {
    fn open(folder: &Path, measure: Measure) -> anyhow::Result<Self> {
        let mut settings = Settings::new(1, folder.to_owned(), u64::from(std::process::id()));
        settings.shard_memory_bytes = measure.shard_memory_bytes;
        settings.store.shard_bytes_max = 1 << 40;
        settings.store.queue_messages_max = u32::MAX;
        settings.store.queue_bytes_max = 1 << 39;
        let mut heard = Heard::default();
        let engine = Engine::open(StdDisk, settings, Instant::now(), TIME, &mut heard)?;
        Ok(Self { engine, heard, asked: 0 })
    }

    fn shard_of(&self, at: usize) -> ShardId {
        ShardId::of(&client(at), NonZeroU16::new(12).expect("12 is not 0"))
    }

    fn ask(&mut self, ask: Ask) {
        self.asked += 1;
        let ticket = Ticket { thread: 0, number: self.asked };
        self.engine.ask(Asked { origin: self.engine.node(), ticket, number: None, ask });
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        self.engine.turn(Instant::now(), TIME, &mut self.heard)?;
        Ok(())
    }

    fn claim(&mut self, at: usize) -> anyhow::Result<Epoch> {
        let claim = Claim {
            client: client(at).into(),
            user: None,
            takeover: Takeover::default(),
            node: Node { id: 0, incarnation: 0 },
            nonce: 0,
            clean: false,
            expiry_seconds: u32::MAX,
            receive_maximum: NonZeroU16::MAX,
            will: None,
        };
        let slot = u32::try_from(at).expect("few");
        self.ask(Ask::Claim { owner: Owner { thread: 0, slot, generation: 0 }, claim });
        self.turn()?;
        let claimed =
            self.heard.0.extract_if(.., |told| matches!(told, Told::Answer { .. })).find_map(|told| match told {
                Told::Answer { answer: Answer::Claimed(session), .. } => Some(session.claimed.epoch),
                _ => None,
            });
        let Some(epoch) = claimed else { bail!("the claim of {} was not answered", client(at)) };
        Ok(epoch)
    }

    fn subscribe(&mut self, at: usize, epoch: Epoch) -> anyhow::Result<()> {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
        let subscriptions = vec![(topic(at).into(), Subscription { options, id: None })];
        self.ask(Ask::Subscribe { client: client(at).into(), epoch, subscriptions });
        self.turn()
    }

    /// Asks to keep that clients have what they were sent, and says how much that was.
    fn acknowledge(&mut self, epochs: &[Epoch]) -> usize {
        let mut taken = 0;
        for told in std::mem::take(&mut self.heard.0) {
            if let Told::Deliver { owner, deliveries, .. } = told {
                let at = owner.slot as usize;
                taken += deliveries.len();
                let acks = deliveries.iter().map(|delivery| (delivery.sequence, Ack::Ack)).collect();
                self.ask(Ask::Acknowledge { client: client(at).into(), epoch: epochs[at], acks });
            }
        }
        taken
    }
}
