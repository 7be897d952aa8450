//! `fulmar-broker import FOLDER FILE`: what `export` wrote, brought into a folder.
//!
//! All of the file is read before anything is written. Then a whole store is made beside the one that there is, and
//! takes its place in one step: whoever kills this finds the folder as it was, or as it should be.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use fulmar_log::{ReadOnlyDisk, StdDisk};
use fulmar_store::{Intake, Message, NewMessage, NewPlace, Node, Shard, ShardId, Time};
use fulmar_store_raft::{Identity, Inspector, Mode, Wanted, establish};

use super::line::{Line, MessageLine, QueuedLine, Totals, VERSION};
use super::progress::{Progress, note};
use super::{Ended, IMPORTING, SHARDS, parse, swap};
use crate::{node_id, setup, store};

/// The longest line: the largest message in base64, and some more.
const LINE_BYTES_MAX: u64 = 400 << 20;
/// So many names that were there already are told.
const NAMES_MAX: usize = 20;

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportRequest {
    pub(crate) folder: PathBuf,
    /// `-` is standard input.
    pub(crate) file: PathBuf,
    /// Add to what is in the folder, and leave that as it is.
    pub(crate) is_merge: bool,
    /// The folder is to be that of the node that begins a cluster.
    pub(crate) is_cluster: bool,
}

/// Reads the file and fills the folder.
pub(crate) fn run(request: &ImportRequest) -> anyhow::Result<Ended> {
    let ImportRequest { folder, file, is_merge, is_cluster } = request;
    let input: Box<dyn Read> = match file.as_path() {
        path if path == Path::new("-") => Box::new(io::stdin()),
        path => Box::new(File::open(path).with_context(|| format!("open {}", path.display()))?),
    };
    // No broker has the folder, and none gets it, until this ends.
    let node = node_id::obtain(Some(folder), setup::random)?;
    let store = folder.join(store::FOLDER);
    let Found { identity, shards } = found(&store, node.value)?;
    let mode = if *is_cluster { Mode::Member } else { Mode::Alone };
    let identity = Identity { mode, ..identity };
    if !is_merge {
        ensure_empty(folder, &shards)?;
    }
    let mut import = Import::new(identity, shards);
    import.read(BufReader::with_capacity(1 << 20, input))?;
    let Import { intakes, totals, there, .. } = import;
    let shards: Vec<Shard> = intakes.into_iter().map(Intake::finish).collect();

    let new = folder.join(IMPORTING);
    swap::clear(&new)?;
    establish(&StdDisk, &new, identity, &shards, setup::random()).with_context(|| format!("fill {}", new.display()))?;
    swap::put_in_place(folder, &new, &store)?;
    note(&format!("imported {totals}"));
    there.tell();
    Ok(Ended::Well)
}

/// What is in the folder already.
struct Found {
    identity: Identity,
    shards: Vec<Shard>,
}

fn found(store: &Path, node: u64) -> anyhow::Result<Found> {
    let new = Identity { node, shards: SHARDS, incarnation: 0, mode: Mode::Alone };
    let empty = |count: NonZeroU16| (0..count.get()).map(|id| Shard::new(ShardId(id))).collect();
    if !store.exists() {
        return Ok(Found { identity: new, shards: empty(SHARDS) });
    }
    let mut inspector = Inspector::open(ReadOnlyDisk, store, Wanted { node: Some(node), shards: Some(SHARDS) });
    let identity = inspector.identity().unwrap_or(new);
    ensure!(
        identity.mode == Mode::Alone,
        "{} is of {}, wanted that of {} or none",
        store.display(),
        identity.mode,
        Mode::Alone
    );
    let mut shards: Vec<Shard> = empty(identity.shards);
    for group in inspector.groups() {
        let (_, shard) = inspector.group(group);
        if let Some(shard) = shard
            && let Some(place) = shards.get_mut(usize::from(shard.id().0))
        {
            *place = shard;
        }
    }
    ensure!(
        inspector.is_sound(),
        "{} is damaged, wanted a sound one or none: fulmar-broker inspect tells what is wrong",
        store.display()
    );
    Ok(Found { identity, shards })
}

fn ensure_empty(folder: &Path, shards: &[Shard]) -> anyhow::Result<()> {
    let counts = shards.iter().map(Shard::counts);
    let [sessions, retained, wills] = counts.fold([0; 3], |[sessions, retained, wills], it| {
        [sessions + it.sessions, retained + it.retained, wills + it.wills]
    });
    ensure!(
        sessions + retained + wills == 0,
        "found {sessions} sessions, {retained} retained messages and {wills} wills in {}, wanted none: --merge adds to \
         them and leaves them as they are",
        folder.display()
    );
    Ok(())
}

/// What is being read.
struct Import {
    shards: NonZeroU16,
    intakes: Vec<Intake>,
    messages: BTreeMap<u64, (Message, Option<Time>)>,
    /// Where the queue of the session goes that came last; none: its name was there already.
    session: Option<usize>,
    /// What was taken.
    totals: Totals,
    /// What there was in the file.
    read: Totals,
    there: There,
}

/// What the folder had already, and keeps.
#[derive(Default)]
struct There {
    sessions: usize,
    retained: usize,
    names: Vec<String>,
}

