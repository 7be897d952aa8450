//! Events: what changed in the conditions, for `kubectl describe`.

use fulmar_api::{ConditionKind, Truth};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

/// The longest note of an event.
const NOTE_MAX: usize = 1000;

/// One event.
pub(crate) fn event(kind: EventType, reason: &str, action: &str, note: &str) -> Event {
    let mut end = note.len().min(NOTE_MAX);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    Event {
        type_: kind,
        reason: reason.to_owned(),
        action: action.to_owned(),
        note: Some(note[..end].to_owned()),
        secondary: None,
    }
}

/// The events that tell how one list of conditions became the other. A condition that begins as it should be is no
/// news; `Available` and `Progressing` are told by `Ready`.
pub(crate) fn events_between(before: &[Condition], after: &[Condition]) -> Vec<Event> {
    let changed = after.iter().filter(|new| {
        let old = before.iter().find(|old| old.type_ == new.type_);
        match old {
            // What could not be judged before begins now.
            Some(old) if old.status != Truth::Unknown.as_str() => old.status != new.status || old.reason != new.reason,
            _ => is_bad(new) || new.type_ == ConditionKind::Ready.as_str(),
        }
    });
    let silent = [ConditionKind::Available.as_str(), ConditionKind::Progressing.as_str()];
    let told: Vec<_> = changed.filter(|new| !silent.contains(&new.type_.as_str())).collect();
    // A failure also stands in `Degraded` and `Ready`; the condition that it belongs to tells it.
    let rank = |condition: &Condition| {
        let last = [ConditionKind::Degraded.as_str(), ConditionKind::Ready.as_str()];
        last.iter().position(|kind| *kind == condition.type_).map_or(0, |place| place + 1)
    };
    let repeats = |new: &Condition| told.iter().any(|other| rank(other) < rank(new) && other.reason == new.reason);
    let once = told.iter().filter(|new| !repeats(new));
    once.map(|new| {
        let kind = if is_bad(new) { EventType::Warning } else { EventType::Normal };
        event(kind, &new.reason, &new.type_, &new.message)
    })
    .collect()
}

/// Not being ready is how every cluster begins; the others name what is wrong.
fn is_bad(condition: &Condition) -> bool {
    let bad_status = if condition.type_ == ConditionKind::Degraded.as_str() { "True" } else { "False" };
    condition.type_ != ConditionKind::Ready.as_str() && condition.status == bad_status
}

#[cfg(test)]
mod tests {
    use fulmar_api::condition;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn told(before: &[Condition], after: &[Condition]) -> Vec<(EventType, String)> {
        events_between(before, after).into_iter().map(|event| (event.type_, event.reason)).collect()
    }

    fn is(kind: ConditionKind, status: bool, reason: &str) -> Condition {
        condition(kind, status, reason, "because", Some(1), Time(Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn a_new_cluster_tells_that_it_starts_and_what_is_wrong_with_it() {
        use ConditionKind::*;
        let after = [
            is(Available, false, "NoPodReady"),
            is(ConfigApplied, true, "Accepted"),
            is(Degraded, true, "NoAuthentication"),
            is(Ready, false, "Progressing"),
        ];
        let wanted = [(EventType::Warning, "NoAuthentication"), (EventType::Normal, "Progressing")];
        assert_eq!(told(&[], &after), wanted.map(|(kind, reason)| (kind, reason.to_owned())));
        assert_eq!(told(&after, &after), []);
    }

    #[test]
    fn a_problem_and_its_end_are_both_told() {
        use ConditionKind::*;
        let good = [is(ConfigApplied, true, "Accepted"), is(Degraded, false, "AsExpected"), is(Ready, true, "Serving")];
        let bad = [
            is(ConfigApplied, false, "ConfigInvalid"),
            is(Degraded, true, "ConfigInvalid"),
            is(Ready, false, "ConfigInvalid"),
        ];
        assert_eq!(told(&good, &bad), [(EventType::Warning, "ConfigInvalid".to_owned())]);
        let ended =
            [(EventType::Normal, "Accepted"), (EventType::Normal, "AsExpected"), (EventType::Normal, "Serving")];
        assert_eq!(told(&bad, &good), ended.map(|(kind, reason)| (kind, reason.to_owned())));
    }

    #[test]
    fn waiting_is_told_although_progress_is_silent() {
        use ConditionKind::*;
        let after = [is(Progressing, true, "AwaitingDeletion"), is(Ready, false, "AwaitingDeletion")];
        assert_eq!(told(&[], &after), [(EventType::Normal, "AwaitingDeletion".to_owned())]);
    }

    #[test]
    fn a_condition_that_is_judged_for_the_first_time_and_good_is_no_news() {
        use ConditionKind::*;
        let unknown =
            |kind| condition(kind, Truth::Unknown, "NotReconciled", "why", Some(1), Time(Timestamp::UNIX_EPOCH));
        let before = [unknown(ConfigApplied), unknown(CertificatesReady)];
        assert_eq!(told(&[], &before), []);
        let after = [is(ConfigApplied, true, "Accepted"), is(CertificatesReady, false, "KeysUnusable")];
        assert_eq!(told(&before, &after), [(EventType::Warning, "KeysUnusable".to_owned())]);
    }
}
