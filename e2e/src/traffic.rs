//! Traffic of QoS 2 between lasting sessions, on and on while a test does something to the cluster, and the count of what
//! was lost, doubled or out of order in the end.
//!
//! Clients do what MQTT asks of them: they come in through the Service, come back when their connection ends, send again
//! what was not acknowledged (MQTT 5.0, 4.4) and know by its packet identifier what they have received already (4.3.3).
//! One subscriber is there all the time, one is away until the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fulmar_codec::{AckKind, PacketId};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::lasting::{Connection, Said};
use crate::wait::within;

const PORT: u16 = 1883;
const PUBLISHERS: usize = 3;
/// Messages of a publisher that wait for their acknowledgements.
const WINDOW: usize = 16;
/// Between two messages of a publisher.
const PUBLISH_EVERY: Duration = Duration::from_millis(10);
/// Between two tries to come in.
const TRY_EVERY: Duration = Duration::from_millis(100);
const FILTER: &str = "traffic/#";
/// All of it arrives within that, once the cluster is whole.
const END_LIMIT: Duration = Duration::from_secs(120);

/// How many messages each topic had.
type Totals = BTreeMap<String, u32>;

/// A publisher at work, which ends with its topic and how many messages it had.
struct Publishing {
    task: JoinHandle<Result<(String, u32)>>,
    acknowledged: watch::Receiver<u32>,
}

/// Traffic that goes on.
pub struct Traffic {
    host: String,
    publishers: Vec<Publishing>,
    present: JoinHandle<Result<Subscriber>>,
    is_over: watch::Sender<bool>,
    totals: watch::Sender<Option<Totals>>,
}

impl Traffic {
    /// Begins, through the Service of this name.
    pub async fn begin(host: String) -> Result<Self> {
        let mut subscribers = Vec::new();
        for name in ["present", "absent"] {
            let subscriber = Subscriber { name, ..Subscriber::default() };
            within("a subscription", END_LIMIT, subscriber.begin(&host)).await?;
            subscribers.push(subscriber);
        }
        let (is_over, over) = watch::channel(false);
        let (totals, of_totals) = watch::channel(None);
        let publishers = (0..PUBLISHERS).map(|number| {
            let (count, acknowledged) = watch::channel(0);
            let publisher = Publisher { name: format!("traffic/{number}"), ..Publisher::default() };
            let task = tokio::spawn(publisher.run(host.clone(), over.clone(), count));
            Publishing { task, acknowledged }
        });
        let publishers = publishers.collect();
        let present = tokio::spawn(subscribers.swap_remove(0).run(host.clone(), of_totals));
        Ok(Self { host, publishers, present, is_over, totals })
    }

    /// Waits until so many more messages of every publisher were acknowledged.
    pub async fn passes(&mut self, count: u32, limit: Duration) -> Result<()> {
        for (number, Publishing { acknowledged, .. }) in self.publishers.iter_mut().enumerate() {
            let wanted = *acknowledged.borrow() + count;
            let passed = async { acknowledged.wait_for(|now| *now >= wanted).await.map(drop).context("it has ended") };
            within(&format!("{count} messages of publisher {number}"), limit, passed).await?;
        }
        Ok(())
    }

    /// Ends it. An error tells what was lost, doubled or out of order; else it returns how many messages there were.
    pub async fn end(self) -> Result<u32> {
        let Self { host, publishers, present, is_over, totals } = self;
        is_over.send_replace(true);
        let mut all = Totals::new();
        for Publishing { task, .. } in publishers {
            let done = async { task.await.context("a publisher panicked")? };
            all.extend([within("the last messages of a publisher", END_LIMIT, done).await?]);
        }
        totals.send_replace(Some(all.clone()));
        let absent = Subscriber { name: "absent", ..Subscriber::default() };
        let absent = tokio::spawn(absent.run(host, totals.subscribe()));
        for subscriber in [present, absent] {
            let done = async { subscriber.await.context("a subscriber panicked")? };
            within("the last messages to a subscriber", END_LIMIT, done).await?.check(&all)?;
        }
        Ok(all.values().sum())
    }
}

