//! Users with passwords and 100 access rules: what users run, so what is counted. All but the last are for everyone, and
//! it is the last that lets the clients of the guard pass: none before it decides.

use std::fmt::Write;

use anyhow::{Result, anyhow};
use fulmar_auth::passwords::{Argon2idParams, hash_password};

pub(crate) const USER: &str = "guard";
pub(crate) const PASSWORD: &[u8] = b"guarded";

/// The text of a password file. The hash is as cheap as one can be: passwords are remembered before counting begins.
pub(crate) fn password_file() -> Result<String> {
    let params = Argon2idParams { memory_kib: 8, passes: 1, lanes: 1 };
    let hash = hash_password(PASSWORD, params, b"no random salt !").map_err(|error| anyhow!("{error}"))?;
    Ok(format!("{USER}:{hash}\n"))
}

/// The text of an access file.
pub(crate) fn access_file() -> String {
    let mut text = "default: deny\nrules:\n".to_owned();
    for site in 0..33 {
        let _ = write!(
            text,
            "- {{allow: publish, filters: [\"sites/{site}/${{clientid}}/#\"]}}\n\
             - {{allow: subscribe, filters: [\"sites/{site}/+/alarm\"]}}\n\
             - {{deny: all, filters: [\"sites/{site}/locked/#\"]}}\n"
        );
    }
    let _ = writeln!(text, "- {{allow: all, users: [{USER}], filters: [\"#\"]}}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_auth::{AccessFile, AccessLimits};

    #[test]
    fn there_are_100_rules_and_the_last_one_lets_the_clients_pass() {
        let text = access_file();
        assert_eq!(text.matches("\n- {").count(), 100);
        let pass = |text: &str| {
            let access = AccessFile::parse(text, AccessLimits::default()).unwrap();
            access.list.rights("anyone", Some(USER)).may_publish("any/topic")
        };
        assert!(pass(&text));
        let (others, _) = text.trim_end().rsplit_once('\n').unwrap();
        assert!(!pass(others));
    }
}
