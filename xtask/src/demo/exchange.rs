//! Messages between all ordered pairs of pods, in every way that MQTT has, and a table of who passed them on.
//!
//! That a message came is not enough: the pods' own counters must say that one pod took it in and another gave it out,
//! once each.

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
    for publisher in 0..exchange.pods.len() {
        for subscriber in (0..exchange.pods.len()).filter(|subscriber| *subscriber != publisher) {
            exchange.pair(&Passed { publisher, subscriber })?;
        }
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
    // A retained message crosses the links when it is published, not when it is read.
    if way != Way::Retained && publisher != subscriber {
        let sent = growth(publisher, &sent_to(&pods[subscriber].name));
        let received = growth(subscriber, &received_from(&pods[publisher].name));
        if (sent, received) != (1, 1) {
            return Err(format!(
                "the link counted {sent} messages sent and {received} received, one and one is wanted"
            ));
        }
    }
    Ok(Passed { publisher, subscriber })
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
    let path = std::env::current_exe().context("find this program")?.with_file_name("demo-ca.crt");
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    path.into_os_string().into_string().ok().context("the path of this program is no text")
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
        let not_received = "the link counted 1 messages sent and 0 received, one and one is wanted";
        assert_eq!(told(LIVE, [&from, GIVEN]), Err(not_received.to_owned()));
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
