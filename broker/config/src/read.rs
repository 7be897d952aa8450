//! The second pass: typed values out of a raw tree, every error collected, every value's source kept.
//!
//! A [`Section`] is asked for each key it knows. What nobody asked for is unknown, and the error names the nearest
//! known key. A value that is wrong is reported and replaced by its default, so that the rest is checked too.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::raw::{Entry, Node, Value};
use crate::{ConfigError, Source};

/// One value of the effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, from the root.
    pub path: String,
    /// The value, as text.
    pub value: String,
    /// Who said so.
    pub source: Source,
}

/// What reading has brought to light so far.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) settings: Vec<Setting>,
}

impl Findings {
    /// Reports `found` at `path`, which a rule compares with the values at `others`. Where one of them was wrong by
    /// itself, it was replaced by its default and the rule has nothing to say.
    pub(crate) fn refuse(&mut self, path: &str, others: &[&str], found: impl Into<String>, wanted: impl Into<String>) {
        let is_near = |error: &ConfigError, path: &str| is_within(path, &error.path) || is_within(&error.path, path);
        if self.errors.iter().any(|error| is_near(error, path) || others.iter().any(|other| is_near(error, other))) {
            return;
        }
        let origin = self.source_of(path);
        self.errors.push(ConfigError { path: path.to_owned(), origin, found: found.into(), wanted: wanted.into() });
    }

    /// Where the value at `path` was given, or else its section.
    fn source_of(&self, path: &str) -> Source {
        let is_given = |setting: &&Setting| is_within(&setting.path, path) && setting.source != Source::Default;
        let section = path.rsplit_once('.').map_or("", |(section, _)| section);
        let is_beside = |setting: &&Setting| is_within(&setting.path, section) && setting.source != Source::Default;
        let given = self.settings.iter().find(is_given).or_else(|| self.settings.iter().find(is_beside));
        given.map_or(Source::Default, |setting| setting.source.clone())
    }
}

