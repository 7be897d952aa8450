//! Sessions of users who are no more: what waits in them is for nobody, and not for who gets the name next.

use std::collections::BTreeSet;
use std::sync::Arc;

use fulmar_store::Ask;
use fulmar_worker::Rules;

/// The users whom a change of rules has removed.
pub(crate) fn removed_users<'a>(before: &'a Rules, now: &Rules) -> BTreeSet<&'a str> {
    let (Some(before), Some(now)) = (before.passwords.as_deref(), now.passwords.as_deref()) else {
        return BTreeSet::new();
    };
    before.names().filter(|user| now.find(user).is_none()).collect()
}

/// What is to be asked, so that their sessions end.
pub(crate) fn endings<'a>(
    sessions: impl Iterator<Item = (&'a Arc<str>, u64, Option<&'a Arc<str>>)>,
    is_removed: impl Fn(&str) -> bool,
) -> Vec<Ask> {
    let theirs = sessions.filter(|(_, _, user)| user.is_some_and(|user| is_removed(user)));
    theirs.map(|(client, generation, _)| Ask::End { client: client.clone(), generation }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sessions_of_removed_users_end_and_no_others() {
        let [one, two, three, alice, bob] = ["one", "two", "three", "alice", "bob"].map(Arc::<str>::from);
        let sessions = [(&one, 1, Some(&alice)), (&two, 2, Some(&bob)), (&three, 3, None)];
        let found = endings(sessions.into_iter(), |user| ["bob", "carol"].contains(&user));
        assert_eq!(found, [Ask::End { client: two.clone(), generation: 2 }]);
    }
}
