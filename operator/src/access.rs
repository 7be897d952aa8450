//! Secrets of the user with users and access rules: whether they are there and say what brokers can read.
//!
//! They are read by the brokers' own crate, so what passes here is taken there. A status is seen by more people than a
//! Secret, so no error shows what stands in one. Certificates are looked at in `keys.rs`.

use fulmar_api::{AuthSpec, MqttCluster};
use fulmar_auth::passwords::{PasswordFile, PasswordLimits};
use fulmar_auth::{AccessFile, AccessLimits, FileError};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};

use crate::broker_config::{ACCESS_FILE, USERS_FILE};
use crate::failure::{During, Failure};
use crate::observe::made_for;

/// Errors of one file in a message; more would not be read there.
const ERRORS_MAX: usize = 10;

/// What is wrong with one Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.auth.{field}: Secret {secret}: {problem}")]
pub(crate) struct AccessProblem {
    pub(crate) field: &'static str,
    pub(crate) secret: String,
    pub(crate) problem: String,
    pub(crate) reason: &'static str,
}

/// What a Secret is to hold.
#[derive(Clone, Copy, Debug)]
enum Content {
    Users,
    AccessRules,
}

/// Looks at the Secrets that `spec.auth` names. `Some`: why they cannot be used.
pub(crate) async fn check_access(client: &Client, cluster: &MqttCluster) -> Result<Option<Failure>, Failure> {
    let AuthSpec { anonymous: _, users_secret_name, acl_secret_name } = &cluster.spec.auth;
    let named = [(Content::Users, users_secret_name), (Content::AccessRules, acl_secret_name)];
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let mut problems = Vec::new();
    for (content, name) in named {
        let Some(name) = name else { continue };
        let found = secrets.get_opt(name).await.during("read a Secret of spec.auth")?;
        if let Err((reason, problem)) = content.check(found.as_ref()) {
            problems.push(AccessProblem { field: content.field(), secret: name.clone(), problem, reason });
        }
    }
    Ok((!problems.is_empty()).then_some(Failure::Access(problems)))
}

impl Content {
    fn field(self) -> &'static str {
        match self {
            Self::Users => "usersSecretName",
            Self::AccessRules => "aclSecretName",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Users => USERS_FILE,
            Self::AccessRules => ACCESS_FILE,
        }
    }

    /// The reason and the words for what is wrong.
    fn check(self, secret: Option<&Secret>) -> Result<(), (&'static str, String)> {
        let Some(secret) = secret else {
            return Err(("SecretNotFound", "not found in the namespace of the MqttCluster".to_owned()));
        };
        if let Some(owner) = made_for(secret) {
            let problem = format!("found that the operator made it for MqttCluster {owner}, wanted a Secret of yours");
            return Err(("SecretNotYours", problem));
        }
        let key = self.key();
        // The other keys of the Secret are nobody's business.
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let Some(ByteString(bytes)) = bytes else {
            return Err(("SecretInvalid", format!("found no key {key}, wanted it")));
        };
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(("SecretInvalid", format!("{key}: found bytes that are no text, wanted UTF-8")));
        };
        match self {
            Self::Users => match PasswordFile::parse(text, PasswordLimits::default()) {
                Ok(_) => Ok(()),
                // These show neither names nor hashes.
                Err(errors) => Err(("InvalidUsers", told(key, &errors, ToString::to_string))),
            },
            Self::AccessRules => match AccessFile::parse(text, AccessLimits::default()) {
                Ok(_) => Ok(()),
                Err(errors) => Err(("InvalidAccessRules", told(key, &errors, without_content))),
            },
        }
    }
}

fn told(key: &str, errors: &[FileError], words: impl Fn(&FileError) -> String) -> String {
    let mut lines: Vec<_> = errors.iter().take(ERRORS_MAX).map(words).collect();
    if errors.len() > ERRORS_MAX {
        lines.push(format!("{} more errors", errors.len() - ERRORS_MAX));
    }
    format!("{key}: {}", lines.join("; "))
}

/// What was found in a file of rules may be anything, a password file under the wrong key for example.
fn without_content(error: &FileError) -> String {
    let FileError { line, path, found: _, wanted } = error;
    let space = if path.is_empty() { "" } else { " " };
    format!("line {line}{space}{path}: wanted {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$DPHvyFZwVwjKyJ5V0Yb3Cg";

    fn secret(key: &str, text: &str) -> Secret {
        let data = [(key.to_owned(), ByteString(text.as_bytes().to_vec()))];
        Secret { data: Some(data.into()), ..Secret::default() }
    }

    fn problem(content: Content, key: &str, text: &str) -> (&'static str, String) {
        content.check(Some(&secret(key, text))).unwrap_err()
    }

    #[test]
    fn users_and_rules_that_brokers_can_read_pass() {
        let users = format!("# staff\nalice:{HASH}\n");
        assert_eq!(Content::Users.check(Some(&secret("users", &users))), Ok(()));
        let rules = "rules: [{allow: publish, filters: [\"meters/${clientid}/#\"]}]";
        assert_eq!(Content::AccessRules.check(Some(&secret("access.yaml", rules))), Ok(()));
    }

    #[test]
    fn a_secret_that_is_missing_or_has_another_key_is_told_without_its_keys() {
        assert_eq!(Content::Users.check(None).unwrap_err().0, "SecretNotFound");
        let wanted = ("SecretInvalid", "found no key users, wanted it".to_owned());
        assert_eq!(problem(Content::Users, "password-of-the-bank", "x"), wanted);
        let mut bytes = secret("users", "");
        bytes.data.as_mut().unwrap().insert("users".to_owned(), ByteString(vec![0xff]));
        let wanted = ("SecretInvalid", "users: found bytes that are no text, wanted UTF-8".to_owned());
        assert_eq!(Content::Users.check(Some(&bytes)).unwrap_err(), wanted);
    }

    #[test]
    fn wrong_lines_are_named_and_nothing_in_them_is_shown() {
        let wanted = "users: line 1: found no colon, wanted NAME:HASH; line 3: found the user of line 2 again, wanted each user once";
        let users = format!("correct-horse\nalice:{HASH}\nalice:{HASH}\n");
        assert_eq!(problem(Content::Users, "users", &users), ("InvalidUsers", wanted.to_owned()));
        let rules = "rules:\n- allow: pubish-secret\n  filters: [a]\nsecret: x\n";
        let wanted = "access.yaml: line 2 rules[0].allow: wanted publish or subscribe or all; line 4: wanted only default, rules, bans";
        assert_eq!(problem(Content::AccessRules, "access.yaml", rules), ("InvalidAccessRules", wanted.to_owned()));
        // Each Secret under the name of the other.
        for text in [format!("alice:{HASH}\n"), format!("alice: {HASH}\n- b"), format!("- [alice, {HASH}]")] {
            let (_, told) = problem(Content::AccessRules, "access.yaml", &text);
            assert!(!told.contains("alice") && !told.contains("argon2id"), "{told}");
        }
        let (_, told) = problem(Content::Users, "users", rules);
        assert!(!told.contains("secret"), "{told}");
    }

    #[test]
    fn more_errors_than_anyone_reads_are_counted() {
        let (_, told) = problem(Content::Users, "users", &"x\n".repeat(25));
        assert!(told.ends_with("line 10: found no colon, wanted NAME:HASH; 15 more errors"), "{told}");
    }
}
