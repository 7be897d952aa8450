//! What `inspect` found, in the shape of its JSON: docs/data-folder.md describes it, and others read it.

use fulmar_log::ReadOnlyDisk;
use fulmar_meta::{Meta, Replicas, State};
use fulmar_store::{KeptSession, Message, Shard, Version};
use fulmar_store_raft::{Finding, GroupReport, Inspector, Mode, SnapshotReport};
use serde::Serialize;

use super::DataFolder;

/// Goes up when a field changes its meaning or goes; new ones may come at any time.
const SHAPE: u32 = 1;

/// All of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    shape: u32,
    pub(super) folder: String,
    pub(super) is_sound: bool,
    pub(super) node: Option<String>,
    /// None: nothing durable was ever kept here.
    pub(super) store: Option<StoreReport>,
    pub(super) findings: Vec<FindingReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sessions: Option<Vec<SessionReport>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retained: Option<Vec<RetainedReport>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoreReport {
    pub(super) node: Option<String>,
    pub(super) lives: Option<u64>,
    pub(super) shards: Option<u16>,
    /// Whether it was made for a member of a cluster.
    pub(super) is_member: Option<bool>,
    pub(super) log: LogReport,
    pub(super) totals: Contents,
    pub(super) groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogReport {
    pub(super) format_version: Option<u32>,
    pub(super) segments: usize,
    pub(super) bytes: u64,
    pub(super) intact_bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) group: u16,
    pub(super) shard: Option<u16>,
    pub(super) term: u64,
    pub(super) vote: Option<String>,
    pub(super) voters: Vec<String>,
    pub(super) learners: Vec<String>,
    /// The log of the group begins behind this entry.
    pub(super) start: u64,
    pub(super) last: u64,
    pub(super) entries: u64,
    pub(super) entry_bytes: u64,
    pub(super) snapshots: Vec<SnapshotFile>,
    /// The last entry that is in `contents`.
    pub(super) applied: u64,
    /// None: it can't be read, or it is no shard.
    pub(super) contents: Option<Contents>,
    /// What group 0 says.
    pub(super) cluster: Option<Cluster>,
    /// The group has left this node, where its log ended with this entry; until it is as far again it votes by that.
    pub(super) floor: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cluster {
    /// None: it has not begun, or this node has not heard of it.
    pub(super) id: Option<String>,
    pub(super) nodes: Vec<Member>,
    /// The voters of each shard.
    pub(super) shards: Vec<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    pub(super) node: String,
    pub(super) lives: u64,
    pub(super) name: String,
    pub(super) zone: String,
    pub(super) state: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SnapshotFile {
    pub(super) file: String,
    pub(super) index: u64,
    pub(super) bytes: u64,
    pub(super) format_version: Option<u32>,
    pub(super) is_used: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Contents {
    pub(super) sessions: usize,
    pub(super) subscriptions: u64,
    pub(super) queued: u64,
    pub(super) queued_bytes: u64,
    pub(super) retained: usize,
    pub(super) tombstones: usize,
    /// Of sessions, and those that are to be published.
    pub(super) wills: usize,
    pub(super) wills_due: usize,
    /// Messages on their way to other shards and nodes have these destinations.
    pub(super) destinations: usize,
    pub(super) bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FindingReport {
    pub(super) kind: &'static str,
    pub(super) is_damage: bool,
    pub(super) group: Option<u16>,
    pub(super) file: Option<String>,
    pub(super) offset: Option<u64>,
    pub(super) found: String,
    pub(super) wanted: String,
    pub(super) means: &'static str,
    pub(super) advice: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionReport {
    pub(super) shard: u16,
    pub(super) client: String,
    pub(super) user: Option<String>,
    /// The life of the node to which it was connected, `NODE#LIFE`.
    pub(super) owner: Option<String>,
    /// None: for ever.
    pub(super) expiry_seconds: Option<u32>,
    /// Milliseconds since 1970; none: for ever, or not before its owner has left.
    pub(super) ends_at: Option<u64>,
    pub(super) has_will: bool,
    pub(super) queued: usize,
    pub(super) queued_bytes: u64,
    pub(super) in_flight: u32,
    /// QoS 2 packet identifiers that the client has not released.
    pub(super) received: usize,
    pub(super) subscriptions: Vec<SubscriptionReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct SubscriptionReport {
    pub(super) filter: String,
    pub(super) qos: u8,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RetainedReport {
    pub(super) shard: u16,
    pub(super) topic: String,
    pub(super) qos: u8,
    pub(super) payload_bytes: usize,
    /// Milliseconds since 1970; none: for ever.
    pub(super) expires_at: Option<u64>,
    pub(super) clock: u64,
    pub(super) node: String,
}

impl Report {
    /// Reads all of a folder, one shard after the other.
    pub(super) fn of(folder: &DataFolder, with_sessions: bool, with_retained: bool) -> Self {
        let mut report = Self {
            shape: SHAPE,
            folder: folder.path.display().to_string(),
            is_sound: true,
            node: folder.node.map(hexadecimal),
            store: None,
            findings: Vec::new(),
            sessions: with_sessions.then(Vec::new),
            retained: with_retained.then(Vec::new),
        };
        let findings = match folder.inspector() {
            Some(mut inspector) => {
                report.store = Some(report.store(&mut inspector));
                inspector.findings().to_vec()
            }
            None => folder.findings.clone(),
        };
        report.is_sound = findings.iter().all(|finding| !finding.kind.is_damage());
        report.findings = findings.iter().map(FindingReport::of).collect();
        report
    }

    fn store(&mut self, inspector: &mut Inspector<ReadOnlyDisk>) -> StoreReport {
        let identity = inspector.identity();
        let log = inspector.log();
        let (mut totals, mut groups) = (Contents::default(), Vec::new());
        for group in inspector.groups() {
            let (found, shard) = inspector.group(group);
            let contents = shard.as_ref().map(Contents::of);
            if let Some(shard) = &shard {
                self.list(shard);
            }
            contents.iter().for_each(|contents| totals.add(*contents));
            groups.push(Group::of(&found, contents));
        }
        StoreReport {
            node: identity.map(|identity| hexadecimal(identity.node)),
            lives: identity.map(|identity| identity.incarnation),
            shards: identity.map(|identity| identity.shards.get()),
            is_member: identity.map(|identity| identity.mode == Mode::Member),
            log: LogReport {
                format_version: log.version,
                segments: log.segments,
                bytes: log.bytes,
                intact_bytes: log.intact,
            },
            totals,
            groups,
        }
    }

    fn list(&mut self, shard: &Shard) {
        let id = shard.id().0;
        if let Some(sessions) = &mut self.sessions {
            sessions.extend(shard.kept_sessions().map(|session| SessionReport::of(id, &session)));
        }
        if let Some(retained) = &mut self.retained {
            let all = shard.kept_retained();
            retained.extend(all.map(|(kept, version)| RetainedReport::of(id, kept.message, kept.expires, version)));
        }
    }
}

impl Group {
    fn of(found: &GroupReport, contents: Option<Contents>) -> Self {
        let entries = found.entries();
        let cluster = found.cluster.as_deref().map(Cluster::of);
        let GroupReport { group, shard, term, vote, voters, learners, start, last, .. } = found;
        let GroupReport { entry_bytes, snapshots, applied, floor, .. } = found;
        let all = |nodes: &[u64]| nodes.iter().copied().map(hexadecimal).collect();
        Self {
            group: *group,
            shard: shard.map(|shard| shard.0),
            term: *term,
            vote: vote.map(hexadecimal),
            voters: all(voters),
            learners: all(learners),
            start: *start,
            last: *last,
            entries,
            entry_bytes: *entry_bytes,
            snapshots: snapshots.iter().map(SnapshotFile::of).collect(),
            applied: *applied,
            contents,
            cluster,
            floor: *floor,
        }
    }
}

impl Cluster {
    fn of(meta: &Meta) -> Self {
        let member = |(id, node): (u64, &fulmar_meta::Node)| Member {
            node: hexadecimal(id),
            lives: node.member.incarnation,
            name: node.name.to_string(),
            zone: node.zone.to_string(),
            state: match node.state() {
                State::Joining => "joining",
                State::Up => "up",
                State::Draining => "draining",
                State::Down => "down",
                State::Gone => "gone",
            },
        };
        let voters = |replicas: &Replicas| replicas.voters().iter().copied().map(hexadecimal).collect();
        Self {
            id: meta.cluster().map(|id| id.to_string()),
            nodes: meta.nodes().map(member).collect(),
            shards: meta.shards().iter().map(voters).collect(),
        }
    }
}

impl SnapshotFile {
    fn of(found: &SnapshotReport) -> Self {
        let SnapshotReport { path, index, bytes, version, is_used } = found;
        let file = path.display().to_string();
        Self { file, index: *index, bytes: *bytes, format_version: *version, is_used: *is_used }
    }
}

impl Contents {
    fn of(shard: &Shard) -> Self {
        let counts = shard.counts();
        let (queued_bytes, wills) = shard
            .kept_sessions()
            .fold((0, 0), |(bytes, wills), it| (bytes + it.queued_bytes, wills + usize::from(it.will.is_some())));
        Self {
            sessions: counts.sessions,
            subscriptions: counts.subscriptions,
            queued: counts.queued,
            queued_bytes,
            retained: counts.retained,
            tombstones: counts.tombstones,
            wills: wills + counts.wills,
            wills_due: counts.wills,
            destinations: shard.destinations().count(),
            bytes: counts.bytes,
        }
    }

    fn add(&mut self, other: Self) {
        let Self {
            sessions,
            subscriptions,
            queued,
            queued_bytes,
            retained,
            tombstones,
            wills,
            wills_due,
            destinations,
            bytes,
        } = other;
        self.sessions += sessions;
        self.subscriptions += subscriptions;
        self.queued += queued;
        self.queued_bytes += queued_bytes;
        self.retained += retained;
        self.tombstones += tombstones;
        self.wills += wills;
        self.wills_due += wills_due;
        self.destinations += destinations;
        self.bytes += bytes;
    }
}

impl FindingReport {
    fn of(finding: &Finding) -> Self {
        let Finding { kind, group, file, offset, found, wanted } = finding;
        Self {
            kind: kind.name(),
            is_damage: kind.is_damage(),
            group: *group,
            file: file.as_ref().map(|file| file.display().to_string()),
            offset: *offset,
            found: found.clone(),
            wanted: wanted.clone(),
            means: kind.means(),
            advice: kind.advice(),
        }
    }
}

impl SessionReport {
    fn of(shard: u16, session: &KeptSession<'_>) -> Self {
        let subscriptions = session.subscriptions.iter();
        let subscription = |(filter, it): (&std::sync::Arc<str>, &fulmar_store::Subscription)| SubscriptionReport {
            filter: filter.to_string(),
            qos: it.options.qos as u8,
        };
        Self {
            shard,
            client: session.client.to_string(),
            user: session.user.map(ToString::to_string),
            owner: session.owner.map(|owner| owner.to_string()),
            expiry_seconds: Some(session.expiry_seconds).filter(|seconds| *seconds != u32::MAX),
            ends_at: session.ends,
            has_will: session.will.is_some(),
            queued: session.queued,
            queued_bytes: session.queued_bytes,
            in_flight: session.in_flight,
            received: session.received.len(),
            subscriptions: subscriptions.map(subscription).collect(),
        }
    }
}

impl RetainedReport {
    fn of(shard: u16, message: &Message, expires_at: Option<u64>, version: Version) -> Self {
        Self {
            shard,
            topic: message.topic().to_owned(),
            qos: message.qos as u8,
            payload_bytes: message.payload().len(),
            expires_at,
            clock: version.clock,
            node: hexadecimal(version.node),
        }
    }
}

fn hexadecimal(node: u64) -> String {
    format!("{node:016x}")
}
