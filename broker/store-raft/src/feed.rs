//! The leader of a shard tells every other member of the view which filters its sessions have, and holds back the answer
//! to SUBSCRIBE until all of them have said that they know.
//!
//! Each member is told one thing at a time and says what it knows then, so nothing piles up for one that is slow or
//! gone, and what comes next is made of what it knows. A leader that does not know yet what a member knows asks by
//! telling nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_store::{Answer, Index, Node, Reply, Shard};

use crate::asked::Asker;
use crate::feed_letter::{Known, News};
use crate::out::Out;

/// A member that does not answer is asked again after this.
pub(crate) const AGAIN: Duration = Duration::from_millis(250);

/// So many bytes of filters are told at once.
const PORTION_BYTES: usize = 256 << 10;

/// What a leader knows of what others know.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    members: BTreeMap<Node, Member>,
    /// Answers that wait for the members, in their order.
    held: VecDeque<Held>,
}

#[derive(Debug, Default)]
struct Member {
    /// What it knows, as it said last; none: it has not said so to this leader.
    known: Option<Known>,
    /// It was told something then, and has not answered.
    told_at: Option<Instant>,
    /// Its last question for all filters, the last one since when this node is known to lead, and the last one that it
    /// knows to be answered.
    asked: u64,
    proven: u64,
    answered: u64,
}

#[derive(Debug)]
struct Held {
    /// Whoever publishes must know of all changes up to this entry.
    needs: Index,
    asker: Asker,
    reply: Reply,
}

impl Feed {
    /// Who is to be told. What is not known of others is forgotten.
    pub(crate) fn follow(&mut self, me: Node, members: &[Node]) {
        self.members.retain(|member, _| members.contains(member));
        for member in members.iter().filter(|member| member.id != me.id) {
            self.members.entry(*member).or_default();
        }
    }

    /// How many answers wait.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Keeps an answer until all know what they need to.
    pub(crate) fn hold(&mut self, needs: Index, asker: Asker, reply: Reply) {
        self.held.push_back(Held { needs, asker, reply });
    }

    /// Gives the answers for which nobody has to be waited for any more. Changes are in the order of the answers.
    pub(crate) fn release(&mut self, waits_for_nobody: bool, out: &mut impl Out) {
        let known = self.members.values().map(|member| match member.known {
            Some(Known::Until(index)) => index,
            _ => 0,
        });
        let known = known.min().filter(|_| !waits_for_nobody).unwrap_or(Index::MAX);
        while let Some(Held { asker, reply, .. }) = self.held.pop_front_if(|held| held.needs <= known) {
            asker.answer(Answer::Reply(reply), out);
        }
    }

    /// All whose answers wait: somebody else will decide.
    pub(crate) fn askers(&self) -> impl Iterator<Item = Asker> {
        self.held.iter().map(|held| held.asker)
    }

    /// A member asks for all filters there are from now on. Whether this is a question that it has not asked yet.
    pub(crate) fn ask(&mut self, life: Node, round: u64) -> bool {
        let Some(member) = self.members.get_mut(&life) else { return false };
        let is_new = round > member.asked;
        member.asked = member.asked.max(round);
        is_new
    }

    /// This node led when it was asked.
    pub(crate) fn prove(&mut self, life: Node, round: u64) {
        if let Some(member) = self.members.get_mut(&life) {
            member.proven = member.proven.max(round);
        }
    }

    /// A member says what it knows.
    pub(crate) fn confirm(&mut self, life: Node, round: u64, known: Known) {
        if let Some(member) = self.members.get_mut(&life) {
            (member.known, member.told_at, member.answered) = (Some(known), None, round);
        }
    }

    /// What members are to be told now, and as the answer to which of their questions.
    pub(crate) fn letters(&mut self, shard: &Shard, now: Instant) -> Vec<(Node, u64, News)> {
        let mut letters = Vec::new();
        for (life, member) in &mut self.members {
            if member.told_at.take_if(|at| *at + AGAIN <= now).is_some() {
                // It may have missed anything, or be far behind: it is asked with little.
                member.known = None;
            }
            if member.told_at.is_none()
                && let Some((round, news)) = member.next(shard)
            {
                member.told_at = Some(now);
                letters.push((*life, round, news));
            }
        }
        letters
    }

    /// When to look again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.members.values().filter_map(|member| member.told_at).min().map(|at| at + AGAIN)
    }
}

impl Member {
    fn next(&self, shard: &Shard) -> Option<(u64, News)> {
        let applied = shard.applied();
        match &self.known {
            None => Some((self.proven, News::Changes { since: applied, until: applied, changes: Vec::new() })),
            Some(Known::Nothing) => Some((self.answered, portion(shard, applied, None))),
            Some(Known::Part { at, until }) => Some((self.answered, portion(shard, *at, Some(until.clone())))),
            Some(Known::Until(known)) => {
                let is_behind = *known < shard.filters_changed_at() || self.answered < self.proven;
                is_behind.then(|| match changes(shard, *known) {
                    Some((until, changes)) => {
                        // All of it, or what follows will answer the question.
                        let round = if until == applied { self.proven } else { self.answered };
                        (round, News::Changes { since: *known, until, changes })
                    }
                    None => (self.answered, portion(shard, applied, None)),
                })
            }
        }
    }
}

/// What changed behind an entry, up to the end or to an entry before that, and up to where it is.
pub(crate) fn changes(shard: &Shard, since: Index) -> Option<(Index, Vec<(Arc<str>, bool)>)> {
    let (mut bytes, mut last, mut changes) = (0, since, Vec::new());
    for (index, filter, begins) in shard.filters_since(since)? {
        if index > last && bytes > PORTION_BYTES {
            return Some((last, changes));
        }
        (bytes, last) = (bytes + filter.len(), index);
        changes.push((filter.clone(), begins));
    }
    Some((shard.applied().max(since), changes))
}

/// The filters behind one of them, as many as are told at once.
pub(crate) fn portion(shard: &Shard, at: Index, after: Option<Arc<str>>) -> News {
    let mut bytes = 0;
    let mut rest = shard.filters_after(after.as_deref()).peekable();
    let mut filters = Vec::new();
    while bytes <= PORTION_BYTES
        && let Some(filter) = rest.next()
    {
        bytes += filter.len();
        filters.push(filter.clone());
    }
    News::All { at, is_last: rest.peek().is_none(), after: after.clone(), filters }
}
