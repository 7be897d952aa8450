//! Bytes that no client should send, through the Service, while others are served.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use fulmar_e2e::mqtt::{Client, Message, QoS};
use fulmar_e2e::raw::Raw;
use fulmar_e2e::wait::ask_until;
use fulmar_e2e::{Cluster, Namespace};

const METRICS_LIMIT: Duration = Duration::from_secs(10);
/// How much more memory the broker may hold after all of it than before.
const MEMORY_BYTES_MAX: f64 = 16e6;
/// Connections that announce 256 MB and then say nothing.
const LIARS: usize = 50;

/// CONNECT of MQTT 5.0 and of 3.1.1: a clean start, a keep alive of 60 s and the client id `x`.
const CONNECT_V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01x";
const CONNECT_V4: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x";

/// What the broker says before it closes.
enum Answer {
    /// Nothing: there is nobody to answer to yet, or the version has no way to.
    Silence,
    /// CONNACK with this return code of 3.1.1 or reason code of 5.0.
    ConnAck(u8),
    /// DISCONNECT with this reason code, after CONNACK.
    Disconnect(u8),
}

use Answer::{ConnAck, Disconnect, Silence};

/// Sent instead of a CONNECT.
const BEFORE_CONNECT: &[(&str, &[u8], Answer)] = &[
    ("another protocol", b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n", Silence),
    ("a TLS handshake", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", Silence),
    ("PUBLISH first", b"\x30\x03\x00\x01a", Silence),
    ("packet type 0", b"\x00\x00", Silence),
    ("a length of five bytes", b"\x10\xff\xff\xff\xff\x01", Silence),
    ("an announced length of 256 MB", b"\x10\xff\xff\xff\x7f", Silence),
    ("a name that is not MQTT's", b"\x10\x0e\x00\x04MQTX\x05\x02\x00\x3c\x00\x00\x01x", Silence),
    ("version 3", b"\x10\x0d\x00\x04MQTT\x03\x02\x00\x3c\x00\x01x", ConnAck(0x01)),
    ("version 9", b"\x10\x0e\x00\x04MQTT\x09\x02\x00\x3c\x00\x00\x01x", ConnAck(0x84)),
    ("a reserved flag of 5.0", b"\x10\x0e\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x01x", ConnAck(0x81)),
    ("a reserved flag of 3.1.1", b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x3c\x00\x01x", Silence),
    ("a will of QoS 3", b"\x10\x14\x00\x04MQTT\x05\x1e\x00\x3c\x00\x00\x01x\x00\x00\x01w\x00\x00", ConnAck(0x81)),
    ("an unknown property", b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x02\x7f\x00\x00\x01x", ConnAck(0x81)),
    ("a client id that is not UTF-8", b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01\xff", ConnAck(0x81)),
];

/// Sent after CONNECT of MQTT 5.0 was accepted.
const AFTER_CONNECT: &[(&str, &[u8], Answer)] = &[
    ("packet type 0", b"\x00\x00", Disconnect(0x81)),
    ("a second CONNECT", CONNECT_V5, Disconnect(0x82)),
    ("CONNACK from a client", b"\x20\x03\x00\x00\x00", Disconnect(0x82)),
    ("a length of five bytes", b"\x30\xff\xff\xff\xff\x01", Disconnect(0x81)),
    ("an announced length of 256 MB", b"\x30\xff\xff\xff\x7f", Disconnect(0x95)),
    ("PUBLISH of QoS 3", b"\x36\x06\x00\x01a\x00\x01\x00", Disconnect(0x81)),
    ("PUBLISH to a wildcard", b"\x30\x04\x00\x01#\x00", Disconnect(0x90)),
    ("PUBLISH without a topic", b"\x30\x03\x00\x00\x00", Disconnect(0x82)),
    ("PUBLISH to a topic that is not UTF-8", b"\x30\x04\x00\x01\xff\x00", Disconnect(0x81)),
    ("PUBLISH with packet id 0", b"\x32\x06\x00\x01a\x00\x00\x00", Disconnect(0x82)),
    ("PUBLISH shorter than its topic", b"\x30\x03\x00\x09a", Disconnect(0x81)),
    ("PUBLISH with topic alias 0", b"\x30\x07\x00\x01a\x03\x23\x00\x00", Disconnect(0x94)),
    ("SUBSCRIBE with wrong flags", b"\x80\x07\x00\x01\x00\x00\x01a\x00", Disconnect(0x81)),
    ("SUBSCRIBE without a filter", b"\x82\x03\x00\x01\x00", Disconnect(0x82)),
    ("SUBSCRIBE with reserved options", b"\x82\x07\x00\x01\x00\x00\x01a\xc0", Disconnect(0x81)),
    ("UNSUBSCRIBE without a filter", b"\xa2\x03\x00\x01\x00", Disconnect(0x82)),
    ("PUBREL with wrong flags", b"\x60\x02\x00\x01", Disconnect(0x81)),
    ("PINGREQ with a body", b"\xc0\x01\x00", Disconnect(0x81)),
    ("AUTH out of the blue", b"\xf0\x00", Disconnect(0x82)),
];

pub(crate) async fn bad_bytes_get_a_clear_answer_and_nobody_else_notices(namespace: Namespace) -> Result<()> {
    // Silence must end within the test.
    namespace
        .apply_text(
            "apiVersion: mqtt.fulmar.dev/v1alpha1\nkind: MqttCluster\nmetadata: {name: one}\n\
             spec:\n  replicas: 1\n  listeners: [{name: mqtt, protocol: mqtt, port: 1883}]\n  \
             auth: {anonymous: true}\n  config: {limits: {connectTimeoutSeconds: 2}}\n",
        )
        .await?;
    let cluster = namespace.cluster("one");
    cluster.ready().await?;
    cluster.reachable("mqtt", 1883).await?;
    let host = cluster.host("mqtt");
    let mut bystander = Bystander::connect(&host).await?;
    let memory = cluster.metrics("one-0").await?.value("process_resident_memory_bytes")?;

    for (what, bytes, answer) in BEFORE_CONNECT {
        let mut raw = Raw::connect(&host, 1883).await?;
        raw.send(bytes).await;
        check(&mut raw, answer).await.with_context(|| format!("{what}, before CONNECT"))?;
        bystander.is_served().await.with_context(|| format!("after {what}"))?;
    }
    for (what, bytes, answer) in AFTER_CONNECT {
        let mut raw = connected(&host, CONNECT_V5).await?;
        raw.send(bytes).await;
        check(&mut raw, answer).await.with_context(|| format!("{what}, after CONNECT"))?;
        bystander.is_served().await.with_context(|| format!("after {what}"))?;
    }
    // 3.1.1 has no DISCONNECT from the broker.
    let mut raw = connected(&host, CONNECT_V4).await?;
    raw.send(b"\x36\x05\x00\x01a\x00\x01").await;
    check(&mut raw, &Silence).await.context("PUBLISH of QoS 3 with MQTT 3.1.1")?;
    // One of each list is too long, which is no error of the protocol but a limit.
    let errors = BEFORE_CONNECT.len() - 1 + AFTER_CONNECT.len() - 1 + 1;
    counted(&cluster, "fulmar_protocol_errors_total", errors as f64).await?;
    for limit in ["connectPacketBytes", "packetBytes"] {
        counted(&cluster, &format!("fulmar_limit_hits_total{{limit=\"{limit}\"}}"), 1.0).await?;
    }

    // Half a packet, and nothing at all.
    for bytes in [&CONNECT_V5[..7], b""] {
        let mut raw = Raw::connect(&host, 1883).await?;
        raw.send(bytes).await;
        check(&mut raw, &Silence).await.with_context(|| format!("{} bytes and silence", bytes.len()))?;
    }
    counted(&cluster, "fulmar_connect_timeouts_total", 2.0).await?;

    let mut liars = Vec::with_capacity(LIARS);
    for _ in 0..LIARS {
        let mut raw = connected(&host, CONNECT_V5).await?;
        raw.send(b"\x30\xff\xff\xff\x7f\x00\x01a").await;
        liars.push(raw);
        bystander.is_served().await?;
    }
    let after = cluster.metrics("one-0").await?.value("process_resident_memory_bytes")?;
    assert!(after - memory <= MEMORY_BYTES_MAX, "memory went from {memory} to {after} bytes");
    assert_eq!(cluster.identities().await?.len(), 1);
    let metrics = cluster.metrics("one-0").await?;
    assert_eq!(metrics.count("fulmar_panics_total"), 0.0);
    Ok(())
}

async fn connected(host: &str, connect: &[u8]) -> Result<Raw> {
    let mut raw = Raw::connect(host, 1883).await?;
    raw.send(connect).await;
    let head = raw.read(2).await?;
    let body = raw.read(usize::from(head[1])).await?;
    if (head[0], body[1]) != (0x20, 0) {
        bail!("found {head:02x?} {body:02x?}, wanted a CONNACK of success");
    }
    Ok(raw)
}

async fn check(raw: &mut Raw, answer: &Answer) -> Result<()> {
    let found = raw.read_to_end().await?;
    let is_as_wanted = match answer {
        Silence => found.is_empty(),
        ConnAck(code) => found.first() == Some(&0x20) && found.get(3) == Some(code),
        Disconnect(code) => found.first() == Some(&0xe0) && found.get(2) == Some(code),
    };
    match answer {
        _ if is_as_wanted => Ok(()),
        Silence => bail!("found {found:02x?}, wanted the broker to close without a word"),
        ConnAck(code) => bail!("found {found:02x?}, wanted CONNACK with {code:#04x}"),
        Disconnect(code) => bail!("found {found:02x?}, wanted DISCONNECT with {code:#04x}"),
    }
}

async fn counted(cluster: &Cluster, counter: &str, least: f64) -> Result<()> {
    ask_until(&format!("{counter} of at least {least}"), METRICS_LIMIT, || async {
        let count = cluster.metrics("one-0").await?.value(counter)?;
        anyhow::ensure!(count >= least, "found {count}");
        Ok(Some(()))
    })
    .await
}

/// Somebody who does everything right all the while.
struct Bystander {
    client: Client,
    messages: u32,
}

impl Bystander {
    async fn connect(host: &str) -> Result<Self> {
        let mut client = Client::connect(host, 1883, "bystander").await?;
        client.subscribe("bystander", QoS::AtLeastOnce).await?;
        Ok(Self { client, messages: 0 })
    }

    async fn is_served(&mut self) -> Result<()> {
        self.messages += 1;
        let payload = self.messages.to_string();
        self.client.publish("bystander", QoS::AtLeastOnce, false, &payload).await?;
        assert_eq!(self.client.receive().await?, Message::new("bystander", &payload, QoS::AtLeastOnce));
        Ok(())
    }
}
