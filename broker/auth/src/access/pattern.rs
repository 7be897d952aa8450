//! A topic filter of a rule, in which `${clientid}` and `${username}` may stand for a level: what it matches, whether
//! it covers another filter, whether it overlaps one.
//!
//! A variable stands for exactly one whole level. Where the client's value could be more than that (it is empty, holds
//! `/`, `+`, `#` or U+0000, or begins with `$` where topics of the server begin), the filter matches nothing.

use fulmar_codec::{TopicLimits, parse_filter};

use super::Client;

const CLIENT_ID: &str = "${clientid}";
const USERNAME: &str = "${username}";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Box<[Level]>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Text(Box<str>),
    /// `+`
    One,
    /// `#`
    Rest,
    ClientId,
    Username,
}

/// A level for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolved<'a> {
    Text(&'a str),
    One,
    Rest,
    /// A level that no topic has.
    Never,
}

impl Pattern {
    /// Reads a rule's filter, or says what would be one.
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        let parsed = parse_filter(text, TopicLimits::default()).map_err(|error| format!("a topic filter: {error}"))?;
        if parsed.share.is_some() {
            return Err("the filter without $share/GROUP/: shared subscriptions are judged by their filter".to_owned());
        }
        let levels: Result<Vec<Level>, String> = text.split('/').map(Level::parse).collect();
        let mut levels = levels?;
        // A topic has a first level in any case, so `+/#` is `#`. With this, comparing level by level misses nothing.
        if levels == [Level::One, Level::Rest] {
            levels.remove(0);
        }
        Ok(Pattern(levels.into()))
    }

    /// At least one level. `#` is the last, and has no `+` as the first and only level before it.
    pub(super) fn into_levels(self) -> Box<[Level]> {
        self.0
    }

    /// Whether every topic that `filter` matches is matched by this pattern too. A topic name is such a filter: it
    /// matches itself.
    pub(super) fn covers(&self, filter: &str, client: Client<'_>) -> bool {
        if self.begins_elsewhere(filter) {
            return false;
        }
        // What begins with `$` is not matched by a wildcard in the first level (MQTT 5.0, 4.7.2).
        if self.begins_wild() && filter.starts_with('$') {
            return false;
        }
        let mut theirs = filter.split('/');
        for index in 0..self.0.len() {
            let ours = self.level(index, client);
            // `#` matches the level above it too, where the filter has just ended (MQTT 5.0, 4.7.1.2).
            if ours == Resolved::Rest {
                return true;
            }
            match (ours, theirs.next()) {
                (Resolved::One, Some(level)) if level != "#" => {}
                (Resolved::Text(text), Some(level)) if level == text => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }

    /// Whether there is a topic that both `filter` and this pattern match.
    pub(super) fn overlaps(&self, filter: &str, client: Client<'_>) -> bool {
        if !filter.starts_with(['+', '#']) && self.begins_elsewhere(filter) {
            return false;
        }
        let begins_special = matches!(self.level(0, client), Resolved::Text(text) if text.starts_with('$'));
        if self.begins_wild() && filter.starts_with('$') || begins_special && filter.starts_with(['+', '#']) {
            return false;
        }
        // Their `#` would hide what comes behind it, so this is asked first.
        if (0..self.0.len()).any(|index| self.level(index, client) == Resolved::Never) {
            return false;
        }
        let mut theirs = filter.split('/');
        for index in 0..self.0.len() {
            match (self.level(index, client), theirs.next()) {
                (Resolved::Rest, _) | (_, Some("#")) => return true,
                (_, None) => return false,
                (Resolved::One, _) | (_, Some("+")) => {}
                (Resolved::Text(text), Some(level)) if level == text => {}
                _ => return false,
            }
        }
        matches!(theirs.next(), None | Some("#"))
    }

    /// Whether the first level is another text: most rules speak of something else from there on, and are passed over
    /// without taking the filter apart.
    fn begins_elsewhere(&self, filter: &str) -> bool {
        let Level::Text(first) = &self.0[0] else { return false };
        !filter.strip_prefix(&**first).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn begins_wild(&self) -> bool {
        matches!(self.0[0], Level::One | Level::Rest)
    }

    fn level<'a>(&'a self, index: usize, client: Client<'a>) -> Resolved<'a> {
        let variable = |value: Option<&'a str>| match value {
            Some(value) if can_be_level(value, index == 0) => Resolved::Text(value),
            _ => Resolved::Never,
        };
        match &self.0[index] {
            Level::Text(text) => Resolved::Text(text),
            Level::One => Resolved::One,
            Level::Rest => Resolved::Rest,
            Level::ClientId => variable(Some(client.client_id)),
            Level::Username => variable(client.username),
        }
    }
}

impl Level {
    fn parse(text: &str) -> Result<Level, String> {
        match text {
            "+" => Ok(Level::One),
            "#" => Ok(Level::Rest),
            CLIENT_ID => Ok(Level::ClientId),
            USERNAME => Ok(Level::Username),
            text if text.contains("${") => Err(format!("{CLIENT_ID} or {USERNAME} as a whole level")),
            text => Ok(Level::Text(text.into())),
        }
    }
}

/// Whether a variable with this value stands for a level, which may be the first one.
pub(super) fn can_be_level(value: &str, is_first: bool) -> bool {
    let is_special = is_first && value.starts_with('$');
    !value.is_empty() && !is_special && !value.contains(['/', '+', '#', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_codec::filter_matches;

    const NOBODY: Client<'_> = Client { client_id: "", username: None };

    fn named<'a>(client_id: &'a str, username: &'a str) -> Client<'a> {
        Client { client_id, username: Some(username) }
    }

    /// Every text of up to `levels` of these levels.
    fn texts(levels: usize, alphabet: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = alphabet.iter().map(|level| (*level).to_owned()).collect();
        let mut last = all.clone();
        for _ in 1..levels {
            last = last.iter().flat_map(|text| alphabet.iter().map(move |level| format!("{text}/{level}"))).collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    #[test]
    fn covering_and_overlapping_are_what_they_mean_topic_by_topic() {
        // `z` is in no filter and stands for all that is not; topics have a level more than filters.
        let topics = texts(4, &["a", "$b", "", "z"]);
        let filters: Vec<String> = texts(3, &["a", "$b", "", "+", "#"])
            .into_iter()
            .filter(|text| parse_filter(text, TopicLimits::default()).is_ok())
            .collect();
        let matched: Vec<Vec<bool>> =
            filters.iter().map(|filter| topics.iter().map(|topic| filter_matches(filter, topic)).collect()).collect();
        for (ours, our_topics) in filters.iter().zip(&matched) {
            let pattern = Pattern::parse(ours).unwrap();
            for (theirs, their_topics) in filters.iter().zip(&matched) {
                let mut pairs = our_topics.iter().zip(their_topics);
                let covers = pairs.clone().all(|(ours, theirs)| *ours || !theirs);
                let overlaps = pairs.any(|(ours, theirs)| *ours && *theirs);
                assert_eq!(pattern.covers(theirs, NOBODY), covers, "{ours} covers {theirs}");
                assert_eq!(pattern.overlaps(theirs, NOBODY), overlaps, "{ours} overlaps {theirs}");
            }
            for (topic, matches) in topics.iter().zip(our_topics) {
                assert_eq!(pattern.covers(topic, NOBODY), *matches, "{ours} matches {topic}");
            }
        }
    }

    #[test]
    fn a_variable_is_one_whole_level() {
        let pattern = Pattern::parse("meters/${clientid}/${username}/#").unwrap();
        let client = named("m1", "alice");
        for (filter, covers) in [
            ("meters/m1/alice", true),
            ("meters/m1/alice/a/b", true),
            ("meters/m1/alice/#", true),
            ("meters/m1/bob", false),
            ("meters/m2/alice", false),
            ("meters/m1", false),
            ("meters/+/alice", false),
            ("meters/m1/#", false),
        ] {
            assert_eq!(pattern.covers(filter, client), covers, "{filter}");
        }
        assert!(pattern.overlaps("meters/+/alice", client));
        assert!(pattern.overlaps("meters/#", client));
        assert!(!pattern.overlaps("meters/m2/#", client));
    }

    #[test]
    fn a_hostile_client_id_or_user_name_matches_nothing() {
        let pattern = Pattern::parse("meters/${clientid}/#").unwrap();
        let special = Pattern::parse("${username}/#").unwrap();
        for value in ["+", "#", "", "a/b", "/", "a/+", "a/#", "#/", "a+", "x#", "a\0"] {
            let client = named(value, value);
            let asked =
                ["meters/+/#", "meters/#", "meters/a/b", "meters//x", "meters/a", "#", "+/#", "a/b", "a/#", "/x", ""];
            for filter in asked.into_iter().chain([value]) {
                assert!(!pattern.covers(filter, client), "{value:?} {filter}");
                assert!(!pattern.overlaps(filter, client), "{value:?} {filter}");
                assert!(!special.covers(filter, client), "{value:?} {filter}");
            }
        }
    }

    #[test]
    fn a_client_called_sys_does_not_own_the_topics_of_the_server() {
        let first = Pattern::parse("${clientid}/#").unwrap();
        for id in ["$SYS", "$share", "$"] {
            let client = named(id, id);
            for filter in ["$SYS/uptime", "$SYS/#", "$share/x", "$", "$/x"] {
                assert!(!first.covers(filter, client), "{id} {filter}");
            }
        }
        // Further down a `$` means nothing.
        assert!(Pattern::parse("meters/${clientid}").unwrap().covers("meters/$SYS", named("$SYS", "")));
    }

    #[test]
    fn who_has_no_user_name_matches_no_filter_with_one() {
        let pattern = Pattern::parse("users/${username}").unwrap();
        let client = Client { client_id: "m1", username: None };
        for filter in ["users/", "users/m1", "users/${username}", "users/+", "users/#"] {
            assert!(!pattern.covers(filter, client) && !pattern.overlaps(filter, client), "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_of_a_rule_is_refused_with_what_would_be() {
        for (text, wanted) in [
            ("", "a topic filter: topic filter is empty, at least one character is wanted"),
            ("a/#/b", "a topic filter: topic filter has `#` in level 2 of 3, it must be the whole last level"),
            ("a/x${clientid}", "${clientid} or ${username} as a whole level"),
            ("a/${clientId}", "${clientid} or ${username} as a whole level"),
            ("$share/g/a", "the filter without $share/GROUP/: shared subscriptions are judged by their filter"),
        ] {
            assert_eq!(Pattern::parse(text), Err(wanted.to_owned()), "{text}");
        }
    }
}