/// Whether `path` is `section` or lies in it.
fn is_within(path: &str, section: &str) -> bool {
    let rest = path.strip_prefix(section);
    section.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The keys of one section, each taken when it is read.
pub(crate) struct Section<'a> {
    findings: &'a mut Findings,
    path: String,
    entries: Vec<Entry>,
    source: Source,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// Reads `node` as a section with `read`, then reports every key that `read` did not ask for.
    pub(crate) fn read<T>(
        findings: &'a mut Findings,
        path: String,
        node: Option<Node>,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let source = node.as_ref().map_or(Source::Default, |node| node.source.clone());
        let entries = match node {
            None | Some(Node { value: Value::Null, .. }) => Vec::new(),
            Some(Node { value: Value::Map(entries), .. }) => entries,
            Some(node) => {
                let (found, origin) = (node.describe(), node.source);
                findings.errors.push(ConfigError { path: path.clone(), origin, found, wanted: "a section".to_owned() });
                Vec::new()
            }
        };
        let mut section = Section { findings, path, entries, source, known: Vec::new() };
        let value = read(&mut section);
        section.refuse_unknown();
        value
    }

    fn refuse_unknown(&mut self) {
        for entry in std::mem::take(&mut self.entries) {
            let wanted = match nearest(&entry.key, &self.known) {
                Some(name) => format!("a known key, perhaps {name}"),
                None => format!("one of {}", self.known.join(", ")),
            };
            let path = self.path_of(&entry.key);
            self.findings.errors.push(ConfigError {
                path,
                origin: entry.source,
                found: "an unknown key".into(),
                wanted,
            });
        }
    }

    /// A section within this one; absent is the same as empty.
    pub(crate) fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let node = self.take(key);
        Section::read(self.findings, self.path_of(key), node, read)
    }

    /// A section that means something by being there.
    pub(crate) fn optional_section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let node = self.take(key);
        if node.is_none() {
            self.record(key, "off", Source::Default);
        }
        node.map(|node| Section::read(self.findings, self.path_of(key), Some(node), read))
    }

    /// A list of sections.
    pub(crate) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Option<Vec<T>> {
        let (items, _) = self.list(key, "a list of sections")?;
        let numbered = items.into_iter().enumerate();
        Some(
            numbered
                .map(|(index, node)| {
                    Section::read(self.findings, format!("{}[{index}]", self.path_of(key)), Some(node), &mut read)
                })
                .collect(),
        )
    }

    /// The one section of a list that nobody gave, all as by default.
    pub(crate) fn default_item<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        Section::read(self.findings, format!("{}[0]", self.path_of(key)), None, read)
    }

    /// A list of texts that `parse` understands; absent is empty.
    pub(crate) fn texts<T: Display>(
        &mut self,
        key: &'static str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let Some((items, source)) = self.list(key, &format!("a list, each {wanted}")) else {
            self.record(key, "[]", Source::Default);
            return Vec::new();
        };
        let mut values = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let text = match &item.value {
                Value::Scalar { text, .. } => parse(text),
                Value::Null | Value::List(_) | Value::Map(_) => None,
            };
            match text {
                Some(value) => values.push(value),
                None => {
                    let path = format!("{}[{index}]", self.path_of(key));
                    let (found, origin) = (item.describe(), item.source);
                    self.findings.errors.push(ConfigError { path, origin, found, wanted: wanted.to_owned() });
                }
            }
        }
        let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
        self.record(key, format!("[{}]", shown.join(", ")), source);
        values
    }

    fn list(&mut self, key: &'static str, wanted: &str) -> Option<(Vec<Node>, Source)> {
        let node = self.take(key)?;
        match node.value {
            Value::List(items) => Some((items, node.source)),
            Value::Null | Value::Scalar { .. } | Value::Map(_) => {
                self.refuse(key, &node, wanted.to_owned());
                None
            }
        }
    }

    /// A whole number within `allowed`.
    pub(crate) fn number<T>(&mut self, key: &'static str, default: T, allowed: RangeInclusive<T>) -> T
    where
        T: TryFrom<u64> + PartialOrd + Display + Copy,
    {
        let wanted = format!("a whole number from {} to {}", allowed.start(), allowed.end());
        let value = self.parse(key, &wanted, |text, plain| {
            if !plain || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            text.parse().ok().and_then(|number: u64| T::try_from(number).ok()).filter(|number| allowed.contains(number))
        });
        self.or_default(key, value, default)
    }

    /// `true`, `false` or nothing.
    pub(crate) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.parse(key, "true or false", |text, plain| text.parse().ok().filter(|_| plain));
        self.or_unset(key, value)
    }

    /// One of a few names.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, default: (&'static str, T), others: &[(&str, T)]) -> T {
        let names: Vec<&str> = std::iter::once(default.0).chain(others.iter().map(|(name, _)| *name)).collect();
        let value = self.parse(key, &names.join(" or "), |text, _| names.iter().position(|name| *name == text));
        let index = value.map(|(index, source)| {
            self.record(key, names[index], source);
            index
        });
        match index {
            None => {
                self.record(key, default.0, Source::Default);
                default.1
            }
            Some(0) => default.1,
            Some(index) => others[index - 1].1,
        }
    }

    /// A text that `parse` understands, or the default.
    pub(crate) fn text<T: Display>(
        &mut self,
        key: &'static str,
        default: T,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        let value = self.parse(key, wanted, |text, _| parse(text));
        self.or_default(key, value, default)
    }

    /// A text that `parse` understands, or nothing.
    pub(crate) fn optional_text<T: Display>(
        &mut self,
        key: &'static str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.parse(key, wanted, |text, _| parse(text));
        self.or_unset(key, value)
    }

    /// A path in the file system, or nothing.
    pub(crate) fn optional_path(&mut self, key: &'static str) -> Option<PathBuf> {
        let parse = |text: &str| (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned());
        self.optional_text(key, "a path", parse).map(PathBuf::from)
    }

    /// A path that must be given.
    pub(crate) fn path(&mut self, key: &'static str) -> PathBuf {
        let errors = self.findings.errors.len();
        let path = self.optional_path(key);
        if path.is_none() && self.findings.errors.len() == errors {
            let (path, origin) = (self.path_of(key), self.source.clone());
            self.findings.errors.push(ConfigError { path, origin, found: "nothing".into(), wanted: "a path".into() });
        }
        path.unwrap_or_default()
    }

    fn parse<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        parse: impl Fn(&str, bool) -> Option<T>,
    ) -> Option<(T, Source)> {
        let node = self.take(key)?;
        let value = match &node.value {
            Value::Scalar { text, plain } => parse(text, *plain),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        };
        if value.is_none() {
            self.refuse(key, &node, wanted.to_owned());
        }
        value.map(|value| (value, node.source))
    }

    fn or_default<T: Display>(&mut self, key: &str, value: Option<(T, Source)>, default: T) -> T {
        let (value, source) = value.unwrap_or((default, Source::Default));
        self.record(key, &value, source);
        value
    }

    fn or_unset<T: Display>(&mut self, key: &str, value: Option<(T, Source)>) -> Option<T> {
        match &value {
            Some((value, source)) => self.record(key, value, source.clone()),
            None => self.record(key, "not set", Source::Default),
        }
        value.map(|(value, _)| value)
    }

    /// The value of `key`, which is known from now on; `null` is the same as absent.
    fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        let node = self.entries.remove(index).node;
        (node.value != Value::Null).then_some(node)
    }

    fn refuse(&mut self, key: &str, node: &Node, wanted: String) {
        let (path, origin) = (self.path_of(key), node.source.clone());
        self.findings.errors.push(ConfigError { path, origin, found: node.describe(), wanted });
    }

    fn record(&mut self, key: &str, value: impl Display, source: Source) {
        let path = self.path_of(key);
        self.findings.settings.push(Setting { path, value: value.to_string(), source });
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// The known name that somebody who wrote `key` may have meant.
pub fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain =
        |name: &str| name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<Vec<_>>();
    let key = plain(key);
    // A longer key is no slip of the finger, and the distance would be slow to find.
    if key.len() > 64 {
        return None;
    }
    let distances = known.iter().map(|name| (distance(&key, &plain(name)), *name));
    distances
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= key.len() / 3)
        .map(|(_, name)| name)
}

/// How many letters must be added, dropped or changed to make one word of the other (Levenshtein).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let known = ["packetBytes", "inflight", "connections"];
        assert_eq!(nearest("packet_bytes", &known), Some("packetBytes"));
        assert_eq!(nearest("conections", &known), Some("connections"));
        assert_eq!(nearest("frobnicate", &known), None);
        assert_eq!(nearest("", &known), None);
    }

    #[test]
    fn distance_counts_letters() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
        assert_eq!(distance(&letters(""), &letters("abc")), 3);
    }
}
