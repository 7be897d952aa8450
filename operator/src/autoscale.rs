//! How many pods the autoscaler wants: a function of the spec, the load and the time.
//!
//! Up at once, down one pod after a wait during which fewer pods were always enough. A pod that did not answer may
//! carry any number of clients, so it can never be a reason for fewer pods.

use fulmar_api::AutoscalingSpec;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// What was read from the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Pods that the StatefulSet is asked for now.
    pub(crate) replicas: i32,
    /// Clients on the pods that answered.
    pub(crate) connections: i64,
    /// Pods that should exist and are not ready, or only since a moment ago.
    pub(crate) awaited: Vec<String>,
    /// Pods that serve and did not answer.
    pub(crate) silent: Vec<String>,
}

/// What must be remembered from one decision to the next. Forgetting it is safe: the wait begins again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Since when fewer pods have been enough without a break.
    pub(crate) fewer_enough_since: Option<Timestamp>,
}

/// What the autoscaler wants and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) replicas: i32,
    pub(crate) reason: Reason,
    /// The numbers behind it, for status and event.
    pub(crate) message: String,
    /// When the next pod may be removed, if fewer are enough until then.
    pub(crate) hold_until: Option<Timestamp>,
    pub(crate) memory: Memory,
}

/// The reason of a decision, as the condition shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// As many pods as the load needs.
    Steady,
    /// More load than the pods should carry.
    ScaledUp,
    /// Fewer pods were enough for long enough.
    ScaledDown,
    /// Fewer pods are enough, but not for long enough yet.
    AwaitingStabilization,
    /// A pod is not ready yet, so no pod may go.
    AwaitingPods,
    /// A pod that serves did not answer, so no pod may go.
    MetricsMissing,
    /// The number of pods was outside minReplicas and maxReplicas.
    OutsideLimits,
    /// More load than maxReplicas pods should carry.
    AtMaximum,
}

impl Reason {
    /// The name in conditions and events.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "Steady",
            Self::ScaledUp => "ScaledUp",
            Self::ScaledDown => "ScaledDown",
            Self::AwaitingStabilization => "AwaitingStabilization",
            Self::AwaitingPods => "AwaitingPods",
            Self::MetricsMissing => "MetricsMissing",
            Self::OutsideLimits => "OutsideLimits",
            Self::AtMaximum => "AtMaximum",
        }
    }
}

/// Decides how many pods there should be.
pub(crate) fn decide(spec: &AutoscalingSpec, load: &Load, memory: Memory, now: Timestamp) -> Decision {
    let AutoscalingSpec { min_replicas, max_replicas, targets, scale_down } = spec;
    let target = i64::from(targets.connections_per_replica.max(1));
    let needed = (load.connections.max(0) + target - 1) / target;
    let numbers = format!("{} connections at {target} per replica need {needed} replicas", load.connections);
    let needed = i32::try_from(needed).unwrap_or(i32::MAX);
    let wanted = needed.clamp(*min_replicas, (*max_replicas).max(*min_replicas));
    let decision =
        |replicas, reason, message| Decision { replicas, reason, message, hold_until: None, memory: Memory::default() };

    if load.replicas < *min_replicas || load.replicas > *max_replicas {
        let replicas = load.replicas.clamp(*min_replicas, *max_replicas).max(wanted);
        let message =
            format!("{} replicas are outside minReplicas {min_replicas} and maxReplicas {max_replicas}", load.replicas);
        return decision(replicas, Reason::OutsideLimits, message);
    }
    if wanted > load.replicas {
        return decision(wanted, Reason::ScaledUp, numbers);
    }
    if !load.silent.is_empty() {
        let message = format!("no metrics from {}, so no pod is removed", load.silent.join(", "));
        return decision(load.replicas, Reason::MetricsMissing, message);
    }
    if !load.awaited.is_empty() {
        let message = format!("{} not ready yet, so no pod is removed; {numbers}", load.awaited.join(", "));
        return decision(load.replicas, Reason::AwaitingPods, message);
    }
    if needed > *max_replicas {
        return decision(load.replicas, Reason::AtMaximum, format!("{numbers}, maxReplicas is {max_replicas}"));
    }
    if wanted == load.replicas {
        return decision(load.replicas, Reason::Steady, numbers);
    }
    let wait = SignedDuration::from_secs(i64::from(scale_down.stabilization_seconds));
    let since = memory.fewer_enough_since.unwrap_or(now);
    if now.duration_since(since) >= wait {
        // One at a time, and the wait begins again: clients of the removed pod move to the others first.
        let again = Memory { fewer_enough_since: Some(now) };
        return Decision { memory: again, ..decision(load.replicas - 1, Reason::ScaledDown, numbers) };
    }
    Decision {
        hold_until: Some(since.saturating_add(wait).expect("a wait of at most a day is in range")),
        memory: Memory { fewer_enough_since: Some(since) },
        ..decision(load.replicas, Reason::AwaitingStabilization, numbers)
    }
}

#[cfg(test)]
mod tests {
    use fulmar_api::{AutoscalingTargets, ScaleDownSpec};

    use super::*;

