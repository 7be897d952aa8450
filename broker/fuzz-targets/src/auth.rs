//! Password and access files: an answer for any text, and no subscription gets around an access list.

use fulmar_auth::passwords::{PasswordFile, PasswordLimits};
use fulmar_auth::{AccessFile, AccessLimits};
use fulmar_codec::filter_matches;

/// Clients and topics that the words of access files speak of.
const CLIENTS: [(&str, Option<&str>); 4] = [("a", None), ("a", Some("b")), ("b", Some("a")), ("$SYS", Some("+"))];
const TOPICS: [&str; 10] = ["a", "b", "a/b", "b/a", "a/a/b", "/", "$SYS/a", "a/", "+", "a/b/b"];
const FILTERS: [&str; 12] = ["#", "+", "+/+", "a/#", "+/b", "a/+", "a", "a/b", "/", "$SYS/#", "$share/a/+/b", "+/#"];

pub(crate) fn target(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match PasswordFile::parse(&text, PasswordLimits { users_max: 10 }) {
        Ok(file) => assert!(file.users() <= 10),
        Err(errors) => assert!(!errors.is_empty()),
    }
    match AccessFile::parse(&text, AccessLimits::default()) {
        Ok(file) => CLIENTS.iter().for_each(|(client_id, user)| look_around(&file, client_id, *user)),
        Err(errors) => assert!(!errors.is_empty()),
    }
}

/// Whoever may subscribe may receive whatever that brings, so nobody asks again on the way of a message.
fn look_around(file: &AccessFile, client_id: &str, user: Option<&str>) {
    let rights = file.list.rights(client_id, user);
    for filter in FILTERS.into_iter().filter(|filter| rights.may_subscribe(filter)) {
        let plain = filter.strip_prefix("$share/a/").unwrap_or(filter);
        for topic in TOPICS.into_iter().filter(|topic| filter_matches(plain, topic)) {
            assert!(rights.may_receive(topic), "{client_id:?} {user:?} may subscribe to {filter}, not receive {topic}");
        }
    }
}
