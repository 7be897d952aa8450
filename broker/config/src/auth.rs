//! The section `auth`: who may connect and who may do what.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// Who may connect and who may do what. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthConfig {
    /// The file with users and the hashes of their passwords, a line `NAME:HASH` each; no passwords if absent.
    pub password_file: Option<PathBuf>,
    /// The YAML file with access rules and bans; whoever is let in may do everything if absent.
    pub access_file: Option<PathBuf>,
    /// What ties a user name to a client id.
    pub identity: IdentityRule,
    /// Who may take over a client id that is in use; the same on all nodes.
    pub takeover: TakeoverRule,
    /// How many threads verify passwords; 0 is one per core that the machine or container grants.
    pub threads: u16,
    /// How many clients may wait until their passwords are verified. What they have sent counts against
    /// `limits.inputBufferBytesTotal`.
    pub queued: u32,
    /// How who guesses passwords is slowed down.
    pub backoff: BackoffConfig,
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig {
            password_file: None,
            access_file: None,
            identity: IdentityRule::None,
            takeover: TakeoverRule::SameUser,
            threads: 0,
            queued: 20_000,
            backoff: BackoffConfig::default(),
        }
    }
}

/// What ties a user name to a client id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum IdentityRule {
    /// Nothing does.
    #[default]
    None,
    /// They must be the same, so that nobody takes over another user's session.
    UsernameIsClientId,
}

/// Who may take over a client id that is in use, by a connection or by a session that waits for its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TakeoverRule {
    /// Its user. Others are refused.
    #[default]
    SameUser,
    /// Whoever connects with it. What waited in the session is gone then.
    AnyUser,
}

/// Who guesses passwords has to wait, twice as long after each failure. Failures are counted for each user name as it is
/// tried from one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackoffConfig {
    /// Whether failures are counted for an address whatever the user names, too. Only where addresses are those of
    /// clients: behind a load balancer that hides them a guesser would make everyone wait.
    pub per_address: bool,
    /// Failures of one user name from one address before the first wait.
    pub free_failures: u32,
    /// Failures of one address before the first wait.
    pub address_free_failures: u32,
    /// The first wait.
    pub initial_milliseconds: u32,
    /// The longest wait.
    pub max_seconds: u32,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        BackoffConfig {
            per_address: false,
            free_failures: 5,
            address_free_failures: 50,
            initial_milliseconds: 1000,
            max_seconds: 60,
        }
    }
}

impl BackoffConfig {
    /// The first wait.
    pub fn initial(&self) -> Duration {
        Duration::from_millis(self.initial_milliseconds.into())
    }

    /// The longest wait.
    pub fn max(&self) -> Duration {
        Duration::from_secs(self.max_seconds.into())
    }
}
