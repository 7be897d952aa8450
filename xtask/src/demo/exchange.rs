//! Messages between all ordered pairs of pods, in every way that MQTT has, and a table of who passed them on.
//!
//! That a message came is not enough: the pods' own counters must say that one pod took it in and another gave it out,
//! once each.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::clients::{Endpoint, Message, Subscribers, publish};
use super::pods::{self, Page, Pod, received_from, sent_to};
use crate::cluster;
use crate::steps::say;

/// How long counters may lag behind; brokers report several times a second.
const COUNTERS_TIMEOUT: Duration = Duration::from_secs(5);
const COUNTERS_PAUSE: Duration = Duration::from_millis(50);
const SHARED_MEMBERS: usize = 2;

/// How a message travels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To a subscriber that waits for it.
    Live { qos: u8 },
    /// Kept for a subscriber that comes after it.
    Retained,
    /// To one of two members of a shared subscription.
    Shared,
}

const WAYS: [(&str, Way); 5] = [
    ("QoS 0", Way::Live { qos: 0 }),
    ("QoS 1", Way::Live { qos: 1 }),
    ("QoS 2", Way::Live { qos: 2 }),
    ("retained", Way::Retained),
    ("shared", Way::Shared),
];

/// The pods and what their metrics said last.
struct Exchange {
    pods: Vec<Pod>,
    pages: Vec<Page>,
}

/// Which pods passed a message on, as their metrics tell.
#[derive(Debug, PartialEq, Eq)]
struct Passed {
    publisher: usize,
    subscriber: usize,
}

/// Runs inside the testbed: the pods' addresses are reached from there only.
pub(super) fn run(cluster: &str) -> Result<()> {
    let pods = pods::find(cluster)?;
    ensure!(pods.len() == 3, "found {} pods of {cluster}, 3 are wanted", pods.len());
    let pages = read_pages(&pods)?;
    let mut exchange = Exchange { pods, pages };
    let titles = WAYS.map(|(title, _)| format!("{title:<8}")).join("  ");
    say(&format!("{:<16}{:<16}{titles}", "published at", "received from"));
    for (publisher, subscriber) in pairs(exchange.pods.len()) {
        exchange.pair(&Passed { publisher, subscriber })?;
    }
    exchange.services(cluster)
}

impl Exchange {
    /// One row of the table.
    fn pair(&mut self, wanted: &Passed) -> Result<()> {
        let Passed { publisher, subscriber } = *wanted;
        let (from, to) = (self.endpoint(publisher), self.endpoint(subscriber));
        for (title, way) in WAYS {
            let names = [publisher, subscriber].map(|pod| self.pods[pod].name.clone());
            let topic = format!("demo/{}/{}/{}", names[0], names[1], title.replace(' ', "").to_lowercase());
            let what = || format!("{title} from {} to {}", names[0], names[1]);
            let passed = self.pass(way, &topic, &from, &to).with_context(what)?;
            let told = [passed.publisher, passed.subscriber].map(|pod| &self.pods[pod].name);
            ensure!(passed == *wanted, "{}: the metrics tell of a way from {} to {}", what(), told[0], told[1]);
        }
        let name = |pod: usize| &self.pods[pod].name;
        let cells = WAYS.map(|_| format!("{:<8}", "ok")).join("  ");
        say(&format!("{:<16}{:<16}{cells}", name(publisher), name(subscriber)));
        Ok(())
    }

    /// Once through each Service, where Kubernetes chooses the pods: they may be the same.
    fn services(&mut self, cluster: &str) -> Result<()> {
        let ca_file = certificate_authority(cluster)?;
        for (listener, port, ca_file) in [("mqtt", 1883, None), ("mqtts", 8883, Some(ca_file))] {
            let host = format!("{cluster}-{listener}.default.svc.cluster.local");
            let endpoint = Endpoint { host, port, ca_file };
            let topic = format!("demo/service/{listener}");
            let passed = self
                .pass(Way::Live { qos: 1 }, &topic, &endpoint, &endpoint)
                .with_context(|| format!("through the Service {}", endpoint.host))?;
            let name = |pod: usize| &self.pods[pod].name;
            say(&format!(
                "{:<16}{:<16}QoS 1 through the Service {cluster}-{listener}",
                name(passed.publisher),
                name(passed.subscriber)
            ));
        }
        Ok(())
    }

    /// Passes one message and tells which pods it went through.
    fn pass(&mut self, way: Way, topic: &str, from: &Endpoint, to: &Endpoint) -> Result<Passed> {
        let (members, filter, qos) = match way {
            Way::Live { qos } => (1, topic.to_owned(), qos),
            Way::Retained => (1, topic.to_owned(), 1),
            Way::Shared => (SHARED_MEMBERS, format!("$share/demo/{topic}"), 1),
        };
        let message = Message { payload: format!("by {topic}"), qos, is_retained: way == Way::Retained };
        let subscribers = if way == Way::Retained {
            publish(from, topic, &message)?;
            Subscribers::start(members, to, &filter, qos)?
        } else {
            let subscribers = Subscribers::start(members, to, &filter, qos)?;
            publish(from, topic, &message)?;
            subscribers
        };
        let received = subscribers.message()?;
        ensure!(received == message, "received {received:?}, {message:?} is wanted");
        self.wait_for_counters(way, qos)
    }

