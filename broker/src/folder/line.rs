//! The lines of an export, as they are in the file: docs/data-folder.md describes them, and others read and write them.
//!
//! What is here are shapes only. `export` fills them, `import` believes nothing of them.

use serde::{Deserialize, Serialize};

/// The version of the format that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(super) enum Line {
    /// The first.
    Export(Head),
    /// A message that lines behind it refer to.
    Message(MessageLine),
    /// A session. Its queue follows.
    Session(SessionLine),
    /// A message in the queue of the session before it, in order.
    Queued(QueuedLine),
    /// A retained message.
    Retained(RetainedLine),
    /// A will whose time has come, and that is to be published.
    Will(WillLine),
    /// The last.
    End(Totals),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Head {
    pub(super) version: u32,
    /// The release that wrote it.
    pub(super) release: String,
    /// Milliseconds since 1970, like all times here.
    pub(super) exported_at: u64,
    pub(super) node: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MessageLine {
    pub(super) id: u64,
    pub(super) message: Published,
    /// None: never.
    pub(super) expires_at: Option<u64>,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Published {
    pub(super) topic: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// The seconds that it was of use when it was published.
    pub(super) lifetime_seconds: Option<u32>,
    /// Base64 of the properties that all receivers get, as in a PUBLISH (MQTT 5.0, 2.2.2) without their length.
    pub(super) properties: String,
    /// Base64.
    pub(super) payload: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SessionLine {
    pub(super) client: String,
    /// None: anonymous.
    pub(super) user: Option<String>,
    /// None: for ever.
    pub(super) expiry_seconds: Option<u32>,
    /// None: never.
    pub(super) ends_at: Option<u64>,
    pub(super) receive_maximum: u16,
    pub(super) will: Option<SessionWill>,
    /// The place of the next message in the queue. Packet identifiers are 1 + place modulo 65,535.
    pub(super) next: u64,
    /// What stands before this place may have been sent.
    pub(super) sent_until: u64,
    /// Packet identifiers of QoS 2 that the client has not released.
    pub(super) received: Vec<u16>,
    pub(super) subscriptions: Vec<SubscriptionLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SessionWill {
    pub(super) message: Published,
    pub(super) delay_seconds: u32,
    pub(super) due_at: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SubscriptionLine {
    pub(super) filter: String,
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) retain_handling: u8,
    /// The subscription identifier.
    pub(super) id: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct QueuedLine {
    pub(super) place: u64,
    /// None: the client has it, and its PUBCOMP is awaited.
    pub(super) message: Option<u64>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) subscription_ids: Vec<u32>,
    /// The shared subscription, while another member may still get it instead.
    pub(super) share: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RetainedLine {
    pub(super) message: u64,
    /// Which of two messages of a topic is the later one: the one with the higher clock, then with the higher node.
    pub(super) clock: u64,
    pub(super) node: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WillLine {
    pub(super) client: String,
    pub(super) user: Option<String>,
    pub(super) message: Published,
    pub(super) delay_seconds: u32,
}

/// How many lines there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Totals {
    pub(super) messages: u64,
    pub(super) sessions: u64,
    pub(super) queued: u64,
    pub(super) retained: u64,
    pub(super) wills: u64,
}

impl Totals {
    /// Counts a line.
    pub(super) fn count(&mut self, line: &Line) {
        let count = match line {
            Line::Message(_) => &mut self.messages,
            Line::Session(_) => &mut self.sessions,
            Line::Queued(_) => &mut self.queued,
            Line::Retained(_) => &mut self.retained,
            Line::Will(_) => &mut self.wills,
            Line::Export(_) | Line::End(_) => return,
        };
        *count += 1;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { messages, sessions, queued, retained, wills } = self;
        write!(f, "{sessions} sessions with {queued} messages in their queues, {retained} retained messages")?;
        write!(f, " ({messages} different messages), {wills} wills that are to be published")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_the_page_shows_are_lines_of_the_format() {
        let page = include_str!("../../../docs/data-folder.md");
        let shown: Vec<&str> = page.lines().filter(|line| line.starts_with("{\"kind\"")).collect();
        let mut totals = Totals::default();
        for text in &shown {
            let line: Line = serde_json::from_str(text).unwrap();
            assert_eq!(&serde_json::to_string(&line).unwrap(), text);
            if let Line::End(found) = line {
                assert_eq!(found, totals);
            }
            totals.count(&line);
        }
        assert_eq!(shown.len(), 7);
    }

    #[test]
    fn fields_that_nobody_knows_are_refused() {
        let line = r#"{"kind":"retained","message":1,"clock":2,"node":"ff","more":1}"#;
        let error = serde_json::from_str::<Line>(line).unwrap_err().to_string();
        assert!(error.contains("unknown field `more`"), "{error}");
    }
}
