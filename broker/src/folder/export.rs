//! `fulmar-broker export FOLDER FILE`: sessions and retained messages as lines that others can read.
//!
//! Everybody counts as having left when it is exported, as they do when a broker starts. What is on its way between
//! shards arrives first, so that it is in a queue.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fulmar_store::{
    KeptMessage, KeptPlace, KeptSession, Message, PendingWill, Shard, Subscription, Time, Version, Will,
};
use fulmar_store_raft::{Identity, is_settled, settle};

use super::line::{
    Head, Line, MessageLine, Published, QueuedLine, RetainedLine, SessionLine, SessionWill, SubscriptionLine, Totals,
    VERSION, WillLine,
};
use super::output::Output;
use super::progress::{Progress, note};
use super::{DataFolder, Ended, wall_clock};

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportRequest {
    pub(crate) folder: PathBuf,
    /// `-` is standard output.
    pub(crate) file: PathBuf,
    /// Take what can be read of a damaged folder.
    pub(crate) is_damaged_allowed: bool,
}

/// Reads the folder and writes the file.
pub(crate) fn run(request: &ExportRequest) -> anyhow::Result<Ended> {
    let ExportRequest { folder: path, file, is_damaged_allowed } = request;
    let folder = DataFolder::open(path)?;
    let Some(Read { shards, identity, is_sound }) = read(&folder)? else {
        bail!("found no store in {}, wanted one with something to export", path.display());
    };
    if !is_sound && !is_damaged_allowed {
        bail!(
            "{} is damaged: fulmar-broker inspect tells what is wrong, and export --damaged takes what can be read",
            path.display()
        );
    }
    let now = wall_clock();
    let shards = match identity.filter(|_| !is_settled(&shards)) {
        Some(identity) => settle(&shards, identity, Instant::now(), now).context("bring messages to where they go")?,
        None => shards,
    };
    let output = Output::create(file)?;
    let mut export = Export { output, totals: Totals::default(), progress: Progress::new(), now };
    export
        .head(identity)
        .and_then(|()| shards.iter().try_for_each(|shard| export.shard(shard)))
        .context("write the export")?;
    let Export { mut output, totals, .. } = export;
    let end = put(&mut output, &Line::End(totals)).and_then(|()| output.finish());
    end.with_context(|| format!("write {}", file.display()))?;
    note(&format!("exported {totals}"));
    Ok(if is_sound { Ended::Well } else { Ended::Damaged })
}

/// What was read of a folder.
struct Read {
    shards: Vec<Shard>,
    identity: Option<Identity>,
    is_sound: bool,
}

fn read(folder: &DataFolder) -> anyhow::Result<Option<Read>> {
    let Some(mut inspector) = folder.inspector() else { return Ok(None) };
    let mut progress = Progress::new();
    let groups = inspector.groups();
    let mut shards = Vec::new();
    for group in &groups {
        let (report, shard) = inspector.group(*group);
        shards.extend(shard);
        if report.shard.is_some() && report.voters.len() > 1 {
            note(&format!("group {group} has other voters: its last entries may not be decided, and are exported"));
        }
        progress.say(|| format!("read group {group} of {}", groups.len()));
    }
    for finding in inspector.findings().iter().filter(|finding| finding.kind.is_damage()) {
        let place = finding.file.as_ref().map(|file| format!(" in {}", file.display())).unwrap_or_default();
        note(&format!("{}{place}: found {}, wanted {}", finding.kind.name(), finding.found, finding.wanted));
    }
    Ok(Some(Read { shards, identity: inspector.identity(), is_sound: inspector.is_sound() }))
}

struct Export {
    output: Output,
    totals: Totals,
    progress: Progress,
    now: Time,
}

impl Export {
    fn head(&mut self, identity: Option<Identity>) -> std::io::Result<()> {
        self.put(&Line::Export(Head {
            version: VERSION,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            exported_at: self.now,
            node: identity.map_or("unknown".to_owned(), |identity| format!("{:016x}", identity.node)),
        }))
    }