    /// Waits until the metrics have counted a message, once at every place that it passed.
    fn wait_for_counters(&mut self, way: Way, qos: u8) -> Result<Passed> {
        let end = Instant::now() + COUNTERS_TIMEOUT;
        loop {
            let pages = read_pages(&self.pods)?;
            match who_passed(way, qos, &self.pods, &self.pages, &pages) {
                Ok(passed) => {
                    self.pages = pages;
                    return Ok(passed);
                }
                Err(found) if Instant::now() > end => bail!(found),
                Err(_) => std::thread::sleep(COUNTERS_PAUSE),
            }
        }
    }

    fn endpoint(&self, pod: usize) -> Endpoint {
        Endpoint { host: self.pods[pod].address.to_string(), port: 1883, ca_file: None }
    }
}

fn read_pages(pods: &[Pod]) -> Result<Vec<Page>> {
    pods.iter().map(|pod| Page::of(pod.address)).collect()
}

/// The pods that passed a message on, by what their counters have grown since; else what does not fit, or not yet.
fn who_passed(way: Way, qos: u8, pods: &[Pod], before: &[Page], after: &[Page]) -> Result<Passed, String> {
    let growth = |pod: usize, sample: &str| after[pod].value(sample).saturating_sub(before[pod].value(sample));
    let grown = |family: &str| -> Vec<u64> {
        (0..pods.len()).map(|pod| growth(pod, &format!("{family}{{qos=\"{qos}\"}}"))).collect()
    };
    let (taken, given) = (grown("fulmar_publishes_received_total"), grown("fulmar_deliveries_total"));
    let (Some(publisher), Some(subscriber)) = (only_one(&taken), only_one(&given)) else {
        return Err(format!("the pods counted {taken:?} messages in and {given:?} out, one and one is wanted"));
    };
    for (from, to) in pairs(pods.len()) {
        let sent = growth(from, &sent_to(&pods[to].name));
        let received = growth(to, &received_from(&pods[from].name));
        let is_way = way != Way::Retained && (from, to) == (publisher, subscriber);
        // A retained message went to every node when it was published; nodes report at times of their own.
        if sent != received || (is_way && sent != 1) {
            let (from, to) = (&pods[from].name, &pods[to].name);
            return Err(format!("the link from {from} to {to} counted {sent} sent and {received} received"));
        }
    }
    Ok(Passed { publisher, subscriber })
}

/// All ordered pairs of so many pods.
fn pairs(pods: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..pods).flat_map(move |from| (0..pods).filter(move |to| *to != from).map(move |to| (from, to)))
}

/// The pod that counted one, if no other counted any.
fn only_one(grown: &[u64]) -> Option<usize> {
    (grown.iter().sum::<u64>() == 1).then(|| grown.iter().position(|count| *count == 1))?
}

/// The authority that the operator made for the cluster, in a file for the clients.
fn certificate_authority(cluster: &str) -> Result<String> {
    let name = format!("{cluster}-ca");
    let field = r"jsonpath={.data.ca\.crt}";
    let text = cluster::read(Command::new("kubectl").args(["get", "configmap", &name, "--output", field]))?;
    let path = certificate_authority_path()?;
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    path.into_os_string().into_string().ok().context("the path of this program is no text")
}

/// Removes the file of the authority, if it is there.
pub(super) fn forget_certificate_authority() -> Result<()> {
    let path = certificate_authority_path()?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn certificate_authority_path() -> Result<PathBuf> {
    Ok(std::env::current_exe().context("find this program")?.with_file_name("demo-ca.crt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Way = Way::Live { qos: 1 };
    const TAKEN: &str = "fulmar_publishes_received_total{qos=\"1\"} 1\n";
    const GIVEN: &str = "fulmar_deliveries_total{qos=\"1\"} 1\n";

    /// What is told of a message when two pods `a` and `b` that had counted nothing have these metrics.
    fn told(way: Way, pages: [&str; 2]) -> Result<Passed, String> {
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let pods = ["a", "b"].map(|name| Pod { name: name.to_owned(), address });
        who_passed(way, 1, &pods, &[Page::default(), Page::default()], &pages.map(Page::parse))
    }

    #[test]
    fn a_message_passed_when_pods_and_link_counted_it_once() {
        let from = format!("{TAKEN}{} 1\n", sent_to("b"));
        let to = format!("{GIVEN}{} 1\n", received_from("a"));
        assert_eq!(told(LIVE, [&from, &to]), Ok(Passed { publisher: 0, subscriber: 1 }));
        let lost = "the link from a to b counted 1 sent and 0 received";
        assert_eq!(told(LIVE, [&from, GIVEN]), Err(lost.to_owned()));
        let none = "the link from a to b counted 0 sent and 0 received";
        assert_eq!(told(LIVE, [TAKEN, GIVEN]), Err(none.to_owned()));
        assert_eq!(told(Way::Retained, [TAKEN, GIVEN]), Ok(Passed { publisher: 0, subscriber: 1 }));
    }

    #[test]
    fn a_message_that_stayed_in_its_pod_needs_no_link() {
        assert_eq!(told(LIVE, ["", &format!("{TAKEN}{GIVEN}")]), Ok(Passed { publisher: 1, subscriber: 1 }));
    }

    #[test]
    fn a_message_that_two_pods_gave_out_did_not_pass_once() {
        let twice = "the pods counted [1, 0] messages in and [1, 1] out, one and one is wanted";
        assert_eq!(told(LIVE, [&format!("{TAKEN}{GIVEN}"), GIVEN]), Err(twice.to_owned()));
    }
}
