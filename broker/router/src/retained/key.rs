//! The form of a topic in which the store orders it: U+0000 stands for the separator.
//!
//! U+0000 is in no topic (MQTT 5.0, 1.5.4) and sorts before everything else, so the ordinary order of strings puts a
//! level, then all that lies below it, then the next level. With `/` it would put `a!` between `a` and `a/b`.

/// Separates levels in keys.
pub(super) const SEPARATOR: char = '\0';
/// Sorts after the separator and before or with all that can follow a level's text: `LEVEL` and this is where the level
/// and all below it end.
pub(super) const AFTER_SEPARATOR: char = '\u{1}';

pub(super) fn from_topic(topic: &str, key: &mut String) {
    translate(topic, '/', SEPARATOR, key);
}

pub(super) fn to_topic(key: &str, topic: &mut String) {
    translate(key, SEPARATOR, '/', topic);
}

fn translate(text: &str, from: char, to: char, result: &mut String) {
    result.clear();
    result.reserve(text.len());
    let mut parts = text.split(from);
    result.extend(parts.next());
    for part in parts {
        result.push(to);
        result.push_str(part);
    }
}
