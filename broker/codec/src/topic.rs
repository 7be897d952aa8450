//! The grammar of topic names and filters, and what a filter matches (MQTT 5.0, 4.7 and 4.8.2).

use std::fmt;

use crate::ReasonCode;
use crate::text::is_plain;

/// How long topics may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLimits {
    /// The most levels: `a/b/c` has three.
    pub levels_max: usize,
    /// The most bytes; the protocol allows 65,535.
    pub bytes_max: usize,
}

impl TopicLimits {
    /// Only the grammar counts: how long it may be was judged when it came in.
    pub const NONE: TopicLimits = TopicLimits { levels_max: usize::MAX, bytes_max: usize::MAX };
}

impl Default for TopicLimits {
    fn default() -> Self {
        Self { levels_max: 128, bytes_max: 65_535 }
    }
}

/// A topic name, or a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicKind {
    /// Where a message is published.
    Name,
    /// What a subscription matches.
    Filter,
}

impl fmt::Display for TopicKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TopicKind::Name => "topic name",
            TopicKind::Filter => "topic filter",
        })
    }
}

/// Why text is no topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// There is nothing (MQTT 5.0, 4.7.3).
    #[error("{kind} is empty, at least one character is wanted")]
    Empty {
        /// Name or filter.
        kind: TopicKind,
    },
    /// U+0000 is in no text of MQTT (MQTT 5.0, 4.7.3).
    #[error("{kind} holds U+0000 at byte {at}")]
    NullCharacter {
        /// Name or filter.
        kind: TopicKind,
        /// Where.
        at: usize,
    },
    /// More bytes than allowed.
    #[error("{kind} has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// Name or filter.
        kind: TopicKind,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More levels than allowed.
    #[error("{kind} has {levels} levels, at most {max} are allowed")]
    TooManyLevels {
        /// Name or filter.
        kind: TopicKind,
        /// Its levels.
        levels: usize,
        /// The limit.
        max: usize,
    },
    /// A name matches nothing but itself (MQTT 5.0, 4.7.1).
    #[error("topic name holds the wildcard {found:?} at byte {at}, a topic name has none")]
    WildcardInName {
        /// The wildcard.
        found: char,
        /// Where.
        at: usize,
    },
    /// `+` stands for a whole level (MQTT 5.0, 4.7.1.3).
    #[error("topic filter has `+` beside other characters in level {level}, it must be the whole level")]
    PlusInsideLevel {
        /// The level, counted from 1.
        level: usize,
    },
    /// `#` stands for all further levels (MQTT 5.0, 4.7.1.2).
    #[error("topic filter has `#` in level {level} of {levels}, it must be the whole last level")]
    HashNotLast {
        /// The level, counted from 1.
        level: usize,
        /// All levels.
        levels: usize,
    },
    /// A shared subscription needs a name (MQTT 5.0, 4.8.2).
    #[error("shared subscription has no share name between `$share/` and the next `/`")]
    NoShareName,
    /// A share name holds no wildcards (MQTT 5.0, 4.8.2).
    #[error("share name holds the wildcard {found:?}, a share name has none")]
    WildcardInShareName {
        /// The wildcard.
        found: char,
    },
    /// A shared subscription needs a topic filter after its name (MQTT 5.0, 4.8.2).
    #[error("shared subscription has no topic filter, want $share/NAME/FILTER")]
    NoSharedFilter,
}

impl TopicError {
    /// The code that tells a peer: of topic names in PUBACK, PUBREC or DISCONNECT, of filters in SUBACK or UNSUBACK.
    pub const fn reason(&self) -> ReasonCode {
        match self {
            TopicError::WildcardInName { .. } => ReasonCode::TOPIC_NAME_INVALID,
            TopicError::Empty { kind }
            | TopicError::NullCharacter { kind, .. }
            | TopicError::TooLong { kind, .. }
            | TopicError::TooManyLevels { kind, .. } => match kind {
                TopicKind::Name => ReasonCode::TOPIC_NAME_INVALID,
                TopicKind::Filter => ReasonCode::TOPIC_FILTER_INVALID,
            },
            TopicError::PlusInsideLevel { .. }
            | TopicError::HashNotLast { .. }
            | TopicError::NoShareName
            | TopicError::WildcardInShareName { .. }
            | TopicError::NoSharedFilter => ReasonCode::TOPIC_FILTER_INVALID,
        }
    }
}

