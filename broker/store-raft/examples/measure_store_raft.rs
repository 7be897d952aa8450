//! What a durable message costs on a real disk:
//! `cargo run --release -p fulmar-store-raft --example measure_store_raft [FOLDER [TURNS]]`.
//!
//! 120 sessions in 12 shards, each with a topic of its own. In a turn 100 messages of 256 bytes are published and what
//! was delivered before is acknowledged, with one sync for all of it: what a node does under load. Then the folder is
//! opened again. It is made below the one given (the current one) and removed at the end.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fulmar_codec::{QoS, SubscriptionOptions};
use fulmar_log::StdDisk;
use fulmar_raft::NodeId;
use fulmar_store::{
    Ack, Answer, Ask, Asked, Claim, Epoch, Message, Node, Owner, Published, Recipients, ShardId, Subscription,
    Takeover, Ticket, Told, Version,
};
use fulmar_store_raft::{Engine, Letter, Out, Settings};

const SESSIONS: usize = 120;
const MESSAGES: usize = 100;
const MESSAGE_BYTES: usize = 256;
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

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let turns = arguments.next().map_or(Ok(5000), |text| text.parse()).context("TURNS is a number")?;
    let folder = parent.join(format!("fulmar-store-measure-{}", std::process::id()));
    let measured = measure(&folder, turns);
    std::fs::remove_dir_all(&folder).context("remove the folder")?;
    measured
}

fn measure(folder: &Path, turns: usize) -> anyhow::Result<()> {
    let mut world = World::open(folder)?;
    let epochs = (0..SESSIONS).map(|at| world.subscribe(at)).collect::<anyhow::Result<Vec<Epoch>>>()?;
    let payload = [0x5a; MESSAGE_BYTES];
    let shards: Vec<ShardId> = (0..SESSIONS).map(|at| world.shard_of(at)).collect();
    let mut times = Vec::with_capacity(turns);
    let mut published = 0;
    for _ in 0..turns {
        world.acknowledge(&epochs);
        for _ in 0..MESSAGES {
            let to = published % SESSIONS;
            let message = Message::new(&topic(to), QoS::AtLeastOnce, &[], &payload);
            let to_all = Recipients::Matching { publisher: None };
            let published_message = Published { message, retain: None, to: to_all };
            world.ask(Ask::Publish { shard: shards[to], published: published_message });
            published += 1;
        }
        let start = Instant::now();
        world.turn()?;
        times.push(start.elapsed());
    }
    let total: Duration = times.iter().sum();
    times.sort_unstable();
    let part = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!(
        "{:.0} messages a second in turns of {MESSAGES}: half within {:?}, 99 of 100 within {:?}, the slowest {:?}",
        published as f64 / total.as_secs_f64(),
        part(50),
        part(99),
        part(100),
    );
    let counts = world.engine.counts();
    println!("{} entries, {} syncs, {} snapshots, {} bytes of log", counts.commits, counts.syncs, counts.snapshots, {
        counts.log_bytes
    });
    drop(world);
    let start = Instant::now();
    World::open(folder)?;
    println!("opened again in {:?}", start.elapsed());
    Ok(())
}

fn client(at: usize) -> String {
    format!("client-{at:06}")
}

fn topic(at: usize) -> String {
    format!("plant/{at}/state")
}

impl World {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let settings = Settings::new(1, folder.to_owned(), u64::from(std::process::id()));
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

    fn subscribe(&mut self, at: usize) -> anyhow::Result<Epoch> {
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
        let epoch = self.heard.0.drain(..).find_map(|told| match told {
            Told::Answer { answer: Answer::Claimed(session), .. } => Some(session.claimed.epoch),
            _ => None,
        });
        let Some(epoch) = epoch else { bail!("the claim of {} was not answered", client(at)) };
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
        let subscriptions = vec![(topic(at).into(), Subscription { options, id: None })];
        self.ask(Ask::Subscribe { client: client(at).into(), epoch, subscriptions });
        self.turn()?;
        Ok(epoch)
    }

    /// Asks to keep that clients have what they were sent.
    fn acknowledge(&mut self, epochs: &[Epoch]) {
        for told in std::mem::take(&mut self.heard.0) {
            if let Told::Deliver { owner, deliveries, .. } = told {
                let at = owner.slot as usize;
                let acks = deliveries.iter().map(|delivery| (delivery.sequence, Ack::Ack)).collect();
                self.ask(Ask::Acknowledge { client: client(at).into(), epoch: epochs[at], acks });
            }
        }
    }
}
