//! The access file: one YAML text with what clients may do and who may not connect at all.
//!
//! ```yaml
//! default: deny                    # what holds where no rule speaks: allow or deny; deny if not given
//! rules:                           # the first that speaks of client, action and topic decides
//! - allow: publish                 # or deny; publish, subscribe or all
//!   filters: ["meters/${clientid}/#"]
//! - allow: subscribe
//!   users: [dashboard, billing]    # only these user names; without it everyone
//!   filters: ["meters/#"]
//! - deny: all
//!   clientIds: [meter-17]          # only these client ids; with users both must be right
//!   filters: ["#"]
//! bans:                            # who may not connect; each names one of clientId, user, address
//! - clientId: meter-13
//! - user: mallory
//!   untilUnixSeconds: 1800000000   # the second from which it holds no longer; without it for ever
//! - address: 203.0.113.0/24        # an IP address or a network
//! ```
//!
//! `${clientid}` and `${username}` stand for one whole level; see [`crate::access`] for what a rule means and
//! [`crate::bans`] for bans. A key without a value is an error: a rule whose `users:` were forgotten must not become a
//! rule for everyone.

use crate::FileError;
use crate::access::{AccessList, read_default, read_rule};
use crate::bans::{Bans, read_ban};
use crate::document::{self, Section, list_of};
use crate::error::Findings;

/// The bounds of an access file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLimits {
    /// The most bytes of text.
    pub text_bytes_max: usize,
    /// The most rules. A decision that no cache holds looks at each that names the client or its user.
    pub rules_max: usize,
    /// The most bans.
    pub bans_max: usize,
}

impl Default for AccessLimits {
    fn default() -> Self {
        Self { text_bytes_max: 8 << 20, rules_max: 10_000, bans_max: 100_000 }
    }
}

/// What an access file says.
#[derive(Debug, Default)]
pub struct AccessFile {
    /// Who may do what.
    pub list: AccessList,
    /// Who may not connect.
    pub bans: Bans,
}

impl AccessFile {
    /// Reads a file's text, or reports all that is wrong with it. An empty file allows nothing.
    pub fn parse(text: &str, limits: AccessLimits) -> Result<AccessFile, Vec<FileError>> {
        let mut findings = Findings::default();
        let root = document::parse(text, limits.text_bytes_max, &mut findings);
        let file = Section::read(root, "", &mut findings, |section, findings| {
            let default = read_default(section, findings);
            let mut rules = Vec::new();
            for (node, path) in items(section, "rules", limits.rules_max, findings) {
                rules.extend(read_rule(node, &path, findings));
            }
            let mut bans = Bans::default();
            for (node, path) in items(section, "bans", limits.bans_max, findings) {
                read_ban(&mut bans, node, &path, findings);
            }
            AccessFile { list: AccessList::new(default, rules), bans }
        });
        findings.finish(file.unwrap_or_default())
    }
}

fn items(
    section: &mut Section,
    key: &'static str,
    max: usize,
    findings: &mut Findings,
) -> Vec<(document::Node, String)> {
    let Some(node) = section.take(key) else { return Vec::new() };
    list_of(node, &section.path_of(key), 0..=max, findings).unwrap_or_default()
}