/// A topic filter that obeys the grammar, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedFilter<'a> {
    /// The share name of `$share/NAME/FILTER`.
    pub share: Option<&'a str>,
    /// The filter; of a shared subscription, what follows the share name.
    pub filter: &'a str,
    /// The filter holds `+` or `#`.
    pub has_wildcard: bool,
    /// The levels of `filter`.
    pub levels: usize,
}

/// Whether text is a topic name within the limits. Quick for plain ASCII that is too short to have too many levels.
#[inline]
pub fn check_topic_name(topic: &str, limits: TopicLimits) -> Result<(), TopicError> {
    // N bytes make at most N + 1 levels.
    let short = topic.len() <= limits.bytes_max && topic.len() < limits.levels_max;
    if short && !topic.is_empty() && is_plain(topic.as_bytes()) {
        return Ok(());
    }
    check_unusual_name(topic, limits)
}

fn check_unusual_name(topic: &str, limits: TopicLimits) -> Result<(), TopicError> {
    check_length(TopicKind::Name, topic, limits)?;
    match topic.bytes().position(|byte| byte == b'+' || byte == b'#') {
        None => Ok(()),
        Some(at) => Err(TopicError::WildcardInName { found: char::from(topic.as_bytes()[at]), at }),
    }
}

/// Takes a topic filter apart. The limits hold for the filter without its share name.
pub fn parse_filter(filter: &str, limits: TopicLimits) -> Result<ParsedFilter<'_>, TopicError> {
    let kind = TopicKind::Filter;
    let (share, filter) = match filter.strip_prefix("$share/") {
        None => (None, filter),
        Some(rest) => {
            let (name, filter) = rest.split_once('/').unwrap_or((rest, ""));
            if name.is_empty() {
                return Err(TopicError::NoShareName);
            }
            if let Some(found) = name.chars().find(|&character| character == '+' || character == '#') {
                return Err(TopicError::WildcardInShareName { found });
            }
            check_null(kind, name)?;
            if filter.is_empty() {
                return Err(TopicError::NoSharedFilter);
            }
            (Some(name), filter)
        }
    };
    let levels = check_length(kind, filter, limits)?;
    let mut has_wildcard = false;
    for (index, level) in filter.split('/').enumerate() {
        let level_number = index + 1;
        if level.contains('#') && (level.len() > 1 || level_number < levels) {
            return Err(TopicError::HashNotLast { level: level_number, levels });
        }
        if level.contains('+') && level.len() > 1 {
            return Err(TopicError::PlusInsideLevel { level: level_number });
        }
        has_wildcard |= level == "+" || level == "#";
    }
    Ok(ParsedFilter { share, filter, has_wildcard, levels })
}

/// What names and filters have in common. Returns the number of levels.
fn check_length(kind: TopicKind, topic: &str, limits: TopicLimits) -> Result<usize, TopicError> {
    let TopicLimits { levels_max, bytes_max } = limits;
    if topic.is_empty() {
        return Err(TopicError::Empty { kind });
    }
    if topic.len() > bytes_max {
        return Err(TopicError::TooLong { kind, bytes: topic.len(), max: bytes_max });
    }
    check_null(kind, topic)?;
    let levels = 1 + topic.bytes().filter(|&byte| byte == b'/').count();
    if levels > levels_max {
        return Err(TopicError::TooManyLevels { kind, levels, max: levels_max });
    }
    Ok(levels)
}

fn check_null(kind: TopicKind, text: &str) -> Result<(), TopicError> {
    match text.bytes().position(|byte| byte == 0) {
        None => Ok(()),
        Some(at) => Err(TopicError::NullCharacter { kind, at }),
    }
}

