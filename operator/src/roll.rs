//! When the next pod may be restarted with the newest template: a function of what the pods and their brokers are now.
//!
//! The StatefulSet restarts pods from its `partition` on. At rest that is the number of pods, so that no change of the
//! template begins anything by itself; then it goes down pod by pod, from the last to the first, and each step waits
//! until every pod serves and every copy of every shard has caught up: a pod less must never be the one that a majority
//! was missing. A pod that does not run protects nobody and is replaced without asking.

use std::collections::BTreeSet;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::told::Told;

/// A pod that runs and is not ready for longer is replaced: it will not be by itself. A start may take 10 minutes.
const UNREADY_MAX: SignedDuration = SignedDuration::from_mins(15);

/// How the broker of a pod fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It serves.
    Ready,
    /// It runs and does not serve, since then.
    Unready { since: Option<Timestamp> },
    /// It does not run, and will not by itself.
    Failing,
    /// It was told to stop.
    Stopping,
}

/// One pod, as a roll sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) ordinal: i32,
    /// It was made from the newest template.
    pub(crate) is_newest: bool,
    pub(crate) state: State,
    /// It keeps copies, by its configuration.
    pub(crate) is_durable: bool,
    /// What its broker told last; `None` where it did not answer.
    pub(crate) told: Option<Told>,
}

/// Everything that is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Pods that the StatefulSet is asked for.
    pub(crate) replicas: i32,
    /// What the StatefulSet has as its partition.
    pub(crate) partition: i32,
    /// The template that is about to be applied is another one than the StatefulSet has.
    pub(crate) is_new_template: bool,
    /// The StatefulSet controller has seen everything that was applied.
    pub(crate) is_seen: bool,
    /// The StatefulSet controller makes every pod from the newest template, whatever the partition says.
    pub(crate) is_complete: bool,
    /// A pod that is leaving.
    pub(crate) drained: Option<String>,
    /// The pods that exist and should.
    pub(crate) members: Vec<Member>,
}

/// What to apply, to do and to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Pods from this number on get the newest template.
    pub(crate) partition: i32,
    /// The pod to remove, by name and UID, because the StatefulSet controller does not do it.
    pub(crate) evict: Option<(String, String)>,
    /// What is under way.
    pub(crate) progress: Option<Progress>,
}

/// A roll that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// This happens now.
    Going(String),
    /// Nothing happens, for this reason.
    Held(String),
}

/// Decides how far the newest template may go.
pub(crate) fn decide(facts: &Facts, now: Timestamp) -> Decision {
    let Facts { replicas, partition, is_new_template, is_seen, is_complete, drained: _, members } = facts;
    let at = |partition, progress| Decision { partition, evict: None, progress };
    if *is_new_template {
        let begins = "a new template is applied, no pod runs it yet".to_owned();
        return at(*replicas, (!members.is_empty()).then_some(Progress::Going(begins)));
    }
    if !is_seen {
        let message = "the StatefulSet controller has not yet seen the last change".to_owned();
        return at((*partition).min(*replicas), Some(Progress::Going(message)));
    }
    let outdated = members.iter().filter(|member| !member.is_newest && member.state != State::Stopping);
    let Some(next) = outdated.max_by_key(|member| member.ordinal) else {
        if *is_complete {
            return at(*replicas, None);
        }
        // A pod that is made now would be one of the old template again if the partition rose.
        let message = "the last pods with the newest template are getting ready".to_owned();
        return at((*partition).min(*replicas), Some(Progress::Going(message)));
    };
    match may_restart(facts, next, now) {
        Ok(()) => Decision {
            partition: next.ordinal,
            // With the partition there already the controller waits for another pod that does not get ready.
            evict: (*partition <= next.ordinal).then(|| (next.name.clone(), next.uid.clone())),
            progress: Some(Progress::Going(format!("{} restarts with the newest template", next.name))),
        },
        Err(reason) => {
            let message = format!("{} does not restart with the newest template yet: {reason}", next.name);
            at(next.ordinal + 1, Some(Progress::Held(message)))
        }
    }
}

/// Why this pod may not be restarted now.
fn may_restart(facts: &Facts, next: &Member, now: Timestamp) -> Result<(), String> {
    match &next.state {
        State::Failing => return Ok(()),
        State::Unready { since: Some(since) } if now.duration_since(*since) > UNREADY_MAX => return Ok(()),
        _ => {}
    }
    if let Some(leaving) = &facts.drained {
        return Err(format!("{leaving} is being drained"));
    }
    check_pods(facts.replicas, &facts.members)?;
    check_copies(&facts.members)
}

/// Why the pods are not all there.
pub(crate) fn check_pods(replicas: i32, members: &[Member]) -> Result<(), String> {
    for ordinal in 0..replicas {
        if !members.iter().any(|member| member.ordinal == ordinal) {
            return Err(format!("pod {ordinal} of {replicas} does not exist yet"));
        }
    }
    for Member { name, state, .. } in members {
        match state {
            State::Ready => {}
            State::Unready { .. } => return Err(format!("waiting for {name} to be ready")),
            State::Failing => return Err(format!("{name} does not run")),
            State::Stopping => return Err(format!("{name} is stopping")),
        }
    }
    Ok(())
}

/// Why the copies are not all as they should be, as far as the brokers tell. Who does not tell might lack anything.
pub(crate) fn check_copies(members: &[Member]) -> Result<(), String> {
    let durable: Vec<&Member> = members.iter().filter(|member| member.is_durable).collect();
    let mut told = Vec::new();
    for member in &durable {
        let name = &member.name;
        let all = member.told.as_ref().ok_or_else(|| format!("no metrics from {name}"))?;
        let missing = |metric: &str| format!("{name} does not tell {metric}");
        let (id, view) = all.cluster_id.zip(all.view).ok_or_else(|| format!("{name} is no member of a cluster yet"))?;
        let shards = all.shards.ok_or_else(|| missing("fulmar_store_shards"))?;
        let healthy = all.shards_healthy.ok_or_else(|| missing("fulmar_store_shards_healthy"))?;
        let caught_up = all.caught_up.ok_or_else(|| missing("fulmar_store_caught_up"))?;
        told.push((name, id, view, shards, healthy, caught_up));
    }
    let Some((first, first_id, first_view, ..)) = told.first() else { return Ok(()) };
    // What was told before a pod came back is about another view, so nothing old is believed.
    for (name, id, view, ..) in &told {
        if id != first_id {
            return Err(format!("{first} is a member of cluster {first_id} and {name} of cluster {id}"));
        }
        if view != first_view {
            return Err(format!("{first} knows view {first_view} and {name} view {view} of who lives"));
        }
    }
    if let Some((name, ..)) = told.iter().find(|(.., caught_up)| !caught_up) {
        return Err(format!("the copies on {name} have not caught up"));
    }
    let counts: BTreeSet<i32> = told.iter().map(|(_, _, _, shards, ..)| *shards).collect();
    let shards = counts.last().copied().unwrap_or_default();
    let healthy: i32 = told.iter().map(|(_, _, _, _, healthy, _)| *healthy).fold(0, i32::saturating_add);
    if shards == 0 || healthy != shards {
        return Err(format!("all copies have caught up in {healthy} of {shards} shards"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
