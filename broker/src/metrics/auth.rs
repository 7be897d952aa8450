//! What `/metrics` tells of authentication beyond the counters of the data threads.

use std::sync::Arc;

use fulmar_worker::{AuthCounts, Node};

use crate::auth::{AuthFile, AuthFiles, Pool, PoolCounts};
use crate::metrics::{Exposition, Kind};

/// What is asked for these metrics.
#[derive(Debug)]
pub(crate) struct AuthMetrics {
    pub(crate) node: Arc<Node>,
    pub(crate) files: Arc<AuthFiles>,
    /// None: there are no passwords.
    pub(crate) pool: Option<Arc<Pool>>,
}

pub(super) fn expose(exposition: &mut Exposition, auth: &AuthMetrics) {
    let AuthMetrics { node, files, pool } = auth;
    let PoolCounts { queued, answered, spent } = pool.as_ref().map(|pool| pool.counts()).unwrap_or_default();
    let AuthCounts { verified, failures, failures_evicted } = node.auth_counts();
    let gauges = [
        ("queued", queued, "Clients that wait until their passwords are verified."),
        ("remembered", verified, "Verified passwords that are remembered."),
        ("failures", failures, "Users and addresses that are remembered for having failed."),
    ];
    for (name, value, help) in gauges {
        exposition.family(&format!("fulmar_auth_{name}"), Kind::Gauge, help).sample(&[], value);
    }
    let help = "Failures that were forgotten before their time, because too many users and addresses had some.";
    exposition.family("fulmar_auth_failures_evicted_total", Kind::Counter, help).sample(&[], failures_evicted);
    let help = "Time until passwords were verified, waiting included, in seconds.";
    exposition.family("fulmar_auth_seconds_sum", Kind::Counter, help).sample(&[], spent.as_secs_f64());
    let help = "Passwords that were verified, right and wrong ones.";
    exposition.family("fulmar_auth_seconds_count", Kind::Counter, help).sample(&[], answered);
    let help = "Whether what a file of users or access rules holds is in use; 0: the last good one is.";
    for AuthFile { key, is_valid } in files.states() {
        let mut family = exposition.family("fulmar_auth_file_valid", Kind::Gauge, help);
        family.sample(&[("file", key)], u8::from(is_valid));
    }
}
