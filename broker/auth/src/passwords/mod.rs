//! The password file: a line `NAME:HASH` for each user.
//!
//! Lines that are empty or begin with `#` are skipped. A hash is argon2id as a PHC string, or what `mosquitto_passwd`
//! writes ([`struct@Hash`]). A name holds no colon. Reading reports every error at once and shows neither names nor hashes:
//! who mixes up the columns would find a password in the log.

mod decoy;
mod hash;

use std::fmt;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::FileError;
use crate::error::Findings;
use decoy::Decoys;
pub use hash::{Argon2idParams, Hash, HashError, PASSWORD_BYTES_MAX, Scratch, hash_password};

/// The most bytes of a line: a hash has about 200, a name as MQTT allows it may be much longer than anyone wants.
const LINE_BYTES_MAX: usize = 2048;

/// The bounds of a password file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordLimits {
    /// The most users.
    pub users_max: usize,
}

impl Default for PasswordLimits {
    fn default() -> Self {
        Self { users_max: 1_000_000 }
    }
}

/// The users and the hashes of their passwords.
pub struct PasswordFile {
    users: HashMap<Box<str>, User>,
    decoys: Decoys,
}

struct User {
    hash: Hash,
    line: usize,
}

impl PasswordFile {
    /// Reads a file's text, or reports all that is wrong with it.
    pub fn parse(text: &str, limits: PasswordLimits) -> Result<PasswordFile, Vec<FileError>> {
        let mut findings = Findings::default();
        let mut users: HashMap<Box<str>, User> = HashMap::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim_end());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = match parse_line(line) {
                Ok(user) => user,
                Err(LineError { found, wanted }) => {
                    findings.refuse(number, "", found, wanted);
                    continue;
                }
            };
            let count = users.len();
            match users.entry(name.into()) {
                Entry::Occupied(earlier) => {
                    let found = format!("the user of line {} again", earlier.get().line);
                    findings.refuse(number, "", found, "each user once");
                }
                Entry::Vacant(_) if count == limits.users_max => {
                    findings.refuse(number, "", "one more user", format!("at most {} users", limits.users_max));
                    break;
                }
                Entry::Vacant(place) => {
                    place.insert(User { hash, line: number });
                }
            }
        }
        let decoys = Decoys::new(text, users.values().map(|user| &user.hash));
        findings.finish(PasswordFile { users, decoys })
    }

    /// The stored hash of a user's password. When a file is loaded again, whose hash is another than before was given
    /// another password, and whose is none may no longer come.
    pub fn find(&self, name: &str) -> Option<&Hash> {
        self.users.get(name).map(|user| &user.hash)
    }

    /// The names of all users, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(|name| &**name)
    }

    /// How many users there are.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// Whether this is the user's password. Slow by intent: ask in a pool of threads that is bounded.
    ///
    /// An unknown name takes as long as a user of this file would, so the time does not tell who exists.
    pub fn verify(&self, name: &str, password: &[u8], scratch: &mut Scratch) -> bool {
        match self.find(name) {
            Some(hash) => hash.verify(password, scratch),
            None => {
                self.decoys.spend(name, password, scratch);
                false
            }
        }
    }
}

impl fmt::Debug for PasswordFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PasswordFile").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

struct LineError {
    found: String,
    wanted: String,
}

fn parse_line(line: &str) -> Result<(&str, Hash), LineError> {
    let refuse = |found: String, wanted: &str| Err(LineError { found, wanted: wanted.to_owned() });
    if line.len() > LINE_BYTES_MAX {
        return refuse(format!("{} bytes", line.len()), &format!("at most {LINE_BYTES_MAX}"));
    }
    let Some((name, hash)) = line.split_once(':') else {
        return refuse("no colon".to_owned(), "NAME:HASH");
    };
    if name.is_empty() {
        return refuse("no name before the colon".to_owned(), "NAME:HASH");
    }
    if name.trim() != name || name.contains(char::is_control) {
        return refuse("white space or a control character around or in the name".to_owned(), "the name alone");
    }
    match Hash::parse(hash) {
        Ok(hash) => Ok((name, hash)),
        Err(error) => Err(LineError { found: error.found, wanted: error.wanted }),
    }
}
