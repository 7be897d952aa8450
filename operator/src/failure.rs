//! Why a step of the pipeline stopped, and which condition tells the user.

use std::time::Duration;

use fulmar_api::ConditionKind;

use crate::access::AccessProblem;
use crate::validate::SpecError;

/// A step that could not be done. The cluster goes on as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The user's settings, all that is wrong with them.
    #[error("{}", joined(.0))]
    Config(Vec<SpecError>),
    /// A Secret of the user with a certificate is missing or of no use.
    #[error("listener {listener}: Secret {secret}: {problem}")]
    Certificate { listener: String, secret: String, problem: String, reason: &'static str },
    /// Secrets of the user with users or access rules are missing or of no use, all that is wrong with them.
    #[error("{}", joined(.0))]
    Access(Vec<AccessProblem>),
    /// An object of one of our names belongs to somebody else, and is left alone.
    #[error("{kind} {name} exists and does not belong to this MqttCluster: delete or rename it, or rename the cluster")]
    NameTaken { kind: &'static str, name: String },
    /// An object of one of our names belongs to an earlier cluster of this name, whose children are being collected.
    #[error("waiting for the old {kind} {name} to go: it belongs to an earlier MqttCluster of this name")]
    OldObject { kind: &'static str, name: String },
    /// The API server does not want an object.
    #[error("the API server refused {kind} {name}: {message}")]
    Refused { kind: &'static str, name: String, message: String },
    /// Key material could not be made or read.
    #[error("{0:#}")]
    Keys(anyhow::Error),
    /// It hung, and passes by itself.
    #[error("the reconciliation took longer than {} s", limit.as_secs())]
    TookTooLong { limit: Duration },
    /// The API server could not be asked; it passes by itself.
    #[error("{step}: {source}")]
    Api { step: &'static str, source: kube::Error },
}

impl Failure {
    /// The condition that shows this failure, with its status and reason; `None` where only the log does.
    pub(crate) fn condition(&self) -> Option<(ConditionKind, bool, &'static str)> {
        match self {
            Self::Config(_) => Some((ConditionKind::ConfigApplied, false, "ConfigInvalid")),
            Self::Access(problems) => {
                let reason = problems.first().map_or("SecretInvalid", |problem| problem.reason);
                Some((ConditionKind::ConfigApplied, false, reason))
            }
            Self::Certificate { reason, .. } => Some((ConditionKind::CertificatesReady, false, reason)),
            Self::Keys(_) => Some((ConditionKind::CertificatesReady, false, "KeysUnusable")),
            Self::NameTaken { .. } => Some((ConditionKind::Degraded, true, "NameTaken")),
            Self::OldObject { .. } => Some((ConditionKind::Progressing, true, "AwaitingDeletion")),
            Self::Refused { .. } => Some((ConditionKind::Degraded, true, "ApplyRefused")),
            Self::TookTooLong { .. } | Self::Api { .. } => None,
        }
    }

    /// Whether trying again can help before the user has changed something.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Api { .. } | Self::TookTooLong { .. } | Self::OldObject { .. })
    }
}

fn joined(errors: &[impl ToString]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Sorts an answer of the API server to a write: refused for good, or worth another try.
pub(crate) fn refused_or_passing(step: &'static str, kind: &'static str, name: &str, error: kube::Error) -> Failure {
    match error {
        // Conflicts and timeouts pass, and so does being asked too often; everything else in the 4xx stays refused.
        kube::Error::Api(status) if (400..500).contains(&status.code) && ![408, 409, 429].contains(&status.code) => {
            Failure::Refused { kind, name: name.to_owned(), message: status.message.clone() }
        }
        source => Failure::Api { step, source },
    }
}

/// Names the step in which the API server could not be asked.
pub(crate) trait During<T> {
    /// The step in progress, for the log.
    fn during(self, step: &'static str) -> Result<T, Failure>;
}

impl<T> During<T> for Result<T, kube::Error> {
    fn during(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|source| Failure::Api { step, source })
    }
}
