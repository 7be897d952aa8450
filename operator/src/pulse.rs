//! Whether the controllers still turn, for the liveness probe.
//!
//! Each controller is asked again and again for a cluster that cannot exist; the request passes through its whole loop,
//! and the answer "not found" is a turn. Neither a lack of work nor an API server that is away stops that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often each controller is asked.
pub(crate) const EVERY: Duration = Duration::from_secs(5);
/// A loop that has not turned for this long hangs. Reconciliations end sooner than that, by their own limit.
const LIMIT: Duration = Duration::from_secs(150);

/// When each controller, known by its namespace (`None`: all), turned last.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    turned: Mutex<HashMap<Option<String>, Instant>>,
}

impl Pulse {
    /// A controller turned. One that never did, because its clusters are not known yet, is not waited for.
    pub(crate) fn turned(&self, scope: &Option<String>, now: Instant) {
        self.turned.lock().unwrap_or_else(PoisonError::into_inner).insert(scope.clone(), now);
    }

    /// The controller that hangs, with the time since it turned.
    pub(crate) fn hanging(&self, now: Instant) -> Option<(String, Duration)> {
        let turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        let ages = turned.iter().map(|(scope, last)| (scope, now.saturating_duration_since(*last)));
        let (scope, age) = ages.max_by_key(|(_, age)| *age).filter(|(_, age)| *age > LIMIT)?;
        Some((scope.clone().unwrap_or_else(|| "all namespaces".to_owned()), age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_stops_turning_hangs_whatever_the_others_do() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        assert_eq!(pulse.hanging(start + LIMIT * 2), None, "nothing is known yet");
        let (one, two) = (Some("one".to_owned()), Some("two".to_owned()));
        pulse.turned(&one, start);
        pulse.turned(&two, start);
        let late = start + LIMIT + EVERY;
        pulse.turned(&two, late);
        assert_eq!(pulse.hanging(late), Some(("one".to_owned(), LIMIT + EVERY)));
        pulse.turned(&one, late);
        assert_eq!(pulse.hanging(late), None);
    }
}
