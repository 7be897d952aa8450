//! How long a failed reconciliation waits for its next try: longer with each failure in a row, per cluster.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::readings::{ClusterKey, exists};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Doublings after which the longest wait is reached.
const DOUBLINGS_MAX: u32 = 6;

/// Failures in a row of every cluster; bounded by the clusters that exist.
#[derive(Debug, Default)]
pub(crate) struct Backoffs {
    failures: Mutex<HashMap<ClusterKey, u32>>,
}

impl Backoffs {
    /// Counts a failure and tells how long to wait. `random` spreads clusters that failed together.
    pub(crate) fn failed(&self, cluster: ClusterKey, random: u64) -> Duration {
        let mut failures = self.lock();
        let count = failures.entry(cluster).or_default();
        let wait = delay(*count, random);
        *count = count.saturating_add(1);
        wait
    }

    /// A success: the next failure is the first again.
    pub(crate) fn forget(&self, cluster: &ClusterKey) {
        self.lock().remove(cluster);
    }

    /// Forgets every cluster of this namespace (`None`: of all) that does not exist any more.
    pub(crate) fn retain(&self, scope: Option<&str>, existing: &HashSet<ClusterKey>) {
        self.lock().retain(|key, _| exists(key, scope, existing));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterKey, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 1 s, 2 s, 4 s ... 60 s, less up to a quarter of it.
fn delay(failures: u32, random: u64) -> Duration {
    let full = (FIRST * 2_u32.pow(failures.min(DOUBLINGS_MAX))).min(LONGEST);
    let percent = u32::try_from(random % 26).expect("a number below 26 fits");
    full - full * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ClusterKey {
        ("shop".to_owned(), name.to_owned())
    }

    #[test]
    fn each_failure_in_a_row_waits_twice_as_long_and_a_success_begins_again() {
        let backoffs = Backoffs::default();
        let waits: Vec<_> = (0..8).map(|_| backoffs.failed(key("demo"), 0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoffs.failed(key("other"), 0).as_secs(), 1, "each cluster has its own");
        backoffs.forget(&key("demo"));
        assert_eq!(backoffs.failed(key("demo"), 0).as_secs(), 1);
        backoffs.retain(None, &HashSet::new());
        assert!(backoffs.lock().is_empty());
    }

    #[test]
    fn chance_takes_at_most_a_quarter() {
        let waits: Vec<_> = (0..1000).map(|random| delay(6, random)).collect();
        assert_eq!(waits.iter().min(), Some(&Duration::from_secs(45)));
        assert_eq!(waits.iter().max(), Some(&Duration::from_secs(60)));
    }
}
