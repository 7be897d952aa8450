//! What `inspect` found, for people: whether all is well, what is wrong and what to do about it, what is in there.
//!
//! Names that clients chose are escaped, so that they do not play with the terminal.

use std::fmt::Write;

use super::report::{
    Cluster, Contents, FindingReport, Group, Member, Report, RetainedReport, SessionReport, StoreReport,
};

/// All of it, in lines.
pub(super) fn text(report: &Report, now: u64) -> String {
    let mut text = String::new();
    let verdict = if report.is_sound { "sound" } else { "DAMAGED" };
    line(&mut text, format_args!("data folder {}: {verdict}", report.folder));
    let node = report.node.as_deref().unwrap_or("unknown");
    line(&mut text, format_args!("node {node}"));
    match &report.store {
        None => line(&mut text, format_args!("no store: nothing durable was kept here")),
        Some(store) => put_store(&mut text, store),
    }
    for finding in &report.findings {
        put_finding(&mut text, finding);
    }
    for session in report.sessions.iter().flatten() {
        put_session(&mut text, session, now);
    }
    for retained in report.retained.iter().flatten() {
        put_retained(&mut text, retained, now);
    }
    text
}

fn put_store(text: &mut String, store: &StoreReport) {
    let StoreReport { node, lives, shards, is_member, log, totals, groups } = store;
    let number = |number: Option<u64>| number.map_or("unknown".to_owned(), |number| number.to_string());
    let node = node.as_deref().unwrap_or("unknown");
    let lives = match lives {
        Some(1) => "once".to_owned(),
        lives => format!("{} times", number(*lives)),
    };
    let shards = number(shards.map(u64::from));
    let member = if *is_member == Some(true) { ", a member of a cluster" } else { "" };
    line(text, format_args!("store of node {node}{member}, started {lives}, {shards} shards"));
    let intact = match log.bytes - log.intact_bytes {
        0 => String::new(),
        rest => format!(", of which {rest} are not whole writes or were not read"),
    };
    let version = number(log.format_version.map(u64::from));
    line(text, format_args!("log: format {version}, {} segments, {} bytes{intact}", log.segments, log.bytes));
    line(text, format_args!("in all shards: {}", contents(totals)));
    for group in groups {
        put_group(text, group);
    }
}

fn put_group(text: &mut String, group: &Group) {
    let what = match group.shard {
        Some(shard) => format!("shard {shard}"),
        None => "the cluster".to_owned(),
    };
    let Group { start, last, entries, entry_bytes, term, .. } = group;
    let log = match entries {
        0 => format!("no entries behind {start}, term {term}"),
        _ => format!("{entries} entries, {} to {last}, {entry_bytes} bytes, term {term}", start + 1),
    };
    line(text, format_args!("group {} ({what}): {log}", group.group));
    if group.voters.len() > 1 || !group.learners.is_empty() {
        let learners = match group.learners.as_slice() {
            [] => String::new(),
            learners => format!(", learners {}", learners.join(" ")),
        };
        line(text, format_args!("  voters {}{learners}: the last entries may not be decided", group.voters.join(" ")));
    }
    for it in &group.snapshots {
        let used = if it.is_used { "" } else { ", not used" };
        let version = it.format_version.map_or("unknown".to_owned(), |version| version.to_string());
        line(text, format_args!("  snapshot at {}: format {version}, {} bytes{used}", it.index, it.bytes));
    }
    if let Some(floor) = group.floor {
        line(text, format_args!("  had left this node, where its log ended with entry {floor}"));
    }
    if let Some(Cluster { id, nodes, .. }) = &group.cluster {
        let id = id.as_deref().unwrap_or("that has not begun");
        line(text, format_args!("  up to entry {}: cluster {id}", group.applied));
        for Member { node, lives, name, state, .. } in nodes {
            line(text, format_args!("  node {node} {name:?}: {state}, life {lives}"));
        }
    }
    match &group.contents {
        Some(it) => line(text, format_args!("  up to entry {}: {}", group.applied, contents(it))),
        None if group.shard.is_some() => line(text, format_args!("  can't be read")),
        None => {}
    }
}

fn contents(contents: &Contents) -> String {
    if *contents == (Contents { bytes: contents.bytes, ..Contents::default() }) {
        return "nothing".to_owned();
    }
    let Contents { sessions, subscriptions, queued, queued_bytes, retained, tombstones, wills, wills_due, .. } =
        contents;
    let mut text = format!(
        "{sessions} sessions, {subscriptions} subscriptions, {queued} queued ({queued_bytes} bytes), {retained} retained, \
         {wills} wills"
    );
    for (count, what) in [(wills_due, "of these to be published now"), (tombstones, "deleted topics")] {
        if *count > 0 {
            write!(text, ", {count} {what}").expect("a String takes all that is written");
        }
    }
    if contents.destinations > 0 {
        write!(text, ", messages on their way to {} others", contents.destinations).expect("a String takes all");
    }
    text
}

fn put_finding(text: &mut String, finding: &FindingReport) {
    let FindingReport { kind, is_damage, group, file, offset, found, wanted, means, advice } = finding;
    let severity = if *is_damage { "DAMAGE" } else { "note" };
    let group = group.map(|group| format!(", group {group}")).unwrap_or_default();
    let file = file.as_ref().map(|file| format!(" in {file}")).unwrap_or_default();
    let offset = offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default();
    line(text, format_args!("{severity}: {kind}{group}{file}{offset}"));
    for (what, it) in [("found", found.as_str()), ("wanted", wanted), ("means", means), ("do", advice)] {
        line(text, format_args!("  {:<8}{it}", format!("{what}:")));
    }
}

fn put_session(text: &mut String, session: &SessionReport, now: u64) {
    let SessionReport { client, user, owner, queued, queued_bytes, in_flight, received, .. } = session;
    let user = user.as_ref().map_or("anonymous".to_owned(), |user| format!("user {user:?}"));
    let owner = match (owner, session.ends_at, session.expiry_seconds) {
        (Some(owner), _, Some(seconds)) => format!("was connected to {owner}, kept for {seconds} s"),
        (Some(owner), _, None) => format!("was connected to {owner}, kept for ever"),
        (None, Some(at), _) => format!("away, {}", ends(at, now)),
        (None, None, _) => "away, kept for ever".to_owned(),
    };
    let will = if session.has_will { ", a will" } else { "" };
    let queue =
        format!("{queued} queued ({queued_bytes} bytes, {in_flight} in flight), {received} received with QoS 2");
    line(text, format_args!("session {client:?} ({user}): {owner}, {queue}{will}"));
    for it in &session.subscriptions {
        line(text, format_args!("  {:?} with QoS {}", it.filter, it.qos));
    }
}

fn put_retained(text: &mut String, retained: &RetainedReport, now: u64) {
    let RetainedReport { topic, qos, payload_bytes, .. } = retained;
    let until = retained.expires_at.map(|at| format!(", {}", ends(at, now))).unwrap_or_default();
    line(text, format_args!("retained {topic:?}: QoS {qos}, {payload_bytes} bytes{until}"));
}

fn ends(at: u64, now: u64) -> String {
    match at.checked_sub(now) {
        Some(left) => format!("ends in {} s", left.div_ceil(1000)),
        None => "over".to_owned(),
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a String takes all that is written");
}