    fn spec() -> AutoscalingSpec {
        AutoscalingSpec {
            min_replicas: 3,
            max_replicas: 5,
            targets: AutoscalingTargets { connections_per_replica: 1000 },
            scale_down: ScaleDownSpec { stabilization_seconds: 60 },
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn load(replicas: i32, connections: i64) -> Load {
        Load { replicas, connections, ..Load::default() }
    }

    #[test]
    fn replicas_follow_the_load_as_the_table_says() {
        use Reason::*;
        let table = [
            // replicas, connections -> replicas, reason
            (3, 0, 3, Steady),
            (3, 3000, 3, Steady),
            (3, 3001, 4, ScaledUp),
            (3, 4500, 5, ScaledUp),
            (5, 5000, 5, Steady),
            (5, 5001, 5, AtMaximum),
            (5, 4000, 5, AwaitingStabilization),
            (1, 0, 3, OutsideLimits),
            (1, 4500, 5, OutsideLimits),
            (9, 0, 5, OutsideLimits),
            (9, 90_000, 5, OutsideLimits),
        ];
        for (replicas, connections, wanted, reason) in table {
            let decision = decide(&spec(), &load(replicas, connections), Memory::default(), at(0));
            assert_eq!(
                (decision.replicas, decision.reason),
                (wanted, reason),
                "{replicas} pods, {connections} clients"
            );
        }
    }

    #[test]
    fn a_silent_pod_never_removes_one_but_more_load_still_adds_one() {
        let silent = |replicas, connections| Load { silent: vec!["demo-2".to_owned()], ..load(replicas, connections) };
        let long = Memory { fewer_enough_since: Some(at(0)) };
        let quiet = decide(&spec(), &silent(5, 0), long, at(1_000_000));
        assert_eq!((quiet.replicas, quiet.reason), (5, Reason::MetricsMissing));
        assert_eq!(quiet.message, "no metrics from demo-2, so no pod is removed");
        assert_eq!(quiet.memory, Memory::default(), "the wait begins again");
        assert_eq!(decide(&spec(), &silent(3, 3500), long, at(0)).replicas, 4);
    }

    #[test]
    fn a_pod_that_starts_removes_none_and_is_no_failure_of_its_metrics() {
        let awaited = |silent: &[&str]| Load {
            awaited: vec!["demo-3".to_owned()],
            silent: silent.iter().map(|pod| (*pod).to_owned()).collect(),
            ..load(4, 100)
        };
        let long = Memory { fewer_enough_since: Some(at(0)) };
        let decision = decide(&spec(), &awaited(&[]), long, at(1_000_000));
        assert_eq!((decision.replicas, decision.reason), (4, Reason::AwaitingPods));
        let wanted = "demo-3 not ready yet, so no pod is removed; 100 connections at 1000 per replica need 1 replicas";
        assert_eq!(decision.message, wanted);
        assert_eq!(decision.memory, Memory::default(), "the wait begins again");
        assert_eq!(decide(&spec(), &awaited(&["demo-0"]), long, at(0)).reason, Reason::MetricsMissing);
    }

    #[test]
    fn pods_go_one_by_one_each_after_its_own_wait() {
        let (mut replicas, mut memory, mut removed) = (5, Memory::default(), Vec::new());
        for second in (0..=300).step_by(15) {
            let decision = decide(&spec(), &load(replicas, 100), memory, at(second));
            if decision.replicas != replicas {
                removed.push((second, decision.replicas));
            }
            (replicas, memory) = (decision.replicas, decision.memory);
        }
        assert_eq!(removed, [(60, 4), (120, 3)]);
    }

    #[test]
    fn a_short_peak_during_the_wait_starts_it_again() {
        let first = decide(&spec(), &load(4, 100), Memory::default(), at(0));
        assert_eq!(first.hold_until, Some(at(60)));
        let peak = decide(&spec(), &load(4, 4000), first.memory, at(45));
        assert_eq!(peak.reason, Reason::Steady);
        let after = decide(&spec(), &load(4, 100), peak.memory, at(60));
        assert_eq!((after.replicas, after.hold_until), (4, Some(at(120))));
    }

    /// A day of clients that come in the morning and leave at night, read every 15 seconds.
    #[test]
    fn a_day_of_load_is_carried_without_flapping() {
        let day = AutoscalingSpec { scale_down: ScaleDownSpec { stabilization_seconds: 1800 }, ..spec() };
        let (mut replicas, mut memory, mut changes) = (3, Memory::default(), 0);
        for second in (0..86_400).step_by(15) {
            let wave = (f64::from(second) / 86_400.0 * std::f64::consts::TAU).cos();
            let noise = if second % 60 == 0 { 150 } else { 0 };
            #[allow(clippy::cast_possible_truncation, reason = "a few thousand connections")]
            let connections = (3000.0 - 1800.0 * wave) as i64 + noise;
            let decision = decide(&day, &load(replicas, connections), memory, at(i64::from(second)));
            let needed = ((connections + 999) / 1000).clamp(3, 5);
            assert!(i64::from(decision.replicas) >= needed, "{connections} clients on {} pods", decision.replicas);
            changes += i32::from(decision.replicas != replicas);
            (replicas, memory) = (decision.replicas, decision.memory);
        }
        assert!(changes <= 4, "{changes} changes in a day that needs 4");
    }
}