/// Comes in wherever the Service leads to, as soon as somebody lets the client in.
async fn come_in(host: &str, id: &str) -> Result<(Connection, bool)> {
    let mut tries = interval(TRY_EVERY);
    tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tries.tick().await;
        if let Some(connected) = Connection::open(host, PORT, id).await? {
            return Ok(connected);
        }
    }
}

/// The same for a client whose session is there.
async fn come_back(host: &str, id: &str) -> Result<Connection> {
    let (connection, session_present) = come_in(host, id).await?;
    ensure!(session_present, "the session of {id} is gone");
    Ok(connection)
}

/// One that sends numbers to a topic of its own.
#[derive(Debug, Default)]
struct Publisher {
    name: String,
    next: u32,
    /// In the order of their sending, with whether PUBREC has come.
    pending: VecDeque<(u32, bool)>,
}

impl Publisher {
    fn id_of(number: u32) -> PacketId {
        let id = u16::try_from(1 + number % u32::from(u16::MAX)).expect("at most 65535");
        PacketId::new(id).expect("at least 1")
    }

    async fn run(
        mut self,
        host: String,
        is_over: watch::Receiver<bool>,
        acknowledged: watch::Sender<u32>,
    ) -> Result<(String, u32)> {
        let id = self.name.replace('/', "-");
        let (mut connection, _) = come_in(&host, &id).await?;
        while !self.live(&mut connection, is_over.clone(), &acknowledged).await.context(id.clone())? {
            connection = come_back(&host, &id).await?;
        }
        Ok((self.name, self.next))
    }

    /// Sends until the connection ends, or until it is over and everything is acknowledged, which is told by true.
    async fn live(
        &mut self,
        connection: &mut Connection,
        mut is_over: watch::Receiver<bool>,
        acknowledged: &watch::Sender<u32>,
    ) -> Result<bool> {
        for &(number, is_received) in &self.pending {
            let id = Self::id_of(number);
            if is_received {
                connection.acknowledge(AckKind::PubRel, id).await;
            } else {
                connection.publish(id, true, &self.name, &number.to_string()).await;
            }
        }
        let mut pace = interval(PUBLISH_EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let over = *is_over.borrow_and_update();
            if over && self.pending.is_empty() {
                return Ok(true);
            }
            tokio::select! {
                said = connection.next() => match said? {
                    Said::Received(id, reason) => {
                        ensure!(!reason.is_error(), "{id:?} was refused: {reason:?}");
                        let found = self.pending.iter_mut().find(|(number, _)| Self::id_of(*number) == id);
                        found.with_context(|| format!("found PUBREC of {id:?}, which is not under way"))?.1 = true;
                        connection.acknowledge(AckKind::PubRel, id).await;
                    }
                    Said::Complete(id) => {
                        let at = self.pending.iter().position(|(number, is_received)| *is_received && Self::id_of(*number) == id);
                        let at = at.with_context(|| format!("found PUBCOMP of {id:?}, which is not received"))?;
                        self.pending.remove(at);
                        acknowledged.send_modify(|count| *count += 1);
                    }
                    Said::End => return Ok(false),
                    other => anyhow::bail!("found {other:?}, wanted an acknowledgement"),
                },
                _ = pace.tick(), if !over && self.pending.len() < WINDOW => {
                    self.pending.push_back((self.next, false));
                    connection.publish(Self::id_of(self.next), false, &self.name, &self.next.to_string()).await;
                    self.next += 1;
                }
                changed = is_over.changed(), if !over => changed.context("nobody waits for the traffic")?,
            }
        }
    }
}

/// One with a lasting session, which keeps what a client must keep for QoS 2.
#[derive(Debug, Default)]
struct Subscriber {
    name: &'static str,
    /// Packet identifiers between PUBREC and PUBREL.
    received: BTreeSet<PacketId>,
    /// For each topic the numbers in the order of their coming.
    seen: BTreeMap<String, Vec<u32>>,
}

impl Subscriber {
    /// Its session with its subscription, made before anybody publishes.
    async fn begin(&self, host: &str) -> Result<()> {
        loop {
            let (mut connection, _) = come_in(host, self.name).await?;
            if connection.subscribe(FILTER).await? {
                return Ok(());
            }
        }
    }