    fn shard(&mut self, shard: &Shard) -> std::io::Result<()> {
        // Messages of the shard that are in the file, and their numbers there.
        let mut written = BTreeMap::new();
        let now = self.now;
        for session in shard.kept_sessions().map(|session| session.left(now)) {
            let queue: Vec<QueuedLine> = shard
                .kept_queue(session.client)
                .map(|place| {
                    let message = place.message.map(|kept| self.message(&mut written, kept)).transpose()?;
                    Ok(queued_line(&place, message))
                })
                .collect::<std::io::Result<_>>()?;
            self.put(&Line::Session(session_line(&session)))?;
            queue.into_iter().try_for_each(|place| self.put(&Line::Queued(place)))?;
        }
        for (kept, version) in shard.kept_retained() {
            let message = self.message(&mut written, kept)?;
            let Version { clock, node } = version;
            self.put(&Line::Retained(RetainedLine { message, clock, node: format!("{node:016x}") }))?;
        }
        shard.pending_wills().try_for_each(|(_, pending)| self.put(&Line::Will(will_line(pending))))
    }

    /// The number of a message in the file, into which it is written when it is needed first.
    fn message(&mut self, written: &mut BTreeMap<u64, u64>, kept: KeptMessage<'_>) -> std::io::Result<u64> {
        if let Some(id) = written.get(&kept.id) {
            return Ok(*id);
        }
        let id = self.totals.messages + 1;
        written.insert(kept.id, id);
        self.put(&Line::Message(MessageLine { id, message: published(kept.message), expires_at: kept.expires }))?;
        Ok(id)
    }

    fn put(&mut self, line: &Line) -> std::io::Result<()> {
        self.totals.count(line);
        let Self { output, totals, progress, .. } = self;
        progress.say(|| format!("so far {totals}"));
        put(output, line)
    }
}

fn put(output: &mut Output, line: &Line) -> std::io::Result<()> {
    serde_json::to_writer(&mut *output, line)?;
    output.write_all(b"\n")
}

fn session_line(session: &KeptSession<'_>) -> SessionLine {
    let will = |(will, due_at): (&Will, Time)| SessionWill {
        message: published(&will.message),
        delay_seconds: will.delay_seconds,
        due_at,
    };
    SessionLine {
        client: session.client.to_string(),
        user: session.user.map(ToString::to_string),
        expiry_seconds: Some(session.expiry_seconds).filter(|seconds| *seconds != u32::MAX),
        ends_at: session.ends,
        receive_maximum: session.receive_maximum.get(),
        will: session.will.zip(session.will_due).map(will),
        next: session.next,
        sent_until: session.sent_until,
        received: session.received.iter().map(|id| id.get()).collect(),
        subscriptions: session.subscriptions.iter().map(|(filter, it)| subscription_line(filter, it)).collect(),
    }
}

fn subscription_line(filter: &str, subscription: &Subscription) -> SubscriptionLine {
    let Subscription { options, id } = subscription;
    SubscriptionLine {
        filter: filter.to_owned(),
        qos: options.qos as u8,
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: options.retain_handling as u8,
        id: id.map(|id| id.get()),
    }
}

fn queued_line(place: &KeptPlace<'_>, message: Option<u64>) -> QueuedLine {
    QueuedLine {
        place: place.sequence,
        message,
        qos: place.qos as u8,
        retain: place.retain,
        subscription_ids: place.subscription_ids.iter().map(|id| id.get()).collect(),
        share: place.share.map(ToString::to_string),
    }
}

fn will_line(pending: &PendingWill) -> WillLine {
    let PendingWill { client, user, will } = pending;
    WillLine {
        client: client.to_string(),
        user: user.as_ref().map(ToString::to_string),
        message: published(&will.message),
        delay_seconds: will.delay_seconds,
    }
}

fn published(message: &Message) -> Published {
    Published {
        topic: message.topic().to_owned(),
        qos: message.qos as u8,
        retain: message.retain,
        lifetime_seconds: message.lifetime_seconds,
        properties: STANDARD.encode(message.properties()),
        payload: STANDARD.encode(message.payload()),
    }
}
