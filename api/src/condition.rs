//! Conditions: one sentence each about the state of a cluster, with the time it last changed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The conditions of an `MqttCluster`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionKind {
    /// The cluster is as asked for, and every pod serves.
    Ready,
    /// At least one pod serves clients.
    Available,
    /// Pods are being added, removed or restarted.
    Progressing,
    /// Something needs a human.
    Degraded,
    /// The broker's settings were accepted.
    ConfigApplied,
    /// Every certificate is there.
    CertificatesReady,
    /// The autoscaler can decide.
    ScalingActive,
}

impl ConditionKind {
    /// The name in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Available => "Available",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::ConfigApplied => "ConfigApplied",
            Self::CertificatesReady => "CertificatesReady",
            Self::ScalingActive => "ScalingActive",
        }
    }
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// The operator cannot tell.
    Unknown,
}

impl Truth {
    /// The name in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// The longest message that the API server accepts in a condition.
const MESSAGE_MAX: usize = 32_768;

/// A condition as it is now; [`set_condition`] keeps the time of the last change.
pub fn condition(
    kind: ConditionKind,
    status: impl Into<Truth>,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Time,
) -> Condition {
    let mut end = message.len().min(MESSAGE_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    Condition {
        type_: kind.as_str().to_owned(),
        status: status.into().as_str().to_owned(),
        reason: reason.to_owned(),
        message: message[..end].to_owned(),
        observed_generation: generation,
        last_transition_time: now,
    }
}

/// The condition of this kind, if there is one.
pub fn find_condition(conditions: &[Condition], kind: ConditionKind) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// Replaces the condition of the same kind; its time changes only with its status.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|condition| condition.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn the_time_of_a_condition_changes_only_with_its_status() {
        let mut conditions = Vec::new();
        set_condition(&mut conditions, condition(ConditionKind::Ready, false, "Starting", "1 of 3", Some(1), at(10)));
        set_condition(&mut conditions, condition(ConditionKind::Ready, false, "Starting", "2 of 3", Some(1), at(20)));
        assert_eq!(conditions[0].last_transition_time, at(10));
        assert_eq!(conditions[0].message, "2 of 3");
        set_condition(&mut conditions, condition(ConditionKind::Ready, true, "Serving", "3 of 3", Some(1), at(30)));
        assert_eq!(conditions, [condition(ConditionKind::Ready, true, "Serving", "3 of 3", Some(1), at(30))]);
    }

    #[test]
    fn a_message_is_cut_at_what_the_api_server_accepts() {
        let long = condition(ConditionKind::Degraded, true, "ApplyRefused", &"é".repeat(20_000), None, at(0));
        assert_eq!(long.message.len(), MESSAGE_MAX);
        let odd =
            condition(ConditionKind::Degraded, true, "ApplyRefused", &format!("a{}", "é".repeat(20_000)), None, at(0));
        assert_eq!(odd.message.len(), MESSAGE_MAX - 1);
    }
}
