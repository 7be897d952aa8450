//! What the broker tells of itself: `$SYS` and `/metrics`, and that `docs/metrics.md` names all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use fulmar_codec::QoS;

use crate::durable_drain::Bed;
use crate::harness::{Broker, Client, Got, PATIENCE, wait_for};

const PAGE: &str = include_str!("../../../docs/metrics.md");
const METRICS: &str = "## Metrics";
const SYS: &str = "## `$SYS`";
/// Set, the test writes the table of metrics instead of comparing it.
const WRITE: &str = "FULMAR_WRITE_DOCS";

/// The topics of `$SYS` and what they say, as they come.
struct Reader {
    client: Client,
    values: BTreeMap<String, String>,
}

impl Reader {
    fn new(broker: &Broker, filter: &str) -> Reader {
        let mut client = Client::connect(broker.address("mqtt"), "reader");
        client.subscribe(filter, QoS::AtMostOnce);
        Reader { client, values: BTreeMap::new() }
    }

    /// Reads on until a topic says what is wanted.
    fn wait_for(&mut self, topic: &str, wanted: &str) {
        self.wait_until(topic, |value| value == wanted);
    }

    fn wait_until(&mut self, topic: &str, fits: impl Fn(&str) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !self.values.get(topic).is_some_and(|value| fits(value)) {
            assert!(Instant::now() < until, "waited in vain for {topic}, got {:?}", self.values);
            match self.client.next() {
                Got::Message { topic, payload, .. } => {
                    self.values.insert(topic, String::from_utf8(payload).unwrap());
                }
                other => panic!("wanted a message, got {other:?}"),
            }
        }
    }
}

#[test]
fn sys_topics_say_what_clients_of_all_threads_did() {
    let broker = Broker::start(&["threads=2", "sysIntervalSeconds=1"]);
    let address = broker.address("mqtt");
    // Eight ids are spread over both threads whatever their hashes are.
    let mut clients: Vec<Client> = (0..8).map(|number| Client::connect(address, &format!("client-{number}"))).collect();
    for client in &mut clients {
        client.subscribe("news/+", QoS::AtMostOnce);
    }
    let [first, ..] = clients.as_mut_slice() else { panic!("there are eight") };
    first.publish("news/today", "12345", QoS::AtMostOnce);
    let last = clients.pop().unwrap();
    drop(last);
    // Otherwise the reader may be the ninth.
    broker.wait_for_metric("fulmar_connections", |count| count == 7);
    let mut reader = Reader::new(&broker, "$SYS/#");
    for (topic, wanted) in [
        ("clients/connected", "8"),
        ("clients/disconnected", "0"),
        ("clients/total", "8"),
        ("clients/maximum", "8"),
        ("subscriptions/count", "8"),
        ("publish/messages/received", "1"),
        ("publish/bytes/received", "5"),
        ("publish/messages/dropped", "0"),
        ("retained messages/count", "0"),
        // 9 CONNECT, 9 SUBSCRIBE, 1 PUBLISH.
        ("messages/received", "19"),
    ] {
        reader.wait_for(&format!("$SYS/broker/{topic}"), wanted);
    }
    reader.wait_until("$SYS/broker/load/connections/1min", |value| value.parse::<f64>().unwrap() > 0.0);
    let value = |name: &str| reader.values[&format!("$SYS/broker/{name}")].clone();
    assert_eq!(value("version"), format!("fulmar version {}", env!("CARGO_PKG_VERSION")));
    assert!(value("uptime").strip_suffix(" seconds").is_some_and(|seconds| seconds.parse::<u64>().is_ok()));
    assert!(value("heap/current").parse::<u64>().unwrap() > 1 << 20);
    // A message of its own counts as one that was sent.
    assert!(value("publish/messages/sent").parse::<u64>().unwrap() >= 8);
}

#[test]
fn without_an_interval_there_is_no_sys() {
    let broker = Broker::start(&["sysIntervalSeconds=0"]);
    let mut reader = Reader::new(&broker, "$SYS/#");
    assert_eq!(reader.client.ping(), []);
    broker.wait_for_metric("fulmar_subscriptions", |count| count == 1);
}

/// The rows below a heading, each a list of cells.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let section = PAGE.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    section.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

#[test]
fn the_page_names_every_sys_topic() {
    let broker = Broker::start(&["sysIntervalSeconds=1"]);
    let mut reader = Reader::new(&broker, "$SYS/#");
    // What is retained comes at once, so an uptime that is told later comes after every topic.
    reader.wait_for("$SYS/broker/uptime", "1 seconds");
    let told: BTreeSet<String> = reader.values.into_keys().collect();
    let windows = "{1min,5min,15min}";
    let named = rows(SYS).into_iter().flat_map(|row| {
        let topic = row[0].trim_matches('`').to_owned();
        let each = ["1min", "5min", "15min"].map(|window| topic.replace(windows, window));
        if topic.contains(windows) { each.to_vec() } else { vec![topic] }
    });
    assert_eq!(named.collect::<BTreeSet<_>>(), told);
}

#[test]
fn the_page_names_every_metric_with_its_labels_and_its_help_text() {
    // Some are shown only where sessions are kept together, and while a node is drained.
    let bed = Bed::of(2);
    bed.begin(1, "restart");
    let text = wait_for("the metrics of lanes, letters and a drain", || {
        let (_, text) = bed.node(1).get("/metrics");
        let all = ["fulmar_link_publishes_sent_total{", "fulmar_letters_sent_total{", "fulmar_drain{"];
        all.iter().all(|part| text.contains(part)).then_some(text)
    });
    let table = table_of(&text);
    if std::env::var_os(WRITE).is_some() {
        let (head, rest) = PAGE.split_once(&format!("{METRICS}\n")).unwrap();
        let before = rest.lines().take_while(|line| !line.starts_with('|')).collect::<Vec<_>>().join("\n");
        let after = rest.split_once("\n## ").unwrap().1;
        let page = format!("{head}{METRICS}\n{before}\n{}\n\n## {after}", table.join("\n"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        std::fs::write(path, page).unwrap();
        return;
    }
    let written: Vec<String> = rows(METRICS).iter().map(|row| format!("| {} |", row.join(" | "))).collect();
    let missing: Vec<_> = table[2..].iter().filter(|row| !written.contains(row)).collect();
    let unknown: Vec<_> = written.iter().filter(|row| !table.contains(row)).collect();
    let faults = (missing, unknown);
    assert_eq!(faults, (vec![], vec![]), "docs/metrics.md lacks the first and has the second; {WRITE}=1 writes it");
}

/// The table of the metrics that the broker shows.
fn table_of(text: &str) -> Vec<String> {
    let mut kinds = BTreeMap::new();
    let mut helps = BTreeMap::new();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            helps.insert(name, help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert(name, kind);
        } else if let Some((name, rest)) = line.split_once('{') {
            let pairs = rest.rsplit_once('}').unwrap().0.split("\",");
            labels.entry(name).or_default().extend(pairs.filter_map(|pair| pair.split_once('=')).map(|(name, _)| name));
        }
    }
    let head = ["| metric | kind | labels | what it says |", "| --- | --- | --- | --- |"].map(str::to_owned);
    let row = |(name, help): (&&str, &&str)| {
        let labels = labels.get(name).map(|names| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>());
        let labels = labels.unwrap_or_default().join(", ");
        let labels = if labels.is_empty() { "none" } else { &labels };
        format!("| `{name}` | {} | {labels} | {help} |", kinds[*name])
    };
    head.into_iter().chain(helps.iter().map(row)).collect()
}
