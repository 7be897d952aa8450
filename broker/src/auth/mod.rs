//! Who may connect and who may do what, as far as that needs files, threads and time: the files of users and rules are
//! read and read again (`files`), passwords are verified by threads of their own (`pool`). What any of it means is
//! decided in `fulmar-auth` and `fulmar-worker`.

mod files;
mod pool;

use std::sync::Arc;
use std::time::Duration;

use fulmar_auth::backoff;
use fulmar_auth::identity::{CertificateName, IdentityRules, UsernameRule};
use fulmar_cluster::claims::Takeover;
use fulmar_config::{AuthConfig, BackoffConfig, ClientIdentity, Config, IdentityRule, ListenerConfig, TakeoverRule};
use fulmar_worker::{AuthSettings, Rules};

pub(crate) use files::{AuthFile, AuthFiles};
pub(crate) use pool::{Pool, PoolCounts};

/// So long after its last failure nobody remembers who guessed. No shorter than the longest wait that may be configured.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// How a node authenticates by its configuration.
pub(crate) fn settings(config: &Config, rules: Arc<Rules>, key: [u8; 32]) -> AuthSettings {
    let AuthConfig { identity, takeover, backoff, password_file: _, access_file: _, threads: _, queued: _ } =
        &config.auth;
    let username = match identity {
        IdentityRule::None => UsernameRule::Free,
        IdentityRule::UsernameIsClientId => UsernameRule::IsClientId,
    };
    let takeover = match takeover {
        TakeoverRule::SameUser => Takeover::SameUser,
        TakeoverRule::AnyUser => Takeover::AnyUser,
    };
    let certificate = |listener: &ListenerConfig| {
        listener.tls.as_ref().and_then(|tls| match tls.client_identity {
            ClientIdentity::None => None,
            ClientIdentity::CommonName => Some(CertificateName::CommonName),
            ClientIdentity::Dns => Some(CertificateName::DnsName),
            ClientIdentity::Uri => Some(CertificateName::Uri),
            ClientIdentity::Email => Some(CertificateName::Email),
        })
    };
    let of = |listener| IdentityRules { certificate: certificate(listener), username };
    let identity = config.listeners.iter().map(of).collect();
    let listener_names = config.listeners.iter().map(|listener| listener.name.clone()).collect();
    let backoff = backoff_settings(backoff);
    AuthSettings { rules, listener_names, identity, takeover, backoff, ..AuthSettings::new(key) }
}

fn backoff_settings(config: &BackoffConfig) -> backoff::Settings {
    let BackoffConfig { per_address, free_failures, address_free_failures, initial_milliseconds: _, max_seconds: _ } =
        *config;
    backoff::Settings {
        user_free_failures: free_failures,
        // So many failures nobody lives to see.
        address_free_failures: if per_address { address_free_failures } else { u32::MAX },
        initial: config.initial(),
        max: config.max(),
        forget_after: FORGET_AFTER,
        ..backoff::Settings::default()
    }
}