impl There {
    fn tell(&self) {
        let Self { sessions, retained, names } = self;
        if sessions + retained > 0 {
            note(&format!(
                "left as they were: {sessions} sessions and {retained} retained messages that were there already"
            ));
            let more = (sessions + retained).saturating_sub(names.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            note(&format!("these are {}{more}", names.join(", ")));
        }
    }

    fn name(&mut self, name: String) {
        if self.names.len() < NAMES_MAX {
            self.names.push(name);
        }
    }
}

impl Import {
    fn new(identity: Identity, shards: Vec<Shard>) -> Self {
        let node = Node { id: identity.node, incarnation: identity.incarnation };
        Self {
            shards: identity.shards,
            intakes: shards.into_iter().map(|shard| Intake::new(shard, node)).collect(),
            messages: BTreeMap::new(),
            session: None,
            totals: Totals::default(),
            read: Totals::default(),
            there: There::default(),
        }
    }

    fn read(&mut self, mut input: impl BufRead) -> anyhow::Result<()> {
        let mut progress = Progress::new();
        let mut bytes = Vec::new();
        let mut is_over = false;
        for number in 1_u64.. {
            bytes.clear();
            let length = (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).context("read the file")?;
            if length == 0 {
                break;
            }
            let step = || format!("line {number}");
            ensure!(
                bytes.ends_with(b"\n"),
                "line {number}: found no end of it, wanted one within {LINE_BYTES_MAX} bytes"
            );
            ensure!(!is_over, "line {number}: found a line behind the last one, wanted none");
            let line: Line = serde_json::from_slice(&bytes).with_context(step)?;
            if (number == 1) != matches!(line, Line::Export(_)) {
                bail!("line {number}: found {}, wanted the head of an export as the first line only", kind(&line));
            }
            is_over = self.line(&line).with_context(step)?;
            progress.say(|| format!("so far {}", self.read));
        }
        ensure!(is_over, "found no last line of the kind end, wanted one: the export was not finished");
        Ok(())
    }

    /// Takes a line. Returns whether it is the last.
    fn line(&mut self, line: &Line) -> anyhow::Result<bool> {
        self.read.count(line);
        match line {
            Line::Export(head) => {
                let found = head.version;
                ensure!(found == VERSION, "found an export of version {found}, wanted {VERSION}");
            }
            Line::Message(MessageLine { id, message, expires_at }) => {
                let message = parse::message(message)?;
                let before = self.messages.insert(*id, (message, *expires_at));
                ensure!(before.is_none(), "found two messages with the number {id}, wanted one");
                self.totals.count(line);
            }
            Line::Session(session) => {
                let session = parse::session(session)?;
                let at = self.place_of(&session.client);
                let is_there = self.intakes[at].shard().session(&session.client).is_some();
                self.session = (!is_there).then_some(at);
                if is_there {
                    self.there.sessions += 1;
                    self.there.name(format!("client {:?}", session.client));
                } else {
                    self.intakes[at].session(session).map_err(anyhow::Error::msg)?;
                    self.totals.count(line);
                }
            }
            Line::Queued(queued) => {
                ensure!(self.read.sessions > 0, "found a message before the session that it waits for");
                self.queued(queued)?;
                if self.session.is_some() {
                    self.totals.count(line);
                }
            }
            Line::Retained(retained) => {
                let version = parse::version(retained)?;
                let (message, expires) = self.message(retained.message)?.clone();
                let intake = &mut self.intakes[usize::from(ShardId::of(message.topic(), self.shards).0)];
                if intake.has_retained(message.topic()) {
                    self.there.retained += 1;
                    self.there.name(format!("topic {:?}", message.topic()));
                } else {
                    let message = NewMessage { id: retained.message, message: &message, expires };
                    intake.retained(message, version).map_err(anyhow::Error::msg)?;
                    self.totals.count(line);
                }
            }
            Line::Will(will) => {
                let pending = parse::pending_will(will)?;
                let at = self.place_of(&pending.client);
                self.intakes[at].will(pending).map_err(anyhow::Error::msg)?;
                self.totals.count(line);
            }
            Line::End(found) => {
                ensure!(*found == self.read, "found a last line that counts {found}, wanted {}", self.read);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn queued(&mut self, line: &QueuedLine) -> anyhow::Result<()> {
        let QueuedLine { place, message, qos, retain, subscription_ids, share } = line;
        let message = message.map(|id| self.message(id).map(|it| (id, it.clone()))).transpose()?;
        let message =
            message.as_ref().map(|(id, (message, expires))| NewMessage { id: *id, message, expires: *expires });
        let subscription_ids: Vec<_> =
            subscription_ids.iter().map(|id| parse::subscription_id(*id)).collect::<anyhow::Result<_>>()?;
        let share = share.as_deref().map(parse::share).transpose()?;
        let place = NewPlace {
            sequence: *place,
            message,
            qos: parse::qos(*qos)?,
            retain: *retain,
            subscription_ids: &subscription_ids,
            share: share.as_ref(),
        };
        match self.session {
            Some(at) => self.intakes[at].queued(place).map_err(anyhow::Error::msg),
            None => Ok(()),
        }
    }

    fn message(&self, id: u64) -> anyhow::Result<&(Message, Option<Time>)> {
        self.messages.get(&id).with_context(|| format!("found message {id}, wanted one of the lines before"))
    }

    fn place_of(&self, client: &str) -> usize {
        usize::from(ShardId::of(client, self.shards).0)
    }
}

fn kind(line: &Line) -> &'static str {
    match line {
        Line::Export(_) => "another head",
        Line::Message(_) => "a message",
        Line::Session(_) => "a session",
        Line::Queued(_) => "a message in a queue",
        Line::Retained(_) => "a retained message",
        Line::Will(_) => "a will",
        Line::End(_) => "the end",
    }
}
