//! A YAML text as a tree of texts, lists and sections that remember their lines.
//!
//! No value is interpreted: `5` and `no` are as good a user name as any. Anchors, aliases and tags are refused, so the
//! tree is never larger than the text, and depth is bounded.

use std::ops::RangeInclusive;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::error::Findings;

/// Deeper than any file of ours, and no danger to the stack.
const DEPTH_MAX: usize = 8;

/// More keys than any section of ours knows, and few enough to compare each with each.
const KEYS_MAX: usize = 64;

/// A value and where it stands.
#[derive(Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Value {
    /// `null`, `~` or nothing.
    Nothing,
    Text(String),
    List(Vec<Node>),
    Section(Vec<Entry>),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    key: String,
    line: usize,
    node: Node,
}

impl Node {
    /// What a person wrote, shortened.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Nothing => "nothing".to_owned(),
            Value::Text(text) => shorten(text),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Section(entries) => format!("a section of {} keys", entries.len()),
        }
    }
}

/// Text of a file as an error may show it.
pub(crate) fn shorten(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The keys of a section, each taken when it is read; what nobody asked for is an error.
pub(crate) struct Section {
    path: String,
    entries: Vec<Entry>,
    known: Vec<&'static str>,
    /// Where it begins.
    pub(crate) line: usize,
}

impl Section {
    /// Reads `node` with `read`, if it is a section or nothing, which is an empty one.
    pub(crate) fn read<T>(
        node: Node,
        path: &str,
        findings: &mut Findings,
        read: impl FnOnce(&mut Section, &mut Findings) -> T,
    ) -> Option<T> {
        let line = node.line;
        let entries = match node.value {
            Value::Nothing => Vec::new(),
            Value::Section(entries) => entries,
            Value::Text(_) | Value::List(_) => {
                findings.refuse(line, path, node.describe(), "a section");
                return None;
            }
        };
        let mut section = Section { path: path.to_owned(), entries, known: Vec::new(), line };
        let value = read(&mut section, findings);
        let Section { path, entries, known, line: _ } = section;
        for Entry { key, line, node: _ } in entries {
            findings.refuse(line, &path, format!("the key {}", shorten(&key)), format!("only {}", known.join(", ")));
        }
        Some(value)
    }

    /// A key's value, if the key is there. A key without a value is not the same as no key: a rule whose `users:` were
    /// forgotten must not become a rule for everyone.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at).node)
    }

    /// The path of one of its keys.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Its own path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// A node as a text that is not empty.
pub(crate) fn text_of(node: Node, path: &str, findings: &mut Findings) -> Option<(String, usize)> {
    match node.value {
        Value::Text(text) if !text.is_empty() => Some((text, node.line)),
        _ => {
            findings.refuse(node.line, path, node.describe(), "a text");
            None
        }
    }
}

/// A node as a list of so many values, each with its path.
pub(crate) fn list_of(
    node: Node,
    path: &str,
    counts: RangeInclusive<usize>,
    findings: &mut Findings,
) -> Option<Vec<(Node, String)>> {
    match node.value {
        Value::List(items) if counts.contains(&items.len()) => {
            Some(items.into_iter().enumerate().map(|(index, item)| (item, format!("{path}[{index}]"))).collect())
        }
        _ => {
            let wanted = format!("a list of {} to {}", counts.start(), counts.end());
            findings.refuse(node.line, path, node.describe(), wanted);
            None
        }
    }
}

/// A node as one of a few words.
pub(crate) fn choice_of<T: Copy>(node: Node, path: &str, choices: &[(&str, T)], findings: &mut Findings) -> Option<T> {
    let (text, line) = text_of(node, path, findings)?;
    let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    if chosen.is_none() {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        findings.refuse(line, path, shorten(&text), names.join(" or "));
    }
    chosen
}

/// Reads one document; an empty one is an empty section. What is wrong goes to `findings`.
pub(crate) fn parse(text: &str, bytes_max: usize, findings: &mut Findings) -> Node {
    let mut builder = Builder { findings, open: Vec::new(), root: None };
    if text.len() > bytes_max {
        builder.findings.refuse(1, "", format!("{} bytes", text.len()), format!("at most {bytes_max}"));
    } else {
        for event in Parser::new_from_str(text) {
            let went_on = match event {
                Ok((event, span)) => builder.handle(event, span),
                Err(error) => builder.stop(error.marker().line(), error.info(), "well-formed YAML"),
            };
            if went_on.is_none() {
                break;
            }
        }
    }
    builder.root.unwrap_or(Node { line: 1, value: Value::Nothing })
}

/// A list or section whose end has not been met.
enum Open {
    List(usize, Vec<Node>),
    Section { line: usize, entries: Vec<Entry>, key: Option<(String, usize)> },
}

struct Builder<'a> {
    findings: &'a mut Findings,
    open: Vec<Open>,
    root: Option<Node>,
}

impl Builder<'_> {
    /// `None` where it makes no sense to read on.
    fn handle(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(line, anchor, tag.is_some())?;
                self.scalar(text.into_owned(), style == ScalarStyle::Plain, line)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_extras(line, anchor, tag.is_some())?;
                self.start(line, Open::List(line, Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_extras(line, anchor, tag.is_some())?;
                self.start(line, Open::Section { line, entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop()? {
                Open::List(line, items) => self.place(Node { line, value: Value::List(items) }),
                Open::Section { line, entries, .. } => self.place(Node { line, value: Value::Section(entries) }),
            },
            Event::Alias(_) => self.stop(line, "an alias", "the value itself")?,
            Event::DocumentStart(..) if self.root.is_some() => self.stop(line, "a second document", "one document")?,
            _ => {}
        }
        Some(())
    }

    fn scalar(&mut self, text: String, plain: bool, line: usize) -> Option<()> {
        if let Some(Open::Section { entries, key: key @ None, .. }) = self.open.last_mut() {
            if entries.len() == KEYS_MAX {
                return self.stop(line, format!("more than {KEYS_MAX} keys in a section"), "fewer");
            }
            *key = Some((text, line));
            return Some(());
        }
        let value = match text.as_str() {
            "" | "~" | "null" if plain => Value::Nothing,
            _ => Value::Text(text),
        };
        self.place(Node { line, value });
        Some(())
    }

    fn start(&mut self, line: usize, open: Open) -> Option<()> {
        if let Some(Open::Section { key: None, .. }) = self.open.last() {
            return self.stop(line, "a list or section as a key", "a name as a key");
        }
        if self.open.len() == DEPTH_MAX {
            return self.stop(line, format!("more than {DEPTH_MAX} values within each other"), "fewer");
        }
        self.open.push(open);
        Some(())
    }

    fn place(&mut self, node: Node) {
        match self.open.last_mut() {
            None => {
                self.root.get_or_insert(node);
            }
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Section { entries, key, .. }) => {
                let Some((key, line)) = key.take() else { return };
                if entries.iter().any(|entry| entry.key == key) {
                    self.findings.refuse(line, "", format!("the key {} a second time", shorten(&key)), "it once");
                } else {
                    entries.push(Entry { key, line, node });
                }
            }
        }
    }

    fn refuse_extras(&mut self, line: usize, anchor: usize, tagged: bool) -> Option<()> {
        if anchor != 0 {
            return self.stop(line, "an anchor", "a plain value");
        }
        if tagged {
            return self.stop(line, "a tag", "a plain value");
        }
        Some(())
    }

    fn stop(&mut self, line: usize, found: impl Into<String>, wanted: &str) -> Option<()> {
        self.findings.refuse(line, "", found, wanted);
        None
    }
}