/// Whether a filter (without a share name) matches a topic name: the rules of MQTT 5.0, 4.7, as plainly as they can be
/// written. The reference for whatever is faster.
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    // What begins with `$` is not matched by a wildcard in the first level (MQTT 5.0, 4.7.2).
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic_levels = topic.split('/');
    for filter_level in filter.split('/') {
        match (filter_level, topic_levels.next()) {
            // `#` matches the level above it too, where the topic has just ended (MQTT 5.0, 4.7.1.2).
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (filter_level, Some(topic_level)) if filter_level == topic_level => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(filter: &str) -> Result<ParsedFilter<'_>, TopicError> {
        parse_filter(filter, TopicLimits::default())
    }

    #[test]
    fn filters_match_as_in_the_examples_of_the_specification() {
        // MQTT 5.0, 4.7.1.2, 4.7.1.3, 4.7.2 and 4.7.3.
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/tennis/player1/#", "sport/tennis/player10", false),
            ("sport/#", "sport", true),
            ("#", "any/thing", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/uptime", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("$SYS/#", "$SYS", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("ACCOUNTS", "Accounts", false),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
        ] {
            assert_eq!(filter_matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn filters_of_the_grammar_are_taken_apart() {
        for (text, share, filter, has_wildcard, levels) in [
            ("sport/tennis", None, "sport/tennis", false, 2),
            ("#", None, "#", true, 1),
            ("+", None, "+", true, 1),
            ("+/tennis/#", None, "+/tennis/#", true, 3),
            ("/", None, "/", false, 2),
            ("$SYS/+", None, "$SYS/+", true, 2),
            ("$share/consumer1/sport/tennis/+", Some("consumer1"), "sport/tennis/+", true, 3),
            ("$share/consumer1//finance", Some("consumer1"), "/finance", false, 2),
            ("$share", None, "$share", false, 1),
            ("$shared/a/b", None, "$shared/a/b", false, 3),
        ] {
            assert_eq!(parse(text), Ok(ParsedFilter { share, filter, has_wildcard, levels }), "{text}");
        }
    }

    #[test]
    fn filters_against_the_grammar_are_refused() {
        let empty = TopicError::Empty { kind: TopicKind::Filter };
        let null = TopicError::NullCharacter { kind: TopicKind::Filter, at: 1 };
        for (text, error) in [
            ("", empty),
            ("sport/tennis#", TopicError::HashNotLast { level: 2, levels: 2 }),
            ("sport/tennis/#/ranking", TopicError::HashNotLast { level: 3, levels: 4 }),
            ("##", TopicError::HashNotLast { level: 1, levels: 1 }),
            ("sport+", TopicError::PlusInsideLevel { level: 1 }),
            ("a/++", TopicError::PlusInsideLevel { level: 2 }),
            ("a\0", null),
            ("$share/", TopicError::NoShareName),
            ("$share//a", TopicError::NoShareName),
            ("$share/a+/b", TopicError::WildcardInShareName { found: '+' }),
            ("$share/#/b", TopicError::WildcardInShareName { found: '#' }),
            ("$share/a", TopicError::NoSharedFilter),
            ("$share/a/", TopicError::NoSharedFilter),
            ("$share/a\0/b", null),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
            assert_eq!(error.reason(), ReasonCode::TOPIC_FILTER_INVALID);
        }
    }

    #[test]
    fn topic_names_have_no_wildcards_and_are_not_empty() {
        let check = |topic| check_topic_name(topic, TopicLimits::default());
        for topic in ["a", "/", "$SYS/a", "a/ b", "grüße", "//"] {
            assert_eq!(check(topic), Ok(()));
        }
        for (topic, error) in [
            ("", TopicError::Empty { kind: TopicKind::Name }),
            ("a/+", TopicError::WildcardInName { found: '+', at: 2 }),
            ("#", TopicError::WildcardInName { found: '#', at: 0 }),
            ("a\0b", TopicError::NullCharacter { kind: TopicKind::Name, at: 1 }),
        ] {
            assert_eq!(check(topic), Err(error));
            assert_eq!(error.reason(), ReasonCode::TOPIC_NAME_INVALID);
        }
    }

    #[test]
    fn the_limits_on_levels_and_bytes_are_reached_and_not_passed() {
        let limits = TopicLimits { levels_max: 3, bytes_max: 7 };
        assert_eq!(check_topic_name("//", limits), Ok(()));
        assert_eq!(check_topic_name("a/b/ccc", limits), Ok(()));
        assert_eq!(parse_filter("$share/consumers/a/b/ccc", limits).map(|filter| filter.levels), Ok(3));
        for kind in [TopicKind::Name, TopicKind::Filter] {
            let check = |topic| match kind {
                TopicKind::Name => check_topic_name(topic, limits),
                TopicKind::Filter => parse_filter(topic, limits).map(|_| ()),
            };
            assert_eq!(check("///"), Err(TopicError::TooManyLevels { kind, levels: 4, max: 3 }));
            assert_eq!(check("a/b/c/d"), Err(TopicError::TooManyLevels { kind, levels: 4, max: 3 }));
            assert_eq!(check("aaaaaaaa"), Err(TopicError::TooLong { kind, bytes: 8, max: 7 }));
        }
    }
}
