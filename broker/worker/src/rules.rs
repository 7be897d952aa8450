//! What the files of authentication say, as all data threads have it at one time.

use fulmar_auth::AccessFile;
use fulmar_auth::backoff;
use fulmar_auth::identity::IdentityRules;
use fulmar_auth::passwords::{PasswordFile, PasswordLimits};
use fulmar_auth::verified::FingerprintKey;
use fulmar_cluster::claims::Takeover;
use std::sync::Arc;

/// The files of authentication. New ones are a new value with the next generation, and each thread gets it in a letter.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Grows with each change: decisions that were remembered belong to one generation.
    pub generation: u32,
    /// Users and the hashes of their passwords. `None`: passwords are not looked at.
    pub passwords: Option<Arc<PasswordFile>>,
    /// Who may do what, and who may not connect. `None`: whoever is let in may do everything.
    pub access: Option<Arc<AccessFile>>,
}

/// How a node authenticates, for as long as it runs.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// The files as they are at the start.
    pub rules: Arc<Rules>,
    /// The names of the listeners of the configuration, for hooks.
    pub listener_names: Vec<String>,
    /// For each listener of the configuration, how its clients are named. A listener that is not there: by CONNECT.
    pub identity: Vec<IdentityRules>,
    /// Who may take over a client id that is in use.
    pub takeover: Takeover,
    /// How who guesses passwords is slowed down.
    pub backoff: backoff::Settings,
    /// How many verified passwords are remembered.
    pub verified_max: usize,
    /// Makes what is remembered of them useless to whoever reads it. Random for each start.
    pub key: FingerprintKey,
}

impl AuthSettings {
    /// Without files. A million passwords are remembered at most, which is as many as a file may have.
    pub fn new(key: [u8; 32]) -> AuthSettings {
        AuthSettings {
            rules: Arc::default(),
            listener_names: Vec::new(),
            identity: Vec::new(),
            takeover: Takeover::default(),
            backoff: backoff::Settings::default(),
            verified_max: PasswordLimits::default().users_max,
            key: FingerprintKey::new(key),
        }
    }
}

/// By what a client has shown who it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Proof {
    /// By nothing: it is anonymous.
    #[default]
    None,
    /// By the certificate of its connection.
    Certificate,
    /// By a password of the password file.
    Password,
    /// By what a hook has asked of it.
    Hook,
}