    async fn run(mut self, host: String, totals: watch::Receiver<Option<Totals>>) -> Result<Self> {
        loop {
            let mut connection = come_back(&host, self.name).await?;
            if self.live(&mut connection, totals.clone()).await.context(self.name)? {
                return Ok(self);
            }
        }
    }

    /// Takes what comes until the connection ends, or until everything is there, which is told by true.
    async fn live(&mut self, connection: &mut Connection, mut totals: watch::Receiver<Option<Totals>>) -> Result<bool> {
        loop {
            let is_known = totals.borrow_and_update().is_some();
            if totals.borrow().as_ref().is_some_and(|totals| self.has_all(totals)) {
                return Ok(true);
            }
            tokio::select! {
                said = connection.next() => match said? {
                    Said::Message { topic, payload, packet_id, dup } => {
                        if self.received.insert(packet_id) {
                            let number = payload.parse().with_context(|| format!("found {payload:?}, wanted a number"))?;
                            self.seen.entry(topic).or_default().push(number);
                        } else {
                            ensure!(dup, "{packet_id:?} of {topic} came again as new");
                        }
                        connection.acknowledge(AckKind::PubRec, packet_id).await;
                    }
                    Said::Release(packet_id) => {
                        self.received.remove(&packet_id);
                        connection.acknowledge(AckKind::PubComp, packet_id).await;
                    }
                    Said::End => return Ok(false),
                    other => anyhow::bail!("found {other:?}, wanted a message"),
                },
                changed = totals.changed(), if !is_known => changed.context("nobody waits for the traffic")?,
            }
        }
    }

    /// The last one of every topic has come, and nothing is under way.
    fn has_all(&self, totals: &Totals) -> bool {
        let has_last = |(topic, total): (&String, &u32)| {
            *total == 0 || self.seen.get(topic).is_some_and(|seen| seen.iter().any(|number| number + 1 == *total))
        };
        self.received.is_empty() && totals.iter().all(has_last)
    }

    /// Every message came once, in the order of its sending.
    fn check(&self, totals: &Totals) -> Result<()> {
        let mut wrong = Vec::new();
        for (topic, total) in totals {
            let seen = self.seen.get(topic).map_or(&[][..], Vec::as_slice);
            let different: BTreeSet<u32> = seen.iter().copied().collect();
            let lost: Vec<u32> = (0..*total).filter(|number| !different.contains(number)).collect();
            let doubled = seen.len() - different.len();
            let out_of_order = seen.windows(2).filter(|pair| pair[0] >= pair[1]).count();
            if !lost.is_empty() || doubled > 0 || out_of_order > 0 {
                let first: Vec<u32> = lost.iter().copied().take(10).collect();
                wrong.push(format!(
                    "{topic}: of {total} {} were lost (first {first:?}), {doubled} came twice, {out_of_order} not in order",
                    lost.len()
                ));
            }
        }
        ensure!(
            wrong.is_empty(),
            "found at {}: {}; wanted each message once and in order",
            self.name,
            wrong.join("; ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(seen: &[u32], total: u32) -> Result<()> {
        let seen = BTreeMap::from([("t".to_owned(), seen.to_vec())]);
        let subscriber = Subscriber { name: "present", received: BTreeSet::new(), seen };
        subscriber.check(&BTreeMap::from([("t".to_owned(), total)]))
    }

    #[test]
    fn what_is_lost_doubled_or_out_of_order_is_told() {
        assert!(checked(&[0, 1, 2], 3).is_ok());
        let told = |seen: &[u32], total| checked(seen, total).unwrap_err().to_string();
        assert!(told(&[0, 2], 4).contains("of 4 2 were lost (first [1, 3]), 0 came twice, 0 not in order"));
        assert!(told(&[0, 1, 1], 2).contains("0 were lost (first []), 1 came twice, 1 not in order"));
        assert!(told(&[1, 0], 2).contains("0 were lost (first []), 0 came twice, 1 not in order"));
    }
}
